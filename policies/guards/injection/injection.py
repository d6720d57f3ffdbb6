"""`injection`: whether a request or a passage tries to steer the model.

Every reading of the text (see `disguises`) gives named features (see `steering`); a logistic regression over them
gives a score, and the highest reading counts. The weights are in `injection.json` with their card: what they were
fitted on, how they were measured and their threshold. `benchmarks/guards.py fit` writes that file.
"""

import json
import math
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from sluicegate.errors import PolicyError
from sluicegate.policies.guards.checking import Check, GuardKind, Helpers, Subject, Verdict
from sluicegate.policies.guards.config import InjectionSettings
from sluicegate.policies.guards.injection.disguises import readings
from sluicegate.policies.guards.injection.steering import FEATURES, features
from sluicegate.policies.guards.settings import GuardSettings

__all__ = ["KIND", "WEIGHTS", "score", "weights"]

WEIGHTS = Path(__file__).with_name("injection.json")

CHUNK = 2_000
"""Characters per window: an order hidden in a long passage must not be diluted by it."""
OVERLAP = 300


@cache
def weights() -> tuple[float, tuple[float, ...], float]:
    """Intercept, one weight for each of `FEATURES`, and the threshold. Raises `PolicyError` SG203."""
    try:
        stored: dict[str, Any] = json.loads(WEIGHTS.read_text())
        by_name: dict[str, float] = stored["weights"]
        return float(stored["intercept"]), tuple(float(by_name[name]) for name in FEATURES), float(stored["threshold"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PolicyError(
            "SG203", f"{WEIGHTS.name} is missing or does not fit this version", hint="Reinstall sluicegate"
        ) from error


def score(text: str) -> float:
    """Probability in [0, 1] that the text is an attack, by its worst part."""
    return max(_score(text[at : at + CHUNK]) for at in range(0, max(len(text) - OVERLAP, 1), CHUNK - OVERLAP))


_passage_score = lru_cache(maxsize=1024)(score)
"""Passages are retrieved again and again, and are in the index anyway; what people write is not kept here."""


def _score(text: str) -> float:
    intercept, by_feature, _ = weights()
    best = max(
        intercept + sum(weight * value for weight, value in zip(by_feature, features(reading), strict=True) if value)
        for reading in readings(text)
    )
    return 1 / (1 + math.exp(-max(min(best, 60.0), -60.0)))


def _make(settings: GuardSettings, helpers: Helpers) -> Check:
    del helpers
    assert isinstance(settings, InjectionSettings)
    threshold = weights()[2] if settings.threshold is None else settings.threshold

    def check(subject: Subject) -> Verdict:
        value = (_passage_score if subject.stage == "retrieved" else score)(subject.text)
        found = value >= threshold
        reason = f"score {value:.2f} reaches {threshold:.2f}: the text tries to steer the model" if found else ""
        return Verdict(passed=not found, reason=reason, details={"score": value, "threshold": threshold})

    return check


KIND = GuardKind(
    name="injection",
    doc="No attempt to steer the model.",
    stages=frozenset({"request", "retrieved", "output"}),
    settings=InjectionSettings,
    make=_make,
    quick=True,
    says="It reads like an attempt to change the assistant's instructions. Please put your question in plain words.",
)
