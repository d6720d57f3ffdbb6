"""Label decoding on a small model: for intents that have no examples.

The model is shown the labels under letters and may answer with one letter only (a JSON Schema with an enum). The
probability of a label is that of its letter's token. Small models favour some letters whatever is asked; that prior
is measured with content-free requests and divided out (Zhao et al. 2021, "Calibrate Before Use: Improving Few-Shot
Performance of Language Models", contextual calibration). What comes out is corrected for prior, but it is no proved
confidence: there are no examples to prove it on.
"""

import asyncio
import math
import string
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from sluicegate.errors import UnusableAnswerError
from sluicegate.learning.threshold import NEVER
from sluicegate.services import Classification, Completion, Message, ModelRequest, Models
from sluicegate.state import LabelScore

__all__ = ["LETTERS", "LabelDecoder", "SlmRouter"]

LETTERS = string.ascii_uppercase
"""One token each for every tokenizer in use; so many labels can be told apart in one call."""
CONTENT_FREE = ("N/A", "[MASK]", "")
"""Requests that say nothing, as Zhao et al. use them."""
FLOOR = 1e-4
"""Probability of a letter that is not among the alternatives the model reports."""
SYSTEM = "Sort the request into the one class that fits it best. Answer with the letter of the class."


class LabelDecoder:
    """Asks the model of a role for one of a list of labels."""

    def __init__(self, models: Models, role: str, describe: Mapping[str, str] | None = None) -> None:
        """`describe` gives a label's words where its name does not speak for itself."""
        self._models = models
        self._role = role
        self._describe = dict(describe or {})
        self._priors: dict[tuple[str, tuple[str, ...]], list[float]] = {}
        self._lock = asyncio.Lock()

    async def decode(self, text: str, labels: Sequence[str]) -> dict[str, float]:
        """A probability per label. Raises `ModelError` SG305 when the model gives no token probabilities."""
        if len(labels) > len(LETTERS):
            halves = labels[: len(labels) // 2], labels[len(labels) // 2 :]
            return await self._final(text, [await self.decode(text, half) for half in halves])
        prior = await self.prior(tuple(labels))
        said = await self._asked(text, labels)
        fair = [probability / share for probability, share in zip(said, prior, strict=True)]
        total = sum(fair)
        return {label: value / total for label, value in zip(labels, fair, strict=True)}

    async def _final(self, text: str, heats: Sequence[Mapping[str, float]]) -> dict[str, float]:
        """The best of each part against each other, as many as there are letters."""
        seats = len(LETTERS) // len(heats)
        best = [label for heat in heats for label in sorted(heat, key=lambda name: -heat[name])[:seats]]
        won = await self.decode(text, best)
        return {label: won.get(label, 0.0) for heat in heats for label in heat}

    async def prior(self, labels: tuple[str, ...]) -> list[float]:
        """What the model says of `labels`, in their order, when the request says nothing."""
        key = self._models.describe(self._role), labels
        async with self._lock:
            if key not in self._priors:
                said = [await self._asked(text, labels) for text in CONTENT_FREE]
                self._priors[key] = [max(FLOOR, sum(column) / len(said)) for column in zip(*said, strict=True)]
            return self._priors[key]

    async def _asked(self, text: str, labels: Sequence[str]) -> list[float]:
        letters = LETTERS[: len(labels)]
        listed = "\n".join(
            f"{letter}. {self._describe.get(label) or label.replace('_', ' ')}"
            for letter, label in zip(letters, labels, strict=True)
        )
        schema = {"type": "object", "properties": {"class": {"enum": list(letters)}}, "required": ["class"]}
        messages = (Message("system", SYSTEM), Message("user", f"Classes:\n{listed}\n\nRequest: {text}"))
        request = ModelRequest(self._role, messages, max_tokens=24, schema=schema, logprobs=min(20, len(letters)))
        completion = await self._models.chat(request)
        return _letter_probabilities(completion, letters)


class SlmRouter:
    """Classifies by label decoding alone. Implements `services.Router`."""

    def __init__(
        self,
        decoder: LabelDecoder,
        labels: Sequence[str],
        *,
        threshold: float = 0.8,
        out_of_scope: str | None = None,
        hash: str = "",
        admitted: Callable[[], Awaitable[bool]],
    ) -> None:
        """`threshold` is set by hand: without examples none can be proved. `hash` names the labels and the model.
        Where `admitted` (`routing.probe_gate`) says no, the threshold is one that no confidence reaches."""
        self._admitted = admitted
        self._decoder = decoder
        self._labels = list(labels)
        self._threshold = threshold
        self._out_of_scope = out_of_scope
        self._hash = hash

    async def classify(self, text: str) -> Classification:
        """Raises `ModelError` when no model answers or none gives token probabilities."""
        scores = await self._decoder.decode(text, self._labels)
        order = sorted(scores, key=lambda label: -scores[label])
        return Classification(
            label=order[0],
            confidence=scores[order[0]],
            alternatives=tuple(LabelScore(label=label, confidence=scores[label]) for label in order),
            threshold=self._threshold if await self._admitted() else NEVER,
            out_of_scope=order[0] == self._out_of_scope,
            by="slm",
            artifact=self._hash,
        )


def _letter_probabilities(completion: Completion, letters: str) -> list[float]:
    """Probability of each letter at the token that decided, renormalised over the letters."""
    parsed: dict[str, Any] = completion.parsed or {}
    chosen = str(parsed.get("class", ""))
    token = next((t for t in reversed(completion.logprobs) if t.token.strip(' "') == chosen), None)
    if token is None:
        raise UnusableAnswerError(
            f"{completion.model} returns no token probabilities, which label decoding needs",
            hint="Use an ollama: or embedded: model for this role, or the strategy head",
        )
    found = dict.fromkeys(letters, 0.0)
    for name, logprob in ((chosen, token.logprob), *token.alternatives):
        letter = name.strip(' "')
        if letter in found:
            found[letter] = max(found[letter], math.exp(logprob))
    values = [max(FLOOR, found[letter]) for letter in letters]
    return [value / sum(values) for value in values]
