"""A workflow's models: requests and completions."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

__all__ = [
    "Completion",
    "Embedder",
    "EmbeddingRequest",
    "Embeddings",
    "LabelScale",
    "Message",
    "ModelRequest",
    "ModelStep",
    "Models",
    "ProbeTask",
    "TokenLogprob",
]

ProbeTask = Literal["label", "extract", "review", "answer"]
"""What `sluicegate models probe` measures."""


@dataclass(frozen=True, slots=True)
class Message:
    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One chat call; the same value from the caller to the provider."""

    role: str
    """The role whose model is called, such as ``slm``."""
    messages: Sequence[Message]
    max_tokens: int
    temperature: float = 0.0
    schema: Mapping[str, Any] | None = None
    """JSON Schema that the answer must fit."""
    stop: Sequence[str] = ()
    logprobs: int = 0
    """Alternatives per token; 0 for none."""
    seed: int = 0
    on_token: Callable[[str], None] | None = None
    """Called on the event loop's thread with each piece of text; None asks for no stream."""
    size: Literal["slm", "llm"] = "slm"
    """Whether the run's `spend` counts it as a small or a large model's call."""
    prompt: str = ""
    """The prompt that the messages were rendered from, as ``id@version``."""
    prompt_hash: str = ""


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """One embedding call: texts, all embedded with one model."""

    role: str
    texts: Sequence[str]
    like: str | None = None
    """A fingerprint: models with other vectors are skipped (SG312)."""
    remember: bool = False
    """Store the vectors in the user's cache and reuse known ones: for examples and documents, never for requests. An
    interrupted long call keeps what was done."""
    passages: bool = False
    """The texts are to be found by questions: some encoders were trained to read the two in different ways."""
    on_progress: Callable[[int, int], None] | None = None
    """Gets texts done and texts in all."""


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    token: str
    logprob: float
    """Natural logarithm."""
    alternatives: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class LabelScale:
    """How much a model's letters tell in label decoding (`learning.letters`), as its probe found."""

    said: float
    """Exponent of what it says of a request."""
    prior: float
    """Exponent of what it says of a request that says nothing, by which the former is divided."""


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer of a model."""

    text: str
    model: str
    """The model that really answered, as ``provider:model``."""
    asked: str
    """The workflow's primary model."""
    prompt_tokens: int
    completion_tokens: int
    finish: Literal["stop", "length"]
    ms: float
    usd: float
    """Price of this call by the workflow's prices, models that failed on the way included; 0 for local models."""
    fallback: str = ""
    """Why `model` differs from `asked`; empty when it does not."""
    logprobs: tuple[TokenLogprob, ...] = ()
    parsed: Any = None
    """The value that a `schema` call asked for, validated against the schema."""
    thinking: str = ""
    """What the model thought before it answered; never part of `text`."""
    waited_ms: float = 0.0
    """Milliseconds that it has waited for its turn, where the model has a rate; part of `ms`."""
    usage: Literal["reported", "bound"] = "reported"
    """``bound``: a provider did not say how many tokens it counted, so tokens and price are the call's upper bound."""

    @property
    def mean_probability(self) -> float:
        """Geometric mean of the tokens' probabilities; 0 when the model gave none."""
        if not self.logprobs:
            return 0.0
        return math.exp(sum(token.logprob for token in self.logprobs) / len(self.logprobs))


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Vectors of one model, and which one it was."""

    vectors: Sequence[Sequence[float]]
    """Unit length, one per text."""
    model: str
    """The model that really answered, as ``provider:model``."""
    fingerprint: str
    """Compare with `models.embeddings.fingerprint.same_embedder`."""
    usd: float = 0.0
    """Price by the workflow's price of the model that answered, for the texts' upper estimate of tokens: embedders do
    not say how many they counted. 0 for local models."""
    fallback: str = ""
    """Why `model` is not the primary one; empty when it is."""
    waited_ms: float = 0.0
    """As in `Completion`."""


class Embedder(Protocol):
    """A source of embeddings; `Models` is one."""

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        """One vector per text. Raises `ChainFailedError` SG309; its `failures` have an `UnlikeEmbedderError` for each
        model unlike `like`."""
        ...

    def describe(self, role: str) -> str:
        """The primary model, as ``provider:model``."""
        ...


class Models(Embedder, Protocol):
    """The workflow's models by their role, such as ``slm``, ``llm`` and ``embedder``."""

    async def chat(self, request: ModelRequest) -> Completion:
        """Call a role's model, or the next of its fallback chain.

        Raises `ChainFailedError` SG309 when every model of the chain failed, naming each and why.
        """
        ...

    async def admitted(self, role: str, task: ProbeTask) -> bool:
        """Whether the model that would answer for `role` has been probed on `task` and did well enough there."""
        ...

    async def label_scale(self, role: str) -> LabelScale | None:
        """How the letters of the model that would answer for `role` are calibrated; None without a probe."""
        ...

    def price(self, role: str, prompt_tokens: int, completion_tokens: int) -> float:
        """US dollars for a call of the role's first model."""
        ...

    def bound(self, role: str, prompt_tokens: int, completion_tokens: int) -> float:
        """US dollars that a call may cost at most, whichever models of the chain answer or fail on the way."""
        ...

    def tokens(self, text: str) -> int:
        """An upper estimate of a text's tokens, for reservations."""
        ...

    def chain(self, role: str) -> tuple[str, ...]:
        """Every model that may answer for a role, in the order they are tried, each as ``provider:model``."""
        ...


class ModelStep(Models):
    """A layer around models, which delegates what it does not do itself."""

    def __init__(self, models: Models) -> None:
        self._models = models

    async def chat(self, request: ModelRequest) -> Completion:
        return await self._models.chat(request)

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        return await self._models.embed(request)

    async def admitted(self, role: str, task: ProbeTask) -> bool:
        return await self._models.admitted(role, task)

    async def label_scale(self, role: str) -> LabelScale | None:
        return await self._models.label_scale(role)

    def price(self, role: str, prompt_tokens: int, completion_tokens: int) -> float:
        return self._models.price(role, prompt_tokens, completion_tokens)

    def bound(self, role: str, prompt_tokens: int, completion_tokens: int) -> float:
        return self._models.bound(role, prompt_tokens, completion_tokens)

    def tokens(self, text: str) -> int:
        return self._models.tokens(text)

    def describe(self, role: str) -> str:
        return self._models.describe(role)

    def chain(self, role: str) -> tuple[str, ...]:
        return self._models.chain(role)
