"""What a `for-each` does for each item: which nodes belong to it, and that they do no more than that.

The nodes of an item are those that can be reached from `do` without passing their for-each. Nothing else leads into
them and they lead nowhere else; so what they do is done for an item, and the proofs can look at one item by itself.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from sluicegate.errors import ConfigError
from sluicegate.graphs.conditions.conditions import Condition, Conditions
from sluicegate.graphs.config.inputs.placeholders import of_inputs, unfilled
from sluicegate.graphs.config.models import WorkflowConfig
from sluicegate.graphs.config.source import Pointer
from sluicegate.graphs.config.validate import Faults
from sluicegate.nodes.items import placeholder_fits
from sluicegate.nodes.kind import NodeKind
from sluicegate.nodes.kinds.control.for_each import FOR_EACH, ForEach
from sluicegate.nodes.kinds.control.workflow import WORKFLOW
from sluicegate.nodes.prompts import placeholders

__all__ = ["bodies", "check_bodies", "collected", "lists"]


def _maps(settings: Mapping[str, BaseModel]) -> Iterator[tuple[str, ForEach]]:
    return ((name, own) for name, own in settings.items() if isinstance(own, ForEach))


def bodies(config: WorkflowConfig) -> dict[str, str]:
    """The nodes that are visited for an item, each with its for-each; those of a broken one too, so that one fault is
    not reported twice."""
    found: dict[str, str] = {}
    for name, node in config.nodes.items():
        waiting = [node.given.get("do")] if node.kind == FOR_EACH.name else []
        while waiting:
            at = waiting.pop()
            if isinstance(at, str) and at != name and at in config.nodes and at not in found:
                found[at] = name
                waiting += [to for to, _ in _ways(config, at)]
    return found


def collected(config: WorkflowConfig) -> list[str]:
    """Every name that results are collected under; those of broken nodes too."""
    named: list[Any] = [node.given.get("collect") for node in config.nodes.values() if node.kind == FOR_EACH.name]
    return list(dict.fromkeys(name for name in named if isinstance(name, str)))


def lists(settings: Mapping[str, BaseModel], compiler: Conditions, faults: Faults) -> dict[str, Condition]:
    """What each for-each goes over, compiled, by its name."""
    found: dict[str, Condition] = {}
    for name, own in _maps(settings):
        at: Pointer = ("nodes", name, "over")
        try:
            found[name] = compiler.compile_list(own.over, lambda offset, at=at: faults.source.within(at, offset))
        except ConfigError as error:
            faults.problems += error.problems
    return found


def check_bodies(
    config: WorkflowConfig, settings: Mapping[str, BaseModel], kinds: Mapping[str, NodeKind], faults: Faults
) -> None:
    """SG142, SG111 for an unknown `do`, SG125 for unknown placeholders in `ask`."""
    within = bodies(config)
    for name, own in _maps(settings):
        at: Pointer = ("nodes", name, "do")
        if own.do not in config.nodes:
            faults.add("SG111", f"unknown node {own.do!r}", at, choices=config.nodes, word=own.do)
        elif own.do == name or within[own.do] != name:
            what = f"{own.do!r} cannot be what {name!r} does for an item: "
            what += "it is that node itself" if own.do == name else f"it belongs to the items of {within[own.do]!r}"
            faults.add("SG142", what, at, hint="Name the first of the nodes that are for its items alone")
        fills = ("question", *of_inputs(config))
        for placeholder, offset in placeholders(own.ask or ""):
            if placeholder not in fills and not placeholder_fits(placeholder, collected(config), within=True):
                what, known = f"in what {name!r} asks for an item", (*fills, "item", "item.index")
                place = faults.source.within((*at[:2], "ask"), offset)
                faults.problems.append(unfilled(placeholder, known, place, what))
    for node, of in within.items():
        pointer: Pointer = ("nodes", node)
        if why := _unfit(node, config, kinds):
            what = f"{node!r} is reached in what {of!r} does for an item, and {why}"
            hint = f"Let each of these nodes go on to {of!r} in the end, with `then: {of}`"
            faults.add("SG142", what, pointer, of_key=True, hint=hint)
    for node in config.nodes:
        for to, key in _ways(config, node):
            if to in within and within[to] != within.get(node):
                what = f"{to!r} belongs to what {within[to]!r} does for an item, and {node!r} leads to it from outside"
                hint = f"Go to {within[to]!r}, or use a node of its own"
                faults.add("SG142", what, ("nodes", node, *key), hint=hint)


def _unfit(node: str, config: WorkflowConfig, kinds: Mapping[str, NodeKind]) -> str:
    """Why a node cannot be visited for an item; empty when it can."""
    effects = kinds[node].effects if node in kinds else frozenset[str]()
    if "ends" in effects:
        return "ends the run"
    if effects & {"asks-human", "asks-requester", "waits"}:
        return "waits"
    if "maps" in effects:
        return "goes over a list itself"
    if "looks-up" in effects:
        return "looks for the answer to a whole request"
    if node in kinds and kinds[node].fork:
        return "forks"
    if config.nodes[node].kind == WORKFLOW.name:
        return "runs another workflow"
    if config.nodes[node].max_visits is not None:
        return "has `max_visits`, which count within a run"
    return "is where the run starts" if node == config.start else ""


def _ways(config: WorkflowConfig, node: str) -> Iterator[tuple[str, tuple[str | int, ...]]]:
    """Where a node leads to, and the key that says so."""
    own = config.nodes[node]
    if isinstance(own.then, str):
        yield own.then, ("then",)
    else:
        for position, branch in enumerate(own.then or ()):
            yield branch.to, ("then", position, "otherwise" if branch.otherwise is not None else "go")
    if own.on_error is not None:
        yield own.on_error, ("on_error",)
