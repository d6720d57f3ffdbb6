"""Fit the confidence in answers to graded answers, and prove the threshold on others (`answer` says what it is)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sluicegate.errors import InsufficientDataError
from sluicegate.extras import fitting
from sluicegate.learning.artifact import write_folder
from sluicegate.learning.threshold import (
    NEVER,
    Threshold,
    candidates,
    fit_threshold,
    least_rows,
    rows_needed,
)
from sluicegate.routing.answers.answer import FEATURES, Origin, features_of, style_of
from sluicegate.routing.answers.neighbour_features import ALIKE, NeighbourFeatures
from sluicegate.routing.calibration.calibration import ece
from sluicegate.routing.calibration.metrics import auroc
from sluicegate.services import AnswerFeatures, Completion, TokenLogprob

__all__ = ["LEAST", "AnswerTarget", "Graded", "by_origin", "fit_answers", "read_graded"]

Floats = NDArray[np.floating]
Truth = NDArray[np.bool_]

LEAST = 50
"""Graded answers of which at least ten are right and ten wrong."""
EACH = 10
APART = 0.5
"""Share of the graded answers that proves the threshold when none are held apart."""


@dataclass(frozen=True, slots=True)
class Graded:
    """One graded answer."""

    features: Mapping[str, float]
    right: bool
    model: str = ""
    """What answered, where known."""
    question: str = ""
    known: bool | None = None
    """Whether a document says it, where somebody said."""
    vector: Sequence[float] = ()
    """The question's embedding."""

    @property
    def origin(self) -> Origin:
        return self.model, style_of(self.features)


def by_origin(graded: Sequence[Graded]) -> dict[Origin, list[Graded]]:
    """Graded answers by their model and style. Raises `ModelError` SG313 for rows that name no model."""
    found: dict[Origin, list[Graded]] = {}
    for row in graded:
        found.setdefault(row.origin, []).append(row)
    if nameless := sum(not row.model for row in graded):
        raise InsufficientDataError(
            f"{nameless} of {len(graded)} graded answers do not say which model answered",
            hint="Add `model` to every row, such as embedded:smollm2-135m: each model has its own fit",
        )
    return found


@dataclass(frozen=True, slots=True)
class AnswerTarget:
    """Maximum error rate of sent answers, and its confidence level."""

    error: float
    confidence: float
    needed: bool = True
    """False writes an artifact that accepts nothing where no threshold can be proved, instead of refusing."""


