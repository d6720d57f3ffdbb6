"""Fit an intent router from labelled texts: check, hold apart, embed, train, calibrate, prove a threshold.

The rows are used for three things that must not mix: the head is trained on the training rows, confidence is calibrated
and the threshold is proved on calibration rows that the head never saw. With enough calibration rows the two get a part
each; with few, the calibrator is fitted on the training rows' cross-fitted logits, so that the proof has them all.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sluicegate.errors import InsufficientDataError, ModelError
from sluicegate.learning.threshold import (
    NEVER,
    Threshold,
    candidates,
    described,
    fit_threshold,
    least_rows,
    rows_needed,
)
from sluicegate.routing.calibration.calibration import Calibrator, Method, ece, fit_calibrator
from sluicegate.routing.calibration.choice import choose_calibrator
from sluicegate.routing.calibration.likeness import fit_likeness
from sluicegate.routing.calibration.metrics import confusion, macro_f1, per_class
from sluicegate.routing.calibration.per_intent import Scored, accepts, family_described, fit_per_intent
from sluicegate.routing.config import Per
from sluicegate.routing.data import Labelled, folded
from sluicegate.routing.intent.head import Head, for_embedding
from sluicegate.routing.intent.training import FitCheckpoint, Trained, train_head

__all__ = [
    "Embed",
    "FitSettings",
    "Fitted",
    "Progress",
    "check_rows",
    "fit_intents",
    "hold_apart",
    "silent",
    "stoppable",
]

Embed = Callable[[Sequence[str], Callable[[int, int], None]], Awaitable[NDArray[np.float32]]]
"""Embeds texts: (rows, dimensions), unit length. The second argument takes rows done and rows in all."""
Progress = Callable[[int, int, str], None]
Floats = NDArray[np.floating]


def silent(_done: int, _all: int, _what: str) -> None:
    """Ignores progress."""


def stoppable(on_progress: Progress) -> Progress:
    """The same, but it ends a task that was cancelled: between two pieces of a fit nothing is awaited.

    `asyncio.run` answers Ctrl-C by a cancellation, which would otherwise be heard when the fit is over.
    """
    task = asyncio.current_task()

    def told(done: int, total: int, what: str) -> None:
        if task is not None and task.cancelling():
            raise asyncio.CancelledError
        on_progress(done, total, what)

    return told


MOST_LABELS = 2_000
"""More labels than this make no linear head that fits in memory or can be calibrated."""
APART = 0.1
LOOSEST = 0.1
"""A target looser than this holds as many rows apart as this one: few rows prove it, but their share of errors is too
uncertain for most fits to pass."""
MOST_APART = 2_000
ENOUGH = 600
"""Calibration rows from which a third is spent on the calibrator."""


@dataclass(frozen=True, slots=True)
class FitSettings:
    """What a fit is asked for."""

    error: float = 0.1
    confidence: float = 0.95
    oos_label: str | None = None
    oos_recall: float = 0.9
    """Share of out-of-scope texts to be called so; a higher one also rejects more texts that are in scope."""
    per: Per = "all"
    """Which thresholds serve; the card has both."""
    method: Method | Literal["auto"] = "auto"
    embed_words: int = 100
    """Words of a text that are embedded; 0: no embeddings."""
    need_threshold: bool = True
    """False writes a router that accepts nothing where no threshold can be proved, in place of refusing."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """What `write_artifact` writes."""

    head: Head
    calibrator: Calibrator
    card: dict[str, Any]


def check_rows(rows: Labelled, *, oos_label: str | None = None) -> None:
    """Whether a head can be fitted on these rows. Raises `ModelError` SG313, saying what is missing."""
    counts = Counter(rows.labels)
    inside = {label: count for label, count in counts.items() if label != oos_label}
    if oos_label is not None and oos_label not in counts:
        raise InsufficientDataError(f"no row has the out-of-scope label {oos_label!r}", hint=f"Labels: {_some(counts)}")
    if len(inside) < 2:
        only = next(iter(inside), "none")
        raise InsufficientDataError(f"only one class ({only}); at least two are needed", hint="Add a second label")
    if len(counts) > MOST_LABELS:
        raise InsufficientDataError(
            f"{len(counts):,} labels in {len(rows):,} rows; a head holds at most {MOST_LABELS:,}",
            hint="Check that `label` is the column of intents; group rare ones",
        )
    single = sorted(label for label, count in counts.items() if count < 2)
    if single:
        raise InsufficientDataError(
            f"{_some(single)}: one example each; a class needs 2 for cross-fitting and hold-out",
            hint="Add examples, or leave the class out",
        )


def hold_apart(rows: Labelled, *, error: float, confidence: float) -> tuple[Labelled, Labelled]:
    """Training and calibration rows: a tenth of each class, more when the target needs it, at most a third."""
    needed = 2 * least_rows(min(error, LOOSEST), confidence)
    share = min(1 / 3, max(min(APART, MOST_APART / len(rows)), needed / len(rows)))
    by_label: dict[str, list[int]] = {}
    shuffled: list[int] = np.random.default_rng(0).permutation(len(rows)).tolist()
    for index in shuffled:
        by_label.setdefault(rows.labels[index], []).append(index)
    apart: set[int] = set()
    owed = 0.0
    for label in sorted(by_label):
        indices = by_label[label]
        owed += share * len(indices)
        # small classes take turns, so that the whole share comes out right
        take = min(int(owed), len(indices) - 1)
        owed -= take
        apart.update(indices[:take])
    return _some_of(rows, [i for i in range(len(rows)) if i not in apart]), _some_of(rows, sorted(apart))


async def fit_intents(
    train: Labelled,
    calibration: Labelled | None,
    settings: FitSettings,
    *,
    embed: Embed | None,
    embedder: dict[str, Any] | None,
    work: Path,
    on_progress: Progress = silent,
) -> Fitted:
    """Fit on `train`, calibrate on `calibration` or on a part of `train` held apart.

    `embedder` is what the card says of it (model, fingerprint). `work` keeps finished pieces for a fit that is
    interrupted. Raises `ModelError` SG313 when the data cannot support the fit or the target.
    """
    on_progress = stoppable(on_progress)
    check_rows(train, oos_label=settings.oos_label)
    digests = {"train": train.digests, "calibration": calibration.digests if calibration else {}}
    if calibration is None:
        train, calibration = hold_apart(train, error=settings.error, confidence=settings.confidence)
    labels = sorted(set(train.labels))
    unknown = sorted(set(calibration.labels) - set(labels))
    if unknown:
        raise InsufficientDataError(f"the calibration rows have labels that no training row has: {_some(unknown)}")
    train, shared = _without(train, calibration)
    vectors, apart_vectors = await _embedded(train, calibration, settings, embed, on_progress)
    column = {label: index for index, label in enumerate(labels)}
    target = np.array([column[label] for label in train.labels])
    trained = train_head(
        train.texts,
        target,
        labels,
        vectors,
        embed_words=settings.embed_words if vectors is not None else 0,
        kept=FitCheckpoint(work),
        on_progress=on_progress,
    )
    logits = trained.head.logits_of(calibration.texts, apart_vectors)
    seen = [
        trained.head.familiarity(text, trained.head.seen(None if apart_vectors is None else apart_vectors[at]))
        for at, text in enumerate(calibration.texts)
    ]
    _, unlike, likeness = fit_likeness(calibration.texts, seen, enough=least_rows(settings.error, settings.confidence))
    apart_target = np.array([column[label] for label in calibration.labels])
    if settings.oos_label is not None:
        trained, logits = _opened(trained, target, logits, apart_target, column[settings.oos_label], settings)
    calibrator, proof = _calibrated(trained, target, logits, apart_target, settings)
    probabilities = calibrator(logits)
    confidence, found = probabilities.max(axis=1), probabilities.argmax(axis=1)
    right = found == apart_target
    held_out = calibrator(trained.held_out)
    reference = Scored(held_out.max(axis=1), held_out.argmax(axis=1), held_out.argmax(axis=1) == target)
    # what is unlike the calibration rows is never accepted, so it proves nothing either
    proving = Scored(np.where(unlike, -1.0, confidence)[proof], found[proof], right[proof])
    threshold = _proved(reference, proving, len(labels), settings)
    family = fit_per_intent(reference, proving, len(labels), error=settings.error, confidence=settings.confidence)
    counts = confusion(apart_target[proof], found[proof], len(labels))
    confidence, right = confidence[proof], right[proof]
    value = threshold.value if threshold else NEVER
    served = family.served(len(labels)) if settings.per == "intent" else [value] * len(labels)
    accepted = accepts(served, proving)
    card = {
        "task": "intent",
        "out_of_scope": settings.oos_label,
        "data": digests,
        "rows": {
            "train": len(train),
            "calibration": len(calibration),
            "proof": int(proof.sum()),
            "shared": shared,
        },
        "embedder": embedder if trained.head.dimensions else None,
        "members": trained.members,
        "target": {"error": settings.error, "confidence": settings.confidence, "per": settings.per},
        "threshold": {**described(threshold), "per_intent": family_described(family, labels)},
        "likeness": likeness,
        "metrics": {
            "accuracy": float(right.mean()),
            "macro_f1": macro_f1(counts),
            "ece": ece(confidence, right),
            "coverage": float(accepted.mean()),
            "accepted_accuracy": float(right[accepted].mean()) if accepted.any() else None,
        },
        "per_class": per_class(counts, labels),
    }
    return Fitted(trained.head, calibrator, card)


async def _embedded(
    train: Labelled, calibration: Labelled, settings: FitSettings, embed: Embed | None, on_progress: Progress
) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]:
    if embed is None or not settings.embed_words:
        return None, None
    texts = [for_embedding(text, settings.embed_words) for text in [*train.texts, *calibration.texts]]
    vectors = await embed(texts, lambda done, total: on_progress(done, total, "embeddings"))
    return vectors[: len(train)], vectors[len(train) :]


def _without(train: Labelled, calibration: Labelled) -> tuple[Labelled, int]:
    """Training rows that are not calibration rows too, and how many were left out: a proof needs unseen rows."""
    proving = {folded(text) for text in calibration.texts}
    kept = [index for index, text in enumerate(train.texts) if folded(text) not in proving]
    return _some_of(train, kept), len(train) - len(kept)


def _opened(
    trained: Trained, target: Any, logits: Floats, apart_target: Any, outside: int, settings: FitSettings
) -> tuple[Trained, Floats]:
    """Shift the out-of-scope logit until the wanted share of unseen out-of-scope rows wins it.

    Out-of-scope rows are few beside what they stand for, so their class loses too often as it is. The shift is one
    number, fitted on the training rows' cross-fitted logits and on the calibration rows that prove no threshold.
    """
    spent = _spent(len(logits))
    seen = np.vstack([trained.held_out[target == outside], logits[spent & (apart_target == outside)]])
    others = np.delete(seen, outside, axis=1).max(axis=1)
    shift = float(np.quantile(others - seen[:, outside], settings.oos_recall))
    head = trained.head
    bias = head.bias.copy()
    bias[outside] += shift
    moved = np.zeros(len(head.labels), np.float32)
    moved[outside] = shift
    return replace(trained, head=replace(head, bias=bias), held_out=trained.held_out + moved), logits + moved


def _spent(rows: int) -> NDArray[np.bool_]:
    """Calibration rows that are spent on fitting, and so cannot prove the threshold: a third, of many."""
    spent = np.zeros(rows, bool)
    if rows >= ENOUGH:
        spent[np.random.default_rng(1).permutation(rows)[: rows // 3]] = True
    return spent


def _calibrated(
    trained: Trained, target: Any, logits: Floats, apart_target: Any, settings: FitSettings
) -> tuple[Calibrator, NDArray[np.bool_]]:
    """The calibrator, and which calibration rows are left for the proof."""
    spent = _spent(len(logits))
    seen, wanted = (logits[spent], apart_target[spent]) if spent.any() else (trained.held_out, target)
    if settings.method != "auto":
        return fit_calibrator(seen, wanted, settings.method), ~spent
    # not the methods that shift labels: on 1,600 rows a shift per label took .3 points off the head's accuracy
    return choose_calibrator(seen, wanted, ("sigmoid",)), ~spent


def _proved(reference: Scored, proof: Scored, classes: int, settings: FitSettings) -> Threshold | None:
    grid = candidates(
        reference.confidence, reference.right, rows=len(proof), error=settings.error, level=settings.confidence
    )
    found = fit_threshold(proof.confidence, proof.right, grid, error=settings.error, level=settings.confidence)
    if found is None and settings.need_threshold:
        raise _unsupported(proof, grid[0], classes, settings)
    return found


def _unsupported(proof: Scored, first: float, classes: int, settings: FitSettings) -> ModelError:
    confidence, right = proof.confidence, proof.right
    accepted = confidence >= first
    count, wrong = int(accepted.sum()), int((accepted & ~right).sum())
    aim = f"wrong at most {settings.error:.1%} of the time, with {settings.confidence:.0%} confidence"
    needed = rows_needed(wrong / count if count else 0.0, settings.error, settings.confidence)
    said = f"of the {count} most confident of {len(right)} calibration rows, {wrong} are wrong"
    if needed is None:
        more = "No number of examples of this quality proves it: add training rows to every intent"
    else:
        rows = max(1, round((needed - count) * len(right) / max(count, 1)))
        more = f"About {rows} more calibration rows are needed ({math.ceil(rows / classes)} per intent)"
    return InsufficientDataError(
        f"no threshold can be proved to be {aim}: {said}",
        hint=f"{more}. Or allow more error (--error; `router.target.error` of a workflow), fit with "
        "--without-threshold, which accepts nothing, or let the small model decide, without a proof: "
        "`router: {strategy: slm}`",
    )


def _some_of(rows: Labelled, indices: Sequence[int]) -> Labelled:
    return Labelled([rows.texts[i] for i in indices], [rows.labels[i] for i in indices], rows.digests)


def _some(names: Any) -> str:
    listed = list(names)
    return ", ".join(map(str, listed[:5])) + (f" and {len(listed) - 5} more" if len(listed) > 5 else "")
