"""The fitted detector: a linear model over hashed n-grams and signs of steering.

The shipped model is the artifact in `shipped/`; `sluicegate guard fit injection` writes another one that continues it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sluicegate.errors import ModelError, PolicyError
from sluicegate.learning.artifact import WEIGHTS, edited, read_card, write_folder
from sluicegate.policies.guards.injection.disguises import Reading
from sluicegate.policies.guards.injection.ngrams import COLUMNS, ngrams
from sluicegate.policies.guards.injection.steering import FEATURES, features

__all__ = ["FIT", "SHIPPED", "Model", "read_model", "write_model"]

SHIPPED = Path(__file__).with_name("shipped")
FIT = "sluicegate guard fit injection"
_TASK = "injection"

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Model:
    """The detector; its scores are log-odds."""

    ngrams: Floats
    """(COLUMNS)."""
    signs: Floats
    """(FEATURES)."""
    bias: float
    wordless: Floats
    """(a bias and FEATURES), for a reading that has no words (see `disguises`)."""
    threshold: float
    long_offset: float
    """What is taken from the score of a text that has several parts (see `windows`), so that one threshold serves."""
    card: Mapping[str, Any]

    def score(self, reading: Reading) -> float:
        """Log-odds of one reading of a text."""
        signs = np.array(features(reading), np.float32)
        if not reading.words:
            return float(self.wordless[0] + self.wordless[1:] @ signs)
        columns, values = ngrams(reading.text)
        return self.bias + float(self.signs @ signs) + float(values @ self.ngrams[columns])


def write_model(folder: Path, model: Model) -> str:
    """Write the artifact; returns its hash. Raises as `learning.artifact.check_place` does."""
    card = {
        **model.card, "task": _TASK, "bias": model.bias, "threshold": model.threshold,
        "long_offset": model.long_offset, "signs": list(FEATURES), "columns": COLUMNS,
    }  # fmt: skip
    arrays = {"ngrams": model.ngrams.astype(np.float16), "signs": model.signs, "wordless": model.wordless}
    return write_folder(folder, card, arrays)


@lru_cache(maxsize=8)
def read_model(folder: Path) -> Model:
    """The model in `folder`, its hashes checked. Raises `PolicyError` SG203."""
    try:
        return _read(folder)
    except ModelError as error:
        hint = "Reinstall sluicegate" if folder == SHIPPED else error.hint
        raise PolicyError("SG203", f"the guard injection has no model: {error.message}", hint=hint) from error


def _read(folder: Path) -> Model:
    card = read_card(folder, task=_TASK, fit=FIT)
    if card.get("signs") != list(FEATURES) or card.get("columns") != COLUMNS:
        raise ModelError("SG312", f"{folder} was fitted for the signs of another release", hint=f"Fit it again: {FIT}")
    try:
        with np.load(folder / WEIGHTS, allow_pickle=False) as stored:
            arrays = {name: np.asarray(stored[name], np.float32) for name in stored.files}
        bias, limit, offset = float(card["bias"]), float(card["threshold"]), float(card.get("long_offset", 0.0))
        return Model(arrays["ngrams"], arrays["signs"], bias, arrays["wordless"], limit, offset, card)
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise edited(folder, "its files are inconsistent") from error
