"""A workflow's graph as a picture: self-contained SVG, or Mermaid text for pages that render it.

A flow of more than `arrange.LARGE` nodes is drawn in bands from left to right, of a bounded width.

The SVG uses nothing from outside (no fonts, scripts or links), follows the reader's light or dark theme, and is the
same bytes for the same flow.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias
from xml.sax.saxutils import escape, quoteattr

from sluicegate.graphs.picture.arrange import arrange
from sluicegate.graphs.picture.layout import Box, EdgeRoute, Layout, LayoutEdge, Point
from sluicegate.graphs.proofs.flow import ON_ERROR, Edge, Flow, FlowNode

__all__ = ["Taken", "css", "mermaid", "svg"]

Taken: TypeAlias = "Sequence[str | Mapping[str, Any]]"
"""The path of a run: node names in order, or the entries of its trail (`sluicegate.state.TrailEntry`)."""

NAME_WIDTH = 8.6
"""Of one letter of a node's name, 14 px bold, rounded up over the usual system fonts."""
KIND_WIDTH = 6.7
"""Of one letter at 11 px in a monospaced font."""
LINE = 15.0
MARGIN = 28.0
WRAP = 30
"""Letters after which a condition is wrapped, at an ``&&`` or ``||``."""
LONGEST = 46
"""Letters of a line before it is cut; the whole condition is in the edge's tooltip."""
VALUE = "▸ "
"""Starts the line of a label with the values that a condition read."""

ROLES: Mapping[str, tuple[str, str, str]] = {
    "classifies": ("understands", "#7c3aed", "#a78bfa"),
    "tags": ("tags", "#a21caf", "#e879f9"),
    "decides-policy": ("decides policy", "#b45309", "#fbbf24"),
    "looks-up": ("looks up", "#4d7c0f", "#a3e635"),
    "retrieves": ("retrieves", "#0e7490", "#22d3ee"),
    "generates": ("generates", "#1d4ed8", "#60a5fa"),
    "calls-tool": ("calls a tool", "#be185d", "#f472b6"),
    "checks": ("checks", "#15803d", "#4ade80"),
    "asks-human": ("asks a person", "#c2410c", "#fb923c"),
    "ends": ("ends", "#334155", "#cbd5e1"),
    "": ("other step", "#57534e", "#a8a29e"),
}
"""Per effect: the legend's word, and the colour on light and on dark ground."""


def svg(
    flow: Flow,
    *,
    title: str,
    taken: Taken = (),
    current: str | None = None,
    notes: Mapping[str, str] | None = None,
    values: Mapping[tuple[str, str], str] | None = None,
    styled: bool = True,
) -> str:
    """Draw a flow. `taken` is highlighted, `current` is ringed, `notes` are written into the nodes they name.

    `values` are written beside the branch taken from one node to another: what its condition read. `styled` False
    leaves heading and style sheet to the page that the picture stands in, where `css` is.
    """
    said, seen = notes or {}, values or {}
    visited, travelled = _way(flow, taken)
    edges = [(node, order, edge) for node in flow.nodes.values() for order, edge in enumerate(node.drawn)]
    labels = [_label(node, order) for node, order, _ in edges]
    for lines, (node, order, edge) in zip(labels, edges, strict=True):
        if (node.name, order) in travelled and (node.name, edge.to) in seen:
            lines.append(VALUE + seen[node.name, edge.to])
    links = [
        LayoutEdge(node.name, edge.to, *_room(lines)) for (node, _, edge), lines in zip(edges, labels, strict=True)
    ]
    sizes = {name: _size(node, said.get(name, "")) for name, node in flow.nodes.items()}
    arrangement = arrange(sizes, links, flow.start)
    layout, sideways = arrangement.layout, arrangement.sideways

    legend, legend_width, legend_height = _legend(flow, bool(taken))
    # a page has a heading of its own
    top = MARGIN + (40 if styled else 8)
    width = max(layout.width, legend_width, len(title) * 10.5) + 2 * MARGIN
    height = top + layout.height + 36 + legend_height + MARGIN
    left = (width - layout.width) / 2
    drawn = [
        _edge(node, order, edge, route, lines, (node.name, order) in travelled, sideways=sideways)
        for (node, order, edge), route, lines in zip(edges, layout.routes, labels, strict=True)
    ]
    # the path taken is drawn on top
    drawn.sort(key=lambda text: "sg-taken" in text.partition(">")[0])
    return "\n".join(
        [
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" class="sg-flow" role="img" width="{_n(width)}" '
                f'height="{_n(height)}" viewBox="0 0 {_n(width)} {_n(height)}">'
            ),
            f"<title>{escape(title)}</title>",
            *([f"<style>{css()}</style>"] if styled else []),
            f'<rect class="sg-ground" width="{_n(width)}" height="{_n(height)}" rx="12"/>',
            *(
                [f'<text class="sg-title" x="{_n(MARGIN)}" y="{_n(MARGIN + 12)}">{escape(title)}</text>']
                if styled
                else []
            ),
            f'<g transform="translate({_n(left)} {_n(top)})">',
            *(f'<path class="sg-band" d="M0 {_n(height)}H{_n(layout.width)}"/>' for height in arrangement.separators),
            *_start(layout, flow.start, sideways=sideways),
            *drawn,
            *(_reference(flow.nodes[name], box) for name, box in arrangement.references),
            *(
                _node(node, layout.boxes[name], said.get(name, ""), name in visited, name == current, bool(visited))
                for name, node in flow.nodes.items()
            ),
            "</g>",
            f'<g transform="translate({_n(MARGIN)} {_n(top + layout.height + 36)})">',
            *legend,
            "</g>",
            "</svg>",
            "",
        ]
    )


