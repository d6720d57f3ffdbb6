"""`injection`: whether a request or a passage tries to steer the model.

A text is scored in windows, each in every reading (see `disguises`), by the fitted `model`; the highest score counts.
The shipped model's card says what it was fitted on, its figures by kind and source, and the bound of its threshold.
`benchmarks/guards.py fit` writes it.
"""

import math
from functools import lru_cache
from pathlib import Path

from sluicegate.policies.guards.checking import Check, GuardKind, Helpers, Subject, Verdict
from sluicegate.policies.guards.config import InjectionSettings
from sluicegate.policies.guards.injection.model import SHIPPED, read_model
from sluicegate.policies.guards.injection.windows import is_long, parts
from sluicegate.policies.guards.settings import GuardSettings

__all__ = ["KIND", "score", "threshold"]


def score(text: str, model: Path = SHIPPED) -> float:
    """Probability in [0, 1] that the text is an attack, by its worst part. Raises `PolicyError` SG203."""
    fitted = read_model(model)
    highest = max(fitted.score(reading) for reading in parts(text))
    return _probability(highest - (fitted.long_offset if is_long(text) else 0.0))


def threshold(model: Path = SHIPPED) -> float:
    """The fitted threshold, as a probability. Raises `PolicyError` SG203."""
    return _probability(read_model(model).threshold)


def _probability(log_odds: float) -> float:
    return 1 / (1 + math.exp(-max(min(log_odds, 60.0), -60.0)))


_passage_score = lru_cache(maxsize=1024)(score)
"""Passages are retrieved again and again, and are in the index anyway; what people write is not kept here."""


def _make(settings: GuardSettings, helpers: Helpers) -> Check:
    assert isinstance(settings, InjectionSettings)
    model = SHIPPED if settings.model is None else helpers.find(settings.model)
    limit = threshold(model) if settings.threshold is None else settings.threshold

    def check(subject: Subject) -> Verdict:
        value = (_passage_score if subject.stage == "retrieved" else score)(subject.text, model)
        found = value >= limit
        reason = f"score {value:.2f} reaches {limit:.2f}: the text tries to steer the model" if found else ""
        return Verdict(passed=not found, reason=reason, details={"score": value, "threshold": limit})

    return check


KIND = GuardKind(
    name="injection",
    doc="No attempt to steer the model.",
    stages=frozenset({"request", "retrieved", "output"}),
    settings=InjectionSettings,
    make=_make,
    quick=True,
    by_sentence=True,
    says="It reads like an attempt to change the assistant's instructions. Please put your question in plain words.",
)
