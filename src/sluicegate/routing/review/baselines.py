"""What can be told of a draft without reading it: what a fitted reviewer must beat, on its card."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sluicegate.extras import fitting
from sluicegate.routing.calibration.metrics import auroc
from sluicegate.routing.intent.lexical import words_of
from sluicegate.segmentation import sentences

__all__ = ["baselines"]

SHORT = 4
"""Letters up to which a word is mostly a function word: what remains when a policy's words are masked."""
SHALLOW: Mapping[str, Callable[[str], Mapping[str, float]]] = {
    "length": lambda text: {"characters": len(text) / 100},
    "punctuation": lambda text: Counter(re.findall(r"[^\w\s]", text)),
    "first words": lambda text: Counter(part.split()[0] for part in sentences(text)),
    "short words": lambda text: Counter(word for word in words_of(text) if len(word) <= SHORT),
    "words": lambda text: Counter(words_of(text)),
}
"""What a model may see of a draft without reading it."""


def baselines(
    texts: Sequence[str], proper: NDArray[np.bool_], unseen: Sequence[str], truth: NDArray[np.bool_]
) -> dict[str, float | None]:
    """AUROC on `unseen` texts, which are proper by `truth`, of logistic regressions that see something shallow of a
    text, fitted on `texts`."""
    found: dict[str, float | None] = {}
    for name, seen in SHALLOW.items():
        columns = fitting("sklearn.feature_extraction").DictVectorizer()
        model = fitting("sklearn.linear_model").LogisticRegression(max_iter=500)
        model.fit(columns.fit_transform([seen(text) for text in texts]), proper)
        found[name] = auroc(model.decision_function(columns.transform([seen(text) for text in unseen])), truth)
    return found
