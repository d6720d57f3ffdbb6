"""Plots of a router's report as SVG, and a page that holds them with the tables."""

import html
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sluicegate.extras import fitting
from sluicegate.learning import plotting
from sluicegate.learning.threshold import upper_bound

__all__ = ["cost_quality_svg", "drift_svg", "page", "reliability_svg"]

BLUE, GREY, RED = "#2b6cb0", "#a0aec0", "#c53030"


def reliability_svg(bins: Sequence[Mapping[str, float]], *, threshold: float | None = None, title: str) -> str:
    """The reliability diagram: accuracy by mean confidence of each bin, over the share of rows in it.

    Bars show the 95 % interval of each bin's accuracy (Clopper-Pearson): a bin of few rows may be off by chance.
    """
    left, top, wide, high, below = 56, 34, 420, 260, 70
    width, height = left + wide + 24, top + high + 40 + below + 42
    floor = height - 42

    def x(value: float) -> float:
        return left + value * wide

    def y(value: float) -> float:
        return top + (1 - value) * high

    marks = [
        plotting.text(left, 16, "accuracy", "start"),
        plotting.line(x(0), y(0), x(1), y(1), faint=True, dashed=True),
    ]
    marks.append(plotting.text(x(1) - 4, y(0) - 8, "dashes: perfect calibration", "end"))
    for step in range(5):
        share = step / 4
        marks += [
            plotting.line(x(0), y(share), x(1), y(share), faint=True),
            plotting.text(left - 8, y(share) + 4, f"{share:g}", "end"),
        ]
        marks.append(plotting.text(x(share), floor + 18, f"{share:g}", "middle"))
    marks += _threshold_line(threshold, x, top, floor)
    total = sum(each["count"] for each in bins) or 1
    most = max((each["count"] for each in bins), default=1)
    for each in bins:
        count, at = int(each["count"]), x(each["confidence"])
        hits = round(each["accuracy"] * count)
        # exact at 97.5 % from either side; the lower end by symmetry
        low, above = 1 - upper_bound(count - hits, count, 0.975), upper_bound(hits, count, 0.975)
        said = (
            f"confidence {each['confidence']:.2f}: {each['accuracy']:.0%} right of {count} ({low:.0%} to {above:.0%})"
        )
        marks.append(plotting.line(at, y(low), at, y(above), colour=plotting.COLOURS[0]))
        marks.append(
            f'<circle cx="{at:.1f}" cy="{y(each["accuracy"]):.1f}" r="5" fill="{plotting.COLOURS[0]}">'
            f"<title>{html.escape(said)}</title></circle>"
        )
        tall = below * count / most
        marks.append(_bar(x(each["low"]) + 1, x(each["high"]) - 1, floor, tall, f"{count / total:.0%} of the rows"))
    marks.append(plotting.text(left - 8, floor - below + 10, f"{most / total:.0%}", "end"))
    marks.append(plotting.text(left, floor - below - 8, "share of rows", "start"))
    marks.append(plotting.text(x(0.5), height - 6, "confidence", "middle"))
    return plotting.drawing(width, height, marks, title)


def cost_quality_svg(
    curve: Sequence[Sequence[float]],
    *,
    weak: float,
    strong: float,
    reached: Mapping[float, float] | None = None,
    title: str,
) -> str:
    """Accuracy by share of calls to the large model, with what chance would give.

    `reached`: the share of calls that recovers a share of the gap, such as ``{0.5: 0.24}``.
    """
    figure, (axis,) = _figure(1)
    axis.plot([share for share, _ in curve], [accuracy for _, accuracy in curve], color=BLUE, label="router")
    axis.plot([0, 1], [weak, strong], color=GREY, linestyle="--", label="random")
    floor, ceiling = axis.get_ylim()
    for gap, share in (reached or {}).items():
        height = weak + gap * (strong - weak)
        axis.plot([0, share, share], [height, height, floor], color=RED, linestyle=":", linewidth=1)
        said = f"{gap:.0%} of the gap with {share:.0%} of the calls"
        axis.annotate(said, (share, height), (-6, 3), textcoords="offset points", ha="right", color=RED, fontsize=8)
    axis.set(
        xlabel="share of calls to the large model",
        ylabel="accuracy",
        xlim=(0, 1),
        ylim=(floor, ceiling),
        title=title,
    )
    axis.legend(loc="lower right", frameon=False)
    return _svg(figure)


