"""An evaluation as an HTML page and as JUnit XML."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any
from xml.etree import ElementTree

from sluicegate.evals.evaluation.intervals import Estimate
from sluicegate.evals.evaluation.result_store import Row
from sluicegate.evals.evaluation.summary import (
    FIGURES,
    FigureChange,
    FigureThreshold,
    compare,
    models_of,
    stand_ins,
    summarise,
)
from sluicegate.evals.report.figures import Point, cost_quality_plot
from sluicegate.evals.report.html import document, folded, section, table

__all__ = [
    "BASELINE_HEAD",
    "SLICE_HEAD",
    "Report",
    "baseline_rows",
    "before_note",
    "estimate",
    "html",
    "junit",
    "notes_of",
    "points",
    "shown",
    "slice_rows",
    "wrong_rows",
]

_BASELINE_FIGURES = ("correct", "escalation_rate", "list_usd", "usd", "latency_p50", "must_refuse_answered")

_SLICE_FIGURES = ("correct", "intent_accuracy", "escalation_rate", "approval_rate", "latency_p50")


@dataclass(frozen=True, slots=True)
class Report:
    """All that one evaluation has to say."""

    workflow: str
    version: str
    digest: str
    data: str
    """The file of labelled requests."""
    data_hash: str
    rows: Mapping[str, Sequence[Row]]
    """By variant; ``workflow`` is always there."""
    thresholds: Sequence[FigureThreshold] = ()
    before: Mapping[str, Any] | None = None
    """The last evaluation of another version on rows of the same data, as `ResultStore.last` gives it."""

    @property
    def own(self) -> Sequence[Row]:
        return self.rows["workflow"]

    @property
    def nothing_ran(self) -> bool:
        """Every run failed, which says nothing about how good the workflow is."""
        return all(row.error for row in self.own)

    def failed_thresholds(self) -> list[FigureThreshold]:
        figures = summarise(self.own)["all"]
        return [threshold for threshold in self.thresholds if not threshold.holds(figures)]

    def changes(self) -> dict[str, FigureChange]:
        """Against the last evaluation, of the rows that both have."""
        if not self.before:
            return {}
        theirs = {row.case: row for row in self.before["rows"]}
        shared = [row for row in self.own if row.case in theirs]
        return compare(shared, [theirs[row.case] for row in shared])


def shown(name: str, value: float, *, signed: bool = False) -> str:
    """A figure's value for people."""
    unit = FIGURES[name].unit
    sign = "-" if value < 0 else "+" if signed else ""
    if unit == "share":
        return f"{sign}{abs(value):.1%}"
    if unit == "usd":
        return f"{sign}${abs(value):.6f}"
    return f"{sign}{abs(value):.3f}" + (" s" if unit == "seconds" else "")


def estimate(name: str, found: Estimate) -> str:
    return f"{shown(name, found.value)} ({shown(name, found.low)} to {shown(name, found.high)})"


def baseline_rows(report: Report) -> list[list[str]]:
    """What the routing saves and what it costs: one line per variant, in the order of `BASELINE_HEAD`."""
    lines: list[list[str]] = []
    for variant, rows in report.rows.items():
        figures = summarise(rows)["all"]
        cells = [estimate(name, figures[name]) if name in figures else "-" for name in _BASELINE_FIGURES]
        change = None if variant == "workflow" else compare(report.own, rows).get("correct")
        against = "-"
        if change and change.difference:
            d = change.difference
            against = f"{d.value:+.1%} ({d.low:+.1%} to {d.high:+.1%})"
        lines.append([variant, *cells, against])
    return lines


SLICE_HEAD = ["slice (rows)", *_SLICE_FIGURES]
BASELINE_HEAD = ["variant", *(FIGURES[name].title for name in _BASELINE_FIGURES), "workflow is more often correct by"]


def points(report: Report) -> list[Point]:
    """Each variant's list price and share of right results."""
    found: list[Point] = []
    for variant, rows in report.rows.items():
        figures = summarise(rows)["all"]
        if {"correct", "list_usd"} <= figures.keys():
            right = figures["correct"]
            found.append(Point(variant, figures["list_usd"].value * 1000, right.value, right.low, right.high))
    return found


def before_note(report: Report) -> str:
    """Which evaluation it is compared with, and over how many rows."""
    assert report.before
    found, rows = report.before, len(report.own)
    shared = "the same rows" if found["shared"] == rows else f"{found['shared']} of the {rows} rows"
    return f"version {found['digest'][:12]} on {shared}, {found['at'][:16].replace('T', ' ')} UTC"


def wrong_rows(report: Report) -> list[Row]:
    """The workflow's own rows that failed or are not correct."""
    return [row for row in report.own if row.error or row.metrics.get("correct") == 0.0]


def slice_rows(report: Report) -> list[list[str]]:
    """Each slice with its rows and the values of `_SLICE_FIGURES`, the largest slice first."""
    return [
        [f"{part} ({max(found.n for found in named.values())})"]
        + [shown(name, named[name].value) if name in named else "-" for name in _SLICE_FIGURES]
        for part, named in summarise(report.own).items()
        if part != "all"
    ]


