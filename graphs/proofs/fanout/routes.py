"""The dearest route through a flow: loops as often as their visits allow, every branch of a fork, every item.

It bounds what a run can spend from above: a route through a loop counts all of the loop's nodes, each as often as it
can be tried.
"""

from collections.abc import Collection, Mapping, Sequence

from sluicegate.graphs.proofs.fanout.forks import branches_of, in_sequence
from sluicegate.graphs.proofs.flow import Flow
from sluicegate.graphs.proofs.shape import components, successors

__all__ = ["Routes", "tries"]


def tries(flow: Flow, at_most: Mapping[str, int], members: Collection[str] | None = None) -> dict[str, int]:
    """How often a run can try each node, its repeated attempts included; what is done for an item, over all items.

    Every cycle has a node with `max_visits`, so between two visits to a node in it such a node was visited. `at_most`
    has the most items of each for-each. With `members`, how often within these nodes, from one entry into them.
    """
    names = flow.nodes if members is None else members
    targets = successors(flow)
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(flow.nodes[name].within, []).append(name)
    found: dict[str, int] = {}
    # what is done for an item comes after its for-each
    for within in sorted(groups, key=bool):
        times = found.get(within, 1) * at_most.get(within, 1) if within in names else 1
        found |= {name: count * times for name, count in _visits(flow, groups[within], targets).items()}
    return {name: count * _attempts(flow, name) for name, count in found.items()}


def _attempts(flow: Flow, name: str) -> int:
    retry = flow.nodes[name].limits.retry
    return 1 + (retry.times if retry else 0)


def _visits(flow: Flow, names: Sequence[str], targets: Mapping[str, Sequence[str]]) -> dict[str, int]:
    inside = set(names)
    within = {name: [to for to in targets[name] if to in inside] for name in names}
    number = components(within)
    size, most = dict[int, int](), dict[int, int]()
    for name in names:
        size[number[name]] = size.get(number[name], 0) + 1
        most[number[name]] = most.get(number[name], 1) + (flow.nodes[name].max_visits or 0)
    found: dict[str, int] = {}
    for name in names:
        circles = size[number[name]] > 1 or name in within[name]
        limit = most[number[name]]
        found[name] = min(limit, flow.nodes[name].max_visits or limit) if circles else 1
    return found


class Routes:
    """The routes from a node through `members`, by default through the whole flow."""

    def __init__(
        self, flow: Flow, start: str, at_most: Mapping[str, int], members: Collection[str] | None = None
    ) -> None:
        self.members = tuple(flow.nodes if members is None else members)
        self._start = start
        self._tries = tries(flow, at_most, members)
        inside, targets = set(self.members), _in_sequence(flow)
        self._targets = {name: [to for to in targets[name] if to in inside] for name in self.members}
        self._number = components(self._targets)

    def dearest(self, visit: Mapping[str, Sequence[int]]) -> tuple[int, ...]:
        """The most that a route comes to, each amount by itself; `visit` has the amounts of a single try of a node, for
        those that have any."""
        width = len(next(iter(visit.values()), ()))
        own: dict[int, list[int]] = {}
        for name in self.members:
            total = own.setdefault(self._number[name], [0] * width)
            for position, amount in enumerate(visit.get(name, ())):
                total[position] += amount * self._tries[name]
        whole: dict[int, list[int]] = {}
        # a component is numbered after all that it leads to
        for name in sorted(self.members, key=lambda one: self._number[one]):
            at = self._number[name]
            best = whole.setdefault(at, [*own[at]])
            for to in self._targets[name]:
                if self._number[to] != at:
                    ahead = whole[self._number[to]]
                    best[:] = [max(one, own[at][place] + ahead[place]) for place, one in enumerate(best)]
        return tuple(whole[self._number[self._start]])


def _in_sequence(flow: Flow) -> Mapping[str, Sequence[str]]:
    """Where a run goes on from each node, with a fork's branches one after another; it fails after them."""
    sequence, before = in_sequence(flow), successors(flow)
    found = {name: [*targets] for name, targets in successors(sequence).items()}
    for one in branches_of(flow).values():
        if on_error := sequence.nodes[one.fork].on_error:
            for name in one.members[-1]:
                if one.join in before[name]:
                    found[name].append(on_error.to)
    return found
