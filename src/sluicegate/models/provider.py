"""The protocol of model providers, and its plain data.

A provider serves one model and minds no roles, prices or fallbacks: that is `chain`. It raises `ModelError`
SG301 to SG308 or SG314, each with its hint, and is cancelled by cancelling the task that awaits it.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from sluicegate.services import ModelRequest, TokenLogprob

__all__ = ["ModelResponse", "Provider", "Turns", "encodable"]


@dataclass(frozen=True, slots=True)
class ModelResponse:
    """One answer of a provider."""

    text: str
    prompt_tokens: int
    """0: the provider does not say."""
    completion_tokens: int
    """Thinking included; 0 beside a text: the provider does not say."""
    finish: Literal["stop", "length"]
    logprobs: tuple[TokenLogprob, ...] = ()
    cached_tokens: int = 0
    """Prompt tokens that a provider priced as cached."""
    thinking: str = ""
    """What the model thought before it answered, where the provider gives it apart from the text."""


class Provider(Protocol):
    async def chat(self, request: ModelRequest) -> ModelResponse:
        """Answer the messages; the role is for others to read."""
        ...

    async def embed(self, texts: Sequence[str], *, passages: bool = False) -> Sequence[Sequence[float]]:
        """Unit-length vectors, one per text, in order. `passages`: the texts are to be found by questions."""
        ...

    async def identity(self) -> str:
        """What changes when the model's weights do, as far as the provider tells: ``NAME@DIGEST``, or else its name."""
        ...

    async def warm(self) -> None:
        """Load the model where it is not loaded; called before each call, whose time begins afterwards."""
        ...


Turns: TypeAlias = Callable[[str], Awaitable[float]]
"""Books the next turn of a model by its name, and gives the seconds until it, without waiting for it. Raises
`ModelError` SG731 where that is too long."""


def encodable(text: str) -> str:
    """`text` with a question mark for each half of a surrogate pair, which no provider takes."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
