"""Checks that every placeholder in prompts and in given tool arguments has a value.

At run time an unknown placeholder becomes an empty text, and a model answers without its sources; here it is an
error at its place. A kind that does not declare its placeholders is not checked.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence

from pydantic import BaseModel

from sluicegate.errors import Place, Problem, nearest
from sluicegate.files import line_and_column
from sluicegate.graphs.config.inputs.resolved import ResolvedPrompt
from sluicegate.graphs.config.inputs.tool_arguments import called
from sluicegate.graphs.config.models import WorkflowConfig
from sluicegate.graphs.config.validate import Faults
from sluicegate.nodes.items import placeholder_fits
from sluicegate.nodes.kind import NodeKind
from sluicegate.nodes.kinds.call_tool import CallTool
from sluicegate.nodes.prompts import placeholders
from sluicegate.nodes.tools.tool import Tool

__all__ = ["check_placeholders", "of_inputs", "unfilled"]

_OF_FIELDS = ("question",)
"""What a text in an intent's `fields` may use."""


def check_placeholders(
    config: WorkflowConfig,
    settings: Mapping[str, BaseModel],
    kinds: Mapping[str, NodeKind],
    prompts: Mapping[str, ResolvedPrompt],
    tools: Mapping[str, Tool],
    within: Collection[str],
    collected: Collection[str],
    faults: Faults,
) -> None:
    """Report SG125 for every unknown placeholder, once per place.

    `within` are the nodes that are visited for an item, `collected` the names of the results of items.
    """
    for node, own in settings.items():
        if isinstance(own, CallTool) and own.say is not None:
            _check_say(node, own.say, called(own, config, tools), faults)
        if isinstance(own, CallTool):
            _check_given(node, own, collected, faults, within=node in within)
    for label, intent in config.intents.items():
        for key, value in intent.fields.items():
            for name, offset in placeholders(value) if isinstance(value, str) else ():
                if name not in _OF_FIELDS:
                    place = faults.source.within(("intents", label, "fields", key), offset)
                    faults.problems.append(unfilled(name, _OF_FIELDS, place, "in an intent's fields"))
    told: set[tuple[Place, str]] = set()
    for node, prompt in _asking(settings):
        fills = kinds[node].fills
        if not fills or prompt not in prompts:
            continue
        found = prompts[prompt]
        text = found.content.decode(errors="replace")
        fills = (*fills, *of_inputs(config))
        of = f"in the prompt of {node!r}" + (f", {found.version}" if found.version else "")
        for name, offset in placeholders(text):
            # a text from elsewhere has no line here but the one that refers to it
            in_file = Place(str(found.file), *line_and_column(text, offset))
            place = found.place if found.version else in_file
            fits = name in fills or placeholder_fits(name, collected, within=node in within)
            if not fits and (place, name) not in told:
                told.add((place, name))
                faults.problems.append(unfilled(name, sorted(fills), place, of))


def of_inputs(config: WorkflowConfig) -> tuple[str, ...]:
    """The placeholders that its inputs fill in every prompt."""
    return tuple(f"inputs.{name}" for name in config.inputs)


def _check_say(node: str, say: str, tools: Sequence[Tool], faults: Faults) -> None:
    """What a tool is called with and what it gives may be said; another name is an empty text at run time."""
    if not tools:
        return  # an unknown tool is reported where it is named
    known = dict.fromkeys(name for tool in tools for name in tool.properties)
    results = (f"result.{name}" for tool in tools for name in tool.results or ())
    known |= dict.fromkeys(("result", *results))
    any_result = any(tool.results is None for tool in tools)
    for name, offset in placeholders(say):
        if name not in known and not (any_result and name.startswith("result.")):
            place = faults.source.within(("nodes", node, "say"), offset)
            faults.problems.append(unfilled(name, tuple(known), place, f"in what {node!r} says"))


def _check_given(node: str, own: CallTool, collected: Collection[str], faults: Faults, *, within: bool) -> None:
    """What a tool is called with may be of the item, of the results of items and of what was extracted."""
    known = ("question", *(("item", "item.index") if within else ()), *(f"items.{name}" for name in collected))
    for key, value in (own.arguments or {}).items():
        for name, offset in placeholders(value) if isinstance(value, str) else ():
            if (
                name not in known
                and not name.startswith("extraction.")
                and not placeholder_fits(name, collected, within=within)
            ):
                place = faults.source.within(("nodes", node, "arguments", key), offset)
                faults.problems.append(unfilled(name, known, place, f"in the arguments of {node!r}"))


def _asking(settings: Mapping[str, BaseModel]) -> Iterator[tuple[str, str]]:
    """Every node with each of its prompts."""
    for node, own in settings.items():
        prompt: object = getattr(own, "prompt", None)
        if isinstance(prompt, str):
            yield node, prompt
            if {"quote", "auto"} & {getattr(own, "style", None), getattr(own, "again", None)}:
                yield node, f"{prompt}-quote"


def unfilled(name: str, fills: Collection[str], place: Place | None, where: str) -> Problem:
    known: Sequence[str] = tuple(fills)
    return Problem("SG125", f"unknown placeholder {{{{{name}}}}} {where}", place, known, nearest(name, known))
