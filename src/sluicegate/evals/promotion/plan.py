"""The plan of a comparison: what is compared, how much worse counts as worse, when to stop; fixed before it starts.

A plan is a YAML file. Its hash is recorded when a shadow starts and stands on every pair; a file that has changed since
decides nothing. Only the times of looking at the result are left open.
"""

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from sluicegate.errors import ConfigError
from sluicegate.graphs.config.source import read
from sluicegate.graphs.config.validate import Faults, validated
from sluicegate.graphs.proofs.guarantees import REASON_RULE, is_reason

__all__ = ["Bounded", "Event", "Goal", "Guardrail", "Metric", "Plan", "SafetyLimit", "read_plan"]

Metric = Literal[
    "correct", "intent_right", "grounded", "checks_passed", "answered", "without_llm", "without_human",
    "usd", "list_usd", "seconds",
]  # fmt: skip
"""What can be compared; `evals.evaluation.scoring` measures it."""

Event = Literal["failed", "timed_out", "must_refuse_answered", "must_answer_refused", "output_blocked"]
"""Events that a challenger must avoid."""

LOWER_IS_BETTER = frozenset({"usd", "list_usd", "seconds"})


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Bounded(_Block):
    """One metric of both versions, compared pair by pair."""

    metric: Metric
    """What is compared."""
    cap: float | None = Field(default=None, gt=0)
    """The largest value that counts: larger ones count as this. Needed by ``usd``, ``list_usd`` and ``seconds``, which
    have no natural limit; their differences and margins are shares of it."""

    @model_validator(mode="after")
    def _capped(self) -> Self:
        if (self.metric in LOWER_IS_BETTER) != (self.cap is not None):
            raise ValueError(f"`cap` is for {', '.join(sorted(LOWER_IS_BETTER))}, and required there")
        return self


class Guardrail(Bounded):
    margin: float = Field(gt=0, lt=1)
    """How much worse the challenger may be and still count as no worse."""


class Goal(Bounded):
    by: float = Field(default=0.0, ge=0, lt=1)
    """By how much the challenger must be better."""


class SafetyLimit(_Block):
    """A hard safety limit: proved by an exact bound, regardless of other metrics."""

    event: Event
    """What must not happen."""
    rate: float = Field(gt=0, lt=1)
    """The largest share of pairs on which it may happen."""


class Pairs(_Block):
    minimum: int = Field(ge=20)
    """Pairs before anything is decided."""
    maximum: int = Field(le=1_000_000)
    """Pairs after which no more are taken in: without a decision by then it is INCONCLUSIVE."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.maximum < self.minimum:
            raise ValueError("`maximum` must be at least `minimum`")
        return self


class Sample(_Block):
    """Which requests are shadowed. The same request id is always decided the same way."""

    by: Literal["intent", "path", "language", "channel"] = "intent"
    """What divides the requests into strata."""
    share: float = Field(default=1.0, gt=0, le=1)
    """The share of each stratum."""
    strata: dict[str, float] = Field(default_factory=dict[str, float])
    """Other shares for single strata, such as ``{access_request: 1.0}``."""


class Daily(_Block):
    """Caps on the shadow's own use per day (UTC)."""

    usd: float = Field(default=1.0, ge=0)
    """Most dollars the challenger may spend in a day."""
    pairs: int = Field(default=10_000, ge=1)
    """Most pairs in a day."""


class AllowedWeakening(_Block):
    """One thing that the challenger may promise less than its champion."""

    what: str = Field(min_length=1)
    """In the words of `sluicegate check` and `sluicegate promote`."""
    reason: str
    """Why; it is in the evidence of the promotion."""

    @field_validator("reason")
    @classmethod
    def _of_substance(cls, reason: str) -> str:
        if not is_reason(reason):
            raise ValueError(f"`reason` is too little: {REASON_RULE}")
        return reason


class Plan(_Block):
    """A comparison of a challenger with its champion, fixed before it starts."""

    plan: str = Field(min_length=1)
    """A name for people."""
    goal: Goal
    """The one metric that the challenger must improve."""
    guardrails: tuple[Guardrail, ...] = Field(min_length=1)
    """Metrics on which it must be no worse, each with its margin."""
    limits: tuple[SafetyLimit, ...] = Field(min_length=1)
    """Hard safety limits."""
    pairs: Pairs
    """How many pairs."""
    days: int = Field(default=1, ge=1, le=365)
    """Minimum number of different days (UTC) with pairs before a promotion."""
    error: float = Field(default=0.05, gt=0, le=0.2)
    """Maximum probability of promoting a challenger that breaks a margin, under any number of looks."""
    missing: float = Field(default=0.1, ge=0, lt=1)
    """Largest share of pairs in which only one side has a compared metric, and of sampled requests that may be shed."""
    slices: tuple[Literal["intent", "path", "language", "channel", "risk"], ...] = ("intent",)
    """What the report breaks the result down by. Slices are shown, not decided on."""
    sample: Sample = Sample()
    """Which requests are shadowed."""
    daily: Daily = Daily()
    """Caps on the shadow's own use."""
    queue: int = Field(default=64, ge=1, le=10_000)
    """Requests that may wait for the challenger; more are shed."""
    concurrency: int = Field(default=1, ge=1, le=64)
    """Challenger runs at a time."""
    timeout_s: float = Field(default=60.0, gt=0, le=3600)
    """Seconds after which a challenger's run is given up; that is the event ``timed_out``."""
    weakens: tuple[AllowedWeakening, ...] = ()
    """What the challenger may promise less than its champion; anything else that it does not promise any more, such as
    a guarantee, a person or the risk of an intent, refuses the promotion."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what the plan says; layout and comments of its file do not count."""
        # an empty list is left out: plans of before it was there keep their digest
        left_out = None if self.weakens else {"weakens"}
        said = json.dumps(self.model_dump(mode="json", exclude=left_out), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(said.encode()).hexdigest()


def read_plan(path: Path) -> Plan:
    """Raises `ConfigError` with every problem of the file."""
    source = read(path)
    faults = Faults(source)
    faults.problems += source.problems
    plan = None if source.data is None else validated(Plan, source.data, (), faults)
    if plan is None or faults.problems:
        raise ConfigError(faults.problems)
    return plan
