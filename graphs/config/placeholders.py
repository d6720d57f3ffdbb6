"""Checks that every placeholder in prompts and in given tool arguments has a value.

At run time an unknown placeholder becomes an empty text, and a model answers without its sources; here it is an
error at its place. A kind that does not declare its placeholders is not checked.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence

from pydantic import BaseModel

from sluicegate.errors import Place, Problem, nearest
from sluicegate.graphs.config.models import WorkflowConfig
from sluicegate.graphs.config.resolved import ResolvedPrompt
from sluicegate.graphs.config.validate import Faults
from sluicegate.nodes.kind import NodeKind
from sluicegate.nodes.prompts import placeholders

__all__ = ["check_placeholders"]

_OF_FIELDS = ("question",)
"""What a text in an intent's `fields` may use."""


def check_placeholders(
    config: WorkflowConfig,
    settings: Mapping[str, BaseModel],
    kinds: Mapping[str, NodeKind],
    prompts: Mapping[str, ResolvedPrompt],
    faults: Faults,
) -> None:
    """Report SG125 for every unknown placeholder, once per place."""
    for label, intent in config.intents.items():
        for key, value in intent.fields.items():
            for name, offset in placeholders(value) if isinstance(value, str) else ():
                if name not in _OF_FIELDS:
                    place = faults.source.within(("intents", label, "fields", key), offset)
                    faults.problems.append(_unfilled(name, _OF_FIELDS, place, "in an intent's fields"))
    told: set[tuple[Place, str]] = set()
    for node, prompt in _asking(settings):
        fills = kinds[node].fills
        if not fills or prompt not in prompts:
            continue
        found = prompts[prompt]
        text = found.content.decode(errors="replace")
        of = f"in the prompt of {node!r}" + (f", {found.version}" if found.version else "")
        for name, offset in placeholders(text):
            before = text[:offset]
            # a text from elsewhere has no line here but the one that refers to it
            within = Place(str(found.file), before.count("\n") + 1, offset - before.rfind("\n"))
            place = found.place if found.version else within
            if name not in fills and (place, name) not in told:
                told.add((place, name))
                faults.problems.append(_unfilled(name, sorted(fills), place, of))


def _asking(settings: Mapping[str, BaseModel]) -> Iterator[tuple[str, str]]:
    """Every node with each of its prompts."""
    for node, own in settings.items():
        prompt: object = getattr(own, "prompt", None)
        if isinstance(prompt, str):
            yield node, prompt
            if "quote" in (getattr(own, "style", None), getattr(own, "again", None)):
                yield node, f"{prompt}-quote"


def _unfilled(name: str, fills: Collection[str], place: Place | None, where: str) -> Problem:
    known: Sequence[str] = tuple(fills)
    return Problem("SG125", f"unknown placeholder {{{{{name}}}}} {where}", place, known, nearest(name, known))
