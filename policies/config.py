"""The config blocks `budget:`, `cache:`, `limits:` and `policy:`.

The blocks are plain settings; `ledger`, `cache`, `rates` and `engine` in this room act on them.
"""

import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from sluicegate.errors import nearest
from sluicegate.policies.rates.rate import MAX_WAIT_S, RATE_PATTERN, Rate
from sluicegate.state import Priority

__all__ = [
    "DEFAULT",
    "PRIORITIES",
    "BudgetConfig",
    "CacheConfig",
    "Duration",
    "LimitsConfig",
    "PolicyConfig",
    "Tokens",
    "Usd",
    "seconds",
]

T = TypeVar("T")

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def seconds(text: str) -> float:
    """Seconds of a duration such as ``90s``, ``15m``, ``24h``, ``7d`` or ``2w``. Raises `ValueError`."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdw])", text.strip())
    if not found:
        raise ValueError(f"{text!r} is not a duration; write a number and s, m, h, d or w, such as 24h")
    return float(found[1]) * _UNITS[found[2]]


def _duration(value: Any) -> Any:
    return seconds(value) if isinstance(value, str) else value


Duration = Annotated[float, BeforeValidator(_duration, json_schema_input_type=str | float), Field(gt=0)]
"""Seconds; a workflow may write ``24h``."""

Usd = Annotated[float, Field(ge=0, le=1_000_000_000)]
"""US dollars; the ledger counts whole micro-dollars."""

Tokens = Annotated[int, Field(ge=0)]
"""Prompt and completion tokens together."""


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class BudgetConfig(_Block):
    """What a workflow may spend. A cap that is not set does not apply; days are calendar days in UTC."""

    per_run_usd: Usd | None = None
    """US dollars that one run may cost."""
    per_principal_day_usd: Usd | None = None
    """US dollars that one person may spend in a day in this workflow."""
    per_intent_day_usd: Usd | dict[str, Usd] | None = None
    """US dollars that one intent may cost in a day: one number for each intent, or a map from intent to its cap."""
    per_day_usd: Usd | None = None
    """US dollars that the workflow may spend in a day."""
    per_month_usd: Usd | None = None
    """US dollars that the workflow may spend in a calendar month (UTC)."""
    per_run_tokens: Tokens | None = None
    """Tokens, prompt and completion together, that one run may use."""
    per_principal_day_tokens: Tokens | None = None
    """Tokens that one person may use in a day in this workflow."""
    per_day_tokens: Tokens | None = None
    """Tokens that the workflow may use in a day."""
    per_principal_day_calls: Annotated[int, Field(ge=0)] | None = None
    """Calls of tools that may be made for one person in a day in this workflow."""
    per_day_calls: Annotated[int, Field(ge=0)] | None = None
    """Calls of tools that the workflow may make in a day."""
    tool_usd: dict[str, Usd] = Field(default_factory=dict[str, Usd])
    """What one call of a tool costs, in US dollars, by its registered name; booked before the call is made."""
    lease_s: Duration = 300.0
    """How long a reservation holds when its process dies, as seconds or ``5m``; longer than the slowest model call."""

    @property
    def caps(self) -> dict[str, Any]:
        """The caps that are set, by name."""
        return {name: cap for name, cap in self if name not in ("lease_s", "tool_usd") and cap is not None}

    def tool_price(self, tool: str) -> float | None:
        """What a call of a tool is booked at; None where calls of it are not booked."""
        counted = self.per_principal_day_calls is not None or self.per_day_calls is not None
        return self.tool_usd.get(tool, 0.0 if counted else None)


class CacheConfig(_Block):
    """Whether a cached answer may be served to an equal request of an equal reader."""

    answers: Literal["off", "exact", "semantic"] = "off"
    """``exact``: the same text (case, spacing and closing punctuation aside) gets the same answer while nothing that
    it depends on has changed. ``semantic``: for the intents in `intents` also paraphrases, when a verifier is certain
    that they ask the same."""
    intents: tuple[str, ...] = ()
    """With ``semantic``: the intents it applies to. Low-risk short answers only."""
    similarity: Annotated[float, Field(ge=0.5, le=1)] = 0.85
    """With ``semantic``: minimum cosine similarity of two questions that the verifier compares."""
    embedder: str = "embedder"
    """With ``semantic``: the role of the model that embeds questions."""
    ttl: Duration = 86400.0
    """Time to live of a cached answer, as seconds or ``24h``."""
    max_mb: Annotated[float, Field(gt=0, le=100_000)] = 256.0
    """Maximum size in megabytes; the least recently used answers are evicted."""


DEFAULT = "default"
"""For whoever has none of the roles that are named."""

PRIORITIES: tuple[Priority, ...] = ("low", "normal", "high")
"""From the lowest to the highest."""

RateText = Annotated[str, StringConstraints(pattern=RATE_PATTERN)]


class LimitsConfig(_Block):
    """How often models may be called and people may ask. A rate is ``60 per minute`` (or `second`, `hour`, `day`): a
    bucket of 60 that is refilled evenly. ``60 per minute, 10 at once`` lets no more than 10 pass in one moment."""

    models: dict[str, RateText] = Field(default_factory=dict[str, str])
    """By ``provider:model``, how often it is called. What comes too early waits for its turn. All workflows of a home,
    or of the server that machines share, that state the same rate of a model share it."""
    wait: Annotated[Duration, Field(le=MAX_WAIT_S)] = 60.0
    """How long a call may wait for its turn, as seconds or ``2m``, 10 minutes at most; one whose turn comes later is
    not made (SG731), and the next model of its role answers. It is no part of the model's `timeout_s`."""
    principals: dict[str, RateText] = Field(default_factory=dict[str, str])
    """By role, how often each person may send a request to this workflow over a service; `default` is for people with
    none of these roles. Of several the one that allows the most applies. Further ones are refused (SG730)."""
    priorities: dict[str, Priority] = Field(default_factory=dict[str, Priority])
    """By role, which requests are carried first where not all have room at a time: `low`, `normal` or `high`;
    `default` is for people with none of these roles, and `normal` where it is left out. Of several the highest applies.
    A request may ask for its requester's own level or a lower one; a higher one is refused (SG735)."""

    def of_person(self, roles: Collection[str]) -> Rate | None:
        """How often a person with these roles may ask; None: as often as they like."""
        rates = [Rate.of(rate) for rate in _of_roles(self.principals, roles)]
        return min(rates, key=lambda rate: (rate.interval, -rate.burst), default=None)

    def highest_priority(self, roles: Collection[str]) -> Priority:
        """The level of a person with these roles."""
        ranks = map(PRIORITIES.index, _of_roles(self.priorities, roles))
        return PRIORITIES[max(ranks, default=PRIORITIES.index("normal"))]


def _of_roles(by_role: Mapping[str, T], roles: Collection[str]) -> list[T]:
    """What is said of these roles, or of whoever has none that is named."""
    own = {*roles} & {*by_role} - {DEFAULT} or {DEFAULT} & {*by_role}
    return [by_role[role] for role in own]


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        near = nearest(name, available_timezones())
        raise ValueError(f"{name!r} is no time zone" + (f"; did you mean {near!r}?" if near else "")) from error
    return name


Name = Annotated[str, StringConstraints(min_length=1)]


class PolicyConfig(_Block):
    """Where a workflow's own Cedar policies are."""

    files: tuple[Name, ...] = ("policies/*.cedar",)
    """Patterns of policy files, relative to the workflow's folder."""
    time_zone: Annotated[str, AfterValidator(_zone)] = "UTC"
    """The zone of `context.hour`, by its name in the IANA database, such as ``Europe/Zurich``."""
    roles: tuple[Name, ...] | None = None
    """The roles that callers have. A policy that names another is then an error; without it, only one that is a letter
    off a role named elsewhere in the workflow."""
    groups: tuple[Name, ...] | None = None
    """The groups that callers are in, likewise."""
    base: bool = True
    """Include the base policies; without them a workflow allows only what its own policies allow."""
