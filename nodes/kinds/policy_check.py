"""`policy-check`: may this person ask this? Guards on the request first, then Cedar; only a clean allow counts."""

from typing import Any

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
    """Guards on the request text; one that fails denies, one that redacts changes the text for what follows."""


def _make(name: str, settings: PolicyCheck) -> Node:
    del name

    async def policy_check(state: State, services: Services) -> dict[str, Any]:
        request, intent = state["request"], state.get("intent")
        update: dict[str, Any] = {}
        found: list[str] = []
        if settings.guards:
            report = await services.guards.check(
                settings.guards,
                request["text"],
                stage="request",
                run=state["run"]["id"],
                person=state["principal"]["id"],
            )
            found = [result["guard"] for result in report.results if not result["passed"]]
            blocked = _blocking(report) or await _over_the_turns(settings.guards, state, services)
            if blocked:
                denied: Policy = {
                    "verdict": "deny",
                    "rules": [f"{GUARD}{result['guard']}" for result in blocked],
                    "reason": "; ".join(result["reason"] for result in blocked),
                    "errors": [],
                }
                return {"policy": denied}
            if report.redacted:
                cleaned = [*request["cleaned"], "redacted"]
                update["request"] = {**request, "text": report.text, "cleaned": cleaned}
                if whole := request.get("standalone"):
                    update["request"]["standalone"] = whole.removesuffix(request["text"]) + report.text
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
    writes=frozenset({"policy", "request", "spend"}),
    reads=frozenset({"conversation"}),
    leaves=lambda settings: frozenset() if settings.guards else frozenset({"request"}),
    effects=frozenset({"decides-policy"}),
    observation="guardrail",
)
