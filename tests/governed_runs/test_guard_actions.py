"""What each action of a guard does to a whole run, and guards that crash, hang or must run at the same time."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sluicegate.graphs.runtime.factory import open_workflow
from sluicegate.graphs.runtime.intake import principal
from sluicegate.graphs.runtime.outcome import Outcome
from sluicegate.policies.guards import set as guard_set
from sluicegate.policies.guards.checking import PASS, Check, Finding, GuardKind, Helpers, Subject, Verdict
from sluicegate.policies.guards.registry import guards
from sluicegate.policies.guards.settings import GuardSettings
from sluicegate.services import Completion, ModelRequest
from tests.support.fakes import FakeModels, FakeRetriever, FakeRouter

WORKFLOW = """
workflow: desk
version: 1
purpose: One branch for each action of a guard.
models:
  slm: {use: "embedded:smollm2-135m"}
  llm: {use: "embedded:smollm2-360m"}
  embedder: {use: "embedded:all-minilm-l6-v2"}
intents: {contact: {task: short-answer, risk: low, max_tokens: 60}}
router: {strategy: slm}
indexes: {kb: {path: knowledge}}
start: classify
nodes:
  classify: {kind: classify, then: gate}
  gate: {kind: policy-check, then: [{when: "policy.verdict == 'deny'", go: refuse}, {otherwise: facts}]}
  facts: {kind: retrieve, index: kb, then: answer}
  answer: {kind: slm-answer, prompt: answer, max_visits: 2, then: check}
  synthesize: {kind: llm-synthesize, prompt: answer, max_visits: 1, then: check}
  check:
    kind: output-check
    guards: GUARDS
    then:
      - {when: "checks.action == 'refuse'", go: refuse}
      - {when: "checks.action == 'escalate'", go: synthesize}
      - {when: "checks.action == 'regenerate'", go: answer}
      - {when: "checks.failed", go: approve}
      - {otherwise: respond}
  approve:
    kind: human-interrupt
    approvers: role:lead
    then: [{when: "approval.verdict in ['approve', 'edit']", go: respond}, {otherwise: refuse}]
  respond: {kind: respond}
  refuse: {kind: refuse}
