"""The two ends: `respond` sends the draft, `refuse` gives the reason. The run's path is determined here.

A refusal gives the reason that a policy gives people (its `@reason`) and, for a guard, its kind's plain sentence; what
a guard measured and which rule decided stay in the trail, the trace and the incident.
"""

from typing import Any

from sluicegate.nodes._settings import NoSettings, Settings
from sluicegate.nodes.caching import question_of, shareable
from sluicegate.nodes.kind import Node, NodeKind
from sluicegate.nodes.kinds.policy_check import GUARD
from sluicegate.nodes.writing.generation import said
from sluicegate.policies.guards.registry import guards
from sluicegate.services import Services
from sluicegate.state import Path, Policy, Run, State

__all__ = ["REFUSE", "RESPOND", "Refuse"]


class Refuse(Settings):
    say: str = "This request cannot be answered here."
    """The text that the requester reads, followed by the policy's reason if it has one."""


def _respond(name: str, settings: NoSettings) -> Node:
    del name, settings

    async def respond(state: State, services: Services) -> dict[str, Any]:
        await _remember(state, services)
        return {"route": {**state.get("route", {}), "path": _path(state)}, "run": _ended(state, "answered")}

    return respond


def _refuse(name: str, settings: Refuse) -> Node:
    async def refuse(state: State, services: Services) -> dict[str, Any]:
        del services
        answer = said(name, f"{settings.say} {_sentence(_reason(state))}".strip())
        return {
            "answer": answer,
            "route": {**state.get("route", {}), "path": "refused"},
            "run": _ended(state, "refused"),
        }

    return refuse


def _reason(state: State) -> str:
    policy, approval = state.get("policy"), state.get("approval")
    if policy and policy["verdict"] == "deny":
        return _denied(policy)
    if approval and approval["verdict"] == "timeout":
        return "Nobody decided in time."
    if approval and approval["verdict"] == "reject":
        return approval["reason"]
    return ""


def _denied(policy: Policy) -> str:
    """The reason of the policies or the guards, as far as it is meant for the requester."""
    stopped = [rule.removeprefix(GUARD) for rule in policy["rules"] if rule.startswith(GUARD)]
    if stopped:
        return " ".join(dict.fromkeys(guards()[name].says for name in stopped))
    if any(rule.startswith("switch:") for rule in policy["rules"]):
        return "This is switched off at the moment."
    # without a rule there is no written reason, and a rule without a reason is given by name
    said = [reason for reason in policy["reason"].split("; ") if reason not in policy["rules"]]
    return "; ".join(said) if policy["rules"] and not policy["errors"] else ""


def _sentence(reason: str) -> str:
    return f"{reason[0].upper()}{reason[1:].rstrip('.')}." if reason else ""


def _ended(state: State, status: Any) -> Run:
    return {**state["run"], "status": status}


def _path(state: State) -> Path:
    """The most significant resource that the run used."""
    cache, spend = state.get("cache"), state.get("spend")
    if cache and cache["hit"]:
        return "cache"
    if state.get("approval"):
        return "human"
    if any(call["status"] == "done" for call in state.get("tool_calls", [])):
        return "tool"
    if spend and spend["llm_calls"]:
        return "rag-llm"
    return "rag-slm" if state.get("documents") else "slm"


async def _remember(state: State, services: Services) -> None:
    """Cache an answer that equal readers may get again: checked, unredacted, not high-risk, not written by a person,
    without effects."""
    cache, answer, checks = state.get("cache"), state.get("answer"), state.get("checks")
    if not cache or cache["hit"] or not answer or not answer["text"] or not shareable(state, services):
        return
    if not checks or checks["failed"] or checks["action"] != "pass" or state.get("approval") or state.get("tool_calls"):
        return
    if "child" in state:
        return  # who had a part in it, and what was done for it, only the child's run knows
    await services.cache.put(
        cache["key"],
        {"answer": answer, "documents": state.get("documents", [])},
        ttl_s=services.workflow.cache_ttl_s,
        saved_usd=state["spend"]["usd"] if "spend" in state else 0.0,
        question=await question_of(state, services),
    )


RESPOND = NodeKind(
    name="respond",
    doc="Send the draft; the end of an answered run.",
    settings=NoSettings,
    make=_respond,
    writes=frozenset({"route", "run"}),
    effects=frozenset({"ends"}),
)
REFUSE = NodeKind(
    name="refuse",
    doc="Refuse, with the reason; the end of a refused run.",
    settings=Refuse,
    make=_refuse,
    writes=frozenset({"answer", "route", "run"}),
    effects=frozenset({"ends"}),
    sends=False,
    drafts=False,  # its words are the workflow's, and the reason of a policy or a person
)
