"""Plots as SVG text: cost against quality, a forest of differences, bounds on their way. Self-contained; no script.

Colours are the page's text colour and three that are told apart without colour vision; every mark has a title.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from sluicegate.evals.promotion.sequences import Bounds

__all__ = ["Point", "cost_quality_plot", "forest_plot", "sequence_plot"]

_COLOURS = ("#0072b2", "#d55e00", "#009e73")


@dataclass(frozen=True, slots=True)
class Point:
    """One variant: its cost and its quality, with the quality's interval."""

    name: str
    cost: float
    quality: float
    low: float
    high: float


def cost_quality_plot(points: Sequence[Point], *, cost: str, quality: str) -> str:
    """Quality upwards, cost to the right."""
    width, height, left, bottom, top = 640, 360, 70, 50, 40
    step_cost = _round_step(max((point.cost for point in points), default=0) * 1.1 / 4 or 0.25)
    top_cost = 4 * step_cost
    floor = math.floor(min((point.low for point in points), default=0) * 10) / 10

    def x(value: float) -> float:
        return left + value / top_cost * (width - left - 110)

    def y(value: float) -> float:
        return top + (1 - value) / (1 - floor or 1) * (height - bottom - top)

    marks: list[str] = []
    taken: list[tuple[float, float]] = []
    for step in range(5):
        share = floor + (1 - floor) * step / 4
        marks.append(_line(left, y(share), width - 20, y(share), faint=True))
        marks.append(_text(left - 8, y(share) + 4, f"{share:.0%}", "end"))
        marks.append(_text(x(step_cost * step), height - bottom + 20, f"{step_cost * step:.3g}", "middle"))
    for number, point in enumerate(points):
        colour = _COLOURS[number % len(_COLOURS)]
        said = f"{point.name}: {quality} {point.quality:.1%} ({point.low:.1%} to {point.high:.1%}), "
        said += f"{cost} {point.cost:.6g}"
        marks.append(_line(x(point.cost), y(point.low), x(point.cost), y(point.high), colour=colour))
        marks.append(
            f'<circle cx="{x(point.cost):.1f}" cy="{y(point.quality):.1f}" r="6" fill="{colour}">'
            f"<title>{escape(said)}</title></circle>"
        )
        at, beside = y(point.quality) + 4, x(point.cost) + 10
        while any(abs(at - up) < 13 and abs(beside - along) < 80 for along, up in taken):
            at += 13
        taken.append((beside, at))
        marks.append(_text(beside, at, point.name, "start"))
    marks.append(_text((left + width - 110) / 2, height - 8, cost, "middle"))
    marks.append(_text(8, 16, quality, "start"))
    return _svg(width, height, marks, f"{quality} against {cost}")


def _round_step(least: float) -> float:
    """The smallest of 1, 2, 2.5 and 5 times a power of ten that is at least `least`."""
    unit = 10.0 ** math.floor(math.log10(least))
    return next(times * unit for times in (1, 2, 2.5, 5, 10) if times * unit >= least)


def forest_plot(rows: Sequence[tuple[str, Bounds, float]], *, title: str) -> str:
    """One line per row: name, bounds of a difference, the value they must be above (dashed)."""
    width, left, line, ends = 760, 290, 22, 140
    height = 40 + line * len(rows)
    reach = max([0.02, *(max(abs(b.mean), abs(least)) for _, b, least in rows)])
    reach = min(1.0, max(reach * 2, *(min(max(abs(b.low), abs(b.high)), reach * 4) for _, b, _ in rows), 0.05))

    def x(value: float) -> float:
        return left + (min(max(value, -reach), reach) + reach) / (2 * reach) * (width - left - ends)

    marks = [_line(x(0), 10, x(0), height - 24, faint=True)]
    marks += [_text(x(value), height - 6, f"{value:+.2f}", "middle") for value in (-reach, 0.0, reach)]
    for number, (name, bounds, least) in enumerate(rows):
        y = 20 + line * number
        colour = _COLOURS[2] if bounds.low > least else _COLOURS[1] if bounds.high < least else _COLOURS[0]
        said = f"{bounds.mean:+.3f} ({bounds.low:+.3f}, {bounds.high:+.3f})"
        marks.append(_text(8, y + 4, f"{name} · n={bounds.n}", "start"))
        marks.append(_line(x(least), y - 9, x(least), y + 9, faint=True, dashed=True))
        marks.append(_line(x(bounds.low), y, x(bounds.high), y, colour=colour))
        marks.append(
            f'<rect x="{x(bounds.mean) - 4:.1f}" y="{y - 4}" width="8" height="8" fill="{colour}">'
            f"<title>{escape(name)}: {said}</title></rect>"
        )
        marks.append(_text(width - ends + 8, y + 4, f"{bounds.mean:+.3f}", "start"))
    return _svg(width, height, marks, title)


def sequence_plot(steps: Sequence[Bounds], least: float, *, title: str) -> str:
    """The bounds as they stood after each number of pairs (logarithmic), and the value the lower one must pass."""
    width, height, left, bottom = 640, 260, 60, 40
    if not steps:
        return ""
    reach = max(0.05, abs(least) * 2, *(min(1.0, max(abs(b.low), abs(b.high))) for b in steps[len(steps) // 3 :]))
    first, last = math.log(steps[0].n), math.log(max(steps[-1].n, steps[0].n + 1))

    def x(n: int) -> float:
        return left + (math.log(n) - first) / (last - first) * (width - left - 20)

    def y(value: float) -> float:
        return 15 + (reach - min(max(value, -reach), reach)) / (2 * reach) * (height - bottom - 15)

    band = [f"{x(b.n):.1f},{y(b.high):.1f}" for b in steps] + [f"{x(b.n):.1f},{y(b.low):.1f}" for b in reversed(steps)]
    middle = " ".join(f"{x(b.n):.1f},{y(b.mean):.1f}" for b in steps)
    marks = [
        f'<polygon points="{" ".join(band)}" fill="{_COLOURS[0]}" opacity="0.25"/>',
        f'<polyline points="{middle}" fill="none" stroke="{_COLOURS[0]}" stroke-width="2"/>',
        _line(left, y(least), width - 20, y(least), colour=_COLOURS[1], dashed=True),
        _line(left, y(0), width - 20, y(0), faint=True),
        *(_text(left - 6, y(value) + 4, f"{value:+.2f}", "end") for value in (-reach, 0.0, reach)),
        *(_text(x(n), height - 18, f"{n:,}", "middle") for n in {steps[0].n, steps[len(steps) // 2].n, steps[-1].n}),
        _text((left + width) / 2, height - 3, "pairs", "middle"),
    ]
    return _svg(width, height, marks, title)


def _svg(width: int, height: int, marks: Sequence[str], title: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="12" fill="currentColor"><title>{escape(title)}</title>'
        + "".join(marks)
        + "</svg>"
    )


def _line(
    x1: float,
    y1: float,
    x2: float,
    y2: float,
    *,
    colour: str = "currentColor",
    faint: bool = False,
    dashed: bool = False,
) -> str:
    style = f'stroke="{colour}" stroke-width="{1 if faint else 2}"'
    style += ' opacity="0.4"' if faint else ""
    style += ' stroke-dasharray="4 3"' if dashed else ""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {style}/>'


def _text(x: float, y: float, said: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(said)}</text>'