def mermaid(flow: Flow, *, taken: Taken = (), current: str | None = None) -> str:
    """The flow as a Mermaid flowchart."""
    ids = {name: f"n{index}" for index, name in enumerate(flow.nodes)}
    visited, travelled = _way(flow, taken)
    lines = ["flowchart TD"]
    for name, node in flow.nodes.items():
        opening, closing = ("([", "])") if not node.edges else ("[[", "]]") if _is_double(node) else ("[", "]")
        limit = f"<br/>at most {node.max_visits}×" if node.max_visits is not None else ""
        lines.append(f'  {ids[name]}{opening}"{_mermaid(name)}<br/><i>{_mermaid(_kind(node))}</i>{limit}"{closing}')
    strong: list[str] = []
    count = 0
    for name, node in flow.nodes.items():
        for order, edge in enumerate(node.drawn):
            label = f'|"{_mermaid(" ".join(_label(node, order)))}"|' if node.said(order) else ""
            arrow = "-.->" if node.taken(order) == ON_ERROR else "-->"
            lines.append(f"  {ids[name]} {arrow}{label} {ids[edge.to]}")
            if (name, order) in travelled:
                strong.append(str(count))
            count += 1
    for effect, (_, colour, _) in ROLES.items():
        members = [ids[name] for name, node in flow.nodes.items() if _role(node) == effect]
        if members:
            style = f"role_{(effect or 'other').replace('-', '_')}"
            lines += [f"  classDef {style} stroke:{colour},stroke-width:2px", f"  class {','.join(members)} {style}"]
    if visited:
        lines += ["  classDef taken stroke-width:4px", f"  class {','.join(ids[name] for name in visited)} taken"]
    if current in ids:
        lines += ["  classDef current stroke-dasharray:6 3,stroke-width:4px", f"  class {ids[current]} current"]
    for number, one in enumerate(flow.waived):
        lines.append(f'  waived{number}["waived guarantee {_mermaid(one)}"]')
    if strong:
        lines.append(f"  linkStyle {','.join(strong)} stroke-width:4px")
    return "\n".join(lines) + "\n"


def _mermaid(text: str) -> str:
    # Mermaid's own character entities; HTML's would be shown as they stand
    return re.sub(r"[\"&<>#;|`]", lambda match: f"#{ord(match[0])};", text)


def _way(flow: Flow, taken: Taken) -> tuple[dict[str, None], set[tuple[str, int]]]:
    """The nodes and the branches (by node and order) of a run's path."""
    names = [step if isinstance(step, str) else str(step["node"]) for step in taken]
    visited = {name: None for name in names if name in flow.nodes}
    travelled: set[tuple[str, int]] = set()
    for index, step in enumerate(taken):
        node = flow.nodes.get(names[index])
        branch = None if isinstance(step, str) else step.get("branch")
        to = branch["to"] if branch else names[index + 1] if index + 1 < len(names) else None
        if node is None or to is None:
            continue
        fitting = [order for order, edge in enumerate(node.drawn) if edge.to == to]
        if branch:
            said = branch["condition"] or "otherwise"
            fitting = [order for order in fitting if (node.said(order) or "otherwise") == said] or fitting
        travelled |= {(node.name, order) for order in fitting[:1]}
    return visited, travelled


def _role(node: FlowNode) -> str:
    return next((effect for effect in ROLES if effect in node.effects), "" if node.edges else "ends")


