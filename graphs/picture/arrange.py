"""Where the parts of a picture go: one layout from top to bottom, or bands from left to right for a large workflow.

From top to bottom the labels of branches stand side by side, which makes a workflow of 65 nodes seven screens wide. A
larger one is cut into bands of a bounded width, one below the other, each laid out from left to right. A branch
that leads out of its band, back, or to a node that very many lead to, ends in a reference to its target.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sluicegate.graphs.picture.layout import (
    Box,
    EdgeRoute,
    Layout,
    LayoutEdge,
    Point,
    back_links,
    lay_out,
    layers_of,
)

__all__ = ["LARGE", "WIDEST", "Arrangement", "arrange", "reference_size"]

LARGE = 25
"""Nodes up to which a workflow is drawn as one layout from top to bottom."""
WIDEST = 1500.0
"""Of a band, in pixels, unless one step with its labels is wider."""
BAND_GAP = 56.0
POPULAR = 6
"""Branches into a node from which on they end in references."""
_STEP_GAP = 72.0
"""Between two columns of nodes, beside the labels: an estimate for cutting."""
_REFERENCE = "→ "


@dataclass(frozen=True, slots=True)
class Arrangement:
    layout: Layout
    sideways: bool
    """Edges lead from left to right."""
    references: tuple[tuple[str, Box], ...] = ()
    """Targets' names, and where each stands for its node."""
    separators: tuple[float, ...] = ()
    """Heights at which a new band begins."""


def arrange(sizes: Mapping[str, tuple[float, float]], links: Sequence[LayoutEdge], start: str) -> Arrangement:
    """Place nodes of the given sizes and route the links between them, in their order."""
    if len(sizes) <= LARGE:
        return Arrangement(lay_out(sizes, links, start), sideways=False)
    back = back_links(sizes, links, start)
    layer_of = layers_of(sizes, links, back)
    band_of = _bands(sizes, links, layer_of)
    incoming = Counter(link.target for link in links)
    boxes: dict[str, Box] = {}
    routes: dict[int, EdgeRoute] = {}
    references: list[tuple[str, Box]] = []
    separators: list[float] = []
    top = width = 0.0
    for band in range(max(band_of.values()) + 1):
        own = {name: size for name, size in sizes.items() if band_of[name] == band}
        indexes = [index for index, link in enumerate(links) if link.source in own]
        inner: list[LayoutEdge] = []
        shown = dict(own)
        for index in indexes:
            link = links[index]
            leaves = link.target not in own or incoming[link.target] >= POPULAR
            if leaves or index in back or link.target == link.source:
                # one reference for all branches of a node to the same target
                name = _name(link)
                shown[name] = reference_size(link.target)
                link = LayoutEdge(link.source, name, link.label_width, link.label_height)
            inner.append(link)
        first = min(own, key=lambda name: layer_of[name])
        laid = _sideways(lay_out(_swapped(shown), [_turned(link) for link in inner], first))
        for name, box in laid.boxes.items():
            placed = Box(box.x, box.y + top, box.width, box.height)
            if name in own:
                boxes[name] = placed
            else:
                references.append((next(link.target for link in links if name == _name(link)), placed))
        for index, route in zip(indexes, laid.routes, strict=True):
            points = tuple((x, y + top) for x, y in route.points)
            routes[index] = EdgeRoute(points, (route.label[0], route.label[1] + top), route.back)
        width, top = max(width, laid.width), top + laid.height + BAND_GAP
        separators.append(top - BAND_GAP / 2)
    layout = Layout(width, top - BAND_GAP, boxes, tuple(routes[index] for index in range(len(links))))
    return Arrangement(layout, sideways=True, references=tuple(references), separators=tuple(separators[:-1]))


def reference_size(target: str) -> tuple[float, float]:
    """Width and height of a reference to a node."""
    return len(target) * 7.2 + 40, 24.0


def _name(link: LayoutEdge) -> str:
    return f"{_REFERENCE}{link.source} {link.target}"


def _bands(
    sizes: Mapping[str, tuple[float, float]], links: Sequence[LayoutEdge], layer_of: Mapping[str, int]
) -> dict[str, int]:
    """Consecutive layers, as many in a band as fit into `WIDEST`."""
    nodes, labels = [0.0] * (max(layer_of.values()) + 1), [0.0] * (max(layer_of.values()) + 1)
    for name, (wide, _) in sizes.items():
        nodes[layer_of[name]] = max(nodes[layer_of[name]], wide)
    for link in links:
        labels[layer_of[link.source]] = max(labels[layer_of[link.source]], link.label_width)
    reference = max(reference_size(name)[0] for name in sizes)
    band, used, band_at = 0, 0.0, list[int]()
    for wide, label in zip(nodes, labels, strict=True):
        if used and used + wide + label + reference > WIDEST:
            band, used = band + 1, 0.0
        used += wide + label + _STEP_GAP
        band_at.append(band)
    return {name: band_at[layer] for name, layer in layer_of.items()}


def _swapped(sizes: Mapping[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    return {name: (high, wide) for name, (wide, high) in sizes.items()}


def _turned(link: LayoutEdge) -> LayoutEdge:
    return LayoutEdge(link.source, link.target, link.label_height, link.label_width)


def _sideways(layout: Layout) -> Layout:
    """A layout from top to bottom as one from left to right."""

    def turned(point: Point) -> Point:
        return point[1], point[0]

    boxes = {name: Box(box.y, box.x, box.height, box.width) for name, box in layout.boxes.items()}
    routes = tuple(
        EdgeRoute(tuple(map(turned, route.points)), turned(route.label), route.back) for route in layout.routes
    )
    return Layout(layout.height, layout.width, boxes, routes)