def notes_of(report: Report) -> list[str]:
    """What a reader must know to read the figures rightly."""
    notes: list[str] = []
    for variant, rows in report.rows.items():
        who = ", ".join(f"{model} ({count})" for model, count in models_of(rows).items()) or "no model"
        notes.append(f"{variant}: answers written by {who}.")
        if standing := stand_ins(rows):
            notes.append(
                f"{variant}: in {standing} of {len(rows)} rows a fallback answered for a model that could not be "
                "reached; quality and latency are the stand-in's, the list price is the absent model's."
            )
        if (most := max(row.at_once for row in rows)) > 1:
            notes.append(f"{variant}: up to {most} concurrent runs, so times are longer than those of a single run.")
        if broken := [row.error for row in rows if row.error]:
            notes.append(f"{variant}: {len(broken)} of {len(rows)} runs failed, the first with: {broken[0]}")
    if len(report.rows) == 2:
        notes.append("all-llm was not run: the workflow has no model of the role llm.")
    if len(report.own) < 100:
        notes.append(f"{len(report.own)} rows: the intervals are wide, and those of slices wider still.")
    return notes


def html(report: Report) -> str:
    summary = summarise(report.own)
    figures = [
        [name, FIGURES[name].title, estimate(name, found), str(found.n), found.by]
        for name, found in summary["all"].items()
    ]
    failed = {str(threshold) for threshold in report.failed_thresholds()}
    gates = [[str(threshold), "! failed" if str(threshold) in failed else "+ held"] for threshold in report.thresholds]
    parts = [f"<p>{report.workflow} {report.version}, digest {report.digest[:12]}, {len(report.own)} rows</p>"]
    parts.append(section("Thresholds", table(["threshold", ""], gates)))
    if len(report.rows) > 1:
        found = points(report)
        axes = {"cost": "dollars per 1,000 requests, list price", "quality": "correct"}
        plot = cost_quality_plot(found, **axes) if found else ""
        parts.append(section("Savings and cost of routing", table(BASELINE_HEAD, baseline_rows(report)), plot))
    parts.append(section("Notes", *(f"<p>{escape(note)}</p>" for note in notes_of(report))))
    parts.append(section("Metrics, 95 % intervals", table(["figure", "", "value", "rows", "interval by"], figures)))
    if changes := _changes(report):
        said = f"<p>Previous: {escape(before_note(report))}.</p>"
        parts.append(section("Compared with the last evaluation on this data", said, changes))
    slices = [
        folded(part, table(["figure", "", "value", "rows"], [
            [name, FIGURES[name].title, estimate(name, found), str(found.n)] for name, found in named.items()
        ]))
        for part, named in summary.items() if part != "all"
    ]  # fmt: skip
    parts.append(section("Slices", table(SLICE_HEAD, slice_rows(report)), *slices))
    wrong = [
        [row.text[:120], row.status, row.intent, row.path, row.answer[:240] or row.error[:240], row.run]
        for row in wrong_rows(report)
    ]
    parts.append(section("Incorrect", table(["request", "status", "intent", "path", "answer", "run"], wrong)))
    return document(f"Evaluation of {report.workflow} on {report.data}", parts)


def _changes(report: Report) -> str:
    lines: list[list[str]] = []
    for name, change in report.changes().items():
        difference = change.difference
        said = "-"
        if difference:
            said = f"{shown(name, difference.value, signed=True)} ({shown(name, difference.low, signed=True)} to "
            said += f"{shown(name, difference.high, signed=True)})"
            better = FIGURES[name].better
            up, down = difference.low > 0, difference.high < 0
            if better and (up or down):
                said = ("+ " if (up if better == "higher" else down) else "! ") + said
        lines.append([name, shown(name, change.before), shown(name, change.now), said])
    return table(["metric", "previous", "now", "paired difference"], lines)


def junit(report: Report) -> str:
    """One test case per row that expects something, and one per threshold."""
    suite = ElementTree.Element("testsuite", name=f"sluicegate eval {report.workflow}")
    counts = {"tests": 0, "failures": 0, "errors": 0}

    def case(name: str, seconds: float = 0.0, *, failure: str = "", error: str = "") -> None:
        counts["tests"] += 1
        item = ElementTree.SubElement(
            suite, "testcase", classname=report.workflow, name=_printable(name), time=f"{seconds:.3f}"
        )
        for kind, said in (("failure", failure), ("error", error)):
            if said:
                counts[kind + "s"] += 1
                ElementTree.SubElement(item, kind, message=_printable(said))

    for row in report.own:
        wrong = row.metrics.get("correct") == 0.0 or row.metrics.get("intent_right") == 0.0
        said = f"{row.status}, intent {row.intent}, path {row.path}: {row.answer[:200]}" if wrong else ""
        case(f"{row.text[:100]} [{row.case[:8]}]", row.metrics.get("seconds", 0.0), failure=said, error=row.error)
    failed = {str(threshold) for threshold in report.failed_thresholds()}
    for threshold in report.thresholds:
        case(str(threshold), failure="missed" if str(threshold) in failed else "")
    for key, value in counts.items():
        suite.set(key, str(value))
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _printable(text: str) -> str:
    """XML 1.0 has no place for control characters."""
    return "".join(max(letter, " ") for letter in text)
