"""What a workflow gives to the one that is a step of it, against what that one declares to take."""

from collections.abc import Mapping

from pydantic import BaseModel

from sluicegate.errors import ConfigError
from sluicegate.graphs.conditions.conditions import Condition, Conditions
from sluicegate.graphs.config.models import GIVEN_TO_ALL, InputConfig
from sluicegate.graphs.config.source import Pointer
from sluicegate.graphs.config.validate import Faults
from sluicegate.nodes.kinds.control.workflow import SubWorkflow

__all__ = ["given_to_children"]


def given_to_children(
    settings: Mapping[str, BaseModel],
    takes: Mapping[str, Mapping[str, InputConfig]],
    compiler: Conditions,
    faults: Faults,
) -> dict[str, dict[str, Condition]]:
    """What each child is given, compiled, by its node and by name; `takes` are the inputs that each child declares.

    SG105 for what the child does not take, SG106 for what it lacks, SG120 to SG123 for the expressions.
    """
    found: dict[str, dict[str, Condition]] = {}
    for node, inputs in takes.items():
        own = settings[node]
        assert isinstance(own, SubWorkflow)
        types = {**dict.fromkeys(GIVEN_TO_ALL, "string"), **{name: one.type for name, one in inputs.items()}}
        found[node] = {}
        for name, text in own.give.items():
            at: Pointer = ("nodes", node, "give", name)
            if name not in types:
                what, hint = f"{own.use!r} takes no {name!r}", "Declare it under its `inputs`"
                faults.add("SG105", what, at, choices=types, word=name, of_key=True, hint=hint)
                continue
            try:
                found[node][name] = compiler.compile_value(
                    text, types[name], lambda offset, at=at: faults.source.within(at, offset)
                )
            except ConfigError as error:
                faults.problems += error.problems
        for name, one in inputs.items():
            if name not in own.give and not one.optional:
                at = ("nodes", node, "give") if own.give else ("nodes", node)
                hint = f"Give it, or let {own.use!r} declare it as optional"
                faults.add("SG106", f"{own.use!r} needs {name!r}, {_said(one)}", at, of_key=True, hint=hint)
    return found


def _said(one: InputConfig) -> str:
    return f"{one.describe} ({one.type})" if one.describe else f"of the type {one.type}"