def drift_svg(
    days: Sequence[Mapping[str, Any]], *, threshold: float | None, boundary: str | None = None, title: str
) -> str:
    """Mean confidence and out-of-scope rate by day: rows with `day`, `confidence`, `outside`.

    `boundary` is the first day of the later window.
    """
    left, top, wide, high, below = 56, 34, 600, 190, 80
    width, height = left + wide + 24, top + high + 36 + below + 44
    floor, step = height - 44, wide / max(1, len(days))
    most = max([0.05, *(float(day["outside"]) for day in days)])

    def x(number: float) -> float:
        return left + (number + 0.5) * step

    def y(value: float) -> float:
        return top + (1 - value) * high

    marks = [
        plotting.text(left, 16, "mean confidence", "start"),
        plotting.text(left, floor - below - 8, "out of scope", "start"),
    ]
    for share in (0.0, 0.5, 1.0):
        marks += [
            plotting.line(left, y(share), left + wide, y(share), faint=True),
            plotting.text(left - 8, y(share) + 4, f"{share:g}", "end"),
        ]
    marks += [
        plotting.line(left, floor, left + wide, floor, faint=True),
        plotting.text(left - 8, floor - below + 10, f"{most:.0%}", "end"),
    ]
    if threshold is not None and threshold <= 1:
        marks.append(
            plotting.line(left, y(threshold), left + wide, y(threshold), colour=plotting.COLOURS[1], dashed=True)
        )
        marks.append(plotting.text(left + 4, y(threshold) + (14 if threshold > 0.15 else -5), "threshold", "start"))
    # some days are named, or nobody can read any
    every = max(1, -(-len(days) // 7))
    for number, day in enumerate(days):
        tall = below * float(day["outside"]) / most
        said = (
            f"{day['day']}: confidence {day['confidence']:.2f}, {day['outside']:.1%} out of scope, {day['rows']} runs"
        )
        marks.append(
            f'<circle cx="{x(number):.1f}" cy="{y(day["confidence"]):.1f}" r="4" fill="{plotting.COLOURS[0]}">'
            f"<title>{html.escape(said)}</title></circle>"
            + _bar(x(number) - step * 0.35, x(number) + step * 0.35, floor, tall, said)
        )
        if number % every == 0:
            marks.append(plotting.text(x(number), floor + 18, str(day["day"]), "middle"))
    marks.append(
        plotting.polyline([(x(number), y(day["confidence"])) for number, day in enumerate(days)], plotting.COLOURS[0])
    )
    after = next((number for number, day in enumerate(days) if boundary is not None and day["day"] >= boundary), 0)
    if after:
        marks += [
            plotting.line(x(after - 0.5), top, x(after - 0.5), floor),
            plotting.text(x(after - 0.5) + 5, top + 12, "later window", "start"),
        ]
    return plotting.drawing(width, height, marks, title)


def _bar(left: float, right: float, floor: float, tall: float, said: str) -> str:
    return (
        f'<rect x="{left:.1f}" y="{floor - tall:.1f}" width="{right - left:.1f}" height="{tall:.1f}" opacity="0.45">'
        f"<title>{html.escape(said)}</title></rect>"
    )


def _threshold_line(threshold: float | None, x: Callable[[float], float], top: float, bottom: float) -> list[str]:
    """None for a threshold that no confidence reaches."""
    if threshold is None or threshold > 1:
        return []
    line = plotting.line(x(threshold), top, x(threshold), bottom, colour=plotting.COLOURS[1], dashed=True)
    beside, anchor = (-5, "end") if threshold > 0.25 else (5, "start")
    return [line, plotting.text(x(threshold) + beside, top + 12, "threshold", anchor)]


def page(
    title: str, figures: Mapping[str, Any], tables: Mapping[str, Sequence[Mapping[str, Any]]], svgs: Sequence[str]
) -> str:
    """One HTML page without scripts or outside files: figures, plots, tables."""
    parts = [f"<h1>{html.escape(title)}</h1>", _table([{"figure": k, "value": v} for k, v in figures.items()])]
    parts += svgs
    for name, rows in tables.items():
        parts += [f"<h2>{html.escape(name)}</h2>", _table(rows)]
    style = (
        "body{font:15px system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem}svg{max-width:100%;height:auto}"
        "table{border-collapse:collapse}td,th{padding:.2rem .8rem;text-align:left;border-bottom:1px solid #e2e8f0}"
        "td{font-variant-numeric:tabular-nums}"
    )
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{style}</style>'
    return f"<!doctype html><html><head>{head}</head><body>{''.join(parts)}</body></html>\n"


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "<p>none</p>"
    head = "".join(f"<th>{html.escape(str(name))}</th>" for name in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{_cell(value)}</td>" for value in row.values()) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else html.escape(str(value))


def _figure(rows: int, ratios: Sequence[int] = (1,)) -> tuple[Any, Any]:
    figure = fitting("matplotlib.figure").Figure(figsize=(6, 5), layout="constrained")
    axes = figure.subplots(rows, 1, squeeze=False, height_ratios=list(ratios))
    return figure, [row[0] for row in axes]


def _svg(figure: Any) -> str:
    written = io.StringIO()
    # the same figures give the same file
    with fitting("matplotlib").rc_context({"svg.hashsalt": "sluicegate", "svg.fonttype": "none"}):
        figure.savefig(written, format="svg", metadata={"Date": None})
    text = written.getvalue()
    return text[text.index("<svg") :]
