"""`policy-check`: may this person ask this? Guards on the request first, then Cedar; only a clean allow counts."""

from collections.abc import Awaitable, Callable
from typing import Any, cast

from pydantic import Field

from sluicegate.nodes._settings import Settings
from sluicegate.nodes.items import item_context
from sluicegate.nodes.kind import Node, NodeKind
from sluicegate.services import GuardReport, Services
from sluicegate.state import CheckResult, Policy, State

__all__ = ["GUARD", "POLICY_CHECK", "PolicyCheck"]

GUARD = "guard:"
"""Prefix of the denying rule when it was a guard; its name follows."""


class PolicyCheck(Settings):
    action: str = "ask"
    """The Cedar action to check."""
    guards: list[str] = Field(default_factory=list[str])
    """Guards on the request text, and on each text among the inputs; one that fails denies, one that redacts changes
    the text for what follows."""


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
            found = [each["guard"] for report in reports for each in report.results if not each["passed"]]
            blocked = [each for report in reports for each in _blocking(report)]
            blocked = blocked or await _over_the_turns(settings.guards, state, services)
            if blocked:
                denied: Policy = {
                    "verdict": "deny",
                    "rules": [f"{GUARD}{result['guard']}" for result in blocked],
                    "reason": "; ".join(result["reason"] for result in blocked),
                    "errors": [],
                }
                return {"policy": denied}
            if any(report.redacted for report in reports):
                cleaned = [*request["cleaned"], "redacted"]
                update["request"] = {**request, "text": text, "cleaned": cleaned}
                if whole := request.get("standalone"):
                    update["request"]["standalone"] = whole.removesuffix(request["text"]) + text
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


def _blocking(report: GuardReport) -> list[CheckResult]:
    return [result for result in report.results if not result["passed"] and result["action"] != "redact"]


async def _over_the_turns(guards: list[str], state: State, services: Services) -> list[CheckResult]:
    """What guards object to in this turn and those before it together: an attack may come in parts."""
    turns = state.get("conversation", {}).get("turns", [])
    if not turns:
        return []
    window = "\n".join([*(turn["question"] for turn in turns), state["request"]["text"]])
    report = await services.guards.check(guards, window, stage="request")
    return [{**each, "reason": f"together with earlier turns: {each['reason']}"} for each in _blocking(report)]


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