def _label(node: FlowNode, order: int) -> list[str]:
    """A branch's label in lines; empty for an unconditional edge."""
    text = " ".join(node.said(order).split())
    if not text:
        return []
    lines = [""]
    for part in re.split(r"(?= (?:&&|\|\|) )", text) if len(text) > WRAP else [text]:
        if lines[-1] and len(lines[-1]) + len(part) > WRAP:
            lines.append(part.strip())
        else:
            lines[-1] += part
    return [line if len(line) <= LONGEST else line[: LONGEST - 1] + "…" for line in lines[:4]]


def _room(lines: list[str]) -> tuple[float, float]:
    if not lines:
        return 0.0, 0.0
    return max(map(len, lines)) * KIND_WIDTH + 34, len(lines) * LINE + 6


def _size(node: FlowNode, note: str) -> tuple[float, float]:
    width = max(len(node.name) * NAME_WIDTH, len(_subtitle(node)) * KIND_WIDTH, min(len(note), 40) * KIND_WIDTH) + 36
    return max(120.0, width), 48.0 + (LINE if note else 0)


def _is_double(node: FlowNode) -> bool:
    """Drawn with a second border: a run stops there for a person, or there is more within."""
    return _role(node) == "asks-human" or node.child is not None


def _kind(node: FlowNode) -> str:
    """A node's kind; of a workflow, which is drawn folded, with its name."""
    return f"{node.kind} {node.child.workflow}" if node.child else node.kind


def _subtitle(node: FlowNode) -> str:
    if node.max_visits is None:
        return _kind(node)
    return f"{_kind(node)} · at most {node.max_visits}×"


def _start(layout: Layout, start: str, *, sideways: bool) -> list[str]:
    box = layout.boxes[start]
    if sideways:
        x, y = box.x - box.width / 2, box.y
        dot, line, tip = (x - 20, y), f"M{_n(x - 15)} {_n(y)}H{_n(x - 7)}", (x, y)
    else:
        x, y = box.x, box.y - box.height / 2
        dot, line, tip = (x, y - 24), f"M{_n(x)} {_n(y - 19)}V{_n(y - 7)}", (x, y)
    return [
        (
            f'<g class="sg-edge"><circle class="sg-start" cx="{_n(dot[0])}" cy="{_n(dot[1])}" r="5"/>'
            f'<path d="{line}"/>{_arrow(tip, towards="right" if sideways else "down")}</g>'
        )
    ]


def _reference(node: FlowNode, box: Box) -> str:
    """What stands for a node that is drawn elsewhere."""
    x, y = box.x - box.width / 2, box.y - box.height / 2
    return (
        f'<g class="sg-node sg-reference sg-{_role(node) or "other"}">'
        f"{_rect('sg-box', x, y, box.width, box.height, box.height / 2)}"
        f'<text class="sg-kind" x="{_n(box.x)}" y="{_n(box.y + 4)}">→ {escape(node.name)}</text></g>'
    )


def _edge(
    node: FlowNode, order: int, edge: Edge, route: EdgeRoute, lines: list[str], taken: bool, *, sideways: bool
) -> str:
    marks = {" sg-error": node.taken(order) == ON_ERROR, " sg-back": route.back, " sg-taken": taken}
    classes = "sg-edge" + "".join(mark for mark, is_so in marks.items() if is_so)
    said = node.said(order) or "always"
    parts = [
        f'<g class="{classes}" data-from={quoteattr(node.name)} data-to={quoteattr(edge.to)}>',
        f"<title>{escape(f'{node.name} to {edge.to}: {said}')}</title>",
        f'<path d="{_path(route.points, sideways=sideways)}"/>',
    ]
    tip = route.points[-1]
    if sideways:
        parts.append(_arrow(tip, towards="left" if route.back else "right"))
    elif edge.to == node.name:
        parts.append(f'<path class="sg-arrow" d="M{_n(tip[0])} {_n(tip[1])}l8 -4.5v9z"/>')
    else:
        parts.append(_arrow(tip, towards="up" if route.back else "down"))
    if lines:
        parts += _edge_label(node, order, edge, route.label, lines)
    return "".join([*parts, "</g>"])


def _edge_label(node: FlowNode, order: int, edge: Edge, centre: Point, lines: list[str]) -> list[str]:
    width, height = _room(lines)
    x, y = centre
    numbered = len(node.edges) > 1 and order < len(node.edges)
    parts = [
        (
            f'<rect class="sg-label" x="{_n(x - width / 2 + 2)}" y="{_n(y - height / 2)}" width="{_n(width - 4)}" '
            f'height="{_n(height)}" rx="{_n(min(10.0, height / 2))}"/>'
        )
    ]
    left = x - width / 2 + 12
    first = y - (len(lines) - 1) * LINE / 2 + 4
    if numbered:
        parts.append(f'<text class="sg-order" x="{_n(left)}" y="{_n(first)}">{order + 1}</text>')
    style = "sg-condition" + (" sg-otherwise" if edge.condition is None else "")
    x = left + 14 if numbered else left + 5
    for index, line in enumerate(lines):
        shown = "sg-value" if line.startswith(VALUE) else style
        parts.append(f'<text class="{shown}" x="{_n(x)}" y="{_n(first + index * LINE)}">{escape(line)}</text>')
    return parts


