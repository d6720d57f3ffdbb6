"""Fit the injection detector on labelled rows, from nothing or from a model that is there.

A text is seen as the guard sees it: in windows, in every reading (see `disguises`). All of a harmless text's parts are
harmless; of an attack, the part that looks worst counts, found by turns (multiple-instance learning, Andrews et al.
2003). Weights have a Gaussian prior around those of the model that is continued, so a team's rows move it as far as
they have evidence for; it is wider for n-grams that are more frequent in attacks than in harmless texts, or less (see
`_spread`). Figures by kind and source are of fits that had not seen the row: neither its source, because
attacks of a new source look different, or, beside that, of its source only what is unlike it (see `likeness`).

The threshold is proved on harmless rows that are fitted by nothing: at most `error` of such rows are flagged, with
probability `confidence` (see `learning.threshold`). It is proved for short texts and for long ones apart, since a long
text has many parts that may be scored too high.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sluicegate.errors import InsufficientDataError
from sluicegate.extras import fitting
from sluicegate.learning.contrast import log_count_ratio
from sluicegate.learning.threshold import least_rows, strength
from sluicegate.policies.guards.injection.disguises import Reading, squeeze
from sluicegate.policies.guards.injection.likeness import clusters
from sluicegate.policies.guards.injection.model import Model
from sluicegate.policies.guards.injection.ngrams import COLUMNS, ngrams
from sluicegate.policies.guards.injection.steering import FEATURES, features
from sluicegate.policies.guards.injection.windows import is_long, parts
from sluicegate.policies.guards.measure import load_rows

__all__ = [
    "Apart",
    "FalsePositiveBound",
    "TrainingRow",
    "Unseen",
    "apart",
    "examples",
    "figures",
    "fit_model",
    "scores",
]

Floats = NDArray[np.floating]

SIGNS = len(FEATURES)
WIDTH = COLUMNS + SIGNS + 1 + SIGNS

FOLDS = 5
APART = 0.2
"""Share of the harmless rows that is kept for the proof."""
ROUNDS = 2
STRENGTH = 300.0
"""C of the logistic regression."""
SIGN_SCALE = 0.2
"""How much less a sign counts than an n-gram before it is weighed, and so how much more it is regularised.

