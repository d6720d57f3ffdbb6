"""A machine whose disk takes nothing more: it takes no runs until it does."""

import asyncio
import logging
import tempfile
from collections.abc import Callable
from contextlib import suppress

from sluicegate.home import home

__all__ = ["Disk"]

_PAUSE_S = 3.0
"""Seconds between a failure, or a try, and the next try."""
_TRIED_BYTES = 2**20

log = logging.getLogger(__name__)


class Disk:
    """Of this machine's home. Used from one event loop."""

    def __init__(self, changed: Callable[[], object]) -> None:
        """`changed` is called when it has failed, and when it takes something again."""
        self._changed = changed
        self._trying: asyncio.Task[None] | None = None
        self.failing = self._closed = False

    def failed(self) -> None:
        """It did not take something: try it from now on, until it is closed."""
        if not self.failing and not self._closed:
            self.failing = True
            log.warning("this machine takes no runs while nothing can be written to %s", home())
            self._trying = asyncio.create_task(self._tried())
            self._changed()

    async def close(self) -> None:
        self._closed = True
        if self._trying:
            self._trying.cancel()
            with suppress(asyncio.CancelledError):
                await self._trying

    async def _tried(self) -> None:
        while self.failing:
            await asyncio.sleep(_PAUSE_S)
            with suppress(OSError):
                await asyncio.to_thread(_write)
                self.failing = False
        log.warning("this machine takes runs again")
        self._changed()


def _write() -> None:
    with tempfile.TemporaryFile(dir=home()) as file:
        file.write(bytes(_TRIED_BYTES))
