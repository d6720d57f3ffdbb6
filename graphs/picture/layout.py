"""Where the boxes of a flow's picture go: layers from top to bottom, after Sugiyama.

K. Sugiyama, S. Tagawa, M. Toda, Methods for visual understanding of hierarchical system structures (IEEE SMC 11(2),
1981), in four steps: edges that close a cycle are turned round, nodes get layers by their longest way from the start,
every longer edge is cut into one piece per layer, the layers are ordered by barycentres, and horizontal places are
found by least squares under the order (pool adjacent violators), sweeping down and up. Each edge has a piece of its
own between every two layers of nodes, as wide as its label, so that no label can touch a box or another label.
Everything is deterministic.
"""

import itertools
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

__all__ = ["Box", "EdgeRoute", "Layout", "LayoutEdge", "Point", "back_links", "lay_out", "layers_of"]

Point: TypeAlias = tuple[float, float]

GAP = 26.0
"""Between neighbours in a layer, in pixels."""
LAYER_GAP = (16.0, 56.0)
"""Least and most between layers; more where edges run far to the side, so that they stay steep."""
SWEEPS = 24


@dataclass(frozen=True, slots=True)
class LayoutEdge:
    """An edge to be drawn, with the space its label needs (0: no label)."""

    source: str
    target: str
    label_width: float = 0.0
    label_height: float = 0.0


@dataclass(frozen=True, slots=True)
class Box:
    """A node's rectangle by its centre, in pixels."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class EdgeRoute:
    """The path of an edge from its source to its target."""

    points: tuple[Point, ...]
    """Places it passes, all of them vertically, the first on the source's rim, the last on the target's."""
    label: Point
    """The centre of its label."""
    back: bool
    """True when it leads up, against the flow."""


@dataclass(frozen=True, slots=True)
class Layout:
    width: float
    height: float
    boxes: Mapping[str, Box]
    routes: tuple[EdgeRoute, ...]
    """In the order of the links."""


@dataclass(slots=True, eq=False)
class _Slot:
    """What has a place in a layer: a node, or the piece of an edge."""

    layer: int
    width: float
    height: float
    node: str = ""
    up: "list[_Slot]" = field(default_factory=lambda: list[_Slot]())
    down: "list[_Slot]" = field(default_factory=lambda: list[_Slot]())
    x: float = 0.0
    y: float = 0.0
    top: float = 0.0
    bottom: float = 0.0
    """Of the whole layer."""


def lay_out(sizes: Mapping[str, tuple[float, float]], links: Sequence[LayoutEdge], start: str) -> Layout:
    """Place nodes of the given widths and heights, and route the links between them."""
    back = back_links(sizes, links, start)
    layer_of = layers_of(sizes, links, back)
    nodes = {name: _Slot(2 * layer_of[name], *sizes[name], node=name) for name in sizes}
    layers: list[list[_Slot]] = [[] for _ in range(2 * max(layer_of.values()) + 1)]
    for slot in nodes.values():
        layers[slot.layer].append(slot)
    chains = [
        _chain(link, nodes, layers, turned=index in back) if link.source != link.target else []
        for index, link in enumerate(links)
    ]
    _order(layers)
    _place(layers)
    for chain in chains:
        _straighten(chain, layers)
    bottom = _heights(layers)
    left = min(slot.x - slot.width / 2 for layer in layers for slot in layer)
    for layer in layers:
        for slot in layer:
            slot.x -= left
    boxes = {name: Box(slot.x, slot.y, slot.width, slot.height) for name, slot in nodes.items()}
    ports = _ports(links, nodes, chains, back)
    routes = tuple(_route(index, link, nodes, chains[index], ports, index in back) for index, link in enumerate(links))
    right = max(
        max(slot.x + slot.width / 2 for layer in layers for slot in layer),
        max((x for route in routes for x, _ in route.points), default=0.0),
        max((route.label[0] + link.label_width / 2 for route, link in zip(routes, links, strict=True)), default=0.0),
    )
    return Layout(right, bottom, boxes, routes)


def back_links(sizes: Mapping[str, object], links: Sequence[LayoutEdge], start: str) -> set[int]:
    """The links that close a cycle in a depth-first walk from the start."""
    leaving: dict[str, list[int]] = {name: [] for name in sizes}
    for index, link in enumerate(links):
        leaving[link.source].append(index)
    back: set[int] = set()
    state: dict[str, int] = {}
    for root in (start, *sizes):
        if root in state:
            continue
        state[root] = 1
        work = [(root, iter(leaving[root]))]
        while work:
            name, rest = work[-1]
            for index in rest:
                target = links[index].target
                if state.get(target) == 1:
                    back.add(index)
                elif target not in state:
                    state[target] = 1
                    work.append((target, iter(leaving[target])))
                    break
            else:
                state[name] = 2
                work.pop()
    return back


def layers_of(sizes: Mapping[str, object], links: Sequence[LayoutEdge], back: set[int]) -> dict[str, int]:
    """The longest way to each node along links that go down."""
    downward = [
        (link.target, link.source) if index in back else (link.source, link.target)
        for index, link in enumerate(links)
        if link.source != link.target
    ]
    waits = dict.fromkeys(sizes, 0)
    below: dict[str, list[str]] = {name: [] for name in sizes}
    for upper, lower in downward:
        waits[lower] += 1
        below[upper].append(lower)
    ready = [name for name in sizes if not waits[name]]
    layer = dict.fromkeys(sizes, 0)
    while ready:
        name = ready.pop()
        for lower in below[name]:
            layer[lower] = max(layer[lower], layer[name] + 1)
            waits[lower] -= 1
            if not waits[lower]:
                ready.append(lower)
    return layer


def _chain(link: LayoutEdge, nodes: Mapping[str, _Slot], layers: list[list[_Slot]], *, turned: bool) -> list[_Slot]:
    """The pieces of a link, from upper to lower node; the label is on the first below the link's source."""
    upper, lower = nodes[link.source], nodes[link.target]
    if turned:
        upper, lower = lower, upper
    inner = range(upper.layer + 1, lower.layer)
    labelled = inner[-1] if turned else inner[0]
    chain = [
        _Slot(layer, link.label_width if layer == labelled else 0.0, link.label_height if layer == labelled else 0.0)
        for layer in inner
    ]
    before = upper
    for slot in [*chain, lower]:
        before.down.append(slot)
        slot.up.append(before)
        before = slot
    for slot in chain:
        layers[slot.layer].append(slot)
    return chain


