"""Fit a head: several linear models over the same features, blended by held-out likelihood into one.

Two kinds of members: linear support vector machines (one against the rest) over words, characters and embeddings, and a
ridge regression (Rifkin and Klautau 2004, "In Defense of One-Vs-All Classification") over similarities to landmarks.
Embeddings are first centred and put on their principal axes: what all texts share says nothing, and hides the rest.
Members are cross-fitted: every training row gets logits from models that did not see it. On those rows one weight per
member is fitted by likelihood (logarithmic opinion pool, Genest and Zidek 1986, section 3.2), the members are fitted
again on all rows, and their weighted sum is the head. The held-out logits of the blend are kept: they order the
threshold's candidates and calibrate small data sets.

Fitting can be interrupted: every finished member is kept by `FitCheckpoint` and found again by what it was fitted on.
"""

import hashlib
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sluicegate.extras import fitting
from sluicegate.learning.contrast import log_count_ratio
from sluicegate.learning.projection import fit_projection
from sluicegate.learning.similarity import RidgeFit, fit_kernel, fit_ridge, landmarks_of
from sluicegate.routing.calibration.calibration import smoothed_loss
from sluicegate.routing.intent.head import Head
from sluicegate.routing.intent.lexical import CHARACTERS, WORDS, Lexicon, fit_lexicon, words_of

__all__ = ["FOLDS", "MEMBERS", "FitCheckpoint", "Member", "Trained", "folds_of", "pool", "train_head"]

FOLDS = 3
MOST_WEIGHTS = 24_000_000
"""Bound on lexical features times labels: about 100 MB of weights."""

EMBEDS = frozenset({"view.embedding", "view.similar"})
WORTH = 1.01
"""A head whose loss without embeddings is larger by less than this goes without."""

Floats = NDArray[np.floating]
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class Member:
    """One support vector machine of the blend."""

    name: str
    scales: Mapping[str, float]
    """The views it sees, each multiplied by its scale: a larger one is regularised less."""
    cost: float
    """C of the support vector machine."""
    contrast: bool = False
    """Scale each feature, for each class, by how much more often it stands in the class than outside: NBSVM (Wang and
    Manning 2012, "Baselines and Bigrams"), with the size of the log-count ratio. For lexical views."""


@dataclass(frozen=True, slots=True)
class Similarity:
    """One ridge regression of the blend, over Gaussian similarities to the landmarks (a Nyström approximation)."""

    name: str
    sharpness: float
    """gamma of ``exp(-gamma * distance ** 2)``."""


MEMBERS = (
    Member("lexical", {"words": 1.0, "characters": 1.0}, 0.3),
    Member("contrast", {"words": 1.0, "characters": 1.0}, 0.3, contrast=True),
    Member("joined", {"words": 1.0, "characters": 1.0, "embedding": 2.0}, 0.5),
)
SIMILAR = Similarity("similar", 0.7)
"""Of 0.7, 1.2 and 2, 0.7 was best on 8,000 and on 15,000 rows."""
MOST_CONTRAST = 4.0
MOST_ROWS = 16_000
"""Up to here every training row is a landmark. The time grows with their cube: two minutes for 15,000."""
LANDMARKS = 8000
"""Of more rows so many are. On 33,000 tickets 8,000 gave 0.9 points more than 3,000."""
PENALTIES = (0.05, 0.2, 0.8)
FEW_ROWS = 4000
USUAL_PENALTY = (0.1,)
"""From `FEW_ROWS` rows on, where trying several takes long: on 8,000 rows 0.05 to 0.2 differ by 0.2 points."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A head with what cross-fitting showed."""

    head: Head
    held_out: Floats
    """Logits of the training rows by models that did not see them: (rows, labels)."""
    members: dict[str, float]
    """Each member's weight in the blend."""


