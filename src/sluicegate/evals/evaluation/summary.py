"""Metrics over rows: each with its interval, in total and per slice; compared with another evaluation.

Rates have Wilson's interval, everything else the bootstrap's (`intervals`). Rows to which a metric does not apply are
left out of it, so every figure names its own n.
"""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sluicegate.errors import ConfigError, Problem, nearest
from sluicegate.evals.evaluation.intervals import Estimate, bootstrap, bootstrap_rows, rate
from sluicegate.evals.evaluation.result_store import Row
from sluicegate.routing.calibration.calibration import ece

__all__ = [
    "FIGURES",
    "Figure",
    "FigureChange",
    "FigureThreshold",
    "as_json",
    "compare",
    "models_of",
    "parse_threshold",
    "stand_ins",
    "summarise",
]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the report."""

    title: str
    metric: str
    kind: Literal["rate", "mean", "p50", "p95", "ece"]
    better: Literal["higher", "lower", ""]
    unit: Literal["share", "usd", "seconds", "number"] = "share"
    inverted: bool = False
    """The rate of rows that do not have the metric."""


FIGURES: Mapping[str, Figure] = {
    "correct": Figure("everything expected of the result", "correct", "rate", "higher"),
    "intent_accuracy": Figure("right intent", "intent_right", "rate", "higher"),
    "calibration_error": Figure("expected calibration error of the intent", "intent_right", "ece", "lower"),
    "path_accuracy": Figure("expected path", "path_right", "rate", "higher"),
    "facts_found": Figure("expected facts in the answer", "facts_found", "mean", "higher"),
    "answer_exact": Figure("answer equal to the expected one", "answer_exact", "rate", "higher"),
    "answer_contains": Figure("answer that contains the expected one", "answer_contains", "rate", "higher"),
    "answer_similarity": Figure("answer similar to the expected one", "answer_similarity", "mean", "higher", "number"),
    "judged": Figure("judged right by the admitted judge", "judged", "rate", "higher"),
    "tool_right": Figure("expected tool call", "tool_right", "rate", "higher"),
    "grounded": Figure("grounded answers", "grounded", "rate", "higher"),
    "checks_passed": Figure("answers that passed their checks", "checks_passed", "rate", "higher"),
    "citation_precision": Figure("cited documents that were expected", "citation_precision", "mean", "higher"),
    "citation_recall": Figure("expected documents that were cited", "citation_recall", "mean", "higher"),
    "must_refuse_answered": Figure("answered when it must refuse", "must_refuse_answered", "rate", "lower"),
    "must_answer_refused": Figure("refused when it must answer", "must_answer_refused", "rate", "lower"),
    "unknown_answered": Figure("answered what no document supports", "unknown_answered", "rate", "lower"),
    "escalation_rate": Figure("called the large model", "without_llm", "rate", "", inverted=True),
    "approval_rate": Figure("waited for a person", "without_human", "rate", "", inverted=True),
    "failure_rate": Figure("runs that failed", "failed", "rate", "lower"),
    "latency_p50": Figure("median seconds", "seconds", "p50", "lower", "seconds"),
    "latency_p95": Figure("95th percentile of seconds", "seconds", "p95", "lower", "seconds"),
    "usd": Figure("paid per request", "usd", "mean", "lower", "usd"),
    "list_usd": Figure("list price per request", "list_usd", "mean", "lower", "usd"),
}
"""Every figure of a report, in its order."""

_KINDS: Mapping[str, Callable[[Floats], Any]] = {
    "mean": lambda values: values.mean(axis=-1),
    "p50": lambda values: np.quantile(values, 0.5, axis=-1),
    "p95": lambda values: np.quantile(values, 0.95, axis=-1),
}


def summarise(rows: Sequence[Row]) -> dict[str, dict[str, Estimate]]:
    """By slice (``all`` first, then by size), the figures that have rows."""
    slices: dict[str, list[Row]] = {}
    for row in rows:
        for name in row.slices:
            slices.setdefault(name, []).append(row)
    ordered = sorted(slices.items(), key=lambda item: (-len(item[1]), item[0]))
    return {name: _figures(members) for name, members in [("all", list(rows)), *ordered]}


def _figures(rows: Sequence[Row]) -> dict[str, Estimate]:
    found = {name: _estimate(figure, rows) for name, figure in FIGURES.items()}
    return {name: estimate for name, estimate in found.items() if estimate}


def _estimate(figure: Figure, rows: Sequence[Row]) -> Estimate | None:
    values = [row.metrics[figure.metric] for row in rows if figure.metric in row.metrics]
    if figure.inverted:
        values = [1 - value for value in values]
    if figure.kind == "rate":
        return rate(values)
    if figure.kind == "ece":
        pairs = [
            (row.metrics["confidence"], row.metrics["intent_right"])
            for row in rows
            if {"confidence", "intent_right"} <= row.metrics.keys()
        ]
        return bootstrap_rows(np.array(pairs, float), lambda drawn: ece(drawn[:, 0], drawn[:, 1] > 0.5))
    return bootstrap(np.array(values, float), _KINDS[figure.kind])


@dataclass(frozen=True, slots=True)
class FigureChange:
    """A metric now and before; `difference` is over the rows that both have, paired."""

    now: float
    before: float
    difference: Estimate | None
    """Now minus before; None for metrics that are not means of rows (percentiles, calibration)."""


def compare(now: Sequence[Row], before: Sequence[Row]) -> dict[str, FigureChange]:
    """The figures that both evaluations have."""
    ours, theirs = _figures(now), _figures(before)
    earlier = {row.case: row for row in before}
    found: dict[str, FigureChange] = {}
    for name in ours.keys() & theirs.keys():
        figure, difference = FIGURES[name], None
        if figure.kind in ("rate", "mean"):
            sign = -1 if figure.inverted else 1
            pairs = [
                sign * (row.metrics[figure.metric] - earlier[row.case].metrics[figure.metric])
                for row in now
                if row.case in earlier and figure.metric in row.metrics and figure.metric in earlier[row.case].metrics
            ]
            difference = bootstrap(np.array(pairs, float))
        found[name] = FigureChange(ours[name].value, theirs[name].value, difference)
    return {name: found[name] for name in FIGURES if name in found}


@dataclass(frozen=True, slots=True)
class FigureThreshold:
    """A metric that an evaluation must reach, such as ``correct>=0.8``."""

    name: str
    sign: str
    value: float

    def holds(self, figures: Mapping[str, Estimate]) -> bool:
        """A figure without rows does not hold."""
        found = figures.get(self.name)
        return found is not None and _SIGNS[self.sign](found.value, self.value)

    def __str__(self) -> str:
        return f"{self.name}{self.sign}{self.value:g}"


_SIGNS: Mapping[str, Callable[[float, float], bool]] = {">=": operator.ge, "<=": operator.le}


def parse_threshold(text: str) -> FigureThreshold:
    """Raises `ConfigError` SG107 (not of the form), SG122 (no such figure)."""
    found = re.fullmatch(r"\s*([a-z_0-9]+)\s*(>=|<=)\s*(\d+(?:\.\d+)?)\s*", text)
    if not found:
        raise ConfigError([Problem("SG107", f"threshold {text!r} does not have the form NAME>=VALUE or NAME<=VALUE")])
    name, sign, value = found.groups()
    if name not in FIGURES:
        raise ConfigError(
            [Problem("SG122", f"unknown metric {name!r}", choices=tuple(FIGURES), suggestion=nearest(name, FIGURES))]
        )
    return FigureThreshold(name, sign, float(value))


def as_json(summary: Mapping[str, Mapping[str, Estimate]]) -> dict[str, Any]:
    return {part: {name: asdict(figure) for name, figure in figures.items()} for part, figures in summary.items()}


def models_of(rows: Sequence[Row]) -> dict[str, int]:
    """The models that really answered, with the number of rows."""
    counts: dict[str, int] = {}
    for row in rows:
        if row.model:
            counts[row.model] = counts.get(row.model, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def stand_ins(rows: Sequence[Row]) -> int:
    """Rows whose answer is of another model than the one asked for."""
    return sum(bool(row.fallback) for row in rows)
