"""Guarantees: properties of every run, each proved or shown broken (`search`), and what a waiver must say."""

import itertools
import re
from collections.abc import Mapping, Sequence

from sluicegate.errors import Problem, nearest
from sluicegate.graphs.proofs.contracts import CHILD_ENDED, every_node
from sluicegate.graphs.proofs.guarantee import BUILT_IN, Guarantee, Waiver, is_any, widened
from sluicegate.graphs.proofs.search import Broken, Hop, broken
from sluicegate.graphs.proofs.semantics import Semantics

__all__ = ["asks_nothing", "prove_guarantees"]


def prove_guarantees(semantics: Semantics, guarantees: Sequence[Guarantee], waivers: Sequence[Waiver]) -> list[Problem]:
    """SG134 and SG135."""
    problems = _bad_waivers(waivers)
    waived = {waiver.guarantee for waiver in waivers if is_reason(waiver.reason)}
    stated = {_meaning(semantics, guarantee) for guarantee in guarantees}
    built_in = [
        guarantee
        for guarantee in BUILT_IN
        if guarantee.name not in waived and _meaning(semantics, guarantee) not in stated
    ]
    for guarantee in (*built_in, *guarantees):
        unstable = _unstable(semantics, guarantee)
        if unstable is not None:
            problems.append(unstable)
            continue
        found = broken(semantics, guarantee)
        if found is not None:
            problems.append(_explained(found, semantics))
        elif guarantee in guarantees and (nothing := asks_nothing(semantics, guarantee)):
            what = f"the guarantee {str(guarantee)!r} asks nothing of this workflow: {nothing}"
            hint = "Correct it, or remove it; it would be proved of any workflow like this one"
            problems.append(Problem("SG137", what, guarantee.place, hint=hint, severity="warning"))
    return problems


def asks_nothing(semantics: Semantics, guarantee: Guarantee) -> str:
    """Why a guarantee holds whatever the graph looks like; empty when it does not."""
    for names in (guarantee.no, guarantee.after, guarantee.every):
        if names and not any(is_any(node, widened(names)) for node in every_node(semantics.flow)):
            return f"it has no node that {' or '.join(_DOES.get(name, f'is {name}') for name in names)}"
    # before a node classified, nothing that an intent decides holds
    worlds = range(len(semantics.worlds))
    worlds = [world for world in worlds if semantics.classified(world)] or worlds
    if guarantee.when is not None and all(semantics.truth(guarantee.when, world) is False for world in worlds):
        return f"{guarantee.when} never holds"
    return ""


_DOES: Mapping[str, str] = {
    "generates": "asks a model to write",
    "generates-answer": "drafts an answer",
    "looks-up": "looks up an answer",
    "calls-tool": "calls a tool",
    "sends": "sends an answer",
    "decides-policy": "checks the policies",
    "checks": "checks a draft",
    "asks-human": "asks a person",
    "asks-requester": "asks the requester",
    "changes-approved": "changes what was approved",
}
"""What the nodes do that built-in guarantees are about."""


def _meaning(semantics: Semantics, guarantee: Guarantee) -> tuple[object, ...]:
    """Equal for guarantees that require the same of this flow, so that none is reported twice."""

    every = [*every_node(semantics.flow)]

    def named(names: Sequence[str]) -> frozenset[int]:
        return frozenset(number for number, node in enumerate(every) if is_any(node, tuple(names)))

    return (
        named(widened(guarantee.no)),
        named(guarantee.without),
        named(widened(guarantee.after)),
        bool(guarantee.after),
        named(widened(guarantee.every)),
        named(guarantee.reaches),
        guarantee.when,
        guarantee.where,
        guarantee.unless_mended,
        guarantee.since,
    )


