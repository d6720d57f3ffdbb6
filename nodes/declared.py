"""Holds a node to what its kind declares: the proofs rest on nothing else.

What a node writes besides, or leaves out, fails the run before anything is decided on it. A kind of an installed
package works on a copy of the state, so that only what it returns can change a run, and calls tools only if it says so.
"""

import copy
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from sluicegate.errors import RunError
from sluicegate.nodes.kind import Node, NodeKind
from sluicegate.nodes.registry import BUILT_IN
from sluicegate.services import Services, ToolResult, Tools
from sluicegate.state import Answer, Run, State

__all__ = ["declared"]


_STRICT = ConfigDict(strict=True, allow_inf_nan=False)


def declared(name: str, kind: NodeKind, node: Node) -> Node:
    """`node`, which raises `RunError` SG628 where it does not keep to `kind`."""
    # only the end of a run changes what is known of it, and that is how it ended
    writes = kind.writes if "ends" in kind.effects else kind.writes - {"run"}

    async def run(state: State, services: Services) -> dict[str, Any]:
        if kind in BUILT_IN:
            update = await node(state, services)
        else:
            tools = services.tools if "calls-tool" in kind.effects else _NoCalls(name, kind, services.tools)
            update = await node(copy.deepcopy(state), dataclasses.replace(services, tools=tools))
        if besides := update.keys() - writes:
            hint = f"Declare what {kind.name} writes, or correct it; its runs stay where they are"
            raise _broken(name, kind, f"wrote {_listed(besides)}, which it does not declare", hint)
        if missing := kind.always_writes - update.keys():
            hint = f"Let {kind.name} write it at every visit, as its effects promise"
            raise _broken(name, kind, f"did not write {_listed(missing)}", hint)
        if "extra" in update:
            update = {**update, "extra": _extra(name, kind, state.get("extra", {}), update["extra"])}
        if "run" in update:
            ended: Run = {**state["run"], "status": update["run"]["status"]}
            update = {**update, "run": ended}
        if kind.withholds and "answer" in state and "answer" not in update:
            withheld: Answer = {**state["answer"], "text": "", "citations": []}
            update = {**update, "answer": withheld}
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


class _NoCalls:
    """`services.Tools` of a kind that does not say that it calls any."""

    def __init__(self, name: str, kind: NodeKind, tools: Tools) -> None:
        self._name, self._kind = name, kind
        self.schema = tools.schema

    async def call(self, name: str, arguments: Mapping[str, Any], *, key: str, run: str) -> ToolResult:
        del arguments, key, run
        hint = f"Give {self._kind.name} the effect calls-tool, so that the proofs know of it"
        raise _broken(self._name, self._kind, f"called {name}, though it does not declare that it calls tools", hint)


def _broken(name: str, kind: NodeKind, what: str, hint: str) -> RunError:
    return RunError("SG628", f"{name} ({kind.name}) {what}", hint=hint)


def _listed(keys: Iterable[str]) -> str:
    return ", ".join(sorted(keys))