class FitCheckpoint:
    """Finished pieces of a fit, in a folder, so that an interrupted fit goes on where it stopped."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, key: str, make: Callable[[], dict[str, Floats]]) -> dict[str, Floats]:
        """The piece of that key, made now when it is not there."""
        path = self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npz"
        if path.is_file():
            try:
                # opened here: numpy leaves a file that is no archive open
                with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                    return {name: stored[name] for name in stored.files}
            except (OSError, ValueError, EOFError, zipfile.BadZipFile):
                path.unlink()
        made = make()
        staged = path.with_suffix(".part.npz")
        arrays: dict[str, Any] = made
        np.savez(staged, **arrays)
        staged.replace(path)
        return made


def folds_of(target: NDArray[np.integer], count: int = FOLDS) -> NDArray[np.int64]:
    """The fold of every row: the rows of each class are dealt out in a fixed shuffled order."""
    order = np.random.default_rng(0).permutation(len(target))
    fold = np.zeros(len(target), np.int64)
    dealt = np.zeros(int(target.max()) + 1, np.int64)
    for row in order:
        fold[row] = (dealt[target[row]] + target[row]) % count
        dealt[target[row]] += 1
    return fold


def pool(logits: Sequence[Floats], target: NDArray[np.integer]) -> Floats:
    """One weight of at least 0 per member, such that the softmax of the weighted sum is likeliest on these rows."""
    optimize = fitting("scipy.optimize")
    stacked = np.stack(logits)

    def loss(weights: Floats) -> tuple[float, Floats]:
        value, slope = smoothed_loss(np.tensordot(weights, stacked, axes=1), target)
        return value, np.array([float((slope * member).sum()) for member in stacked])

    start = np.full(len(stacked), 2.0 / len(stacked))
    found = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0.0, 100.0)] * len(stacked))
    return np.asarray(found.x, np.float64)


def _loss(logits: Sequence[Floats], shares: Floats, target: NDArray[np.integer]) -> float:
    return smoothed_loss(np.tensordot(shares, np.stack(logits), axes=1), target)[0]


def train_head(
    texts: Sequence[str],
    target: NDArray[np.integer],
    labels: Sequence[str],
    embeddings: NDArray[np.float32] | None,
    *,
    embed_words: int = 0,
    members: Sequence[Member] = MEMBERS,
    kept: FitCheckpoint,
    on_progress: Progress = lambda _done, _all, _what: None,
) -> Trained:
    """Fit a head on `texts` with class indices `target` into `labels`; `embeddings` (rows, dimensions) or None."""
    tokens = [words_of(text) for text in texts]
    most = MOST_WEIGHTS // len(labels)
    on_progress(0, 1, "words and characters")
    lexicons = {
        "words": fit_lexicon(tokens, WORDS, most=most * 2 // 3),
        "characters": fit_lexicon(tokens, CHARACTERS, most=most // 3),
    }
    views: dict[str, Any] = {name: lexicon.matrix(tokens) for name, lexicon in lexicons.items()}
    projection = None
    if embeddings is not None:
        projection = fit_projection(embeddings)
        embeddings = projection(embeddings)
        views["embedding"] = embeddings
    usable = [member for member in members if member.scales.keys() <= views.keys()]
    fold = folds_of(target)
    identity = _identity(texts, target, embeddings, lexicons)
    work = _Work(views, target, len(labels), fold, identity, kept, on_progress)
    landmarks = np.zeros((0, 0), np.float32)
    ridges: tuple[Similarity, ...] = ()
    if embeddings is not None:
        landmarks = landmarks_of(embeddings, target, len(target) if len(target) <= MOST_ROWS else LANDMARKS)
        ridges = (SIMILAR,)
    work.steps = len(usable) * (FOLDS + 1) + len(ridges)
    pieces = [_fit_support(work, member) for member in usable]
    if embeddings is not None:
        pieces += [_fit_similarity(work, ridge, embeddings, landmarks) for ridge in ridges]
    held_out = [piece["held_out"] for piece in pieces]
    shares = pool(held_out, target)
    on_progress(work.steps, work.steps, "blend")
    names = [member.name for member in (*usable, *ridges)]
    words_only = [index for index, piece in enumerate(pieces) if not EMBEDS & piece.keys()]
    words_shares = np.zeros(len(pieces))
    words_shares[words_only] = pool([held_out[index] for index in words_only], target)
    if embeddings is not None and _loss(held_out, words_shares, target) < WORTH * _loss(held_out, shares, target):
        shares = words_shares
        # what embeds adds next to nothing: the head is lexical, and a request needs no embedding model
        views.pop("embedding", None)
        landmarks, ridges, embed_words, projection = np.zeros((0, 0), np.float32), (), 0, None
    head = Head(
        labels=list(labels),
        lexicons=lexicons,
        weights={name: _blended(pieces, shares, f"view.{name}") for name in [*views, *(r.name for r in ridges)]},
        bias=_blended(pieces, shares, "bias"),
        landmarks=landmarks,
        sharpness={ridge.name: ridge.sharpness for ridge in ridges},
        embed_words=embed_words,
        projection=projection,
    )
    blended = np.tensordot(shares, np.stack(held_out), axes=1)
    return Trained(head, blended, {name: round(float(share), 4) for name, share in zip(names, shares, strict=True)})


@dataclass(slots=True)
class _Work:
    """What every member is fitted on."""

    views: Mapping[str, Any]
    target: NDArray[np.integer]
    classes: int
    fold: NDArray[np.int64]
    identity: str
    kept: FitCheckpoint
    on_progress: Progress
    steps: int = 0
    done: int = 0

    def get(self, what: str, member: Member | Similarity, make: Callable[[], dict[str, Floats]]) -> dict[str, Floats]:
        self.on_progress(self.done, self.steps, f"{member.name}, {what}")
        found = self.kept.get(f"{self.identity} {member} {what}", make)
        self.done += 1
        return found


def _fit_support(work: _Work, member: Member) -> dict[str, Floats]:
    """A member's weights per view (``view.NAME``), its bias, and its held-out logits."""
    held_out = np.zeros((len(work.target), work.classes), np.float32)
    for number in range(FOLDS):
        part = work.get(f"part {number + 1} of {FOLDS}", member, lambda n=number: {"s": _cross_fitted(work, member, n)})
        held_out[work.fold == number] = part["s"]
    whole = work.get("all", member, lambda: _fit_member(work.views, work.target, work.classes, member))
    return {**whole, "held_out": held_out}


