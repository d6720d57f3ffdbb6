"""What many outcomes come to, as data and for a person."""

import io
from typing import Any

import pytest
from rich.console import Console

from sluicegate.cli._support.outcome import StreamedAnswer, print_outcome, print_summary, summary


def outcome(path: str, *, usd: float = 0.0, all_llm_usd: float | None = 0.002, llm_calls: int = 0) -> dict[str, Any]:
    model = "openai:large" if llm_calls else "embedded:small"
    return {
        "path": path, "usd": usd, "all_llm_usd": all_llm_usd, "llm_calls": llm_calls, "model": model, "cache": None,
        "tags": None,
    }  # fmt: skip


OUTCOMES = [
    outcome("rag-llm", usd=0.003, llm_calls=1),
    outcome("rag-slm"),
    outcome("cache", all_llm_usd=0.001),
    outcome("cache", all_llm_usd=0.0005),
]


def test_cache_hits_and_what_they_saved() -> None:
    found = summary(OUTCOMES)
    assert (found["requests"], found["without_llm"], found["cache_hits"]) == (4, 3, 2)
    assert found["cache_saved_usd"] == pytest.approx(0.0015)
    assert found["usd"] == pytest.approx(0.003)
    assert found["models"] == {"openai:large": 1, "embedded:small": 1}, "the cache asked none"
    page = io.StringIO()
    print_summary(OUTCOMES, screen=Console(file=page, width=120, highlight=False))
    shown = page.getvalue()
    assert (
        "answered from the cache: 2, which saved about $0.00150 compared with calling the large model each time"
        in shown
    )
    assert "large-model calls avoided: 3 of 4 requests (75%)" in shown


def test_nothing_is_said_of_a_cache_that_served_nothing() -> None:
    page = io.StringIO()
    print_summary(OUTCOMES[:2], screen=Console(file=page, width=120, highlight=False))
    assert "cache" not in page.getvalue()
    assert summary(OUTCOMES[:2])["cache_saved_usd"] == 0


def test_a_waiting_run_says_where_it_waits_until_when_and_what_would_be_done() -> None:
    waiting = {
        "node": "approve",
        "waits_for": "approval",
        "approvers": "role:lead",
        "deadline": "2026-11-25T14:59:03+00:00",
        "reason": "a high-risk class",
        "proposal": {"tool": "create_ticket", "arguments": {"title": "x" * 80, "urgency": "normal"}},
    }
    said = outcome("human") | {
        "request": "Order it", "intent": None, "waiting": waiting, "way": ["classify", "gate"], "run": "1" * 24,
        "citations": [], "prompt_tokens": 1, "completion_tokens": 1, "ms": 10.0, "fallback": "", "answer": "",
    }  # fmt: skip
    said |= {"estimated_usd": 0.004, "stopped_by": "SG501 per_run_usd: no room"}
    screen = Console(file=io.StringIO(), width=80, highlight=False)
    print_outcome(said, screen=screen)
    shown = screen.file.getvalue() if isinstance(screen.file, io.StringIO) else ""
    assert "  path      human  classify → gate → approve\n" in shown
    assert "for role:lead until 2026-11-25 14:59 UTC: a high-risk class" in shown
    proposal = shown.split("proposal\n")[1].split("  decide")[0].splitlines()
    assert all(line.startswith(" " * 12) for line in proposal)
    assert "create_ticket(title='xxx" in proposal[0]
    assert "$0.00000 of $0.00400 reserved" in shown
    assert "  LLM call skipped: SG501 per_run_usd: no room" in shown


def test_a_question_says_who_is_to_answer_it_and_with_which_rights() -> None:
    waiting = {
        "node": "ask", "waits_for": "answer", "reason": "Which [device]?", "deadline": "2026-11-25T14:59:03+00:00",
        "approvers": "user:o'neil", "proposal": None,
    }  # fmt: skip
    asker = {"id": "o'neil", "roles": ["employee", "nurse"], "groups": ["ward 3"], "clearance": "restricted"}
    said = outcome("human") | {
        "request": "It is broken", "intent": None, "waiting": waiting, "way": ["classify"], "run": "1" * 24,
        "citations": [], "prompt_tokens": 1, "completion_tokens": 1, "ms": 10.0, "fallback": "", "answer": "",
        "estimated_usd": 0.0, "stopped_by": "",
    }  # fmt: skip

    def shown(requester: dict[str, object]) -> str:
        page = io.StringIO()
        print_outcome(said | {"requester": requester}, screen=Console(file=page, width=80, highlight=False))
        return page.getvalue()

    rights = "--role employee --role nurse --group 'ward 3' --clearance restricted"
    assert f"answer    sluicegate answer {'1' * 24} TEXT --as 'o'\"'\"'neil' {rights}, until" in shown(asker)
    plain = {"id": "me", "roles": ["employee"], "groups": [], "clearance": "internal"}
    assert f"answer    sluicegate answer {'1' * 24} TEXT, until 2026-11-25 14:59 UTC\n" in shown(plain)
    assert "asks      Which [device]?" in shown(plain)


def test_where_there_is_no_large_model_nothing_is_said_to_be_saved() -> None:
    page = io.StringIO()
    outcomes = [outcome("rag-slm", all_llm_usd=None), outcome("cache", all_llm_usd=None)]
    print_summary(outcomes, screen=Console(file=page, width=120, highlight=False))
    assert "cost: $0.00000; the workflow has no large model\nanswered from the cache: 1\n" in page.getvalue()
    assert "saved" not in page.getvalue()
    said = outcomes[0] | {
        "request": "Why?", "intent": None, "waiting": None, "way": ["answer"], "run": "1" * 24, "citations": [],
        "prompt_tokens": 1, "completion_tokens": 1, "ms": 10.0, "fallback": "", "answer": "So.", "estimated_usd": 0.0,
        "stopped_by": "",
    }  # fmt: skip
    print_outcome(said, screen=Console(file=page, width=120, highlight=False))
    assert "  cost      2 tokens, $0.00000, 0.01 s\n" in page.getvalue()
    assert "cached as" not in page.getvalue()
    hit = {"hit": True, "kind": "semantic", "question": "How is it, then?", "similarity": 0.98}
    print_outcome(said | {"path": "cache", "cache": hit}, screen=Console(file=page, width=120, highlight=False))
    assert "  path      cache  answer\n  cached as How is it, then?\n" in page.getvalue()
    # a run that failed says nothing of a large model; the others still do
    assert summary([outcome("failed", all_llm_usd=None), outcome("rag-slm")])["all_llm_usd"] == 0.002


SAID: dict[str, Any] = {
    **outcome("slm"),
    "run": "r", "request": "Why?", "intent": "", "answer": "One. Two. Three.", "waiting": None, "way": ["shorten"],
    "citations": [], "prompt_tokens": 1, "completion_tokens": 2, "usd": 0.0, "estimated_usd": 0.0, "ms": 1.0,
    "fallback": "", "stopped_by": "",
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "shown"),
    [({}, "One. Two. Three.\n"), ({"answer": "Refused."}, "One. […]\n"), ({"withheld": "no"}, "One. […]\n")],
)
def test_a_streamed_answer_is_printed_once(
    change: dict[str, Any], shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    early, said, page = StreamedAnswer(), {**SAID, **change}, io.StringIO()
    early("One.")
    print_outcome(said, screen=Console(file=page, width=120), early=early)
    assert capsys.readouterr().out.count(shown) == 1
    assert ("Three." in page.getvalue()) is False
    assert ("answer" in page.getvalue().split()) is ("answer" in change)