With 30 and 0.5 the signs, of which many are on in harmless prompts for role-play, take the place of words that tell
those from jailbreaks: 2 to 5 points fewer of attacks are found where as many look-alikes are flagged, if the source is
known. On sources left out there is no difference.
"""
LEAST_SPREAD = 0.1
"""Of the prior of an n-gram that is equally frequent in both, before all are scaled."""
SMOOTHING = 5.0
"""Added to the counts of which the ratio is taken. With one, as is usual, the words of a language with few rows count
too much; with 20 half of what the ratio brings is lost."""
SQUEEZED = 200
"""Texts up to so many characters are also learned squeezed, as a disguise would leave them."""


@dataclass(frozen=True, slots=True)
class TrainingRow:
    text: str
    attack: bool
    source: str = ""
    """Rows of one source are left out together."""
    kind: str = ""
    language: str = ""


def examples(files: Sequence[Path]) -> tuple[list[TrainingRow], dict[str, str]]:
    """The rows of labelled files, each text once, and the SHA-256 of each file. Raises as `measure.load_rows` does.

    A row without `source` has its file's name for one.
    """
    found: dict[str, TrainingRow] = {}
    for file in files:
        for row in load_rows(file):
            source, kind, language = row.groups
            found[row.subject.text] = TrainingRow(row.subject.text, row.positive, source or file.name, kind, language)
    return list(found.values()), {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@dataclass(frozen=True, slots=True)
class FalsePositiveBound:
    """At most `error` of harmless rows flagged, with probability `confidence`."""

    error: float = 0.01
    confidence: float = 0.95
    long_error: float | None = None
    """The same for texts of several parts (see `windows`), where it is not `error`."""


Apart = tuple[list[TrainingRow], list[TrainingRow]]


def apart(rows: Sequence[TrainingRow]) -> Apart:
    """Rows to fit on, and harmless rows kept for the threshold; which is which depends on the text alone."""
    inside: list[TrainingRow] = []
    outside: list[TrainingRow] = []
    for row in rows:
        drawn = int.from_bytes(hashlib.sha256(row.text.encode("utf-8", "surrogatepass")).digest()[:4]) / 2**32
        (outside if not row.attack and drawn < APART else inside).append(row)
    return inside, outside


@dataclass(frozen=True, slots=True)
class _Seen:
    """Parts of rows as features, `matrix` (parts, `WIDTH`): n-grams, signs, and, for a part that has no words, a one
    and the signs of such parts. `owner` (parts) is the row of each."""

    matrix: Any
    owner: NDArray[np.int64]
    first: NDArray[np.bool_]
    copied: NDArray[np.bool_]
    """Squeezed for the fit; the guard does not see it."""
    rows: int

    @classmethod
    def of(cls, examples: Sequence[TrainingRow], *, squeezed: bool = False) -> "_Seen":
        sparse = fitting("scipy.sparse")
        columns: list[NDArray[np.int32]] = []
        values: list[Floats] = []
        owner: list[int] = []
        first: list[bool] = []
        copied: list[bool] = []
        starts = [0]
        for at, example in enumerate(examples):
            found = list(parts(example.text))
            seen_by_guard = len(found)
            if squeezed and len(example.text) <= SQUEEZED:
                found.append(Reading(squeeze(example.text), squeezed=True, words=False))
            for number, reading in enumerate(found):
                signs = np.array(features(reading), np.float32)
                on = np.flatnonzero(signs)
                if squeezed and number and not reading.words and example.attack and not len(on):
                    continue  # nothing of the attack is left to learn from
                if reading.words:
                    column, value = ngrams(reading.text)
                else:
                    column, value = np.array([COLUMNS + SIGNS], np.int32), np.ones(1, np.float32)
                columns += [column, (COLUMNS + on + (0 if reading.words else SIGNS + 1)).astype(np.int32)]
                values += [value, signs[on] * SIGN_SCALE]
                starts.append(starts[-1] + len(column) + len(on))
                owner.append(at)
                first.append(not number)
                copied.append(number == seen_by_guard)
        shape = (len(owner), WIDTH)
        matrix = sparse.csr_matrix((np.concatenate(values), np.concatenate(columns), np.array(starts)), shape=shape)
        return cls(matrix, np.array(owner), np.array(first), np.array(copied), len(examples))

    def worst(self, by_part: Floats) -> Floats:
        """Each row's highest value among its parts."""
        found = np.full(self.rows, -np.inf)
        np.maximum.at(found, self.owner, by_part)
        return found

    def only(self, chosen: NDArray[np.bool_]) -> "_Seen":
        """The parts of the chosen rows."""
        inside = chosen[self.owner]
        number = np.cumsum(chosen) - 1
        owner = number[self.owner[inside]]
        return _Seen(self.matrix[inside], owner, self.first[inside], self.copied[inside], int(chosen.sum()))


@dataclass(frozen=True, slots=True)
class _Linear:
    weights: Floats
    bias: float

    def scores(self, seen: _Seen) -> Floats:
        by_part = seen.matrix @ self.weights + self.bias
        return seen.worst(np.where(seen.copied, -np.inf, by_part))


