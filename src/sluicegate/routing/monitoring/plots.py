"""Plots of a router's report as SVG, and a page that holds them with the tables."""

import html
import io
from collections.abc import Mapping, Sequence
from typing import Any

from sluicegate.extras import fitting

__all__ = ["cost_quality_svg", "drift_svg", "page", "reliability_svg"]

BLUE, GREY, RED = "#2b6cb0", "#a0aec0", "#c53030"


def reliability_svg(bins: Sequence[Mapping[str, float]], *, threshold: float | None = None, title: str) -> str:
    """The reliability diagram: accuracy by mean confidence of each bin, over the share of rows in it.

    Bars show the 95 % interval of each bin's accuracy (Clopper-Pearson): a bin of few rows may be off by chance.
    """
    beta = fitting("scipy.stats").beta
    figure, (top, bottom) = _figure(2, ratios=[3, 1])
    counts = [int(b["count"]) for b in bins]
    hits = [round(b["accuracy"] * b["count"]) for b in bins]
    low = [float(beta.ppf(0.025, k, n - k + 1)) if k else 0.0 for k, n in zip(hits, counts, strict=True)]
    high = [float(beta.ppf(0.975, k + 1, n - k)) if k < n else 1.0 for k, n in zip(hits, counts, strict=True)]
    accuracy = [b["accuracy"] for b in bins]
    spread = [
        [max(0.0, mean - least) for mean, least in zip(accuracy, low, strict=True)],
        [max(0.0, most - mean) for mean, most in zip(accuracy, high, strict=True)],
    ]
    total = sum(counts) or 1
    top.plot([0, 1], [0, 1], color=GREY, linestyle="--", label="perfect calibration")
    top.errorbar(
        [b["confidence"] for b in bins],
        accuracy,
        yerr=spread,
        color=BLUE,
        marker="o",
        capsize=3,
        linewidth=1.2,
        label="measured, 95 % interval",
    )
    if threshold is not None and threshold <= 1:
        for axis in (top, bottom):
            axis.axvline(threshold, color=RED, linestyle=":", label="threshold" if axis is top else None)
    top.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.02), title=title)
    top.legend(loc="upper left", frameon=False)
    middles = [(b["low"] + b["high"]) / 2 for b in bins]
    widths = [b["high"] - b["low"] for b in bins]
    bottom.bar(middles, [n / total for n in counts], width=widths, color=GREY, edgecolor="white")
    bottom.set(xlabel="confidence", ylabel="share of rows", xlim=(0, 1))
    return _svg(figure)


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
    figure, (top, bottom) = _figure(2, ratios=[2, 1])
    names = [str(row["day"]) for row in days]
    places = list(range(len(days)))
    top.plot(places, [row["confidence"] for row in days], color=BLUE, marker="o", markersize=4, label="mean confidence")
    if threshold is not None and threshold <= 1:
        top.axhline(threshold, color=RED, linestyle="--", label="threshold")
    bottom.bar(places, [row["outside"] for row in days], color=GREY)
    after = next((place for place, name in enumerate(names) if boundary is not None and name >= boundary), 0)
    if after:
        for axis in (top, bottom):
            axis.axvline(after - 0.5, color="black", linewidth=0.8)
        top.annotate("later window", (after - 0.4, 0.97), va="top", fontsize=8)
    top.set(ylabel="confidence", ylim=(0, 1), title=title)
    top.legend(loc="lower left", frameon=False)
    bottom.set(ylabel="out of scope", ylim=(0, None))
    # some days are named, or nobody can read any
    shown = places[:: max(1, -(-len(places) // 8))]
    for axis in (top, bottom):
        axis.set(xlim=(-0.7, len(days) - 0.3), xticks=shown)
    bottom.set_xticklabels([names[place] for place in shown], rotation=30, ha="right")
    top.tick_params(axis="x", labelbottom=False)
    return _svg(figure)


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
