"""The config block `models:`, one `ModelConfig` per role.

A model is named ``provider:model`` as LangChain names it (``ollama:qwen3:1.7b``, ``openai:gpt-5-mini``); ``embedded:``
runs in the process. `resolve` follows fallback chains through other roles' names and reports unknown ones.
"""

import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, StringConstraints, model_validator

from sluicegate.services import ProbeTask

__all__ = [
    "LOCAL_PROVIDERS",
    "MODEL_PATTERN",
    "ModelConfig",
    "ModelName",
    "Price",
    "SamplerOptions",
    "resolve",
    "unresolved",
]

MODEL_PATTERN = r"^([a-z0-9_]+:\S+|embedded:\S.*\.gguf)$"
"""The path of a GGUF file may have spaces."""

ModelName = Annotated[str, StringConstraints(pattern=MODEL_PATTERN)]
"""``provider:model``; only the first colon separates."""

LOCAL_PROVIDERS = frozenset({"embedded", "ollama"})
"""Providers that cost nothing per token."""

_DURATION = re.compile(r"[-+]?(0|((\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h))+)")


def _keep_alive(value: str | int) -> str | int:
    """What `OLLAMA_KEEP_ALIVE` takes, as the API takes it: seconds as a number, or a duration as Go writes it."""
    if isinstance(value, int) or _DURATION.fullmatch(value):
        return value
    if re.fullmatch(r"[-+]?\d{1,9}", value):
        return int(value)
    raise ValueError(f"{value!r} is not a duration: write seconds (300), a duration (5m, 1h30m), or -1 for ever")


KeepAlive = Annotated[str | int, AfterValidator(_keep_alive)]


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


class SamplerOptions(BaseModel):
    """How `embedded:` and `ollama:` models choose tokens.

    All of it is sent with each call, so neither a server's defaults nor the parameters of a Modelfile apply. The
    context, the temperature and the most tokens of an answer have keys of their own.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    top_k: int = Field(default=40, ge=0)
    """Only the K most likely tokens; 0 for all."""
    top_p: float = Field(default=0.95, gt=0, le=1)
    """Only the most likely tokens that have this probability together."""
    min_p: float = Field(default=0.05, ge=0, le=1)
    """Only tokens with at least this share of the most likely one's probability."""
    typical_p: float = Field(default=1.0, gt=0, le=1)
    """Locally typical sampling; 1 for none."""
    repeat_penalty: float = Field(default=1.0, gt=0, le=10)
    """Penalty on tokens of the last `repeat_last_n`, at temperature 0 too; 1 for none. Ollama's own default of 1.1
    penalises an answer for using the words of its sources."""
    repeat_last_n: int = Field(default=64, ge=-1)
    """Tokens that the penalties look back on; -1 for the whole context."""
    presence_penalty: float = Field(default=0.0, ge=-2, le=2)
    """Penalty on tokens that occurred."""
    frequency_penalty: float = Field(default=0.0, ge=-2, le=2)
    """Penalty on tokens by how often they occurred."""
    seed: int | None = Field(default=None, ge=0, lt=2**31)
    """Replaces a call's seed; most calls ask for 0."""
    num_thread: int | None = Field(default=None, ge=1, le=1024)
    """Threads of an Ollama server; by default it decides. Embedded models have `SLUICEGATE_THREADS`."""

    def sampling(self) -> dict[str, Any]:
        """What both providers take under these names, apart from the seed, which belongs to the call."""
        return self.model_dump(exclude={"seed", "num_thread"})


