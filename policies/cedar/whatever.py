"""Policies for a question whose arguments are not known yet: what may be allowed, with whatever arguments."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import cedarpy

from sluicegate.policies.cedar.entities import objects_in
from sluicegate.policies.cedar.sources import PolicyFile

__all__ = ["whatever_the_arguments"]


def whatever_the_arguments(files: Iterable[PolicyFile]) -> Iterator[PolicyFile]:
    """The policies without what they ask of `context.arguments`: they allow whatever the full ones allow for some.

    A condition on arguments may hold for some, so a permit has it no longer; a forbid with one may not apply, and is
    left out.
    """
    for file in files:
        texts = [one for policy in file.policies() for one in _loosened(policy.text)]
        yield PolicyFile(file.name, "\n".join(texts), file.path)


def _loosened(text: str) -> Iterator[str]:
    policies: dict[str, Any] = json.loads(cedarpy.policies_to_json_str(text))
    for policy in policies["staticPolicies"].values():
        known = [one for one in policy["conditions"] if not _asks(one)]
        if policy["effect"] == "forbid" and len(known) < len(policy["conditions"]):
            continue
        policy["conditions"] = known
        yield cedarpy.policies_from_json_str(json.dumps({**policies, "staticPolicies": {"policy0": policy}}))


def _asks(condition: Any) -> bool:
    """Whether a condition reads `context.arguments`."""
    return any(
        read.get("attr") == "arguments" and read["left"].get("Var") == "context"
        for one in objects_in(condition)
        for read in (one.get(".", {}), one.get("has", {}))
    )