def _linear(seen: _Seen, attack: NDArray[np.bool_], prior: _Linear, rounds: int = ROUNDS) -> _Linear:
    """Logistic regression around `prior`, each attack represented by its first part and the one that scores highest.

    Parts without words have a regression of their own, in which every part of an attack that shows a sign counts: their
    few columns would need far more rounds than the rest.
    """
    spread = _spread(seen, attack)
    by_attack = attack[seen.owner]
    wordless = seen.matrix[:, [COLUMNS + SIGNS]].toarray().ravel() > 0
    signed = wordless & (~by_attack | (np.diff(seen.matrix.indptr) > 1))
    only = _Linear(prior.weights[COLUMNS + SIGNS :], prior.bias)
    alone = spread[COLUMNS + SIGNS :]
    apart = _regressed(seen.matrix[signed][:, COLUMNS + SIGNS :], by_attack[signed], only, only, alone, bias=False)
    fitted = prior
    use = ~wordless & (seen.first | ~by_attack)
    for turn in range(rounds):
        fitted = _regressed(seen.matrix[use], by_attack[use], prior, fitted, spread)
        fitted.weights[COLUMNS + SIGNS :] = apart.weights
        fitted.weights[COLUMNS + SIGNS] += apart.bias - fitted.bias
        if turn + 1 < rounds:
            by_part = seen.matrix @ fitted.weights
            use = ~wordless & (seen.first | ~by_attack | (by_part >= seen.worst(by_part)[seen.owner]))
    return fitted


def _spread(seen: _Seen, attack: NDArray[np.bool_]) -> Floats:
    """The standard deviation of the prior of each weight (`WIDTH`): for an n-gram, the log-count ratio of attacks to
    harmless texts. With all equal, a sixth fewer jailbreaks are found where as many harmless texts are flagged.
    """
    whole = seen.first & ~seen.copied
    attacks, harmless = (
        np.bincount(seen.matrix[whole & which[seen.owner]].indices, minlength=WIDTH)[:COLUMNS]
        for which in (attack, ~attack)
    )
    ratio = log_count_ratio(attacks + SMOOTHING, harmless + SMOOTHING) + LEAST_SPREAD
    usual = np.sqrt(np.square(ratio[attacks + harmless > 0]).mean())
    return np.concatenate([ratio / usual, np.ones(WIDTH - COLUMNS)])


def _regressed(
    matrix: Any, attack: NDArray[np.bool_], prior: _Linear, start: _Linear, spread: Floats, *, bias: bool = True
) -> _Linear:
    optimize, special = fitting("scipy.optimize"), fitting("scipy.special")
    side = np.where(attack, 1.0, -1.0)
    offset = matrix @ prior.weights + prior.bias
    # a weight of a column that no row has stays where its prior is
    used = np.flatnonzero(np.bincount(matrix.indices, minlength=matrix.shape[1]))
    narrow = matrix[:, used]
    narrow.data *= spread[used].astype(np.float32)[narrow.indices]

    def loss(moved: Floats) -> tuple[float, Floats]:
        # in the matrix's own type, or each product would copy the matrix
        margin = side * (offset + narrow @ moved[:-1].astype(np.float32) + moved[-1])
        slope = -side * special.expit(-margin)
        value = float(np.logaddexp(0, -margin).sum()) + float(moved[:-1] @ moved[:-1]) / (2 * STRENGTH)
        return value, np.append(narrow.T @ slope.astype(np.float32) + moved[:-1] / STRENGTH, slope.sum() * bias)

    at = np.append((start.weights - prior.weights)[used] / spread[used], start.bias - prior.bias)
    found = optimize.minimize(loss, at, jac=True, method="L-BFGS-B", options={"maxiter": 150, "ftol": 1e-6})
    weights = np.array(prior.weights, np.float64)
    weights[used] += spread[used] * found.x[:-1]
    return _Linear(weights, prior.bias + float(found.x[-1]))


def _dealt(groups: Sequence[Any], among: Sequence[str]) -> NDArray[np.int64]:
    """The fold of each row: whole groups to one fold, the largest first to the one with fewest rows.

    Rows are counted apart for each value of `among`, of which the first row's is a group's, and together where that
    decides nothing.
    """
    rows: dict[Any, list[int]] = {}
    for at, group in enumerate(groups):
        rows.setdefault(group, []).append(at)
    filled: dict[str, list[int]] = {}
    every = [0] * FOLDS
    fold = np.zeros(len(groups), np.int64)
    for group in sorted(rows, key=lambda group: (-len(rows[group]), group)):
        sizes = filled.setdefault(among[rows[group][0]], [0] * FOLDS)
        number = min(range(FOLDS), key=lambda number: (sizes[number], every[number]))
        fold[rows[group]] = number
        sizes[number] += len(rows[group])
        every[number] += len(rows[group])
    return fold


