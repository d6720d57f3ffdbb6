"""Plots as SVG text: cost against quality, a forest of differences, bounds on their way. Self-contained; no script.

Every mark has a title.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from sluicegate.evals.promotion.sequences import Bounds
from sluicegate.learning.plotting import COLOURS, drawing, line, polyline, text

__all__ = ["Point", "cost_quality_plot", "forest_plot", "sequence_plot"]


_LONGEST = 34
"""Characters of a name beside a plot; its mark's title has all."""


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
        marks.append(line(left, y(share), width - 20, y(share), faint=True))
        marks.append(text(left - 8, y(share) + 4, f"{share:.0%}", "end"))
        marks.append(text(x(step_cost * step), height - bottom + 20, f"{step_cost * step:.3g}", "middle"))
    for number, point in enumerate(points):
        colour = COLOURS[number % len(COLOURS)]
        said = f"{point.name}: {quality} {point.quality:.1%} ({point.low:.1%} to {point.high:.1%}), "
        said += f"{cost} {point.cost:.6g}"
        marks.append(line(x(point.cost), y(point.low), x(point.cost), y(point.high), colour=colour))
        marks.append(
            f'<circle cx="{x(point.cost):.1f}" cy="{y(point.quality):.1f}" r="6" fill="{colour}">'
            f"<title>{escape(said)}</title></circle>"
        )
        at, beside = y(point.quality) + 4, x(point.cost) + 10
        while any(abs(at - up) < 13 and abs(beside - along) < 80 for along, up in taken):
            at += 13
        taken.append((beside, at))
        marks.append(text(beside, at, point.name, "start"))
    marks.append(text((left + width - 110) / 2, height - 8, cost, "middle"))
    marks.append(text(8, 16, quality, "start"))
    return drawing(width, height, marks, f"{quality} against {cost}")


def _round_step(least: float) -> float:
    """The smallest of 1, 2, 2.5 and 5 times a power of ten that is at least `least`."""
    unit = 10.0 ** math.floor(math.log10(least))
    return next(times * unit for times in (1, 2, 2.5, 5, 10) if times * unit >= least)


def forest_plot(rows: Sequence[tuple[str, Bounds, float]], *, title: str) -> str:
    """One line per row: name, bounds of a difference, the value they must be above (dashed)."""
    width, left, row_height, ends = 760, 290, 22, 140
    height = 40 + row_height * len(rows)
    reach = max([0.02, *(max(abs(b.mean), abs(least)) for _, b, least in rows)])
    reach = min(1.0, max(reach * 2, *(min(max(abs(b.low), abs(b.high)), reach * 4) for _, b, _ in rows), 0.05))

    def x(value: float) -> float:
        return left + (min(max(value, -reach), reach) + reach) / (2 * reach) * (width - left - ends)

    marks = [line(x(0), 10, x(0), height - 24, faint=True)]
    marks += [text(x(value), height - 6, f"{value:+.2f}", "middle") for value in (-reach, 0.0, reach)]
    for number, (name, bounds, least) in enumerate(rows):
        y = 20 + row_height * number
        colour = COLOURS[2] if bounds.low > least else COLOURS[1] if bounds.high < least else COLOURS[0]
        said = f"{bounds.mean:+.3f} ({bounds.low:+.3f}, {bounds.high:+.3f})"
        short = name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"
        marks.append(text(8, y + 4, f"{short} · n={bounds.n}", "start"))
        marks.append(line(x(least), y - 9, x(least), y + 9, faint=True, dashed=True))
        marks.append(line(x(bounds.low), y, x(bounds.high), y, colour=colour))
        marks.append(
            f'<rect x="{x(bounds.mean) - 4:.1f}" y="{y - 4}" width="8" height="8" fill="{colour}">'
            f"<title>{escape(name)}: {said}</title></rect>"
        )
        marks.append(text(width - ends + 8, y + 4, f"{bounds.mean:+.3f}", "start"))
    return drawing(width, height, marks, title)


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
    marks = [
        f'<polygon points="{" ".join(band)}" fill="{COLOURS[0]}" opacity="0.25"/>',
        polyline([(x(b.n), y(b.mean)) for b in steps], COLOURS[0]),
        line(left, y(least), width - 20, y(least), colour=COLOURS[1], dashed=True),
        line(left, y(0), width - 20, y(0), faint=True),
        *(text(left - 6, y(value) + 4, f"{value:+.2f}", "end") for value in (-reach, 0.0, reach)),
        *(text(x(n), height - 18, f"{n:,}", "middle") for n in {steps[0].n, steps[len(steps) // 2].n, steps[-1].n}),
        text((left + width) / 2, height - 3, "pairs", "middle"),
    ]
    return drawing(width, height, marks, title)
