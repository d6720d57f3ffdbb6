"""Holds a node to what its kind declares: the proofs rest on nothing else.

What a node writes besides, or leaves out, fails the run before anything is decided on it. A kind of an installed
package works on a copy of the state, so that only what it returns can change a run.
"""

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from sluicegate.errors import RunError
from sluicegate.nodes.kind import Node, NodeKind
from sluicegate.nodes.registry import BUILT_IN
from sluicegate.services import Services
from sluicegate.state import State

__all__ = ["declared"]


_STRICT = ConfigDict(strict=True, allow_inf_nan=False)


def declared(name: str, kind: NodeKind, node: Node) -> Node:
    """`node`, which raises `RunError` SG628 where it does not keep to `kind`."""
    # only the end of a run changes what is known of it, and that is how it ended
    writes = kind.writes if "ends" in kind.effects else kind.writes - {"run"}

    async def run(state: State, services: Services) -> dict[str, Any]:
        update = await node(state if kind in BUILT_IN else copy.deepcopy(state), services)
        if besides := update.keys() - writes:
            hint = f"Declare what {kind.name} writes, or correct it; its runs stay where they are"
            raise _broken(name, kind, f"wrote {_listed(besides)}, which it does not declare", hint)
        if missing := kind.always_writes - update.keys():
            hint = f"Let {kind.name} write it at every visit, as its effects promise"
            raise _broken(name, kind, f"did not write {_listed(missing)}", hint)
        if "extra" in update:
            update = {**update, "extra": _extra(name, kind, state.get("extra", {}), update["extra"])}
        if "run" in update:
            return {**update, "run": {**state["run"], "status": update["run"]["status"]}}
        return update

    return run


def _extra(name: str, kind: NodeKind, before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """What is under `extra` afterwards: what a node leaves out stays, and what it changes has the declared type."""
    for key, value in after.items():
        if key in before and before[key] == value:
            continue
        if key not in kind.extra:
            hint = f"Declare it in {kind.name}, as extra={{{key!r}: TYPE}}"
            raise _broken(name, kind, f"wrote extra.{key}, which it does not declare", hint)
        try:
            TypeAdapter(kind.extra[key], config=_STRICT).validate_python(value)
        except ValidationError as error:
            what = f"wrote {type(value).__name__} as extra.{key}: {error.errors()[0]['msg']}"
            raise _broken(name, kind, what, f"Let {kind.name} write what it declares") from None
    return {**before, **after}


def _broken(name: str, kind: NodeKind, what: str, hint: str) -> RunError:
    return RunError("SG628", f"{name} ({kind.name}) {what}", hint=hint)


def _listed(keys: Iterable[str]) -> str:
    return ", ".join(sorted(keys))