def _order(layers: list[list[_Slot]]) -> None:
    """Sort each layer by the mean place of its neighbours, keeping the order with the fewest crossings."""
    best, fewest = [list(layer) for layer in layers], _crossings(layers)
    for sweep in range(SWEEPS):
        downward = sweep % 2 == 0
        for layer, fixed in _pairs(layers, downward=downward):
            place = {id(slot): index for index, slot in enumerate(fixed)}
            own = {id(slot): index for index, slot in enumerate(layer)}

            def mean(
                slot: _Slot, place: dict[int, int] = place, own: dict[int, int] = own, up: bool = downward
            ) -> float:
                near = slot.up if up else slot.down
                return sum(place[id(other)] for other in near) / len(near) if near else float(own[id(slot)])

            layer.sort(key=mean)
        crossings = _crossings(layers)
        if crossings < fewest:
            best, fewest = [list(layer) for layer in layers], crossings
    for layer, kept in zip(layers, best, strict=True):
        layer[:] = kept


def _pairs(layers: list[list[_Slot]], *, downward: bool) -> Iterable[tuple[list[_Slot], list[_Slot]]]:
    if downward:
        return [(layers[index], layers[index - 1]) for index in range(1, len(layers))]
    return [(layers[index], layers[index + 1]) for index in range(len(layers) - 2, -1, -1)]


def _crossings(layers: list[list[_Slot]]) -> int:
    total = 0
    for upper, lower in itertools.pairwise(layers):
        place = {id(slot): index for index, slot in enumerate(lower)}
        ends = [end for slot in upper for end in sorted(place[id(other)] for other in slot.down)]
        total += sum(1 for index, end in enumerate(ends) for later in ends[index + 1 :] if later < end)
    return total


def _place(layers: list[list[_Slot]]) -> None:
    for layer in layers:
        edge = 0.0
        for slot in layer:
            slot.x = edge + slot.width / 2
            edge += slot.width + GAP
    for sweep in range(2 * SWEEPS):
        for layer, _ in _pairs(layers, downward=sweep % 2 == 0):
            _settle(layer, upward=sweep % 2 == 0)
    # then both sides at once
    for sweep in range(SWEEPS):
        for layer in layers if sweep % 2 else reversed(layers):
            _settle(layer, upward=None)


