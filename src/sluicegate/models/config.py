"""The config block `models:`, one `ModelConfig` per role.

A model is named ``provider:model`` as LangChain names it (``ollama:qwen3:1.7b``, ``openai:gpt-5-mini``); ``embedded:``
runs in the process. `resolve` follows fallback chains through other roles' names and reports unknown ones.
"""

from collections.abc import Mapping
from datetime import date
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from sluicegate.services import ProbeTask

__all__ = ["LOCAL_PROVIDERS", "ModelConfig", "ModelName", "Price", "resolve", "unresolved"]

ModelName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+:\S+$")]
"""``provider:model``; only the first colon separates."""

LOCAL_PROVIDERS = frozenset({"embedded", "ollama"})
"""Providers that cost nothing per token."""


class Price(BaseModel):
    """US dollars per million tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    input: float = Field(ge=0)
    """Per million prompt tokens."""
    output: float = Field(ge=0)
    """Per million completion tokens."""
    cached_input: float | None = Field(default=None, ge=0)
    """Per million prompt tokens that the provider had cached; the input price when absent."""
    priced_on: date | None = None
    """The day the price was looked up; reports show the age of prices."""

    def usd(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> float:
        """Price of one call; `cached_tokens` are part of `prompt_tokens`."""
        cached_price = self.input if self.cached_input is None else self.cached_input
        fresh = prompt_tokens - cached_tokens
        return (fresh * self.input + cached_tokens * cached_price + completion_tokens * self.output) / 1_000_000


class ModelConfig(BaseModel):
    """One role, such as `slm`, `llm` or `embedder`: its model and the fallbacks."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    use: ModelName
    """The primary model, as ``provider:model``: ``ollama:qwen3:1.7b``, ``openai:gpt-5-mini``,
    ``embedded:smollm2-135m``. ``+layers`` after an embedded sentence encoder reads its last layers, for a router."""
    otherwise: tuple[str, ...] = ()
    """Fallbacks in order, each a ``provider:model`` or the name of another role, tried when a model is unreachable,
    missing, overloaded or too slow. The model that answered is always named."""
    timeout_s: float = Field(default=60.0, gt=0, le=3600)
    """Seconds that one call may take before the next model is tried."""
    price_per_mtok: Price | None = None
    """Price of `use` in US dollars per million tokens; local models are free without it. A provider that reports no
    usage is charged the call's upper bound."""
    context: int | None = Field(default=None, ge=128, le=2_000_000)
    """Context length in tokens, set explicitly at the provider (Ollama's `num_ctx`); a longer prompt is an error and
    never silently truncated. By default 4096 for `ollama:`, the model's own length elsewhere."""
    keep_alive: str | int | None = None
    """How long Ollama keeps the model loaded, as ``5m`` or seconds; -1 for ever."""
    base_url: str | None = None
    """Address of the server; by default `OLLAMA_HOST`, or the provider's own variable or default."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    """Replaces a call's temperature; most nodes ask for 0."""
    minimum: Mapping[ProbeTask, Annotated[float, Field(ge=0, le=1)]] = Field(default_factory=dict[ProbeTask, float])
    """Minimum accuracy in `sluicegate models probe`, per task, for a model to serve this role:
    ``{review: 0.8}``. A model below it is skipped with a warning."""
    breaker_failures: int = Field(default=3, ge=1, le=100)
    """Consecutive failures after which the circuit breaker opens for `breaker_s`."""
    breaker_s: float = Field(default=30.0, ge=0, le=3600)
    """Seconds until one call tries the model again after the circuit breaker opened."""

    @property
    def provider(self) -> str:
        return self.use.split(":", 1)[0]

    @property
    def model(self) -> str:
        return self.use.split(":", 1)[1]


def resolve(models: Mapping[str, ModelConfig], role: str) -> list[tuple[str, ModelConfig]]:
    """The models of a role's chain in the order they are tried, each once, with the settings that apply.

    A ``provider:model`` in `otherwise` has the settings of the role that uses it, if one does, else this role's except
    price, context and server; a role's name stands for that role's whole chain.
    Cycles end where they started. Raises `KeyError` for a role that does not exist.
    """
    by_model = {config.use: config for config in models.values()}
    plain = {"otherwise": (), "price_per_mtok": None, "base_url": None, "context": None}
    found: dict[str, ModelConfig] = {}
    visited: set[str] = set()

    def follow(name: str) -> None:
        if name in visited:
            return
        visited.add(name)
        config = models[name]
        found.setdefault(config.use, config)
        for entry in config.otherwise:
            if ":" in entry:
                found.setdefault(entry, by_model.get(entry) or config.model_copy(update={"use": entry, **plain}))
            else:
                follow(entry)

    follow(role)
    return list(found.items())


def unresolved(models: Mapping[str, ModelConfig]) -> list[tuple[str, int, str]]:
    """Entries of `otherwise` that are neither a ``provider:model`` nor a role: ``(role, position, entry)``."""
    return [
        (role, position, entry)
        for role, config in models.items()
        for position, entry in enumerate(config.otherwise)
        if ":" not in entry and entry not in models
    ]
