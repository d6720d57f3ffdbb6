"""Plots of a router's report as SVG, and a page that holds them with the tables."""

import html
import io
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["cost_quality_svg", "drift_svg", "page", "reliability_svg"]

BLUE, GREY, RED = "#2b6cb0", "#a0aec0", "#c53030"


def reliability_svg(bins: Sequence[Mapping[str, float]], *, title: str) -> str:
    """The reliability diagram: accuracy by confidence, over the share of rows in each bin."""
    figure, (top, bottom) = _figure(2, ratios=[3, 1])
    middles = [(b["low"] + b["high"]) / 2 for b in bins]
    widths = [b["high"] - b["low"] for b in bins]
    total = sum(b["count"] for b in bins) or 1
    top.bar(middles, [b["accuracy"] for b in bins], width=widths, color=BLUE, edgecolor="white", label="accuracy")
    top.plot([0, 1], [0, 1], color=GREY, linestyle="--", label="perfectly calibrated")
    top.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1), title=title)
    top.legend(loc="upper left", frameon=False)
    bottom.bar(middles, [b["count"] / total for b in bins], width=widths, color=GREY, edgecolor="white")
    bottom.set(xlabel="confidence", ylabel="share", xlim=(0, 1))
    return _svg(figure)


def cost_quality_svg(curve: Sequence[Sequence[float]], *, weak: float, strong: float, title: str) -> str:
    """Accuracy by share of calls to the large model, with what chance would give."""
    figure, (axis,) = _figure(1)
    axis.plot(
        [share for share, _ in curve], [accuracy for _, accuracy in curve], color=BLUE, marker="o", label="router"
    )
    axis.plot([0, 1], [weak, strong], color=GREY, linestyle="--", label="by chance")
    axis.set(xlabel="share of calls to the large model", ylabel="accuracy", xlim=(0, 1), title=title)
    axis.legend(loc="lower right", frameon=False)
    return _svg(figure)


def drift_svg(days: Sequence[Mapping[str, Any]], *, threshold: float | None, title: str) -> str:
    """Mean confidence and out-of-scope rate by day: rows with `day`, `confidence`, `outside`."""
    figure, (top, bottom) = _figure(2, ratios=[2, 1])
    names = [str(row["day"]) for row in days]
    top.plot(names, [row["confidence"] for row in days], color=BLUE, marker="o", label="mean confidence")
    if threshold is not None and threshold <= 1:
        top.axhline(threshold, color=RED, linestyle="--", label="threshold")
    top.set(ylabel="confidence", ylim=(0, 1), title=title)
    top.legend(loc="lower left", frameon=False)
    bottom.bar(names, [row["outside"] for row in days], color=GREY)
    bottom.set(ylabel="out of scope")
    bottom.tick_params(axis="x", rotation=45)
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
    style = "body{font:15px system-ui;max-width:60rem;margin:2rem auto}td,th{padding:.2rem .8rem;text-align:left}"
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{style}</style>'
    return f"<!doctype html><html><head>{head}</head><body>{''.join(parts)}</body></html>\n"


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "<p>none</p>"
    head = "".join(f"<th>{html.escape(str(name))}</th>" for name in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{_cell(value)}</td>" for value in row.values()) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else html.escape(str(value))


def _figure(rows: int, ratios: Sequence[int] = (1,)) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=(6, 5), layout="constrained")
    axes = figure.subplots(rows, 1, squeeze=False, height_ratios=list(ratios))
    return figure, [row[0] for row in axes]


def _svg(figure: Any) -> str:
    import matplotlib as mpl

    written = io.StringIO()
    # the same figures give the same file
    with mpl.rc_context({"svg.hashsalt": "sluicegate", "svg.fonttype": "none"}):
        figure.savefig(written, format="svg", metadata={"Date": None})
    text = written.getvalue()
    return text[text.index("<svg") :]
