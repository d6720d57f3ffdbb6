"""The executor of one machine: a service carries its own runs, and sweeps up what a killed one left."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from sluicegate.errors import SluicegateError
from sluicegate.graphs.runtime.outcome import Outcome
from sluicegate.serving.execution.carrier import Carrier
from sluicegate.serving.execution.executor import Listeners, Queued, Stretch, Tally
from sluicegate.serving.execution.recovery import Recovery
from sluicegate.serving.execution.sweep import Sweep
from sluicegate.serving.execution.turns import Turns
from sluicegate.serving.in_progress import RunsInProgress

__all__ = ["EmbeddedExecutor"]


class EmbeddedExecutor:
    """Implements `Executor` over files of the home."""

    def __init__(
        self, carrier: Carrier, recovery: Recovery, sweep: Sweep, in_progress: RunsInProgress, turns: Turns
    ) -> None:
        self.recovery, self.sweep = recovery, sweep
        self._carrier, self._in_progress, self._turns = carrier, in_progress, turns
        self.tally = Tally()

    @property
    def recovered(self) -> Mapping[str, int]:
        return self.sweep.recovered

    def queued(self) -> Sequence[Queued]:
        # what waits here waits for its turn in this process, and nowhere else
        name = self._carrier.versions.name
        return [Queued(name, 0, 0.0, self.recovery.given_up(name))]

    async def failure(self, run: str, after: str) -> None:  # noqa: ARG002
        # what could not be noted in this home counts as interrupted, and is taken up
        return None

    def claim(self, segment: Stretch, listeners: Listeners) -> "_Claim":
        return _Claim(self, segment, listeners)

    async def open(self) -> None:
        self.sweep.begin()

    async def drain(self, seconds: float) -> None:
        self.tally.draining = True
        await self.sweep.end()
        await self._in_progress.drain(seconds)

    async def close(self) -> None:
        await asyncio.to_thread(self.recovery.close)

    async def accept(self, segment: Stretch) -> bool:
        return await asyncio.to_thread(self.recovery.accept, segment.run, self._carrier.versions.name, segment.digest)

    async def done(self, run: str) -> None:
        await asyncio.to_thread(self.recovery.done, run)

    async def carry(self, segment: Stretch, listeners: Listeners) -> Outcome:
        """Work on an accepted run until it ends or waits; where it is cut short, the next service takes it up."""
        self.tally.carrying += 1
        try:
            outcome = await self._carrier.carry(segment, self._turns, listeners)
        except asyncio.CancelledError:
            self.tally.left += 1
            raise
        except SluicegateError:
            self.tally.failed += 1
            # of a store that fails there is no taking out either: the run counts as interrupted
            with suppress(SluicegateError):
                await self.done(segment.run)
            raise
        except Exception:
            self.tally.failed += 1
            raise
        finally:
            self.tally.carrying -= 1
        self.tally.ended += 1
        await self.done(segment.run)
        return outcome


class _Claim:
    def __init__(self, executor: EmbeddedExecutor, segment: Stretch, listeners: Listeners) -> None:
        self._executor, self._segment, self._listeners = executor, segment, listeners
        self.mine = False

    async def __aenter__(self) -> Self:
        self.mine = await self._executor.accept(self._segment)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.mine and isinstance(error, SluicegateError):
            await self._executor.done(self._segment.run)

    async def outcome(self) -> Outcome:
        return await self._executor.carry(self._segment, self._listeners)
