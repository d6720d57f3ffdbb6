"""`output-check`: run the guards on the draft; the most severe action any of them asks for is a field to branch on.

A draft written in sections is checked section by section, so that one unsupported section is not lost among others, a
heading is not taken for a claim, and a second try knows what to rewrite.
"""

from typing import Any

from pydantic import Field

from sluicegate.nodes._settings import Settings
from sluicegate.nodes.kind import Node, NodeKind
from sluicegate.nodes.writing.generation import CUT_OFF, sources_of
from sluicegate.nodes.writing.sections import BY_SECTION, merged, parted
from sluicegate.policies.guards.set import GRAVITY
from sluicegate.services import Services
from sluicegate.state import Answer, CheckResult, Checks, GuardAction, State, question

__all__ = ["OUTPUT_CHECK", "OutputCheck", "checked_with"]


class OutputCheck(Settings):
    guards: list[str] = Field(min_length=1)
    """The guards to run, by name."""


def _make(name: str, settings: OutputCheck) -> Node:
    del name

    async def output_check(state: State, services: Services) -> dict[str, Any]:
        answer = state.get("answer")
        if not answer or not answer["text"]:
            return {"checks": _verdict([_fault("not-empty", "escalate", "there is no draft")])}
        sections = parted(answer)
        apart = [guard for guard in settings.guards if sections and guard in BY_SECTION]
        whole = [guard for guard in settings.guards if guard not in apart]
        about = checked_with(state, services, len(answer["citations"]))
        results: list[CheckResult] = []
        failed: list[str] = []
        if apart:
            said = {heading: await services.guards.check(apart, text, **about) for heading, text in sections.items()}
            failed = [heading for heading, report in said.items() if not all(one["passed"] for one in report.results)]
            for number, guard in enumerate(apart):
                results.append(merged(guard, [(heading, report.results[number]) for heading, report in said.items()]))
        update: dict[str, Any] = {}
        if whole:
            report = await services.guards.check(whole, answer["text"], **about)
            results += report.results
            if report.redacted:
                redacted: Answer = {**answer, "text": report.text}
                update["answer"] = redacted
        ordered = sorted(results, key=lambda result: settings.guards.index(result["guard"]))
        if answer.get("finish") == "length":
            ordered.append(_fault("complete", "regenerate", CUT_OFF))
        checks = _verdict(ordered)
        return {"checks": {**checks, "sections": failed} if apart else checks, **update}

    return output_check


def checked_with(state: State, services: Services, citations: int) -> dict[str, Any]:
    """What the guards of a draft are told beside its text."""
    return {
        "stage": "output",
        "question": question(state),
        "sources": _written_from(state, services),
        "citations": citations,
        "run": state["run"]["id"],
        "person": state["principal"]["id"],
    }


def _written_from(state: State, services: Services) -> list[str]:
    """The draft's sources: the passages, or the request itself where its own text was summarised."""
    intent = state.get("intent")
    if "documents" not in state and intent and intent["task"] == "summary":
        return [question(state)]
    return sources_of(state, services)


def _verdict(results: list[CheckResult]) -> Checks:
    # a redaction has removed what it found: the draft continues without it
    failures = [result for result in results if not result["passed"] and result["action"] != "redact"]
    actions: list[GuardAction] = ["pass", *(result["action"] for result in results if not result["passed"])]
    return {
        "failed": bool(failures),
        "action": max(actions, key=GRAVITY.index),
        "failures": [result["guard"] for result in failures],
        "results": results,
    }


def _fault(name: str, action: GuardAction, reason: str) -> CheckResult:
    """What no guard needs to be asked for."""
    return {"guard": name, "passed": False, "action": action, "reason": reason, "ms": 0.0}


OUTPUT_CHECK = NodeKind(
    name="output-check",
    doc="Run guards on the draft; redactions are applied, every other result is a field to branch on. A draft that is "
    "empty, or was cut off at its model's limit, fails.",
    settings=OutputCheck,
    make=_make,
    writes=frozenset({"checks", "answer", "spend"}),
    reads=frozenset({"answer"}),
    effects=frozenset({"checks"}),
    drafts=False,  # it only takes words out
    observation="guardrail",
)