def _bad_waivers(waivers: Sequence[Waiver]) -> list[Problem]:
    names = tuple(guarantee.name for guarantee in BUILT_IN)
    problems: list[Problem] = []
    for waiver in waivers:
        if waiver.guarantee not in names:
            problems.append(
                Problem(
                    "SG135",
                    f"{waiver.guarantee!r} is not a built-in guarantee",
                    waiver.place,
                    choices=names,
                    suggestion=nearest(waiver.guarantee, names),
                )
            )
        elif not is_reason(waiver.reason):
            problems.append(
                Problem(
                    "SG135",
                    f"guarantee {waiver.guarantee!r} is waived without a reason",
                    waiver.place,
                    hint=f"Say why, in words that an auditor can weigh: {REASON_RULE}",
                )
            )
    return problems


_FEWEST_WORDS = 3
REASON_RULE = "at least three different words, and not a note to yourself"
_NOTES = frozenset({"todo", "tbd", "fixme", "xxx", "asdf", "lorem", "ipsum", "placeholder", "foo", "bar"})


def is_reason(text: str) -> bool:
    """Whether a reason says something: `REASON_RULE`. Whether it is a good one is for people to judge."""
    words = {word.casefold() for word in re.findall(r"[^\W\d_]{2,}", text)}
    return len(words - _NOTES) >= _FEWEST_WORDS and not words & _NOTES


def _unstable(semantics: Semantics, guarantee: Guarantee) -> Problem | None:
    if guarantee.when is None:
        return None
    reads = sorted(semantics.known.reads(guarantee.when))
    changing = [name for name in reads if not (name.startswith("intent.") or semantics.steady(name))]
    if not changing:
        return None
    return Problem(
        "SG134",
        f"guarantee {str(guarantee)!r} cannot be proved: {changing[0]} can change during a run, so that its value "
        "at one node says nothing about another",
        guarantee.place,
        hint="In `when`, use fields of intent or principal, or the request's channel or language",
    )


_KINDS: Mapping[str, str] = {
    "decides-policy": "a policy-check",
    "checks": "an output-check",
    "asks-human": "a human-interrupt",
    "classifies": "a classify",
}
"""The built-in kind with an effect, in a sentence."""


def _path(route: Sequence[Hop]) -> str:
    """The nodes, those of a branch in brackets after its first node's name."""
    parts: list[str] = []
    for branch, hops in itertools.groupby(route, key=lambda hop: hop.branch):
        names = ", ".join(hop.node for hop in hops)
        parts.append(f"[branch {branch[1]} of {branch[0]}: {names}]" if branch else names)
    return ", ".join(parts)


def _explained(found: Broken, semantics: Semantics) -> Problem:
    nodes, guarantee = semantics.flow.nodes, found.guarantee
    last, owing = found.route[-1].node, found.owing
    decided = [f"{hop.node} to {hop.to} by {hop.condition or 'otherwise'}" for hop in found.route if hop.branching]
    message = f"guarantee broken: {guarantee}; by the path {_path(found.route)}"
    if owing not in {hop.node for hop in found.route}:
        message += f", while {owing} runs beside it"
    message += f" ({'; '.join(decided)})" if decided else ""
    if found.intents:
        message += f", for {'intent' if len(found.intents) == 1 else 'intents'} {', '.join(found.intents[:8])}"
        message += f" and {len(found.intents) - 8} more" if len(found.intents) > 8 else ""
    if found.given:
        message += f", for a run with {', '.join(f'{name} {value!r}' for name, value in sorted(found.given.items()))}"
    message += "" if found.certain else "; too many visits to count, so the path may exceed some max_visits"
    needed = " or ".join(_KINDS.get(name, f"a {name}") for name in guarantee.without or guarantee.reaches)
    hint = f"Put {needed} node on this path, or make one of its branches impossible"
    if guarantee.hint:
        hint = guarantee.hint.format(owing=owing, last=last)
    elif guarantee.where and owing != last:
        where = CHILD_ENDED[1] if owing in nodes and nodes[owing].child else guarantee.where
        hint = f"Branch from {owing!r} where {where}, to nodes that do not lead to {last!r}"
    if guarantee.name:
        hint += f"; or waive {guarantee.name!r} with a reason"
    return Problem("SG134", message, guarantee.place or nodes[owing.partition("/")[0]].place, hint=hint)
