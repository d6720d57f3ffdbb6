"""Scores of one run: metrics by name, from its outcome and what was expected of it.

A metric that does not apply (nothing was expected, no answer was given, the workflow has no such guard) is absent, not
zero. Truth is 1.0 or 0.0, shares are in [0, 1], money is US dollars, durations are seconds.
"""

import re
from typing import Any

from sluicegate.evals.evaluation.cases import Case, ExpectedTool
from sluicegate.graphs.runtime.outcome import Outcome

__all__ = ["contains", "facts_found", "measure", "said", "same"]


def measure(outcome: Outcome, case: Case | None = None, *, list_usd: float | None = None) -> dict[str, float]:
    """The metrics of a run; without a case those that need no label.

    ``without_llm``, ``without_human``, ``answered`` (an answer or a draft for a person came, nothing was refused),
    ``grounded`` and ``checks_passed`` (the last checks of the draft), ``confidence``, ``usd`` (paid), ``list_usd``
    (at the list price of the models asked for), ``seconds``; with a case ``intent_right``, ``path_right``,
    ``facts_found``, ``answer_exact``, ``answer_contains``, ``tool_right``, ``citation_precision``, ``citation_recall``,
    ``must_refuse_answered``, ``must_answer_refused``,
    ``unknown_answered`` (though no document says it) and ``correct`` (all that was expected of the result held).
    """
    summary, checks = outcome.summary, outcome.state.get("checks")
    found: dict[str, float] = {
        "without_llm": float(not summary.llm_calls),
        "without_human": float(outcome.waiting is None and summary.approval is None),
        "answered": float(summary.status != "refused"),
        "usd": summary.usd,
        "seconds": outcome.ms / 1000,
    }
    if list_usd is not None:
        found["list_usd"] = list_usd
    if summary.confidence is not None:
        found["confidence"] = summary.confidence
    if checks:
        found["checks_passed"] = float(not checks["failed"])
        grounded = [result["passed"] for result in checks["results"] if result["guard"] == "grounded"]
        if grounded:
            found["grounded"] = float(all(grounded))
    return found | (_against(outcome, case) if case else {})


def said(outcome: Outcome) -> str:
    """The answer, or the draft that waits for a person; empty after a refusal."""
    if outcome.waiting:
        return outcome.waiting["draft"]
    return "" if outcome.status == "refused" else outcome.text


def _against(outcome: Outcome, case: Case) -> dict[str, float]:
    found: dict[str, float] = {}
    right: list[bool] = []
    summary, text = outcome.summary, said(outcome)
    refused = summary.status == "refused"
    if case.intent is not None:
        found["intent_right"] = float(summary.intent == case.intent)
    if case.path is not None:
        found["path_right"] = float((summary.path or "") == case.path)
    if case.refused is not None:
        right.append(refused == case.refused)
        found["must_refuse_answered" if case.refused else "must_answer_refused"] = float(refused != case.refused)
    if case.known is False:
        # a person who is shown the draft may still correct it
        found["unknown_answered"] = float(summary.status == "answered")
        right.append(not found["unknown_answered"])
    if case.facts:
        found["facts_found"] = facts_found(text, case)
        right.append(found["facts_found"] == 1.0)
    if case.answer is not None:
        found["answer_exact"] = float(same(text, case.answer))
        found["answer_contains"] = float(contains(text, case.answer))
        right.append(found["answer_contains"] == 1.0)
    if case.tool is not None:
        found["tool_right"] = float(_tool_right(outcome, case.tool))
        right.append(found["tool_right"] == 1.0)
    if case.citations is not None and summary.answer is not None and not refused:
        found |= _citations({citation["document"] for citation in summary.citations}, set(case.citations))
    if right:
        found["correct"] = float(all(right))
    return found


def facts_found(text: str, case: Case) -> float:
    """The share of the expected facts that `text` says."""
    return sum(any(contains(text, form) for form in fact.split("|")) for fact in case.facts) / len(case.facts)


def _citations(cited: set[str], expected: set[str]) -> dict[str, float]:
    hits = len(cited & expected)
    found: dict[str, float] = {}
    if cited:
        found["citation_precision"] = hits / len(cited)
    if expected:
        found["citation_recall"] = hits / len(expected)
    return found


def _tool_right(outcome: Outcome, expected: ExpectedTool) -> bool:
    calls: list[tuple[str, dict[str, Any]]] = [
        (call["tool"], call["arguments"]) for call in outcome.state.get("tool_calls", []) if call["status"] == "done"
    ]
    if outcome.waiting and (proposal := outcome.waiting["proposal"]):
        calls.append((proposal["tool"], proposal["arguments"]))
    return any(
        name == expected.name
        and all(_argument_right(arguments.get(key), value) for key, value in expected.arguments.items())
        for name, arguments in calls
    )


def _argument_right(found: Any, expected: Any) -> bool:
    return contains(found, expected) if isinstance(found, str) and isinstance(expected, str) else found == expected


def same(text: str, other: str) -> bool:
    """Equal but for case, spaces, citation marks and a last full stop."""
    return _plain(text).rstrip(".") == _plain(other).rstrip(".")


def contains(text: str, piece: str) -> bool:
    return _plain(piece) in _plain(text)


def _plain(text: str) -> str:
    unmarked = re.sub(r"\s*\[\d+\]", "", text.casefold())
    return " ".join(unmarked.translate({0x2019: "'", 0x201C: '"', 0x201D: '"', 0x2013: "-"}).split())