def _by_source(rows: Sequence[TrainingRow]) -> NDArray[np.int64]:
    """Folds of whole sources; a single source is dealt out row by row."""
    sources = [row.source for row in rows]
    return _dealt(sources, [""] * len(rows)) if len(set(sources)) > 1 else np.arange(len(rows)) % FOLDS


def _by_cluster(rows: Sequence[TrainingRow]) -> NDArray[np.int64]:
    """Folds of whole clusters, each source in all of them."""
    sources = [row.source for row in rows]
    return _dealt(clusters([row.text for row in rows], sources).tolist(), sources)


@dataclass(frozen=True, slots=True)
class Unseen:
    """Log-odds of rows by fits that had not seen them."""

    source: Floats
    """(rows); nothing of the row's source was seen."""
    cluster: Floats
    """(rows); the row's source was seen, but nothing that is like the row."""


def fit_model(
    rows: Sequence[TrainingRow], *, target: FalsePositiveBound, start: Model | None = None, keep_threshold: bool = False
) -> tuple[Model, Unseen]:
    """A model, and the rows' log-odds by models that had not seen them.

    `start` is the model that is continued; its threshold stays with `keep_threshold`. Raises `InsufficientDataError`
    SG313 when rows of one kind are missing or no threshold can be proved.
    """
    kept = set(apart(rows)[1])
    inside = np.array([row not in kept for row in rows])
    attack = np.array([row.attack for row in rows])
    if attack[inside].all() or not attack.any():
        raise InsufficientDataError("both attacks and harmless rows are needed", hint="Add rows of the other kind")
    prior = _Linear(np.zeros(WIDTH), 0.0) if start is None else _weights(start)
    seen = _Seen.of(rows, squeezed=True)
    by_source = _crossed(seen, attack, inside, _by_source(rows), prior)
    by_cluster = _crossed(seen, attack, inside, _by_cluster(rows), prior)
    linear = _linear(seen.only(inside), attack[inside], prior)
    long = _long(rows)
    if start and keep_threshold:
        threshold, offset, card = start.threshold, start.long_offset, dict[str, Any](bound=None)
    else:
        known = inside & ~attack
        rows_scored = _Scored(by_source[known], long[known]), _Scored(linear.scores(seen)[~inside], long[~inside])
        threshold, offset, card = _threshold(*rows_scored, target, start.long_offset if start else 0.0)
    weights = linear.weights.astype(np.float32)
    signs, wordless = weights[COLUMNS : COLUMNS + SIGNS] * SIGN_SCALE, weights[COLUMNS + SIGNS :].copy()
    wordless[0] += linear.bias
    wordless[1:] *= SIGN_SCALE
    model = Model(weights[:COLUMNS], signs, linear.bias, wordless, threshold, offset, card)
    return model, Unseen(by_source - offset * long, by_cluster - offset * long)


def _crossed(
    seen: _Seen, attack: NDArray[np.bool_], inside: NDArray[np.bool_], fold: NDArray[np.int64], prior: _Linear
) -> Floats:
    """Every row's log-odds by a fit on the rows inside that are in other folds (rows)."""
    found = np.zeros(seen.rows)
    for number in range(FOLDS):
        left = fold == number
        used = inside & ~left
        if left.any() and attack[used].any() and not attack[used].all():
            found[left] = _linear(seen.only(used), attack[used], prior, 1).scores(seen.only(left))
    return found


def _long(rows: Sequence[TrainingRow]) -> NDArray[np.bool_]:
    return np.array([is_long(row.text) for row in rows], bool)


@dataclass(frozen=True, slots=True)
class _Scored:
    """Log-odds of harmless rows."""

    scores: Floats
    long: NDArray[np.bool_]

    def level(self, offset: float) -> Floats:
        return self.scores - offset * self.long


