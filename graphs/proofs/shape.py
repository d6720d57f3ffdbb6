"""What the graph alone shows, whatever its conditions: unreachable nodes, missing ends, endless cycles.

Components are Tarjan's (R. Tarjan, Depth-first search and linear graph algorithms, SIAM J. Comput. 1(2), 1972), kept
iterative so that a long chain does not exhaust Python's stack. All of it is linear in nodes and edges but the search
for the shortest cycle to show, which is linear per node of a component that is wrong anyway.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping

from sluicegate.errors import Problem
from sluicegate.graphs.proofs.flow import Flow

__all__ = ["components", "most_steps", "prove_shape", "reached", "successors"]


def successors(flow: Flow) -> dict[str, tuple[str, ...]]:
    """Every node's targets, once each, in branch order, its error branch last. What ends an item leads to where its
    `for-each` goes on: there is no way back into it."""
    found: dict[str, tuple[str, ...]] = {}
    for name, node in flow.nodes.items():
        targets = [node.do] if node.do else []
        for edge in node.ways:
            targets += [on.to for on in flow.nodes[edge.to].ways] if node.returns(edge) else [edge.to]
        found[name] = tuple(dict.fromkeys(targets))
    return found


def reached(starts: Iterable[str], neighbours: Mapping[str, Iterable[str]]) -> set[str]:
    """The nodes that a walk from `starts` can reach, the starts included."""
    found = set(starts)
    waiting = list(found)
    while waiting:
        for neighbour in neighbours[waiting.pop()]:
            if neighbour not in found:
                found.add(neighbour)
                waiting.append(neighbour)
    return found


def components(neighbours: Mapping[str, Iterable[str]]) -> dict[str, int]:
    """Strongly connected components: nodes with equal numbers reach each other."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    number: dict[str, int] = {}
    open_nodes: list[str] = []
    for root in neighbours:
        if root in order:
            continue
        order[root] = low[root] = len(order)
        open_nodes.append(root)
        work = [(root, iter(neighbours[root]))]
        while work:
            node, rest = work[-1]
            for target in rest:
                if target not in order:
                    order[target] = low[target] = len(order)
                    open_nodes.append(target)
                    work.append((target, iter(neighbours[target])))
                    break
                if target not in number:
                    low[node] = min(low[node], order[target])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == order[node]:
                    _close(node, open_nodes, number)
    return number


def _close(node: str, open_nodes: list[str], number: dict[str, int]) -> None:
    component = len(number)
    while True:
        member = open_nodes.pop()
        number[member] = component
        if member == node:
            return


def most_steps(flow: Flow) -> int:
    """An upper bound of the nodes that one run visits; only of a flow whose cycles are bounded.

    Between two visits that `max_visits` counts lie only nodes that it does not, and those are on no cycle of their own.
    """
    targets = successors(flow)
    # a for-each is a step before its items and one after them
    steps = {name: 2 if node.do else 1 for name, node in flow.nodes.items()}
    counted = [node.max_visits * steps[node.name] for node in flow.nodes.values() if node.max_visits is not None]
    free = {
        name: tuple(target for target in following if flow.nodes[target].max_visits is None)
        for name, following in targets.items()
        if flow.nodes[name].max_visits is None
    }
    number, longest = components(free), dict[str, int]()
    # a component is numbered after all that it leads to
    for name in sorted(free, key=lambda each: number[each]):
        longest[name] = steps[name] + max((longest.get(target, 0) for target in free[name]), default=0)
    uncounted = max(longest.values(), default=0)
    return sum(counted) + (sum(counted) + 1) * uncounted


def prove_shape(flow: Flow) -> list[Problem]:
    """SG130, SG131 and SG133, in the order of the config."""
    targets = successors(flow)
    return [*_unreachable(flow, targets), *_endless(flow, targets), *_unbounded(flow, targets)]


def _unreachable(flow: Flow, targets: Mapping[str, tuple[str, ...]]) -> list[Problem]:
    live = reached([flow.start], targets)
    return [
        Problem(
            "SG130",
            f"node {name!r} is unreachable from {flow.start!r}",
            node.place,
            hint="Branch to it, or remove it",
        )
        for name, node in flow.nodes.items()
        if name not in live
    ]


def _endless(flow: Flow, targets: Mapping[str, tuple[str, ...]]) -> list[Problem]:
    sources: dict[str, list[str]] = {name: [] for name in flow.nodes}
    for name, following in targets.items():
        for target in following:
            sources[target].append(name)
    ending = reached((name for name, node in flow.nodes.items() if not node.edges), sources)
    return [
        Problem(
            "SG131",
            f"no end is reachable from node {name!r}",
            node.place,
            hint="Branch from it, or from a later node, to one that ends the run, such as respond or refuse",
        )
        for name, node in flow.nodes.items()
        if name not in ending
    ]


def _unbounded(flow: Flow, targets: Mapping[str, tuple[str, ...]]) -> list[Problem]:
    def unlimited(name: str) -> bool:
        return flow.nodes[name].max_visits is None

    free = {
        name: tuple(target for target in following if unlimited(target))
        for name, following in targets.items()
        if unlimited(name)
    }
    number = components(free)
    members: dict[int, list[str]] = {}
    for name in free:
        members.setdefault(number[name], []).append(name)
    problems: list[Problem] = []
    for group in members.values():
        if len(group) == 1 and group[0] not in free[group[0]]:
            continue
        inside = set(group)
        cycle = min((_shortest_cycle(name, free, inside.__contains__) for name in group), key=len)
        problems.append(
            Problem(
                "SG133",
                f"a run can go round {' -> '.join(cycle)} for ever",
                flow.nodes[cycle[0]].place,
                hint="Give one of these nodes max_visits",
            )
        )
    return problems


def _shortest_cycle(
    start: str, targets: Mapping[str, tuple[str, ...]], allowed: Callable[[str], bool]
) -> tuple[str, ...]:
    before: dict[str, str] = {}
    waiting = deque([start])
    while waiting:
        node = waiting.popleft()
        for target in targets[node]:
            if target == start:
                way = [start]
                while node != start:
                    way.append(node)
                    node = before[node]
                return (start, *reversed(way))
            if allowed(target) and target not in before:
                before[target] = node
                waiting.append(target)
    raise AssertionError(f"{start!r} is on no cycle")
