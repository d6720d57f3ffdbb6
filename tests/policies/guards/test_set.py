import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from sluicegate.errors import PolicyError
from sluicegate.policies.guards import set as guard_set
from sluicegate.policies.guards.checking import PASS, Check, Finding, GuardKind, Helpers, Subject, Verdict
from sluicegate.policies.guards.config import GuardConfig
from sluicegate.policies.guards.redaction import restore
from sluicegate.policies.guards.registry import guards
from sluicegate.policies.guards.set import GuardSet, gravest
from sluicegate.policies.guards.settings import GuardSettings

SECRET = "zebra-4711"


class _Redacting(GuardSettings):
    redacts = True


def _kind(name: str, check: Check, *, settings: type[GuardSettings] = GuardSettings, quick: bool = False) -> GuardKind:
    def make(given: GuardSettings, helpers: Helpers) -> Check:
        del given, helpers
        return check

    return GuardKind(name, "for a test", frozenset({"request", "retrieved", "output"}), settings, make, quick)


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def install_(*kinds: GuardKind) -> None:
        everything = {**guards(), **{kind.name: kind for kind in kinds}}
        monkeypatch.setattr(guard_set, "guards", lambda: everything)
        monkeypatch.setattr("sluicegate.policies.guards.config.installed_guards", lambda: everything)

    return install_


def _config(**settings: Any) -> GuardConfig:
    return GuardConfig.model_validate(settings)


async def test_redactions_of_several_guards_compose() -> None:
    text = "Mail bob@example.org, password: Xy12!zz9, or call +41 44 123 45 67."
    inspection = await GuardSet().inspect(["pii", "secrets"], Subject(text, "output"))
    report = inspection.report
    assert report.text == "Mail <EMAIL_1>, password: <PASSWORD_1>, or call <PHONE_1>."
    assert report.redacted
    assert gravest(report) == "redact"
    assert restore(report.text, inspection.mapping) == text


async def test_the_gravest_action_wins_and_a_passed_guard_says_pass() -> None:
    config = _config(tone={"action": "human"}, length={"action": "escalate", "max_chars": 5}, pii={"action": "refuse"})
    report = await GuardSet(config).check(["length", "tone", "pii"], "You idiot, read it.", stage="output")
    assert {r["guard"]: r["action"] for r in report.results} == {"length": "escalate", "tone": "human", "pii": "pass"}
    assert gravest(report) == "human"
    assert not report.redacted


async def test_results_keep_the_order_of_the_names() -> None:
    report = await GuardSet().check(["tone", "pii", "length"], "Fine.", stage="output")
    assert [result["guard"] for result in report.results] == ["tone", "pii", "length"]
    assert gravest(report) == "pass"


