"""`policy-check`: may this person ask this? Guards on the request first, then Cedar; only a clean allow counts."""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from pydantic import Field

from sluicegate.files import csv_table, csv_text
from sluicegate.nodes._settings import Settings
from sluicegate.nodes.items import item_context
from sluicegate.nodes.kind import Node, NodeKind
from sluicegate.services import GuardReport, Services
from sluicegate.state import Attachment, CheckResult, Policy, State

__all__ = ["GUARD", "POLICY_CHECK", "PolicyCheck"]

GUARD = "guard:"
"""Prefix of the denying rule when it was a guard; its name follows."""


_PART = 16_000
"""Characters that guards are given at a time: each of them has a time limit, and a table may have many rows."""


class PolicyCheck(Settings):
    action: str = "ask"
    """The Cedar action to check."""
    guards: list[str] = Field(default_factory=list[str])
    """Guards on the request's text and attachments, and on each text among the inputs; one that fails denies, one that
    redacts changes the text for what follows."""


def _make(name: str, settings: PolicyCheck) -> Node:
    del name

    async def policy_check(state: State, services: Services) -> dict[str, Any]:
        request, intent = state["request"], state.get("intent")
        update: dict[str, Any] = {}
        found: list[str] = []
        if settings.guards:
            reports: list[GuardReport] = []

            async def passed(text: str) -> str:
                report = await services.guards.check(
                    settings.guards, text, stage="request", run=state["run"]["id"], person=state["principal"]["id"]
                )
                reports.append(report)
                return report.text

            text = await passed(request["text"])
            inputs = {name: await _each_text(value, passed) for name, value in state.get("inputs", {}).items()}
            tables = await _guarded(settings.guards, state, services)
            results = [*(each for report in reports for each in report.results), *tables.results]
            found = [each["guard"] for each in results if not each["passed"]]
            blocked = _blocking(results) or await _over_the_turns(settings.guards, state, services)
            if blocked:
                denied: Policy = {
                    "verdict": "deny",
                    "rules": [f"{GUARD}{result['guard']}" for result in blocked],
                    "reason": "; ".join(result["reason"] for result in blocked),
                    "errors": [],
                }
                return {"policy": denied}
            if tables.redacted or any(report.redacted for report in reports):
                cleaned = [*request["cleaned"], "redacted"]
                update["request"] = {**request, "text": text, "cleaned": cleaned}
                if whole := request.get("standalone"):
                    update["request"]["standalone"] = whole.removesuffix(request["text"]) + text
                if tables.redacted:
                    update["request"]["attachments"] = tables.redacted
                if inputs:
                    update["inputs"] = inputs
        decision = services.policy.decide(
            state["principal"],
            settings.action,
            {"type": "Workflow", "id": services.workflow.name},
            {
                "intent": intent["label"] if intent else "",
                "risk": intent["risk"] if intent else "high",
                "channel": request["channel"],
                "hour": services.workflow.hour(services.now()),
                "data_classes": found,
                **item_context(state),
            },
        )
        policy: Policy = {
            "verdict": "allow" if decision.allowed else "deny",
            "rules": list(decision.rules),
            "reason": decision.reason,
            "errors": list(decision.errors),
        }
        return {**update, "policy": policy}

    return policy_check


async def _each_text(value: Any, change: Callable[[str], Awaitable[str]]) -> Any:
    """A value of JSON with each of its texts changed."""
    if isinstance(value, str):
        return await change(value)
    if isinstance(value, list):
        return [await _each_text(one, change) for one in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {key: await _each_text(one, change) for key, one in cast("dict[str, Any]", value).items()}
    return value


def _blocking(results: Iterable[CheckResult]) -> list[CheckResult]:
    return [result for result in results if not result["passed"] and result["action"] != "redact"]


async def _over_the_turns(guards: list[str], state: State, services: Services) -> list[CheckResult]:
    """What guards object to in this turn and those before it together: an attack may come in parts."""
    turns = state.get("conversation", {}).get("turns", [])
    if not turns:
        return []
    window = "\n".join([*(turn["question"] for turn in turns), state["request"]["text"]])
    report = await services.guards.check(guards, window, stage="request")
    return [{**each, "reason": f"together with earlier turns: {each['reason']}"} for each in _blocking(report.results)]


@dataclass(frozen=True, slots=True)
class _GuardedTables:
    results: Sequence[CheckResult]
    """Of the guards that did not pass, each once for a table."""
    redacted: list[Attachment] | None
    """The tables after it; None where nothing was taken out of them."""


async def _guarded(guards: Sequence[str], state: State, services: Services) -> _GuardedTables:
    before = state["request"].get("attachments", [])
    failed, after = dict[tuple[str, str, str], CheckResult](), list[Attachment]()
    for table in before:
        text = ""
        for part in _parts(table["text"]):
            report = await services.guards.check(
                guards, part, stage="request", run=state["run"]["id"], person=state["principal"]["id"]
            )
            whole = _of_one_shape(part, report.text)
            for result in report.results:
                if not result["passed"]:
                    # what cannot be taken out cell by cell is not taken out
                    action = result["action"] if whole or result["action"] != "redact" else "refuse"
                    noted: CheckResult = {
                        **result,
                        "action": action,
                        "reason": f"in {table['name']}: {result['reason']}",
                    }
                    failed.setdefault((table["name"], result["guard"], action), noted)
            text += report.text
        after.append({**table, "text": text})
    return _GuardedTables([*failed.values()], after if after != before else None)


def _parts(text: str) -> Iterator[str]:
    """Whole rows of a table, so many at a time that each part is about as long as the others."""
    rows, size = list[list[str]](), 0
    for row in csv_table(text):
        rows.append(row)
        size += sum(map(len, row))
        if size >= _PART:
            yield csv_text(rows)
            rows, size = [], 0
    if rows:
        yield csv_text(rows)


def _of_one_shape(one: str, other: str) -> bool:
    """Whether two tables have as many rows, each with as many cells."""
    return [len(row) for row in csv_table(one)] == [len(row) for row in csv_table(other)]


POLICY_CHECK = NodeKind(
    name="policy-check",
    doc="Check by the policies whether this person may ask this, after the guards on the request.",
    settings=PolicyCheck,
    make=_make,
    writes=frozenset({"policy", "request", "inputs", "spend"}),
    reads=frozenset({"conversation"}),
    leaves=lambda settings: frozenset() if settings.guards else frozenset({"request", "inputs"}),
    effects=frozenset({"decides-policy"}),
    observation="guardrail",
)