class ModelConfig(BaseModel):
    """One role, such as `slm`, `llm` or `embedder`: its model and the fallbacks."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    use: ModelName
    """The primary model, as ``provider:model``: ``ollama:qwen3:1.7b``, ``openai:gpt-5-mini``,
    ``embedded:smollm2-135m``, or a file of your own, relative to the workflow: ``embedded:./models/x.gguf``.
    ``+layers`` after an embedded sentence encoder reads its last layers, for a router."""
    otherwise: tuple[str, ...] = ()
    """Fallbacks in order, each a ``provider:model`` or the name of another role, tried when a model is unreachable,
    missing, overloaded or too slow. The model that answered is always named."""
    timeout_s: float = Field(default=60.0, gt=0, le=3600)
    """Seconds that one answer may take before the next model is tried, once the model is loaded."""
    load_timeout_s: float = Field(default=120.0, gt=0, le=3600)
    """Seconds that loading the model into memory may take before the next model is tried."""
    price_per_mtok: Price | None = None
    """Price of `use` in US dollars per million tokens; local models are free without it. A provider that reports no
    usage is charged the call's upper bound."""
    context: int | None = Field(default=None, ge=128, le=2_000_000)
    """Context length in tokens, set explicitly at the provider (Ollama's `num_ctx`); a longer prompt is an error and
    never silently truncated. By default 4096 for `ollama:` and `embedded:`, the model's own length elsewhere."""
    keep_alive: KeepAlive | None = None
    """How long Ollama keeps the model loaded, as ``5m`` or seconds; -1 for ever."""
    options: SamplerOptions = Field(default_factory=SamplerOptions)
    """How an `embedded:` or `ollama:` model chooses tokens."""
    think: bool | Literal["low", "medium", "high", "max"] = False
    """Whether an Ollama model thinks before it answers, and how much. `gpt-oss` cannot be stopped from it and needs
    `true` or a level."""
    think_tokens: int = Field(default=2048, ge=0, le=100_000)
    """Tokens that thinking may take besides a call's `max_tokens`, where `think` is on. Budgets in dollars reserve
    them; budgets in tokens book them afterwards."""
    languages: tuple[str, ...] = ()
    """The languages that an embedding model knows, as ISO 639-1 codes. Those of the embedded ones are known."""
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

    @model_validator(mode="after")
    def _for_this_provider(self) -> Self:
        if self.provider not in LOCAL_PROVIDERS and self.options != SamplerOptions():
            raise ValueError("`options` are for `ollama:` and `embedded:` models")
        if self.provider != "ollama" and (self.think or self.options.num_thread):
            raise ValueError(f"`{'think' if self.think else 'num_thread'}` is for `ollama:` models")
        return self

    @property
    def thinking_tokens(self) -> int:
        """Tokens of an answer that are no part of its `max_tokens`."""
        return self.think_tokens if self.think else 0

    _folders: tuple[Path, ...] = PrivateAttr(default=())

    def beside(self, folders: tuple[Path, ...]) -> "ModelConfig":
        """The same role of a workflow in `folders`, where the file of an embedded model is looked for in order."""
        placed = self.model_copy()
        placed._folders = folders
        return placed

    @property
    def file(self) -> Path | None:
        """The GGUF file that `use` names, there or not; None for every other model."""
        if self.provider != "embedded" or not self.model.endswith(".gguf"):
            return None
        name = Path(self.model).expanduser()
        places = [folder / name for folder in self._folders] or [name]
        return next((place for place in places if place.is_file()), places[0])

    @property
    def provider(self) -> str:
        return self.use.split(":", 1)[0]

    @property
    def model(self) -> str:
        return self.use.split(":", 1)[1]


def resolve(models: Mapping[str, ModelConfig], role: str) -> list[tuple[str, ModelConfig]]:
    """The models of a role's chain in the order they are tried, each once, with the settings that apply.

    A ``provider:model`` in `otherwise` has the settings of the role that uses it, if one does, else this role's except
    price, context, thinking, languages and server; a role's name stands for that role's whole chain.
    Cycles end where they started. Raises `KeyError` for a role that does not exist.
    """
    by_model = {config.use: config for config in models.values()}
    plain = {
        "otherwise": (),
        "price_per_mtok": None,
        "base_url": None,
        "context": None,
        "think": False,
        "languages": (),
    }
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
