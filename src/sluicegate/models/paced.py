"""A provider whose calls wait for their turn."""

import asyncio
from collections.abc import Sequence

from sluicegate.models.provider import ModelResponse, Provider, Turns
from sluicegate.services import ModelRequest

__all__ = ["PacedProvider"]


class PacedProvider:
    """For one attempt. The time limit of the attempt stands still while it waits."""

    def __init__(self, inner: Provider, name: str, turns: Turns, limit: asyncio.Timeout) -> None:
        self._inner, self._name, self._turns, self._limit = inner, name, turns, limit
        self.identity, self.warm = inner.identity, inner.warm
        self.waited_s = 0.0

    async def chat(self, request: ModelRequest) -> ModelResponse:
        await self._turn()
        return await self._inner.chat(request)

    async def embed(self, texts: Sequence[str], *, passages: bool = False) -> Sequence[Sequence[float]]:
        await self._turn()
        return await self._inner.embed(texts, passages=passages)

    async def _turn(self) -> None:
        loop, ends = asyncio.get_running_loop(), self._limit.when()
        began = loop.time()
        if ends is not None:
            self._limit.reschedule(None)
        await asyncio.sleep(await self._turns(self._name))
        waited = loop.time() - began
        if ends is not None:
            self._limit.reschedule(ends + waited)
        self.waited_s += waited