def _threshold(
    known: _Scored, unseen: _Scored, target: FalsePositiveBound, usual: float
) -> tuple[float, float, dict[str, Any]]:
    """The threshold, the offset of long texts, and the bounds for the card. Raises `InsufficientDataError` SG313.

    Where short or long rows are too few for a proof of their own, the offset is `usual` and all rows prove one bound.
    """
    long_target = replace(target, error=target.long_error or target.error)
    short = _proved(known.scores[~known.long], unseen.scores[~unseen.long], target)
    long = _proved(known.scores[known.long], unseen.scores[unseen.long], long_target)
    if short is not None and long is not None:
        level = unseen.level(long - short)
        bound = _bound(level[~unseen.long], short, target)
        return short, long - short, {"bound": bound, "long_bound": _bound(level[unseen.long], short, long_target)}
    threshold = _proved(known.level(usual), unseen.level(usual), target)
    if threshold is None:
        raise _unproved(len(unseen.scores), target)
    return threshold, usual, {"bound": _bound(unseen.level(usual), threshold, target)}


def _bound(scored: Floats, threshold: float, target: FalsePositiveBound) -> dict[str, Any]:
    flagged = int((scored >= threshold).sum())
    return {"error": target.error, "confidence": target.confidence, "rows": len(scored), "flagged": flagged}


def figures(rows: Sequence[TrainingRow], unseen: Unseen, threshold: float) -> dict[str, dict[str, dict[str, float]]]:
    """Share of rows flagged, attacks and harmless ones, by kind, source and language: for the card.

    `flagged` is of fits that had not seen the rows' sources, `source_known` of fits that had seen what is unlike them.
    """
    found: dict[str, dict[str, dict[str, float]]] = {}
    for key in ("kind", "source", "language"):
        groups: dict[str, list[int]] = {}
        for at, row in enumerate(rows):
            if getattr(row, key):
                groups.setdefault(f"{getattr(row, key)}{'' if row.attack else ', harmless'}", []).append(at)
        found[key] = {
            name: {
                "rows": len(at),
                "flagged": round(float((unseen.source[at] >= threshold).mean()), 4),
                "source_known": round(float((unseen.cluster[at] >= threshold).mean()), 4),
            }
            for name, at in sorted(groups.items())
        }
    return found


def _unproved(rows: int, target: FalsePositiveBound) -> InsufficientDataError:
    needed = math.ceil(least_rows(target.error, target.confidence) / APART)
    return InsufficientDataError(
        f"no threshold is proved to flag at most {target.error:.1%} of harmless rows, with {target.confidence:.0%} "
        f"confidence: {rows} were left for the proof",
        hint=f"Give about {needed} harmless rows or more, a larger --error, or --keep-threshold",
    )


def _weights(model: Model) -> _Linear:
    only = [model.wordless[:1] - model.bias, model.wordless[1:] / SIGN_SCALE]
    parted = [model.ngrams, model.signs / SIGN_SCALE, *only]
    return _Linear(np.concatenate(parted).astype(np.float64), model.bias)


def _proved(harmless: Floats, unseen: Floats, target: FalsePositiveBound) -> float | None:
    """The lowest log-odds proved to flag few enough harmless rows like `unseen`; None when not even the highest are.

    Fixed-sequence testing as in `learning.threshold`, from strict to lenient, in an order made from other rows.
    """
    proved: float | None = None
    if not len(harmless):
        return proved
    for value in np.quantile(harmless, np.linspace(1, 0.8, 400)):
        if strength(int((unseen >= value).sum()), len(unseen), target.error) > 1 - target.confidence:
            break
        proved = float(value)
    return proved


def scores(model: Model, rows: Sequence[TrainingRow]) -> Floats:
    """Log-odds of rows as the guard scores them."""
    return _weights(model).scores(_Seen.of(rows)) - model.long_offset * _long(rows)
