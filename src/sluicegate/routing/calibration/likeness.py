"""Whether a request is like the calibration rows: what was proved on these holds for no others.

Two tests. The language: a request is foreign where the languages of the calibration rows have a probability of less
than `FOREIGN` together, so that a short text, which could be in many, passes; a tenth of that where all its words stood
in training rows. And novelty, by distances to the training
rows: how much of the text's wording stood in one, and how near the nearest are. Each view of novelty has a cut at an
order statistic of the calibration rows, which training has not seen either. The share of requests like them below the
(k + 1)-th smallest of n scores has a Beta(k + 1, n - k) distribution, whatever the scores are (Wilks 1941,
"Determination of Sample Sizes for Setting Tolerance Limits"; in conformal prediction Vovk 2012, "Conditional Validity
of Inductive Conformal Predictors"), so the cut is put where that share is at most `NOVEL` with `CONFIDENCE`, all views
together. With fewer rows than that takes, the smallest score is the cut, and the bound that holds is stated.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sluicegate.language import CONFIDENT, chances, detect, probability_of
from sluicegate.learning.threshold import upper_bound

__all__ = ["Likeness", "Unlike", "fit_likeness"]

Unlike = Literal["", "language", "novelty"]
FOREIGN = 0.01
NOVEL = 0.05
CONFIDENCE = 0.95
SHARE = 0.1
"""A language is one of the calibration rows' when it has this share of them, or as many as a proof needs."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """The two tests."""

    languages: frozenset[str]
    """Those of the calibration rows; empty: any language passes."""
    least: Mapping[str, float]
    """Per view of novelty the score below which a request is novel."""

    def foreign(self, text: str, seen: Mapping[str, float]) -> bool:
        """Whether the text is in none of the languages."""
        least = FOREIGN if seen["wording"] < 1 else FOREIGN / 10
        return bool(self.languages and chances(text)) and probability_of(text, self.languages) < least

    def novel(self, seen: Mapping[str, float]) -> bool:
        """Whether one of the scores, by view, is too low."""
        return any(seen[view] < least for view, least in self.least.items())

    def unlike(self, text: str, seen: Mapping[str, float]) -> Unlike:
        """Why the text is unlike the calibration rows, if it is."""
        return "language" if self.foreign(text, seen) else "novelty" if self.novel(seen) else ""

    @classmethod
    def of(cls, card: Mapping[str, Any]) -> "Likeness":
        """As an artifact's card has it; one of an earlier release has none, and everything passes."""
        found = card.get("likeness")
        if found is None:
            return cls(frozenset(), {})
        return cls(frozenset(found["languages"]), {name: view["least"] for name, view in found["views"].items()})


def fit_likeness(
    texts: Sequence[str], seen: Sequence[Mapping[str, float]], *, enough: int
) -> tuple[Likeness, NDArray[np.bool_], dict[str, Any]]:
    """Fit on calibration rows and their scores by view.

    `enough` rows of a language, or a tenth, make it one of the calibration rows'. Returns the tests, which of the rows
    fail them, and what the card says.
    """
    found = [detect(text) for text in texts]
    counts = Counter(language.code if language.probability >= CONFIDENT else "" for language in found)
    most = min(enough, SHARE * len(texts))
    languages = frozenset(code for code, count in counts.items() if code and count >= most)
    by_language = Likeness(languages, {})
    foreign = np.array([by_language.foreign(text, scores) for text, scores in zip(texts, seen, strict=True)], bool)
    kept = [scores for scores, out in zip(seen, foreign, strict=True) if not out]
    views = {name: _cut([scores[name] for scores in kept], len(seen[0])) for name in (seen[0] if kept else ())}
    likeness = Likeness(languages, {name: view["least"] for name, view in views.items()})
    novel = np.array([likeness.novel(scores) for scores in seen], bool) & ~foreign
    card = {
        "languages": sorted(languages),
        "rows_by_language": dict(sorted(counts.items())),
        "foreign": int(foreign.sum()),
        "novel": int(novel.sum()),
        "confidence": CONFIDENCE,
        "bound": sum(view["bound"] for view in views.values()),
        "views": views,
    }
    return likeness, foreign | novel, card


def _cut(scores: Sequence[float], views: int) -> dict[str, float]:
    """The cut of one of so many views: its value, how many rows are below it, and the bound on the share of all."""
    ordered, confidence = sorted(scores), 1 - (1 - CONFIDENCE) / views
    below = 0
    while below + 1 < len(ordered) and upper_bound(below + 1, len(ordered), confidence) <= NOVEL / views:
        below += 1
    return {
        "least": ordered[below],
        "below": sum(score < ordered[below] for score in ordered),
        "bound": upper_bound(below, len(ordered), confidence),
    }
