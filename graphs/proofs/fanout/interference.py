"""Branches that run side by side may not get in each other's way.

Bernstein's conditions (A. J. Bernstein, Analysis of programs for parallel processing, IEEE Trans. Electronic Computers
15(5), 1966): no branch may write a field that a sibling writes or reads. Then every interleaving has one result. Fields
that branches have to themselves until the join (`sluicegate.state.MERGED`) are free.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from sluicegate.errors import Place, Problem
from sluicegate.graphs.conditions.fields import fields
from sluicegate.graphs.proofs.fanout.forks import Branches, branches_of
from sluicegate.graphs.proofs.flow import Flow
from sluicegate.graphs.proofs.semantics import Known
from sluicegate.state import BY_NAME, MERGED

__all__ = ["prove_apart"]


@dataclass(frozen=True, slots=True)
class _Touch:
    """A node that writes a field, or reads it."""

    node: str
    place: Place | None
    what: str
    """The field, as whoever wrote the config knows it."""


def prove_apart(flow: Flow, known: Known) -> list[Problem]:
    """SG141, with both places."""
    found: list[Problem] = []
    for one in branches_of(flow).values():
        written = [_by_key(_writes(flow, members)) for members in one.members]
        read = [_by_key(_reads(flow, members, known)) for members in one.members]
        writers: dict[str, tuple[int, _Touch]] = {}
        for number, touches in enumerate(written):
            for key, touch in touches.items():
                if key in writers:
                    found.append(_clash(one, writers[key], (number, touch), "writes"))
                else:
                    writers[key] = number, touch
        for number, touches in enumerate(read):
            for key, touch in touches.items():
                owners = [owner for name, owner in writers.items() if _covers(key, name) and owner[0] != number]
                if owners and key not in written[number]:
                    found.append(_clash(one, owners[0], (number, touch), "reads"))
    return found


_ANY = "*"
"""In the place of a key: every field that is not merged."""


def _covers(read: str, written: str) -> bool:
    return read in (written, _ANY) or (read in BY_NAME and written.startswith(f"{read}."))


def _by_key(touches: Iterator[tuple[str, _Touch]]) -> dict[str, _Touch]:
    found: dict[str, _Touch] = {}
    for key, touch in touches:
        found.setdefault(key, touch)
    return found


def _writes(flow: Flow, members: frozenset[str]) -> Iterator[tuple[str, _Touch]]:
    for name in members:
        node = flow.nodes[name]
        # what is written for an item stays with it
        for key in sorted(node.writes - MERGED - {"extra"}) if not node.within else ():
            own = f"{key}.{node.collects}" if node.collects and key in BY_NAME else key
            yield own, _Touch(name, node.place, own)


def _reads(flow: Flow, members: frozenset[str], known: Known) -> Iterator[tuple[str, _Touch]]:
    for name in members:
        node = flow.nodes[name]
        for edge in node.edges:
            for field in sorted(known.reads(edge.condition)) if edge.condition else ():
                key = fields()[field].key
                if key not in MERGED:
                    yield key, _Touch(name, edge.place or node.place, field)
        for key in [_ANY] if node.reads is None else sorted(node.reads - MERGED):
            yield key, _Touch(name, node.place, key)


def _clash(one: Branches, owner: tuple[int, _Touch], other: tuple[int, _Touch], does: str) -> Problem:
    (_, writer), (_, second) = owner, other
    where = f" at {second.place}" if second.place else ""
    what = second.what if second.what != _ANY else writer.what
    problem = f"{writer.node!r} writes {writer.what} while {second.node!r}{where} {does} "
    problem += f"{'it too' if does == 'writes' else what}: both are in branches of {one.fork!r}"
    hint = "Put both into one branch, or one of them before the fork or after the join"
    if second.what == _ANY:
        hint += f"; or let the kind of {second.node!r} declare what it reads"
    return Problem("SG141", problem, writer.place, hint=hint)
