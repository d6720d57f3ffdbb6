"""Proved guarantees in words: about which nodes and intents of this graph each one is, and how it holds."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from sluicegate.graphs.proofs.flow import FlowNode
from sluicegate.graphs.proofs.guarantee import BUILT_IN, Guarantee, Waiver, is_any, widened
from sluicegate.graphs.proofs.guarantees import asks_nothing
from sluicegate.graphs.proofs.semantics import Semantics

__all__ = ["ToldGuarantee", "told"]


@dataclass(frozen=True, slots=True)
class ToldGuarantee:
    """What became of one guarantee of a workflow that may start."""

    guarantee: Guarantee
    state: Literal["proved", "waived", "nothing to prove"]
    because: str
    """Of a proved one what was found on every path, of a waived one its reason."""


def told(semantics: Semantics, guarantees: Sequence[Guarantee], waivers: Sequence[Waiver]) -> list[ToldGuarantee]:
    """The workflow's own guarantees, then the built-in ones. The flow must have passed `prove`."""
    waived = {waiver.guarantee: waiver for waiver in waivers}
    found: list[ToldGuarantee] = []
    for guarantee in (*guarantees, *BUILT_IN):
        if guarantee.name in waived:
            found.append(ToldGuarantee(guarantee, "waived", waived[guarantee.name].reason))
        elif nothing := asks_nothing(semantics, guarantee):
            found.append(ToldGuarantee(guarantee, "nothing to prove", nothing))
        else:
            found.append(ToldGuarantee(guarantee, "proved", _because(semantics, guarantee)))
    return found


def _because(semantics: Semantics, guarantee: Guarantee) -> str:
    nodes = semantics.flow.nodes.values()

    def named(names: Sequence[str], *, within: bool = True) -> str:
        return _listed((node.name for node in nodes if _is_or_has(node, tuple(names), within=within)), "or")

    where = f", left where {guarantee.where}," if guarantee.where else ""
    if guarantee.every:
        said = f"every path from {named(widened(guarantee.every))}{where} to an end passes "
        said += named(guarantee.reaches, within=False)
    else:
        forbidden, needed = named(widened(guarantee.no)), named(guarantee.without, within=False)
        after = f"after {named(widened(guarantee.after))}{where} " if guarantee.after else ""
        mended = "a new draft and then a check with at least the same guards, which it passes"
        if not needed:
            said = f"{after}no path leads to {forbidden}" + (f" without {mended}" if guarantee.unless_mended else "")
        elif guarantee.since:
            said = (
                f"once {needed} is left where {guarantee.since}, {after}every path to {forbidden} passes {needed} again"
            )
        else:
            said = f"{after}every path to {forbidden} passes {needed} first"
            said += f", or {mended}" if guarantee.unless_mended else ""
    within = [
        node.name for node in nodes if node.child and _is_or_has(node, widened((*guarantee.no, *guarantee.after)))
    ]
    if within:
        said += f"; what happens within {_listed(within, 'or')} may be covered there"
    if guarantee.when is not None:
        worlds = [
            world
            for world in range(len(semantics.worlds))
            if semantics.classified(world) and semantics.truth(guarantee.when, world) is not False
        ]
        labels = semantics.labels(worlds)
        said += f", for {_listed(labels, 'and')}" if labels else ""
    return said


def _is_or_has(node: FlowNode, names: tuple[str, ...], *, within: bool = True) -> bool:
    """A node of one of these kinds or effects, or a workflow that has such a node."""
    return is_any(node, names) or (
        within and node.child is not None and any(_is_or_has(each, names) for each in node.child.flow.nodes.values())
    )


def _listed(names: Iterable[str], joined: str) -> str:
    *first, last = [*names] or [""]
    return f"{', '.join(first)} {joined} {last}" if first else last
