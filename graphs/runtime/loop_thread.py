"""An event loop on its own thread, for calling asynchronous work from plain code or from a running loop.

A notebook already runs a loop, a script has none; work that is sent here behaves the same in both, and clients that
belong to one loop stay on it.
"""

import asyncio
import functools
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

__all__ = ["elsewhere", "wait_for"]

T = TypeVar("T")


def wait_for(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end and return its result; a keyboard interrupt cancels it."""
    future = _send(work)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


async def elsewhere(work: Coroutine[Any, Any, T]) -> T:
    """The same for callers with a running loop, which is not blocked."""
    return await asyncio.wrap_future(_send(work))


def _send(work: Coroutine[Any, Any, T]) -> "Future[T]":
    return asyncio.run_coroutine_threadsafe(work, _loop())


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="sluicegate-loop", daemon=True).start()
    return loop