async def test_a_guard_that_crashes_counts_as_failed_and_never_quotes(
    install: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    def crash(subject: Subject) -> Verdict:
        raise ValueError(f"cannot parse {subject.text}")

    install(_kind("broken", crash, quick=True), _kind("broken-thread", crash))
    with caplog.at_level(logging.DEBUG):
        report = await GuardSet().check(["broken", "broken-thread", "length"], SECRET, stage="output")
    for result in report.results[:2]:
        assert (result["passed"], result["action"]) == (False, "refuse")
        assert result["reason"] == f"SG203 guard {result['guard']} failed to run: ValueError"
    assert report.results[2]["passed"]
    assert SECRET not in str(report.results)
    assert SECRET not in caplog.text


async def test_a_guard_that_hangs_is_stopped_by_its_time_budget(install: Callable[..., None]) -> None:
    released = threading.Event()
    ended: list[str] = []

    def hang(subject: Subject) -> Verdict:
        released.wait()
        ended.append(subject.text)
        return PASS

    async def hang_too(subject: Subject) -> Verdict:
        await asyncio.Event().wait()
        ended.append(subject.text)
        return PASS

    install(_kind("hang", hang), _kind("hang-too", hang_too, quick=True))
    config = _config(**{name: {"timeout_ms": 100, "action": "human"} for name in ("hang", "hang-too")})
    ready = GuardSet(config)
    await ready.check(["length"], "warm", stage="output")
    try:
        report = await ready.check(["hang", "hang-too"], "text", stage="output")
        assert ended == []
    finally:
        released.set()
    assert [result["action"] for result in report.results] == ["human", "human"]
    assert all(result["reason"].endswith("timed out after 100 ms") for result in report.results)


async def test_guards_of_a_node_run_at_the_same_time(install: Callable[..., None]) -> None:
    together = threading.Barrier(3, timeout=10)

    def meet(subject: Subject) -> Verdict:
        del subject
        together.wait()
        return PASS

    install(*(_kind(f"meet-{at}", meet) for at in range(3)))
    config = _config(**{f"meet-{at}": {"timeout_ms": 15_000} for at in range(3)})
    report = await GuardSet(config).check([f"meet-{at}" for at in range(3)], "text", stage="output")
    assert gravest(report) == "pass"


async def test_one_set_serves_many_checks_at_once_without_mixing_them() -> None:
    ready = GuardSet()
    texts = [f"Write to user{at}@example.org" if at % 2 else "Nothing here" for at in range(40)]
    reports = await asyncio.gather(*(ready.check(["pii", "length"], text, stage="output") for text in texts))
    assert [report.redacted for report in reports] == [bool(at % 2) for at in range(40)]
    assert reports[1].text == "Write to <EMAIL_1>"


async def test_a_broken_guard_that_should_redact_refuses(install: Callable[..., None]) -> None:
    def crash(subject: Subject) -> Verdict:
        raise RuntimeError(subject.text)

    install(_kind("cleaner", crash, settings=_Redacting))
    report = await GuardSet(_config(cleaner={"action": "redact"})).check(["cleaner"], SECRET, stage="output")
    assert report.results[0]["action"] == "refuse"
    assert not report.redacted


async def test_a_check_that_gives_no_verdict_counts_as_failed(install: Callable[..., None]) -> None:
    nothing: Any = lambda subject: None  # noqa: E731
    install(_kind("nothing", nothing, quick=True))
    report = await GuardSet().check(["nothing"], "text", stage="output")
    assert not report.results[0]["passed"]


async def test_a_plugged_in_guard_redacts(install: Callable[..., None]) -> None:
    def names(subject: Subject) -> Verdict:
        at = subject.text.index("Ada")
        return Verdict(passed=False, reason="a name", findings=(Finding(at, at + 3, "first name"),))

    install(_kind("names", names, settings=_Redacting))
    report = await GuardSet(_config(names={"action": "redact"})).check(["names"], "Hello Ada!", stage="output")
    assert report.text == "Hello <FIRST_NAME_1>!"


async def test_an_unknown_guard_is_an_error_with_a_suggestion() -> None:
    with pytest.raises(PolicyError, match="did you mean 'secrets'"):
        await GuardSet().check(["secret"], "text", stage="output")


async def test_an_empty_text_is_checked_too() -> None:
    report = await GuardSet().check(["length", "pii"], "", stage="output")
    assert [result["passed"] for result in report.results] == [False, True]


async def test_the_review_is_asked_only_when_admitted() -> None:
    asked: list[tuple[str, str]] = []

    async def review(question: str, text: str) -> bool | None:
        asked.append((question, text))
        return {"good": True, "bad": False}.get(text)

    skipped = await GuardSet(review=review).check(["slm-review"], "bad", stage="output", question="why?")
    assert skipped.results[0]["passed"]
    assert skipped.results[0]["reason"].startswith("skipped")
    assert asked == []
    strict = GuardSet(_config(**{"slm-review": {"when_not_admitted": "human"}}), review=review)
    assert gravest(await strict.check(["slm-review"], "good", stage="output")) == "human"

    async def yes() -> bool:
        return True

    ready = GuardSet(review=review, admitted=yes)
    actions = [
        gravest(await ready.check(["slm-review"], t, stage="output", question="why?")) for t in ("good", "bad", "odd")
    ]
    assert actions == ["pass", "escalate", "escalate"]
    assert asked == [("why?", "good"), ("why?", "bad"), ("why?", "odd")]