def _settle(layer: list[_Slot], *, upward: bool | None) -> None:
    """Move a layer's slots as near to the mean of their neighbours as order and gaps allow (least squares)."""
    offsets: list[float] = []
    blocks: list[tuple[float, float, int]] = []
    for index, slot in enumerate(layer):
        if index:
            offsets.append(offsets[-1] + (layer[index - 1].width + slot.width) / 2 + GAP)
        else:
            offsets.append(0.0)
        near = [*(slot.up if upward is not False else ()), *(slot.down if upward is not True else ())]
        if near:
            weights = [8.0 if not slot.node and not other.node else 2.0 if not slot.node else 1.0 for other in near]
            wish = sum(weight * other.x for weight, other in zip(weights, near, strict=True)) / sum(weights)
            weight = sum(weights)
        else:
            wish, weight = slot.x, 0.01
        mean, total, count = wish - offsets[-1], weight, 1
        while blocks and blocks[-1][0] >= mean:
            other_mean, other_total, other_count = blocks.pop()
            mean = (mean * total + other_mean * other_total) / (total + other_total)
            total, count = total + other_total, count + other_count
        blocks.append((mean, total, count))
    index = 0
    for mean, _, count in blocks:
        for slot in layer[index : index + count]:
            slot.x = mean + offsets[index]
            index += 1


def _straighten(chain: list[_Slot], layers: list[list[_Slot]]) -> None:
    """Line up the pieces of an edge in as few vertical segments as the room between their neighbours allows.

    Least squares alone spreads a sidestep evenly over a long edge, which looks like a staircase.
    """
    rooms: list[tuple[float, float]] = []
    for slot in chain:
        layer = layers[slot.layer]
        index = next(place for place, other in enumerate(layer) if other is slot)
        low, high = -math.inf, math.inf
        if index:
            low = layer[index - 1].x + (layer[index - 1].width + slot.width) / 2 + GAP
        if index + 1 < len(layer):
            high = layer[index + 1].x - (layer[index + 1].width + slot.width) / 2 - GAP
        # rounding may have left a neighbour a hair too near
        rooms.append((min(low, slot.x), max(high, slot.x)))
    first = 0
    while first < len(chain):
        low, high = rooms[first]
        end = first + 1
        while end < len(chain) and max(low, rooms[end][0]) <= min(high, rooms[end][1]):
            low, high = max(low, rooms[end][0]), min(high, rooms[end][1])
            end += 1
        wished = statistics.median(slot.x for slot in chain[first:end])
        for slot in chain[first:end]:
            slot.x = min(max(wished, low), high)
        first = end


def _heights(layers: list[list[_Slot]]) -> float:
    top = bottom = 0.0
    for layer in layers:
        bottom = top + max((slot.height for slot in layer), default=0.0)
        for slot in layer:
            slot.top, slot.y, slot.bottom = top, (top + bottom) / 2, bottom
        furthest = max((abs(slot.x - other.x) for slot in layer for other in slot.down), default=0.0)
        least, most = LAYER_GAP
        top = bottom + min(most, least + furthest / 8)
    return bottom


def _ports(
    links: Sequence[LayoutEdge], nodes: Mapping[str, _Slot], chains: Sequence[list[_Slot]], back: set[int]
) -> dict[tuple[int, str], float]:
    """Where on a node's lower (or upper) rim each link is fixed: spread out, in the order of where they lead."""
    found: dict[tuple[int, str], float] = {}
    for name, node in nodes.items():
        for side in ("down", "up"):
            ends: list[tuple[float, int, str]] = []
            for index, link in enumerate(links):
                if not chains[index]:
                    continue
                upper, lower = (link.target, link.source) if index in back else (link.source, link.target)
                if side == "down" and upper == name:
                    ends.append((chains[index][0].x, index, side))
                elif side == "up" and lower == name:
                    ends.append((chains[index][-1].x, index, side))
            ends.sort()
            span = min(node.width * 0.6, 22.0 * (len(ends) - 1))
            for place, (_, index, which) in enumerate(ends):
                share = place / (len(ends) - 1) - 0.5 if len(ends) > 1 else 0.0
                found[index, which] = node.x + span * share
    return found


def _route(
    index: int,
    link: LayoutEdge,
    nodes: Mapping[str, _Slot],
    chain: list[_Slot],
    ports: Mapping[tuple[int, str], float],
    back: bool,
) -> EdgeRoute:
    source = nodes[link.source]
    if not chain:
        right, y = source.x + source.width / 2, source.y
        reach = right + 26
        points = ((right, y - 8), (reach, y - 8), (reach, y + 8), (right, y + 8))
        return EdgeRoute(points, (reach + 6 + link.label_width / 2, y), back=True)
    upper, lower = (nodes[link.target], source) if back else (source, nodes[link.target])
    points = [
        (ports[index, "down"], upper.y + upper.height / 2),
        (ports[index, "down"], upper.bottom),
        *((slot.x, y) for slot in chain for y in (slot.top, slot.bottom)),
        (ports[index, "up"], lower.top),
        (ports[index, "up"], lower.y - lower.height / 2),
    ]
    points = list(dict.fromkeys((round(x, 2), round(y, 2)) for x, y in points))
    labelled = chain[-1] if back else chain[0]
    return EdgeRoute(tuple(reversed(points)) if back else tuple(points), (labelled.x, labelled.y), back)