def fit_answers(
    graded: Sequence[Graded],
    apart: Sequence[Graded] | None = None,
    *,
    target: AnswerTarget,
    digests: Mapping[str, str],
    out: Path,
    embedder: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Fit on `graded`, prove the threshold on `apart`, write the artifact to `out`, return its card.

    All are answers of one model in one style (`by_origin`).
    Without `apart`, every second of a fixed shuffle of the graded answers proves. The figures on the card are those of
    the answers held apart, on which the two probabilities are calibrated, too, so that their ECE flatters a little.
    With `embedder`, which made every row's vector and which the card names, questions like the one asked are features,
    too. Raises `ModelError` SG313 when there are too few, or when they cannot support the target.
    """
    if apart is None:
        order: list[int] = np.random.default_rng(0).permutation(len(graded)).tolist()
        cut = round(len(order) * APART)
        graded, apart = [graded[i] for i in order[cut:]], [graded[i] for i in order[:cut]]
    ((model, style),) = by_origin([*graded, *apart]) or {("", "write"): ()}
    right, proof = _right(graded), _right(apart)
    if len(graded) < LEAST or _few(right) or not len(apart):
        raise InsufficientDataError(
            f"{len(graded)} graded answers to fit on, {int(right.sum())} of them right, and {len(apart)} held out",
            hint=f"At least {LEAST} are needed to fit on, {EACH} right and {EACH} wrong, and as many for the proof",
        )
    alike = _alike(graded) if embedder else None
    seen, shown = _seen(graded, alike, own=True), _seen(apart, alike)
    weights, bias, crossed = _fitted(seen, right)
    weights, bias = _calibrated(weights, bias, shown, proof)
    chance = _chances(shown, weights, bias)
    found = _threshold(crossed, right, chance, proof, target)
    answerability, known_weights = _answerability(graded, apart, seen, shown)
    card = {
        "task": "answer",
        "data": dict(digests),
        "rows": {"train": len(graded), "proof": len(apart)},
        "models": [model],
        "style": style,
        "embedder": dict(embedder) if embedder else None,
        "weights": _named(weights),
        "bias": bias,
        "answerability": answerability,
        "target": {"error": target.error, "confidence": target.confidence},
        "threshold": {
            "value": found.value if found else NEVER,
            "proved": found is not None,
            "accepted": found.accepted if found else 0,
            "wrong": found.wrong if found else 0,
            "rows": len(apart),
            "bound": found.bound if found else 1.0,
        },
        "metrics": {
            "right": float(proof.mean()),
            "accuracy": float(((chance >= 0.5) == proof).mean()),
            "auroc": auroc(chance, proof),
            "ece": ece(chance, proof),
            "coverage": found.coverage if found else 0.0,
            "accepted_right": 1 - found.wrong / found.accepted if found and found.accepted else 0.0,
        },
    }
    arrays = {"weights": weights, "answerability": known_weights}
    if alike:
        # half precision moves no mean by more than 0.0005
        arrays |= {"questions": alike.vectors.astype(np.float16), "right": alike.right, "known": alike.known}
    digest = write_folder(out, card, arrays)
    return {**card, "hash": digest}


def read_graded(rows: Sequence[Mapping[str, Any]]) -> list[Graded]:
    """Graded answers from rows with `right` and either `features`, or `text` and `sources`.

    Rows may say whether a document has the answer as `known`; those with `text` may have `question`, `logprobs` (those
    of the answer's tokens), `finish` and `model`. Raises `ModelError` SG313 for a row that has neither.
    """
    found: list[Graded] = []
    for number, row in enumerate(rows, start=1):
        try:
            if "features" in row:
                features = {name: float(row["features"][name]) for name in FEATURES}
            else:
                features = features_of(_evidence(row))
            known, question = row.get("known"), str(row.get("question") or "")
            right, model = bool(row["right"]), str(row.get("model") or "")
            found.append(Graded(features, right, model, question, None if known is None else bool(known)))
        except (KeyError, TypeError, ValueError) as error:
            what = f"row {number}: a graded answer has text, sources and right, or features and right"
            raise InsufficientDataError(what) from error
    return found


def _evidence(row: Mapping[str, Any]) -> AnswerFeatures:
    tokens = tuple(TokenLogprob("", float(value)) for value in row.get("logprobs") or ())
    ended = "length" if row.get("finish") == "length" else "stop"
    text = str(row["text"])
    completion = Completion(text, "", "", 0, len(tokens), ended, 0.0, 0.0, logprobs=tokens)
    return AnswerFeatures(completion, text, str(row.get("question") or ""), [str(each) for each in row["sources"]])


def _alike(graded: Sequence[Graded]) -> NeighbourFeatures:
    known = [np.nan if row.known is None else float(row.known) for row in graded]
    return NeighbourFeatures(_vectors(graded), _right(graded).astype(np.float32), np.array(known, np.float32))


def _vectors(graded: Sequence[Graded]) -> Floats:
    return np.array([row.vector for row in graded], np.float32)


def _seen(graded: Sequence[Graded], alike: NeighbourFeatures | None, *, own: bool = False) -> Floats:
    """(rows, features): `FEATURES`, then `ALIKE` where there is any."""
    seen = np.array([[row.features[name] for name in FEATURES] for row in graded])
    return seen if alike is None else np.hstack([seen, alike(_vectors(graded), own=own)])


def _right(graded: Sequence[Graded]) -> Truth:
    return np.array([row.right for row in graded], bool)


def _few(truth: Truth) -> bool:
    return min(int(truth.sum()), int((~truth).sum())) < EACH


def _answerability(
    graded: Sequence[Graded], apart: Sequence[Graded], seen: Floats, shown: Floats
) -> tuple[dict[str, Any] | None, Floats]:
    """What the card says of it, and its weights; None and none where too few rows say whether a document has it."""
    told, asked = (np.array([row.known is not None for row in rows], bool) for rows in (graded, apart))
    truth = np.array([bool(row.known) for row in graded], bool)[told]
    if _few(truth):
        return None, np.zeros(0)
    weights, bias, _ = _fitted(seen[told], truth)
    held = np.array([bool(row.known) for row in apart], bool)[asked]
    weights, bias = _calibrated(weights, bias, shown[asked], held)
    chance = _chances(shown[asked], weights, bias)
    measured = {"auroc": auroc(chance, held), "ece": ece(chance, held)} if held.any() and not held.all() else {}
    rows = {"train": len(truth), "measured": len(held)}
    return {"weights": _named(weights), "bias": bias, "rows": rows, "known": float(truth.mean()), **measured}, weights


def _named(weights: Floats) -> dict[str, float]:
    return dict(zip((*FEATURES, *ALIKE), weights.tolist(), strict=False))


def _fitted(seen: Floats, right: Truth) -> tuple[Floats, float, Floats]:
    """Weights and bias on the features as they are, and the rows' cross-fitted chances."""
    selection = fitting("sklearn.model_selection")
    linear = fitting("sklearn.linear_model")
    middle, scale = seen.mean(axis=0), seen.std(axis=0)
    # a feature that is the same in every row says nothing, and would say anything in one where it is not
    told = scale > 1e-9
    even = np.where(told, (seen - middle) / np.where(told, scale, 1.0), 0.0)
    model: Any = linear.LogisticRegression(C=0.3, max_iter=1000)
    folds = selection.StratifiedKFold(5, shuffle=True, random_state=0)
    crossed: Floats = selection.cross_val_predict(model, even, right, cv=folds, method="predict_proba")[:, 1]
    model.fit(even, right)
    weights = np.where(told, model.coef_[0] / np.where(told, scale, 1.0), 0.0)
    return weights, float(model.intercept_[0] - weights @ middle), crossed


def _calibrated(weights: Floats, bias: float, shown: Floats, truth: Truth) -> tuple[Floats, float]:
    """Weights and bias whose chances fit the rows held apart, by a slope and an intercept (Platt 1999).

    Rows to fit on are often written or picked, harder or easier than what comes; those held apart are drawn as requests
    come. It keeps every order, so that no proof changes.
    """
    if truth.all() or not truth.any():
        return weights, bias
    linear = fitting("sklearn.linear_model")
    scores = (shown @ weights + bias)[:, None]
    found: Any = linear.LogisticRegression(C=1e3).fit(scores, truth)
    slope = float(found.coef_[0, 0])
    if slope <= 0:  # uninformative there: no slope helps
        return weights, bias
    return weights * slope, bias * slope + float(found.intercept_[0])


def _chances(seen: Floats, weights: Floats, bias: float) -> Floats:
    return 1 / (1 + np.exp(-np.clip(seen @ weights + bias, -30, 30)))


def _threshold(crossed: Floats, right: Truth, chance: Floats, proof: Truth, target: AnswerTarget) -> Threshold | None:
    """Proved on the answers held apart, tested in the order that the others give. Raises `ModelError` SG313.

    That order is kept as shares of answers to accept, strict to lenient, so that it fits answers held apart that are
    less sure as a whole; shares of too few answers to prove anything are left out. It may look at how sure the answers
    are, not at which are right: above an order statistic they are still drawn alike, and the wrong ones binomial.
    """
    strict = candidates(crossed, right, rows=len(chance), error=target.error, level=target.confidence)
    least = least_rows(target.error, target.confidence)
    shares = dict.fromkeys(max(float(np.mean(crossed >= value)), min(least / len(chance), 1.0)) for value in strict)
    grid = [float(np.quantile(chance, 1 - share, method="lower")) for share in shares]
    found = fit_threshold(chance, proof, grid, error=target.error, level=target.confidence)
    if found is None and target.needed:
        surest = chance >= grid[0]
        rate = float(np.mean(~right[crossed >= strict[0]]))
        missing = rows_needed(rate, target.error, target.confidence)
        raise InsufficientDataError(
            f"no threshold reaches the {target.error:.0%} error target: of the most confident "
            f"{int(surest.sum())} of {len(chance)} held-out answers, {int((~proof[surest]).sum())} are wrong",
            hint=f"About {max(missing, least)} held-out answers of the highest confidence would suffice" if missing else
            f"Allow more error, or improve the answers; a proof needs at least {least} confident and correct ones",
        )  # fmt: skip
    return found