def _node(node: FlowNode, box: Box, note: str, taken: bool, current: bool, faded: bool) -> str:
    role = _role(node)
    x, y = box.x - box.width / 2, box.y - box.height / 2
    classes = f"sg-node sg-{role or 'other'}"
    classes += " sg-taken" if taken else " sg-faded" if faded and not current else ""
    classes += " sg-current" if current else ""
    round_by = box.height / 2 if not node.edges else 10.0
    parts = [
        f'<g class="{classes}" data-node={quoteattr(node.name)}>',
        f"<title>{escape(f'{node.name}: {node.kind}')}</title>",
    ]
    if current:
        parts.append(_rect("sg-ring", x - 6, y - 6, box.width + 12, box.height + 12, round_by + 6))
    parts.append(_rect("sg-box", x, y, box.width, box.height, round_by))
    if _is_double(node):
        parts.append(_rect("sg-inner", x + 4, y + 4, box.width - 8, box.height - 8, 7.0))
    top = y + (20 if note else 21)
    parts.append(f'<text class="sg-name" x="{_n(box.x)}" y="{_n(top)}">{escape(node.name)}</text>')
    parts.append(f'<text class="sg-kind" x="{_n(box.x)}" y="{_n(top + LINE)}">{escape(_subtitle(node))}</text>')
    if note:
        shown = note if len(note) <= 40 else note[:39] + "…"
        parts.append(f'<text class="sg-note" x="{_n(box.x)}" y="{_n(top + 2 * LINE)}">{escape(shown)}</text>')
    return "".join([*parts, "</g>"])


def _rect(style: str, x: float, y: float, width: float, height: float, round_by: float) -> str:
    return (
        f'<rect class="{style}" x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(height)}" rx="{_n(round_by)}"/>'
    )


def _path(points: Sequence[Point], *, sideways: bool) -> str:
    """A smooth line that passes every point vertically, or horizontally where it leads sideways (a loop's points the
    other way)."""
    if sideways:
        points = [(y, x) for x, y in points]

    def at(x: float, y: float) -> str:
        return f"{_n(y)} {_n(x)}" if sideways else f"{_n(x)} {_n(y)}"

    (x, y), *rest = points
    parts = [f"M{at(x, y)}"]
    if rest[0][1] == y:
        (_, (far, top), (_, bottom), (end, last)) = points
        return f"{parts[0]}C{at(far + 8, top)} {at(far + 8, bottom)} {at(end + 7, last)}"
    for index, (to_x, to_y) in enumerate(rest):
        stop = to_y
        if index == len(rest) - 1:
            # leave space for the arrowhead
            stop += 7 if to_y < y else -7
        if to_x == x:
            parts.append(f"{'H' if sideways else 'V'}{_n(stop)}")
        else:
            middle = (y + to_y) / 2
            parts.append(f"C{at(x, middle)} {at(to_x, middle)} {at(to_x, stop)}")
        x, y = to_x, to_y
    return "".join(parts)


_ARROWS = {"down": "l-4.5 -8h9z", "up": "l-4.5 8h9z", "right": "l-8 -4.5v9z", "left": "l8 -4.5v9z"}


def _arrow(tip: Point, *, towards: str) -> str:
    return f'<path class="sg-arrow" d="M{_n(tip[0])} {_n(tip[1])}{_ARROWS[towards]}"/>'


def _legend(flow: Flow, taken: bool) -> tuple[list[str], float, float]:
    """The legend with its width and height: a row of the occurring roles."""
    used = [effect for effect in ROLES if any(_role(node) == effect for node in flow.nodes.values())]
    x, parts = 0.0, list[str]()
    for effect in used:
        word = ROLES[effect][0]
        parts.append(
            f'<g class="sg-node sg-{effect or "other"}"><rect class="sg-box" x="{_n(x)}" y="0" width="18" height="13" '
            f'rx="{6.5 if effect == "ends" else 4}"/>'
            f'<text class="sg-legend" x="{_n(x + 25)}" y="11">{word}</text></g>'
        )
        x += 25 + len(word) * 6.6 + 20
    second = "Branches are tried in numbered order; dashed edges go back."
    second += " Dotted edges are taken when a node fails." if any(node.on_error for node in flow.nodes.values()) else ""
    second += " The bold line is the path taken." if taken else ""
    lines = [second, *(f"Waived guarantee {one}" for one in flow.waived)]
    rows = enumerate(map(escape, lines))
    parts += [f'<text class="sg-legend" x="0" y="{36 + 18 * row}">{line}</text>' for row, line in rows]
    return parts, max(x, *(len(line) * 6.3 for line in lines)), 22.0 + 18 * len(lines)


