"""Label decoding on a small model: for intents that have no examples (`learning.letters` says how).

The confidence is calibrated by the model's own probe (`sluicegate models probe --task label`) on requests of other
domains. It is no proved bound: there are no examples of this workflow to prove one on.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from sluicegate.errors import UnusableAnswerError
from sluicegate.learning.letters import CONTENT_FREE, LETTERS, UNPROBED, letter_probabilities, mean, question, scaled
from sluicegate.learning.threshold import NEVER
from sluicegate.services import Classification, Models
from sluicegate.state import LabelScore

__all__ = ["LabelDecoder", "SlmRouter"]


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
        scale = await self._models.label_scale(self._role) or UNPROBED
        return dict(zip(labels, scaled(await self._asked(text, labels), prior, scale), strict=True))

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
                self._priors[key] = mean([await self._asked(text, labels) for text in CONTENT_FREE])
            return self._priors[key]

    async def _asked(self, text: str, labels: Sequence[str]) -> list[float]:
        completion = await self._models.chat(question(self._role, text, labels, self._describe))
        if probabilities := letter_probabilities(completion.logprobs, completion.parsed, len(labels)):
            return probabilities
        raise UnusableAnswerError(
            f"{completion.model} returns no token probabilities, which label decoding needs",
            hint="Use an ollama: or embedded: model for this role, or the strategy head",
        )


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