guards: SETTINGS
"""
WHY = "the draft says Bad"
ASKED = ["classify", "gate", "facts", "answer", "check"]


class InTurn(FakeModels):
    """The small model gives its drafts in order, the last one again and again; the large one writes well."""

    def __init__(self, drafts: Sequence[str]) -> None:
        super().__init__({"slm": "", "llm": "Good, at length [1]."})
        self._drafts = list(drafts)

    async def chat(self, request: ModelRequest) -> Completion:
        if request.role == "slm":
            self.answers["slm"] = self._drafts.pop(0) if len(self._drafts) > 1 else self._drafts[0]
        return await super().chat(request)


class Redacting(GuardSettings):
    redacts = True


def bad(subject: Subject) -> Verdict:
    at = subject.text.find("Bad")
    return PASS if at < 0 else Verdict(passed=False, reason=WHY, findings=(Finding(at, at + 3, "word"),))


def crash(subject: Subject) -> Verdict:
    raise ValueError(subject.text)


async def hang(subject: Subject) -> Verdict:
    del subject
    await asyncio.Event().wait()
    return PASS


def meeting(count: int) -> Check:
    """Passes once `count` guards are at it at the same time, and breaks where they come one after another."""
    together = threading.Barrier(count, timeout=100)

    def meet(subject: Subject) -> Verdict:
        del subject
        together.wait()
        return PASS

    return meet


@dataclass
class Case:
    settings: dict[str, Any]
    way: list[str]
    status: str = "answered"
    text: str = ""
    """What who asked is told; not looked at where empty."""
    drafts: Sequence[str] = ("Bad [1].", "Good [1].")
    check: Check = bad
    guards: int = 1
    asked: list[str] = field(default_factory=lambda: ["slm"])
    """The roles that wrote, in order."""
    reason: str = WHY


AGAIN = [*ASKED, "answer", "check"]
CASES = {
    "pass": Case({}, [*ASKED, "respond"], text="Good [1].", drafts=["Good [1]."], reason=""),
    "redact": Case({"action": "redact"}, [*ASKED, "respond"], text="<WORD_1> [1]."),
    "regenerate mends the draft": Case(
        {"action": "regenerate"}, [*AGAIN, "respond"], text="Good [1].", asked=["slm", "slm"]
    ),
    "regenerate once, then a person": Case(
        {"action": "regenerate"}, AGAIN, "waiting", drafts=["Bad [1]."], asked=["slm", "slm"]
    ),
    "escalate": Case(
        {"action": "escalate"}, [*ASKED, "synthesize", "check", "respond"], text="Good, at length [1].",
        asked=["slm", "llm"],
    ),
    "ask a human": Case({"action": "human"}, ASKED, "waiting"),
    "refuse": Case({"action": "refuse"}, [*ASKED, "refuse"], "refused"),
    "a crash has failed": Case({"action": "human"}, ASKED, "waiting", check=crash, reason="failed to run: ValueError"),
    "a crash that asks for no action refuses": Case(
        {}, [*ASKED, "refuse"], "refused", check=crash, reason="failed to run: ValueError"
    ),
    "nothing redacted by a crash goes out": Case(
        {"action": "redact"}, [*ASKED, "refuse"], "refused", check=crash, reason="failed to run: ValueError"
    ),
    "a guard out of time has failed": Case(
        {"action": "human", "timeout_ms": 1000}, ASKED, "waiting", check=hang, guards=3,
        reason="timed out after 1000 ms",
    ),
    "guards of one node run at the same time": Case(
        {"timeout_ms": 15_000}, [*ASKED, "respond"], text="Bad [1].", check=meeting(3), guards=3, reason=""
    ),
}  # fmt: skip


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Case], tuple[Outcome, InTurn]]:
    def make(given: GuardSettings, helpers: Helpers) -> Check:
        del given, helpers
        return case_.check

    case_: Case

    def run_(case: Case) -> tuple[Outcome, InTurn]:
        nonlocal case_
        case_ = case
        names = [f"strict-{at}" for at in range(case.guards)]
        stages = frozenset({"output"})
        kinds = {**guards(), **{name: GuardKind(name, "for a test", stages, Redacting, make) for name in names}}
        monkeypatch.setattr(guard_set, "guards", lambda: kinds)
        monkeypatch.setattr("sluicegate.policies.guards.config.installed_guards", lambda: kinds)
        for module in ("validate", "references"):
            monkeypatch.setattr(f"sluicegate.graphs.config.{module}.guard_names", lambda: tuple(kinds))
        models = InTurn(case.drafts)
        monkeypatch.setattr("sluicegate.graphs.runtime.factory.ModelSet", lambda _: models)
        monkeypatch.setattr("sluicegate.graphs.runtime.factory._router", lambda *_: FakeRouter("contact"))
        monkeypatch.setattr("sluicegate.graphs.runtime.factory.LanceRetriever", lambda *_, **__: FakeRetriever())
        folder = tmp_path / "desk"
        for name in ("prompts", "knowledge"):
            (folder / name).mkdir(parents=True)
        prompt = "---\nid: answer\nversion: 1\n---\n{{question}}{{sources}}{{feedback}}{{section}}\n"
        (folder / "prompts" / "answer.md").write_text(prompt, encoding="utf-8")
        settings = dict.fromkeys(names, case.settings)
        text = WORKFLOW.replace("GUARDS", str(names)).replace("SETTINGS", str(settings))
        (folder / "workflow.yaml").write_text(text, encoding="utf-8")
        opened = open_workflow(folder / "workflow.yaml")

        async def asked() -> Outcome:
            # the library is imported by the first check, which is no part of a guard's time
            await opened.runner.services.guards.check(["length"], "warm", stage="output")
            return await opened.runner.run("Who has the keys?", principal("ann", ["employee"]))

        outcome = asyncio.run(asked())
        opened.tracer.close()
        return outcome, models

    return run_


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_what_a_guard_asks_for_happens_to_the_run(case: Case, run: Callable[[Case], tuple[Outcome, InTurn]]) -> None:
    outcome, models = run(case)
    way = [entry["node"] for entry in outcome.state["trail"]]
    assert (outcome.status, way) == (case.status, case.way)
    assert [role for role, _ in models.asked] == case.asked
    if case.text:
        assert outcome.text == case.text
    else:
        assert "Bad" not in outcome.text
    prompts = ["".join(message.content for message in messages) for _, messages in models.asked]
    assert [WHY in prompt for prompt in prompts] == [at > 0 for at in range(len(prompts))]
    checks = outcome.state.get("checks")
    assert checks is not None
    failed = [result["reason"] for result in checks["results"] if not result["passed"]]
    if case.status == "waiting":
        assert outcome.waiting is not None
        assert outcome.waiting["draft"] == "Bad [1]."
        assert all(case.reason in result["reason"] for result in outcome.waiting["checks"])
        assert len(failed) == case.guards
    if case.status == "refused":
        assert [case.reason in reason for reason in failed] == [True]
