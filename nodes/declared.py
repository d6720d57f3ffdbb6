"""Holds a node to what its kind declares: the proofs rest on nothing else.

It is given what it reads and nothing else. What it writes besides, or leaves out, fails the run before anything is
decided on it. A kind of an installed
package works on a copy of the state, so that only what it returns can change a run, and calls models and tools only if
it says so.
"""

import copy
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, cast

from pydantic import ConfigDict, TypeAdapter, ValidationError

from sluicegate.errors import RunError
from sluicegate.nodes.kind import Node, NodeKind
from sluicegate.nodes.registry import BUILT_IN
from sluicegate.services import Completion, ModelRequest, Models, ModelStep, Services, ToolResult, Tools
from sluicegate.state import Answer, Run, State

__all__ = ["declared"]


_ASKING = frozenset({"classifies", "tags", "generates", "checks"})
"""Effects for which a model may be asked; whoever writes `answer` counts as generating."""
_OWN_OF_REQUEST = {
    "condenses": frozenset({"cleaned", "standalone", "standalone_confidence"}),
    "asks-requester": frozenset({"text", "language", "size", "cleaned", "standalone"}),
}
"""What kinds with an effect may change of a request."""
_STRICT = ConfigDict(strict=True, allow_inf_nan=False)


def declared(name: str, kind: NodeKind, node: Node, settings: Any = None) -> Node:
    """`node`, which raises `RunError` SG628 where it does not keep to `kind`."""
    # only the end of a run changes what is known of it, and that is how it ended
    writes = kind.writes if "ends" in kind.effects else kind.writes - {"run"}
    reads = kind.reads_of(settings)

    async def run(state: State, services: Services) -> dict[str, Any]:
        seen = state if reads is None else cast("State", {key: state[key] for key in reads & state.keys()})
        if kind in BUILT_IN:
            update = await node(seen, services)
        else:
            tools = services.tools if "calls-tool" in kind.effects else _NoCalls(name, kind, services.tools)
            asks = "answer" in kind.writes or kind.effects & _ASKING
            models = services.models if asks else _NoChat(name, kind, services.models)
            update = await node(copy.deepcopy(seen), dataclasses.replace(services, tools=tools, models=models))
            if "classifies" in kind.effects and "intent" in update:
                _of_the_config(name, kind, update["intent"], services)
        if besides := update.keys() - writes:
            hint = f"Declare what {kind.name} writes, or correct it; its runs stay where they are"
            raise _broken(name, kind, f"wrote {_listed(besides)}, which it does not declare", hint)
        if missing := kind.always_writes - update.keys():
            hint = f"Let {kind.name} write it at every visit, as its effects promise"
            raise _broken(name, kind, f"did not write {_listed(missing)}", hint)
        for effect, own in _OWN_OF_REQUEST.items():
            if effect in kind.effects:
                _same_request(name, kind, state["request"], update["request"], own)
        if "extra" in update:
            update = {**update, "extra": _extra(name, kind, state.get("extra", {}), update["extra"])}
        if "run" in update:
            ended: Run = {**state["run"], "status": update["run"]["status"]}
            update = {**update, "run": ended}
        if kind.withholds and "answer" in state and "answer" not in update:
            withheld: Answer = {**state["answer"], "text": "", "citations": []}
            update = {**update, "answer": withheld}
        return {**update, **dict.fromkeys(kind.forgets)}

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


def _same_request(
    name: str, kind: NodeKind, before: Mapping[str, Any], after: Mapping[str, Any], own: frozenset[str]
) -> None:
    """Proofs about how a request came rest on that it stays what it was."""
    if other := [key for key in {**before, **after} if key not in own and before.get(key) != after.get(key)]:
        what = f"changed request.{_listed(other)}, which its effects do not allow"
        raise _broken(name, kind, what, f"Let it change {_listed(own)} at most")


def _of_the_config(name: str, kind: NodeKind, intent: Mapping[str, Any], services: Services) -> None:
    """What is known of an intent is what the workflow says of its label."""
    facts = services.workflow.intents.get(intent.get("label", ""))
    if facts is None:
        raise _broken(name, kind, "wrote an intent that the workflow does not have", "Use one of its labels")
    for key in ("risk", "task", "max_tokens", "tool"):
        if intent.get(key) != getattr(facts, key):
            what = f"wrote an intent.{key} that is not the one of {intent['label']}"
            raise _broken(name, kind, what, "Take it from services.workflow.intents")


class _NoChat(ModelStep):
    """The models of a kind that does not say that it asks any; it may embed."""

    def __init__(self, name: str, kind: NodeKind, models: Models) -> None:
        super().__init__(models)
        self._name, self._kind = name, kind

    async def chat(self, request: ModelRequest) -> Completion:
        hint = f"Give {self._kind.name} the effect generates, so that the proofs know of it"
        raise _broken(self._name, self._kind, f"asked {request.role}, though it does not declare that", hint)


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
