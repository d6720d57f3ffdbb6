"""Runs that may be what ends the processes that carry them.

A process that ends takes along all that it carries, and one run of it may be why. What a process has left is carried
among others once more, since most processes end for other reasons. What two have left is a suspect: it is carried
alone, so that a process which ends then has ended by it. Only such ends count against a run. After `ALONE` of them it
is given up and left for a person (``sluicegate run CONFIG --run RUN``).
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from sluicegate.errors import GivenUpError, SluicegateError
from sluicegate.storage.database import Execute, Place, open_database
from sluicegate.storage.schemas import RECOVERED

__all__ = ["ALONE", "Solitude", "Suspects", "Suspicion", "given_up"]

_TOGETHER = 2
"""Processes that have ended with a run in them before it is carried alone."""
ALONE = 3
"""Processes that have ended while it was alone in them before it is given up."""


@dataclass(frozen=True, slots=True)
class Suspicion:
    """What speaks against a run."""

    times: int = 0
    """Processes that have ended with it since its last segment was over."""
    alone: int = 0
    """How often it was begun alone, and has not come to an end there."""

    @property
    def suspect(self) -> bool:
        return self.times >= _TOGETHER

    @property
    def given_up(self) -> bool:
        return self.alone >= ALONE


_INNOCENT = Suspicion()


def given_up(run: str) -> GivenUpError:
    """What is raised of a run that is carried no more."""
    return GivenUpError(
        f"run {run} was given up: {ALONE} processes ended while each carried it alone",
        hint=f"See the logs of those processes (memory, a native library), then: sluicegate run CONFIG --run {run}",
    )


class Suspects:
    """The runs of a home, or of the server that machines share. Blocks; safe to use from any thread."""

    def __init__(self, where: Place) -> None:
        """Raises `RunError` SG606 to SG608 of a home, SG625 of a server."""
        self.database = open_database(where, RECOVERED)

    def of(self, run: str) -> Suspicion:
        with self.database.reading() as execute:
            rows = execute("SELECT times, alone FROM recovered WHERE run = ?", (run,))
        return Suspicion(rows[0]["times"], rows[0]["alone"]) if rows else _INNOCENT

    def left(self, run: str) -> Suspicion:
        """Note that a process has ended with this run in it."""
        with self.database.writing() as execute:
            return self.noted(run, execute)

    def noted(self, run: str, execute: Execute) -> Suspicion:
        """The same within a transaction."""
        (row,) = execute(
            "INSERT INTO recovered (run, times) VALUES (?, 1) ON CONFLICT (run) DO UPDATE SET times ="
            " recovered.times + 1 RETURNING times, alone",
            (run,),
        )
        return Suspicion(row["times"], row["alone"])

    def spared(self, run: str) -> None:
        """Its process has not ended, whatever it looked like."""
        with self.database.writing() as execute:
            execute("UPDATE recovered SET times = times - 1 WHERE run = ? AND times > 0", (run,))

    def ends(self, run: str) -> None:
        """Nothing speaks against it any more."""
        with self.database.writing() as execute:
            execute("DELETE FROM recovered WHERE run = ?", (run,))

    @asynccontextmanager
    async def tried(self, run: str) -> AsyncGenerator[None]:
        """It is carried alone while the block lasts: noted before, for it may be what ends this process. Whatever else
        ends the block, the process lives."""
        await asyncio.to_thread(self._alone, run, 1)
        try:
            yield
        finally:
            # where it cannot be taken back now, it counts once too often
            with suppress(SluicegateError):
                await asyncio.to_thread(self._alone, run, -1)

    def _alone(self, run: str, change: int) -> None:
        with self.database.writing() as execute:
            execute("UPDATE recovered SET alone = alone + ? WHERE run = ?", (change, run))

    def close(self) -> None:
        self.database.close()


class Solitude:
    """Of what a process carries: any number beside each other, or one alone. Used from one event loop."""

    def __init__(self) -> None:
        self._beside = self._waiting = 0
        self._open, self._empty = asyncio.Event(), asyncio.Event()
        self._open.set()
        self._empty.set()
        self._one = asyncio.Lock()

    @property
    def wanted(self) -> bool:
        """Somebody is alone, or waits for it: nothing more is begun."""
        return not self._open.is_set()

    @asynccontextmanager
    async def beside(self) -> AsyncGenerator[None]:
        """Hold it with others."""
        while self.wanted:
            await self._open.wait()
        self._beside += 1
        self._empty.clear()
        try:
            yield
        finally:
            self._beside -= 1
            if not self._beside:
                self._empty.set()

    @asynccontextmanager
    async def alone(self) -> AsyncGenerator[None]:
        """Hold it when all others have ended; none begins before this has."""
        self._waiting += 1
        self._open.clear()
        try:
            async with self._one:
                await self._empty.wait()
                yield
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._open.set()