def css() -> str:
    """The style sheet of every picture of `svg`, by the reader's light or dark theme."""
    light = {"ground": "#ffffff", "ink": "#0f172a", "soft": "#64748b", "line": "#94a3b8", "box": "#ffffff",
             "label": "#f1f5f9", "hot": "#dc2626"}  # fmt: skip
    dark = {"ground": "#0f172a", "ink": "#f1f5f9", "soft": "#94a3b8", "line": "#64748b", "box": "#1e293b",
            "label": "#1e293b", "hot": "#f87171"}  # fmt: skip
    fixed = (
        ".sg-flow text{font-family:system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif;font-size:12px}"
        ".sg-flow .sg-title{font-size:18px;font-weight:600}"
        ".sg-flow .sg-name{font-size:14px;font-weight:600;text-anchor:middle}"
        ".sg-flow .sg-kind,.sg-flow .sg-note{text-anchor:middle}"
        ".sg-flow .sg-kind,.sg-flow .sg-condition,.sg-flow .sg-order,.sg-flow .sg-value{font-size:11px;"
        "font-family:ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace}"
        ".sg-flow .sg-note{font-size:11px;font-style:italic}"
        ".sg-flow .sg-order{font-weight:700}.sg-flow .sg-otherwise{font-style:italic}"
        ".sg-flow .sg-edge path{fill:none;stroke-width:1.5}"
        ".sg-flow .sg-back path{stroke-dasharray:5 3}"
        ".sg-flow .sg-error path{stroke-dasharray:1 3;stroke-linecap:round}"
        ".sg-flow .sg-edge .sg-arrow{stroke:none}"
        ".sg-flow .sg-box{stroke-width:2}.sg-flow .sg-inner{fill:none;stroke-width:1}"
        ".sg-flow .sg-ring{fill:none;stroke-width:3;stroke-dasharray:7 4}"
        ".sg-flow .sg-edge.sg-taken path{stroke-width:3.5}.sg-flow .sg-node.sg-taken .sg-box{stroke-width:3.5}"
        ".sg-flow .sg-faded{opacity:.55}"
        ".sg-flow .sg-band{stroke-width:1;stroke-dasharray:2 6}.sg-flow .sg-reference .sg-box{stroke-width:1}"
    )
    return fixed + _colours(light, 1) + "@media (prefers-color-scheme:dark){" + _colours(dark, 2) + "}"


def _colours(ground: Mapping[str, str], column: int) -> str:
    rules = [
        f".sg-flow .sg-ground{{fill:{ground['ground']}}}",
        f".sg-flow text{{fill:{ground['ink']}}}",
        f".sg-flow .sg-kind,.sg-flow .sg-note,.sg-flow .sg-legend,.sg-flow .sg-order{{fill:{ground['soft']}}}",
        f".sg-flow .sg-edge path{{stroke:{ground['line']}}}",
        f".sg-flow .sg-band{{stroke:{ground['line']}}}",
        f".sg-flow .sg-edge .sg-arrow,.sg-flow .sg-start{{fill:{ground['line']}}}",
        f".sg-flow .sg-label{{fill:{ground['label']}}}",
        f".sg-flow .sg-box{{fill:{ground['box']}}}",
        f".sg-flow .sg-edge.sg-taken path{{stroke:{ground['hot']}}}",
        f".sg-flow .sg-edge.sg-taken .sg-arrow,.sg-flow .sg-value{{fill:{ground['hot']}}}",
        f".sg-flow .sg-ring{{stroke:{ground['hot']}}}",
    ]
    for effect, colours in ROLES.items():
        name = effect or "other"
        rules.append(f".sg-flow .sg-{name} .sg-box,.sg-flow .sg-{name} .sg-inner{{stroke:{colours[column]}}}")
        rules.append(f".sg-flow .sg-{name} .sg-name{{fill:{colours[column]}}}")
    return "".join(rules)


def _n(value: float) -> str:
    """A coordinate, to a tenth of a pixel."""
    return f"{round(value, 1) + 0.0:.1f}".removesuffix(".0")