def _fit_similarity(
    work: _Work, ridge: Similarity, embeddings: NDArray[np.float32], landmarks: NDArray[np.float32]
) -> dict[str, Floats]:
    goal = np.eye(work.classes, dtype=np.float32)[work.target]

    def right(scores: Floats, goal: Floats) -> float:
        return float((scores.argmax(axis=1) == goal.argmax(axis=1)).mean())

    def fitted() -> RidgeFit:
        if len(landmarks) < len(goal):
            return fit_ridge(
                *(embeddings, landmarks, goal, work.fold),
                sharpness=ridge.sharpness,
                penalties=PENALTIES,
                better=right,
            )
        penalties = PENALTIES if len(goal) <= FEW_ROWS else USUAL_PENALTY
        return fit_kernel(landmarks, goal, sharpness=ridge.sharpness, penalties=penalties, better=right)

    def make() -> dict[str, Floats]:
        found = fitted()
        return {f"view.{ridge.name}": found.weights, "bias": found.bias, "held_out": found.held_out}

    return work.get(f"{len(landmarks)} landmarks", ridge, make)


def _fit_member(views: Mapping[str, Any], target: Any, classes: int, member: Member) -> dict[str, Floats]:
    """Weights per view and the bias, for features as they are (the member's scales folded in)."""
    seen = _side_by_side(views, member)
    if member.contrast:
        weights, bias = _contrasted(seen, target, classes, member.cost)
    else:
        model = fitting("sklearn.svm").LinearSVC(C=member.cost, random_state=0, max_iter=2000).fit(seen, target)
        weights, bias = model.coef_, model.intercept_
        if classes == 2:
            weights, bias = np.vstack([-weights, weights]), np.concatenate([-bias, bias])
    found: dict[str, Floats] = {"bias": bias.astype(np.float32)}
    start = 0
    for name, scale in member.scales.items():
        width = views[name].shape[1]
        found[f"view.{name}"] = (weights[:, start : start + width].T * scale).astype(np.float32)
        start += width
    return found


def _contrasted(seen: Any, target: Any, classes: int, cost: float) -> tuple[Floats, Floats]:
    """One machine per class on features scaled by their log-count ratio; the weights are for features as they are."""
    sparse = fitting("scipy.sparse")
    present = (seen > 0).astype(np.float32)
    everywhere = np.asarray(present.sum(axis=0)).ravel()
    weights = np.zeros((classes, seen.shape[1]), np.float32)
    bias = np.zeros(classes, np.float32)
    for number in range(classes):
        inside = 1 + np.asarray(present[target == number].sum(axis=0)).ravel()
        outside = 2 + everywhere - inside
        ratio = log_count_ratio(inside, outside).clip(max=MOST_CONTRAST)
        model = fitting("sklearn.svm").LinearSVC(C=cost, random_state=0, max_iter=2000)
        model.fit(seen @ sparse.diags(ratio.astype(np.float32)), target == number)
        weights[number], bias[number] = model.coef_[0] * ratio, model.intercept_[0]
    return weights, bias


def _cross_fitted(work: _Work, member: Member, number: int) -> Floats:
    inside, outside = work.fold != number, work.fold == number
    seen = {name: work.views[name][inside] for name in member.scales}
    model = _fit_member(seen, work.target[inside], work.classes, member)
    scores = np.tile(model["bias"], (int(outside.sum()), 1))
    for name in member.scales:
        scores = scores + work.views[name][outside] @ model[f"view.{name}"]
    return np.asarray(scores, np.float32)


def _side_by_side(views: Mapping[str, Any], member: Member) -> Any:
    sparse = fitting("scipy.sparse")
    parts = [sparse.csr_matrix(views[name]) * scale for name, scale in member.scales.items()]
    return sparse.hstack(parts, format="csr") if len(parts) > 1 else parts[0]


def _blended(fitted: Sequence[Mapping[str, Floats]], shares: Floats, name: str) -> NDArray[np.float32]:
    parts = [piece[name] * share for piece, share in zip(fitted, shares, strict=True) if name in piece]
    return np.sum(parts, axis=0).astype(np.float32)


def _identity(texts: Sequence[str], target: Any, embeddings: Any, lexicons: Mapping[str, Lexicon]) -> str:
    digest = hashlib.sha256("\0".join(texts).encode())
    digest.update(np.asarray(target, np.int64).tobytes())
    digest.update(b"" if embeddings is None else np.ascontiguousarray(embeddings).tobytes())
    digest.update(repr([(lexicon.grams, len(lexicon)) for lexicon in lexicons.values()]).encode())
    return digest.hexdigest()
