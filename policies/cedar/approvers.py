"""Whether the policies let anybody with a role or in a group decide, found by asking them about made-up people."""

import json
from collections.abc import Mapping
from typing import Any, cast

import cedarpy

from sluicegate.policies.cedar.engine import CedarEngine
from sluicegate.policies.cedar.entities import RANKS, entities_in
from sluicegate.state import Principal

__all__ = ["may_decide", "named"]


def may_decide(engine: CedarEngine, approver: str, risks: Mapping[str, str]) -> bool:
    """Whether somebody who is nothing but `approver`, ``role:NAME`` or ``group:NAME``, may decide on any run.

    `risks` are those of the intents. Of ``user:ID`` it cannot be said: which roles they have is not known here.
    """
    kind, _, name = approver.partition(":")
    if kind == "user":
        return True
    own = {"roles": [name], "groups": []} if kind == "role" else {"roles": [], "groups": [name]}
    return any(
        engine.decide(
            cast("Principal", {"id": "sluicegate: made up", "clearance": clearance, **own}),
            "approve",
            {"type": "Run", "id": "sluicegate: made up", "requester": "sluicegate: another"},
            {"intent": intent, "risk": risk},
        ).allowed
        for clearance in RANKS
        for intent, risk in {**risks, "": "high"}.items()
    )


def named(engine: CedarEngine, kind: str) -> list[str]:
    """The roles, or groups, that the policies name."""
    policies: Any = json.loads(cedarpy.policies_to_json_str("\n".join(rule.text for rule in engine.rules)))
    return sorted({entity["id"] for entity in entities_in(policies) if entity["type"] == kind.title()})
