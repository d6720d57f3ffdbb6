"""Shadows and evaluations of a home, as pages show them."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sluicegate.errors import ShadowNotFoundError
from sluicegate.evals.evaluation.result_store import KeptEvaluation, ResultStore, Row
from sluicegate.evals.evaluation.summary import FigureChange, compare
from sluicegate.evals.promotion.champions import ServedVersion, history
from sluicegate.evals.shadow.judging import Judged, judge, promote
from sluicegate.evals.shadow.pairs import PairStore, Registration
from sluicegate.evals.shadow.status import ShadowStatus, status_of
from sluicegate.graphs.config.load import Workflow
from sluicegate.home import home
from sluicegate.observe.tracing.storing.shared import open_store

__all__ = ["Compared", "RowDifference", "compared", "judged", "kept_evaluations", "promoted", "shadow", "shadows"]

_COLUMNS = ("status", "path", "intent", "model")


@dataclass(frozen=True, slots=True)
class RowDifference:
    """A row of which two evaluations tell different things."""

    now: Row
    before: Row
    changed: Sequence[str]
    """Of the status, path, intent, model and ``correct``, what is not the same."""

    @property
    def better(self) -> bool | None:
        """Whether it became correct; None when that did not change, or nobody knows."""
        now, before = (row.metrics.get("correct") for row in (self.now, self.before))
        return None if now is None or before is None or now == before else now > before


@dataclass(frozen=True, slots=True)
class Compared:
    """An evaluation beside the last one before it on the same requests."""

    evaluation: KeptEvaluation
    rows: Sequence[Row]
    before: Mapping[str, Any] | None
    """As `ResultStore.last` gives it."""
    changes: Mapping[str, FigureChange]
    differences: Sequence[RowDifference]
    """Those that became wrong come first."""


def kept_evaluations(workflow: str) -> list[KeptEvaluation]:
    """The newest first."""
    with closing(ResultStore()) as store:
        return store.evaluations(workflow)


def compared(number: int) -> Compared:
    """The last ones are kept: an evaluation does not change. Raises `RunError` SG603."""
    key = home(), number
    if key not in _compared:
        found = _compare(number)
        while len(_compared) >= _KEPT:
            _compared.pop(next(iter(_compared)), None)
        _compared[key] = found
    return _compared[key]


_compared: dict[tuple[Path, int], Compared] = {}
_KEPT = 8


def _compare(number: int) -> Compared:
    with closing(ResultStore()) as store:
        evaluation, rows = store.evaluation(number)
        before = store.last(
            evaluation.workflow, evaluation.variant, [row.case for row in rows],
            other_than=evaluation.under, before=number,
        )  # fmt: skip
    if before is None:
        return Compared(evaluation, rows, None, {}, [])
    theirs: dict[str, Row] = {row.case: row for row in before["rows"]}
    shared = [row for row in rows if row.case in theirs]
    found = [_difference(row, theirs[row.case]) for row in shared]
    differences = sorted((each for each in found if each.changed), key=lambda each: _ORDER[each.better])
    return Compared(evaluation, rows, before, compare(shared, [theirs[row.case] for row in shared]), differences)


_ORDER = {False: 0, True: 1, None: 2}


def _difference(now: Row, before: Row) -> RowDifference:
    changed = [name for name in _COLUMNS if getattr(now, name) != getattr(before, name)]
    if now.metrics.get("correct") != before.metrics.get("correct"):
        changed.append("correct")
    return RowDifference(now, before, changed)


def shadows(workflow: str) -> list[ShadowStatus]:
    """The newest first."""
    with closing(PairStore()) as pairs:
        return [status_of(at, pairs) for at in pairs.all() if at.workflow == workflow]


def shadow(number: int) -> Registration:
    """Raises `RunError` SG617."""
    with closing(PairStore()) as pairs:
        return _one(number, pairs)


def judged(champion: Workflow, number: int) -> Judged:
    """The decision on a shadow of the workflow that serves; the last ones are kept until something has come of them.

    Raises `RunError` SG617, and as `judge` does.
    """
    with closing(PairStore()) as pairs:
        at, served = _one(number, pairs), history(champion.name)
        state = (pairs.count(number), sum(pairs.shed(number).values()), champion.digest, len(served))
        known = _judged.get((home(), number))
        if known and known[0] == state:
            return known[1]
        with closing(open_store()) as store:
            found = judge(champion, at, pairs, store)
    while len(_judged) >= _KEPT:
        _judged.pop(next(iter(_judged)), None)
    _judged[home(), number] = state, found
    return found


_judged: dict[tuple[Path, int], tuple[tuple[Any, ...], Judged]] = {}


def promoted(champion: Workflow, number: int, *, by: str, note: str, serving: int) -> ServedVersion:
    """Promote the challenger of a shadow on the decision of this moment. Raises as `promote` and `judged` do."""
    found = judged(champion, number)
    with closing(PairStore()) as pairs:
        return promote(found, pairs, by=by, note=note, serving=serving)


def _one(number: int, pairs: PairStore) -> Registration:
    found = next((at for at in pairs.all() if at.number == number), None)
    if found is None:
        raise ShadowNotFoundError("no such shadow", hint="Start one: sluicegate shadow start")
    return found
