"""A workflow's models: what goes to one and what comes back."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

__all__ = ["Completion", "Embeddings", "Message", "Models", "TokenLogprob"]


@dataclass(frozen=True, slots=True)
class Message:
    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    token: str
    logprob: float
    """Natural logarithm."""
    alternatives: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer of a model."""

    text: str
    model: str
    """What really answered, as ``provider:model``."""
    asked: str
    """What the workflow asked for first."""
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
    """What really answered, as ``provider:model``."""
    fingerprint: str
    """Compare with `models.embeddings.fingerprint.same_embedder`."""
    usd: float = 0.0
    """Price by the workflow's price of the model that answered, for the texts' upper estimate of tokens: embedders do
    not say how many they counted. 0 for local models."""
    fallback: str = ""
    """Why `model` is not the one asked for first; empty when it is."""


class Models(Protocol):
    """The workflow's models by their role, such as ``slm``, ``llm`` and ``embedder``."""

    async def chat(
        self,
        role: str,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        temperature: float = 0.0,
        schema: Mapping[str, Any] | None = None,
        stop: Sequence[str] = (),
        logprobs: int = 0,
        seed: int = 0,
        on_token: Callable[[str], None] | None = None,
    ) -> Completion:
        """Ask a role's model, or the next of its fallback chain.

        `schema` is a JSON Schema that the answer must fit; `logprobs` the number of alternatives per token (0: none).
        Raises `ModelError` SG309 when every model of the chain failed, naming each and why.
        """
        ...

    async def embed(
        self, role: str, texts: Sequence[str], *, like: str | None = None, remember: bool = False
    ) -> Embeddings:
        """Embed texts, all with one model.

        `like` is a fingerprint: models that would give other vectors are passed over (SG312). `remember` keeps the
        vectors in the user's cache and takes known ones from there: for examples and documents, never for what users
        ask. Raises `ModelError`.
        """
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

    def describe(self, role: str) -> str:
        """The model asked for first, as ``provider:model``."""
        ...

    def chain(self, role: str) -> tuple[str, ...]:
        """Every model that may answer for a role, in the order they are tried, each as ``provider:model``."""
        ...
