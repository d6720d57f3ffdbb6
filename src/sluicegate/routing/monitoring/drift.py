"""Whether requests have changed since the router was fitted: confidence, label mix and out-of-scope rate over time.

Three tests on two windows of classified runs, and for each a size of effect beside the p-value, because with enough
runs every difference is significant. Confidence: population stability index over the deciles of the earlier window
(above .1 some, above .2 much; Siddiqi 2006, "Credit Risk Scorecards", chapter 9) and the two-sample Kolmogorov-
Smirnov test. Label mix: chi-squared test of homogeneity with Cramér's V. Out-of-scope rate: Fisher's exact test.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sluicegate.errors import InsufficientDataError
from sluicegate.extras import fitting

__all__ = ["LEAST", "Drift", "Window", "by_day", "drift", "psi", "window_of"]

LEAST = 50
"""Minimum runs in a window for a test."""
SIGNIFICANT = 0.01


@dataclass(frozen=True, slots=True)
class Window:
    """What was classified in a period of time."""

    confidence: NDArray[np.floating]
    labels: list[str]
    outside: int
    """How many were out of scope."""
    needs_large: NDArray[np.floating]
    """The probability that it needs the large model, of those that have one."""

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class Drift:
    """The metrics, and a sentence for each that is worth a warning."""

    before: int
    after: int
    psi: float
    ks: float
    ks_p: float
    mean_before: float
    mean_after: float
    label_v: float
    """Cramér's V of the label mix, 0 to 1."""
    label_p: float
    oos_before: float
    oos_after: float
    oos_p: float
    needs_large_psi: float | None
    """Of the probability that the large model is needed; None where a window has too few."""
    moved: list[dict[str, Any]]
    """The labels whose share changed most."""
    warnings: list[str]

    def plain(self) -> dict[str, Any]:
        return asdict(self)


def window_of(rows: Sequence[Mapping[str, Any]], *, out_of_scope: str | None) -> Window:
    """A window from rows with `confidence` and `intent`, as the store gives them."""
    labels = [str(row["intent"]) for row in rows]
    confidence = np.array([float(row["confidence"]) for row in rows], float)
    needs = np.array([float(row["needs_large"]) for row in rows if row.get("needs_large") is not None], float)
    return Window(confidence, labels, sum(label == out_of_scope for label in labels), needs)


def psi(before: NDArray[np.floating], after: NDArray[np.floating], bins: int = 10) -> float:
    """Population stability index over the quantiles of `before`; empty bins count as half a row."""
    edges = np.unique(np.quantile(before, np.linspace(0, 1, bins + 1))[1:-1])
    counts = [
        np.bincount(np.searchsorted(edges, part, side="right"), minlength=len(edges) + 1) for part in (before, after)
    ]
    old, new = (np.maximum(count, 0.5) / max(count.sum(), 1) for count in counts)
    return float(((new - old) * np.log(new / old)).sum())


def drift(before: Window, after: Window) -> Drift:
    """Compare two windows. Raises `ModelError` SG313 when one has fewer than `LEAST` runs."""
    stats = fitting("scipy.stats")
    for name, window in (("earlier", before), ("later", after)):
        if len(window) < LEAST:
            raise InsufficientDataError(
                f"{len(window)} classified runs in the {name} window; a drift test needs at least {LEAST}",
                hint="Wait for more runs, or move the boundary with --since",
            )
    tested = stats.ks_2samp(before.confidence, after.confidence)
    index = psi(before.confidence, after.confidence)
    v, label_p = _mix(before.labels, after.labels)
    table = [[before.outside, len(before) - before.outside], [after.outside, len(after) - after.outside]]
    oos_p = float(stats.fisher_exact(table)[1])
    rates = before.outside / len(before), after.outside / len(after)
    warnings: list[str] = []
    if index > 0.2 or (tested.pvalue < SIGNIFICANT and tested.statistic > 0.1):
        warnings.append(
            f"confidence moved from {before.confidence.mean():.2f} to {after.confidence.mean():.2f} on average "
            f"(PSI {index:.2f}): calibrate again"
        )
    if label_p < SIGNIFICANT and v > 0.1:
        warnings.append(f"the label mix changed (Cramér's V {v:.2f}): the threshold was proved on a different mix")
    if oos_p < SIGNIFICANT and abs(rates[1] - rates[0]) > 0.02:
        warnings.append(f"out of scope went from {rates[0]:.1%} to {rates[1]:.1%}")
    needs = (before.needs_large, after.needs_large)
    needs_psi = psi(*needs) if min(map(len, needs)) >= LEAST else None
    if needs_psi is not None and needs_psi > 0.2:
        warnings.append(
            f"the probability that the large model is needed moved from {needs[0].mean():.2f} to {needs[1].mean():.2f} "
            f"on average (PSI {needs_psi:.2f}): its threshold no longer meets its target; fit the escalation again"
        )
    return Drift(
        before=len(before),
        after=len(after),
        psi=index,
        ks=float(tested.statistic),
        ks_p=float(tested.pvalue),
        mean_before=float(before.confidence.mean()),
        mean_after=float(after.confidence.mean()),
        label_v=v,
        label_p=label_p,
        oos_before=rates[0],
        oos_after=rates[1],
        oos_p=oos_p,
        needs_large_psi=needs_psi,
        moved=_moved(before.labels, after.labels),
        warnings=warnings,
    )


def _mix(before: Sequence[str], after: Sequence[str]) -> tuple[float, float]:
    """Cramér's V and the p-value of the chi-squared test; rare labels are taken together."""
    stats = fitting("scipy.stats")
    old, new = Counter(before), Counter(after)
    # the test wants five expected rows in each cell
    frequent = [
        label
        for label in {**old, **new}
        if (old[label] + new[label]) * min(len(before), len(after)) >= 5 * (len(before) + len(after))
    ]
    columns = [[old[label], new[label]] for label in frequent]
    rest = [len(before) - sum(c[0] for c in columns), len(after) - sum(c[1] for c in columns)]
    if sum(rest):
        columns.append(rest)
    if len(columns) < 2:
        return 0.0, 1.0
    found = stats.chi2_contingency(np.array(columns).T)
    return float(np.sqrt(found.statistic / (len(before) + len(after)))), float(found.pvalue)


def _moved(before: Sequence[str], after: Sequence[str], most: int = 10) -> list[dict[str, Any]]:
    old, new = Counter(before), Counter(after)
    shares: list[dict[str, Any]] = [
        {"label": label, "before": old[label] / len(before), "after": new[label] / len(after)}
        for label in sorted({*old, *new})
    ]
    return sorted(shares, key=lambda row: -abs(row["after"] - row["before"]))[:most]


def by_day(rows: Sequence[Mapping[str, Any]], *, out_of_scope: str | None) -> list[dict[str, Any]]:
    """Mean confidence and out-of-scope rate of each day (UTC), from rows with `started_ns`, `confidence`, `intent`."""
    days: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        day = datetime.fromtimestamp(row["started_ns"] / 1e9, UTC).date().isoformat()
        days.setdefault(day, []).append(row)
    return [
        {
            "day": day,
            "rows": len(of_day),
            "confidence": sum(float(row["confidence"]) for row in of_day) / len(of_day),
            "outside": sum(row["intent"] == out_of_scope for row in of_day) / len(of_day),
        }
        for day, of_day in sorted(days.items())
    ]
