"""What happens to an accepted run until it is over, as a stream of server-sent events tells it."""

import asyncio
from collections.abc import AsyncGenerator

from sluicegate.graphs.runtime.outcome import Outcome
from sluicegate.serving.in_progress import Accepted
from sluicegate.serving.progress import FinishedStep

__all__ = ["ALIVE", "Progress", "progress_of"]

ALIVE = ": alive\n\n"
"""A comment in a stream, so that proxies do not close it."""
_ALIVE_S = 15.0


class Progress(asyncio.Queue[FinishedStep | str]):
    """Steps, and pieces of the answer, as they are told from another thread."""

    def __init__(self) -> None:
        super().__init__()
        self._loop_of_caller = asyncio.get_running_loop()

    def put_from_elsewhere(self, one: FinishedStep | str) -> None:
        self._loop_of_caller.call_soon_threadsafe(self.put_nowait, one)


async def progress_of(accepted: Accepted, progress: Progress) -> AsyncGenerator[FinishedStep | str | Outcome | None]:
    """Steps and pieces as they come, None where for long there was none, and last the outcome. The run continues when
    the stream is closed. Raises what `Service.ask` raises."""
    work = asyncio.ensure_future(accepted.outcome())
    following: asyncio.Task[FinishedStep | str] | None = None
    try:
        while not work.done() or not progress.empty():
            following = following or asyncio.create_task(progress.get())
            await asyncio.wait({work, following}, timeout=_ALIVE_S, return_when=asyncio.FIRST_COMPLETED)
            if following.done():
                done, following = following.result(), None
                yield done
            elif not work.done():
                yield None
            else:
                # something may still be on its way from the other thread
                await asyncio.sleep(0)
                if progress.empty() and not following.done():
                    break
        yield await work
    finally:
        if following:
            following.cancel()
        # a disconnected client: the wait is cancelled, the run is not
        work.cancel()
