"""Work in a model's own thread with cancellation: the work is told when its awaiting task is gone."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

__all__ = ["Cancelled", "in_thread"]

T = TypeVar("T")


class Cancelled(Exception):  # noqa: N818 - not an error: the caller has gone
    """The awaiting task is gone."""


async def in_thread(executor: Executor, work: Callable[[threading.Event], T]) -> T:
    """What `work` returns; its event is set when the awaiting task has gone, and then it may raise `Cancelled`."""
    gone = threading.Event()

    def unless_gone() -> T:
        if gone.is_set():
            raise Cancelled
        return work(gone)

    future = asyncio.get_running_loop().run_in_executor(executor, unless_gone)
    # a cancelled future would never be told that the thread raised
    future.add_done_callback(lambda done: done.cancelled() or done.exception())
    try:
        return await asyncio.shield(future)
    finally:
        gone.set()
