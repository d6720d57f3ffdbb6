"""The cascade: the head decides, and where it is unsure the small model is asked for a second opinion.

Only requests below the head's threshold are sent, and of these at most a stated share of all requests: a request is
sent when fewer than that share of the last `WINDOW` were. The two opinions are joined as independent evidence: the
head's probabilities times the model's, renormalised over the shortlist the model was shown, so that the label can
change only within the probability the head gave to the shortlist.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import replace

from sluicegate.errors import ModelError, StoppedError
from sluicegate.routing.intent.router import FittedRouter
from sluicegate.routing.intent.slm import LabelDecoder
from sluicegate.services import Classification
from sluicegate.state import LabelScore

__all__ = ["WINDOW", "CascadeRouter"]

WINDOW = 1000
"""Requests over which the share is held."""


class CascadeRouter:
    """A fitted head with a small model behind it. Implements `services.Router`."""

    def __init__(
        self,
        head: FittedRouter,
        decoder: LabelDecoder,
        *,
        share: float,
        shortlist: int,
        admitted: Callable[[], Awaitable[bool]],
    ) -> None:
        """`admitted` says whether the small model may decode labels at all (`routing.probe_gate`)."""
        self._admitted = admitted
        self._head = head
        self._decoder = decoder
        self._share = share
        self._shortlist = shortlist
        self._sent: deque[bool] = deque(maxlen=WINDOW)

    async def classify(self, text: str) -> Classification:
        """A small model that cannot answer, or may not be asked, leaves the head's opinion as it is.

        Raises `ModelError` when the head cannot, `StoppedError` when its embedder may not be asked.
        """
        first = await self._head.classify(text)
        # what is unlike the calibration rows stays below its threshold anyway, and would only use up the share
        unsure = first.confidence < first.threshold and not first.unlike
        within = sum(self._sent) + 1 <= self._share * max(len(self._sent) + 1, 1 / self._share)
        send = unsure and within and await self._admitted()
        self._sent.append(send)
        if not send:
            return first
        short = [score["label"] for score in first.alternatives[: self._shortlist]]
        try:
            second = await self._decoder.decode(text, short)
        except (ModelError, StoppedError):
            return first
        joined = _joined(first, second, self._head.artifact.card["out_of_scope"])
        return replace(joined, threshold=self._head.threshold_of(joined.label))


def _joined(first: Classification, second: dict[str, float], outside: str | None) -> Classification:
    held = {score["label"]: score["confidence"] for score in first.alternatives}
    mass = sum(held[label] for label in second)
    product = {label: held[label] * share for label, share in second.items()}
    total = sum(product.values()) or 1.0
    joined = {**held, **{label: mass * value / total for label, value in product.items()}}
    order = sorted(joined, key=lambda label: -joined[label])
    return Classification(
        label=order[0],
        confidence=joined[order[0]],
        alternatives=tuple(LabelScore(label=label, confidence=joined[label]) for label in order),
        threshold=first.threshold,
        out_of_scope=order[0] == outside,
        by="cascade",
        artifact=first.artifact,
    )
