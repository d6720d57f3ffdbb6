"""What a run owes while branches run side by side, and after their join.

Each branch begins with what was owed at its fork, and what it owes changes by its own nodes alone. Meanwhile a sibling
may make something owed at any moment, and then it is owed whatever the branch itself has paid. At the join something is
owed if a branch made it so and did not pay; otherwise it is paid if any branch has paid, since each branch that runs to
the join has run whole; otherwise it is as it was at the fork.
"""

from collections.abc import Collection, Mapping, Sequence
from enum import Enum
from typing import NamedTuple

from sluicegate.graphs.proofs.semantics import Semantics

__all__ = ["Debt", "InBranch", "SideBySide"]


class Debt(Enum):
    """What a run owes before it may reach a forbidden node, or its end."""

    NOTHING = "nothing"
    OWED = "owed"
    INHERITED = "inherited"
    """Owed since before the fork of the branch, so that a sibling may pay it."""
    REDRAFTED = "redrafted"
    """Still owed, but there is a new draft, and a check that it passes pays."""
    SINCE = "since"
    """Nothing yet, but a node of `after` will make it owed."""

    # a search asks for it at every step, and that of Enum is slow
    __hash__ = object.__hash__

    @property
    def due(self) -> bool:
        return self in (Debt.OWED, Debt.INHERITED, Debt.REDRAFTED)

    def and_also(self, other: "Debt") -> "Debt":
        """What a run owes that owes both."""
        return max(self, other, key=_GRAVITY.index)


_GRAVITY = (Debt.NOTHING, Debt.SINCE, Debt.REDRAFTED, Debt.INHERITED, Debt.OWED)


class InBranch(NamedTuple):
    """A branch that a search is in, the branches before it having come to the join."""

    fork: str
    number: int
    world: int
    """At the fork."""
    debt: Debt
    """At the fork."""
    so_far: Debt | None = None
    """What is owed by the branches before it, taken together; None where they leave it as it was at the fork."""
    after: int | None = None
    """The world in which one of them came to the join, where it is another than at the fork."""


class SideBySide:
    """A flow's forks, as a search for a broken guarantee goes through them."""

    def __init__(self, semantics: Semantics, owing: frozenset[str], asked: Sequence[bool]) -> None:
        nodes = semantics.flow.nodes
        self._semantics, self._nodes, self._asked = semantics, nodes, asked
        self._owing = {
            name: [sorted(members & owing) for members in one.members] for name, one in semantics.forks.items()
        }
        """The nodes of each branch that make something owed."""
        self._classifies = {
            name: [any("intent" in nodes[node].writes for node in members) for members in one.members]
            for name, one in semantics.forks.items()
        }
        self._branch: dict[str, tuple[str, int]] = {}
        """The innermost branch of each node that is in one."""
        for name, one in semantics.forks.items():
            for number, members in enumerate(one.members):
                for node in members:
                    self._branch.setdefault(node, (name, number))

    def onward(
        self, node: str, way: int, world: int, debt: Debt, branches: tuple[InBranch, ...]
    ) -> tuple[str, int, Debt, tuple[InBranch, ...]]:
        """Where a search goes on that leaves `node` by `way`: into the first branch of a fork, from the end of one
        branch into the next, after the last to the join."""
        here, to = self._nodes[node], self._nodes[node].ways[way].to
        if here.join and way < len(here.edges):
            return to, world, _entered(debt), (*branches, InBranch(node, 0, world, debt))
        while branches and to == self._semantics.forks[branches[-1].fork].join:
            branch, branches = branches[-1], branches[:-1]
            so_far = _together(branch, debt)
            after = branch.after if world == branch.world else world
            firsts = self._nodes[branch.fork].edges
            if branch.number + 1 < len(firsts):
                following = branch._replace(number=branch.number + 1, so_far=so_far, after=after)
                return firsts[following.number].to, branch.world, _entered(branch.debt), (*branches, following)
            debt = branch.debt if so_far is None else so_far
            world = branch.world if after is None else after
        return to, world, debt, branches

    def asked_of(self, world: int, branches: Sequence[InBranch]) -> bool:
        """Whether the guarantee's `when` may hold; a sibling that classifies may make it hold."""
        if any(self._among_siblings(self._classifies, branch) for branch in branches):
            return any(self._asked[kin] for kin in self._semantics.kin(world))
        return self._asked[world]

    def owed_by_sibling(self, debt: Debt, branches: Sequence[InBranch], *, since: bool) -> bool:
        """Whether a sibling may make something owed while a branch is where it is."""
        return any(
            self._among_siblings(self._owing, branch) and not (since and Debt.NOTHING in (debt, branch.debt))
            for branch in branches
        )

    def owes(self, fork: str) -> bool:
        """Whether a node of a fork's branches makes something owed."""
        return any(self._owing.get(fork, ()))

    def owing_sibling(self, branches: Sequence[InBranch]) -> str:
        """A node of a sibling that makes something owed; empty where there is none."""
        for branch in branches:
            for number, nodes in enumerate(self._owing[branch.fork]):
                if nodes and number != branch.number:
                    return nodes[0]
        return ""

    def beside(self, node: str, branches: Sequence[InBranch]) -> bool:
        """Whether a node is in a branch that was searched before its sibling, one of `branches`."""
        return any(
            node in members
            for branch in branches
            for members in self._semantics.forks[branch.fork].members[: branch.number]
        )

    def branch_of(self, node: str) -> tuple[str, str] | None:
        """The fork and the first node of the innermost branch that a node is in."""
        if node not in self._branch:
            return None
        fork, number = self._branch[node]
        return fork, self._nodes[fork].edges[number].to

    def uncountable(self, counted: Collection[str]) -> bool:
        """Whether branches that fail may have used up visits that count later."""
        forks = self._semantics.forks.values()
        return any(self._nodes[one.fork].on_error and not one.inside.isdisjoint(counted) for one in forks)

    def _among_siblings(self, per_branch: Mapping[str, Sequence[object]], branch: InBranch) -> bool:
        return any(each for number, each in enumerate(per_branch[branch.fork]) if number != branch.number)


def _entered(debt: Debt) -> Debt:
    return Debt.INHERITED if debt is Debt.OWED else debt


def _together(branch: InBranch, debt: Debt) -> Debt | None:
    """What is owed by the branches that have come to the join, this one with `debt`."""
    if debt is _entered(branch.debt) or branch.so_far is debt:
        return branch.so_far
    if branch.so_far is None:
        return debt
    return Debt.SINCE if {debt, branch.so_far} == {Debt.NOTHING, Debt.SINCE} else Debt.OWED
