"""Fit a reviewer of drafts (see `reviewer`), calibrate it, and prove its threshold.

Which sentence of an improper draft is to blame is found out (multiple-instance learning, Andrews et al. 2003): none
that a proper draft has, too, and of the others those that look improper to models that had not seen them, the worst one
always. Drafts that differ in one sentence, and what people made of a draft, show it best.

The threshold is proved on drafts held apart: at most a stated share of improper ones exceeds it, however rare improper
drafts are (the order statistic of Tong, Feng and Li 2018, "Neyman-Pearson classification algorithms and NP receiver
operating characteristics").
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sluicegate.errors import InsufficientDataError
from sluicegate.learning.threshold import least_rows, upper_bound
from sluicegate.routing.calibration.calibration import ece, fit_calibrator
from sluicegate.routing.calibration.metrics import auroc
from sluicegate.routing.intent.artifact import write_artifact
from sluicegate.routing.intent.fit import Embed
from sluicegate.routing.intent.head import for_embedding
from sluicegate.routing.intent.training import FitCheckpoint, Trained, train_head
from sluicegate.routing.review.baselines import baselines
from sluicegate.routing.review.reviewer import IMPROPER, PROPER, TASK, WORDS, parts_of, worst, worst_of

__all__ = ["Draft", "DraftBound", "drafts", "fit_reviewer", "pass_threshold"]

LEAST = 30
"""Drafts of each kind to fit on."""

Floats = NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Draft:
    """A labelled draft."""

    text: str
    kind: str
    """``proper``, or what is wrong with it."""
    request: str = ""

    @property
    def proper(self) -> bool:
        return self.kind == PROPER


@dataclass(frozen=True, slots=True)
class DraftBound:
    """At most `error` of improper drafts pass, with probability `confidence`."""

    error: float = 0.3
    confidence: float = 0.95


def drafts(rows: Sequence[Mapping[str, Any]]) -> list[Draft]:
    """Labelled drafts from rows with `answer` and either `label` (``proper``, or what is wrong with it) or `right`, as
    `sluicegate approvals export` writes what people decided. An
    edit (`right_answer`) is a proper draft.

    Raises `ModelError` SG313 for a row that has neither.
    """
    found: list[Draft] = []
    for number, row in enumerate(rows, start=1):
        text, label, right = row.get("answer"), row.get("label"), row.get("right")
        if not isinstance(text, str) or not text.strip() or not (label or isinstance(right, bool)):
            raise InsufficientDataError(f"row {number}: a reviewed draft has answer, and label or right")
        request = str(row.get("question", ""))
        found.append(Draft(text, str(label) if label else PROPER if right else IMPROPER, request))
        if edited := row.get("right_answer"):
            found.append(Draft(str(edited), PROPER, request))
    return found


async def fit_reviewer(
    train: Sequence[Draft],
    apart: Sequence[Draft],
    target: DraftBound,
    *,
    embed: Embed,
    embedder: dict[str, Any],
    data: Mapping[str, Any],
    work: Path,
    out: Path,
) -> dict[str, Any]:
    """Fit on `train`, prove the threshold on `apart`, write the artifact to `out`, return its card.

    `embedder` and `data` are what the card says of the embedder (model, fingerprint) and of the files; `work` keeps
    finished pieces for a fit that is interrupted.

    Raises `ModelError` SG313 when the drafts cannot support the fit or the bound.
    """
    _check(train)
    proper = np.array([draft.proper for draft in apart], bool)
    proving = _independent(apart)
    if len(proving) < (needed := least_rows(target.error, target.confidence)) or not proper.any():
        raise InsufficientDataError(
            f"improper drafts of {len(proving)} requests to prove the threshold on",
            hint=f"At least {needed} are needed for this bound, and some proper drafts",
        )
    trained, owners = await _trained(train, embed, FitCheckpoint(work))
    wanted = np.array([draft.proper for draft in train], np.int64)
    calibrator = fit_calibrator(worst(trained.held_out, owners), wanted, "sigmoid")
    parts, owners = parts_of([draft.text for draft in apart])
    logits = trained.head.logits_of(parts, await _embedded(parts, embed) if trained.head.dimensions else None)
    chance = calibrator(worst(logits, owners))[:, 1]
    threshold, passed = pass_threshold(chance[proving], target)
    card = {
        "task": TASK,
        "out_of_scope": None,
        "data": data,
        "rows": {"train": _counted(train), "calibration": _counted(apart), "sentences": len(trained.held_out)},
        "embedder": embedder if trained.head.dimensions else None,
        "members": trained.members,
        "target": asdict(target),
        "threshold": {
            "value": threshold,
            "proved": True,
            "requests": len(proving),
            "improper_passed": passed,
            "bound": upper_bound(passed, len(proving), target.confidence),
        },
        "metrics": {
            "auroc": auroc(chance, proper),
            "ece": ece(chance, proper),
            "proper_passed": float((chance[proper] > threshold).mean()),
            "improper_passed": float((chance[~proper] > threshold).mean()),
        },
        "baselines": baselines([one.text for one in train], wanted == 1, [one.text for one in apart], proper),
    }
    return {**card, "hash": write_artifact(out, trained.head, calibrator, card)}


def _check(rows: Sequence[Draft]) -> None:
    proper = sum(draft.proper for draft in rows)
    if min(proper, len(rows) - proper) < LEAST:
        raise InsufficientDataError(
            f"{proper} proper and {len(rows) - proper} improper drafts to fit on",
            hint=f"At least {LEAST} of each are needed",
        )


def _counted(rows: Sequence[Draft]) -> dict[str, int]:
    return dict(sorted(Counter(draft.kind for draft in rows).items()))


def _independent(rows: Sequence[Draft]) -> list[int]:
    """Of the improper drafts for one request, which are much alike, the first: the others prove nothing more."""
    first: dict[str, int] = {}
    for at, draft in enumerate(rows):
        if not draft.proper:
            first.setdefault(draft.request or draft.text, at)
    return list(first.values())


async def _embedded(parts: Sequence[str], embed: Embed) -> NDArray[np.float32]:
    return await embed([for_embedding(part, WORDS) for part in parts], lambda _done, _all: None)


async def _trained(rows: Sequence[Draft], embed: Embed, kept: FitCheckpoint) -> tuple[Trained, NDArray[np.int64]]:
    """A head over sentences, its held-out logits of every sentence of `rows`, and whose sentence each one is."""
    parts, owners = parts_of([draft.text for draft in rows])
    once, place = np.unique(np.array(parts, object), return_inverse=True)
    proper = np.zeros(len(once), np.int64)
    proper[place[np.array([draft.proper for draft in rows])[owners]]] = 1
    vectors = await _embedded(once.tolist(), embed)
    texts: list[str] = once.tolist()

    def fitted(used: NDArray[np.bool_]) -> tuple[Trained, Floats]:
        some = [text for text, one in zip(texts, used, strict=True) if one]
        trained = train_head(some, proper[used], [IMPROPER, PROPER], vectors[used], embed_words=WORDS, kept=kept)
        logits = trained.head.logits_of(texts, vectors)
        logits[used] = trained.held_out
        return trained, logits

    _, logits = fitted(np.ones(len(texts), bool))
    blamed = logits[:, 0] > logits[:, 1]
    blamed[place[worst_of(logits[place], owners)]] = True
    trained, logits = fitted((proper == 1) | blamed)
    return Trained(trained.head, logits[place], trained.members), owners


def pass_threshold(improper: Floats, target: DraftBound) -> tuple[float, int]:
    """What a proper draft must exceed, and how many of these improper ones do: as many as the bound allows."""
    allowed = 0
    while upper_bound(allowed + 1, len(improper), target.confidence) <= target.error:
        allowed += 1
    value = float(np.sort(improper)[::-1][allowed])
    return value, int((improper > value).sum())
