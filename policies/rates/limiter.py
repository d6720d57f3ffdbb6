"""Rate limits that hold over all processes: the generic cell rate algorithm, one row for each limit.

GCRA in its form of virtual scheduling (ITU-T I.371; ATM Forum, Traffic Management Specification 4.1) decides as a
token bucket does, and keeps one number: the theoretical arrival time of the next one. What comes no earlier than the
burst tolerance before that conforms, and moves it on by an interval. Who has patience books a place ahead instead, and
is told how long to wait for it: places are given in the order in which they were asked for.

A booking is one statement on one row, so it is exact however many processes make it. On a server the time is the
server's, whatever the clocks of its machines say. A row that is further ahead than any booking may have moved it was
written before the clock was set back, and begins anew.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from sluicegate.errors import NoTurnSoonError
from sluicegate.policies.rates.rate import MAX_WAIT_S, Rate
from sluicegate.storage.database import Place, open_database, place
from sluicegate.storage.schemas import RATES

__all__ = ["Booking", "RateLimiter"]

_SLACK = 60_000_000
"""Microseconds that a booking may wait for the row while others move it on."""

_SERVERS_CLOCK = "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)"
_BOOK = """
    INSERT INTO rates (kind, name, workflow, rate, due, at)
    SELECT ?, ?, ?, ?, clock.at + ?, clock.at FROM (SELECT {now} AS at) AS clock WHERE TRUE
    ON CONFLICT (kind, name, workflow, rate) DO UPDATE SET
        due = excluded.due
            + CASE WHEN rates.due BETWEEN excluded.at AND excluded.at + ? THEN rates.due - excluded.at ELSE 0 END,
        at = excluded.at
    WHERE rates.due - excluded.at <= ? OR rates.due - excluded.at > ?
    RETURNING due, at
"""
_LOOK = "SELECT due, {now} AS at FROM rates WHERE kind = ? AND name = ? AND workflow = ? AND rate = ?"


@dataclass(frozen=True, slots=True)
class Booking:
    booked: bool
    wait_s: float
    """Until the place that was booked, or until there would be one."""


class RateLimiter:
    """Rates over the store of the home, or of the server that machines share. Safe to use from any thread. Every method
    raises `RunError` SG606, SG607, SG608 or SG625 when the store cannot be written."""

    def __init__(self, where: Place | None = None, *, now: Callable[[], float] | None = None) -> None:
        """`now` in the place of the clock, for tests."""
        self._database = open_database(where or place(), RATES)
        self._now = now or (None if self._database.remote else time.time)

    async def book_model(self, model: str, rate: Rate, *, patience_s: float) -> Booking:
        """A place among the calls of a model, of all workflows that state the same rate of it."""
        return await self._database.call(self._book, "model", model, "", rate, patience_s)

    async def book_person(self, person: str, workflow: str, rate: Rate) -> Booking:
        """A place among the requests of one person to a workflow, now or not at all."""
        return await self._database.call(self._book, "principal", person, workflow, rate, 0.0)

    def turns(self, rates: Mapping[str, str], patience_s: float) -> Callable[[str], Awaitable[float]]:
        """For `ModelSet`: books a turn of a model, and gives the seconds until it; raises `NoTurnSoonError`. Models
        without a rate have their turn at once."""
        known = {model: Rate.of(text) for model, text in rates.items()}

        async def turn(model: str) -> float:
            if model not in known:
                return 0.0
            rate = known[model]
            turn = await self.book_model(model, rate, patience_s=patience_s)
            if not turn.booked:
                raise NoTurnSoonError(
                    f"{model} is called {rate.text} at most; its next turn is in {turn.wait_s:.1f} s",
                    hint=f"Calls wait up to {patience_s:g} s: raise the rate or `limits.wait`, or name another model",
                )
            return turn.wait_s

        return turn

    def prune(self) -> int:
        """Delete the rows that say nothing any more; how many there were."""
        clock, times = self._clock()
        with self._database.erasing() as execute:
            # only an expression or a placeholder is put in
            gone = execute(f"DELETE FROM rates WHERE due <= {clock} RETURNING 1 AS one", times)  # noqa: S608
        return len(gone)

    def close(self) -> None:
        self._database.close()

    def _book(
        self, kind: Literal["model", "principal"], name: str, workflow: str, rate: Rate, patience_s: float
    ) -> Booking:
        if not 0 <= patience_s <= MAX_WAIT_S:
            raise ValueError(f"nobody waits {patience_s:g} s for a rate; {MAX_WAIT_S:g} s at most")
        key = (kind, name, workflow, rate.text)
        most = rate.tolerance + int(patience_s * 1_000_000)
        ahead = rate.tolerance + rate.interval + (int(MAX_WAIT_S * 1_000_000) if kind == "model" else 0) + _SLACK
        clock, times = self._clock()
        with self._database.writing() as execute:
            if self._database.remote:
                # what the server forgets when it loses power lets a few more pass, once
                execute("SET LOCAL synchronous_commit TO OFF")
            rows = execute(_BOOK.format(now=clock), (*key, rate.interval, *times, ahead, most, ahead))
            if rows:
                return Booking(True, _seconds(rows[0]["due"] - rate.interval - rate.tolerance - rows[0]["at"]))
            (row,) = execute(_LOOK.format(now=clock), (*times, *key))
        return Booking(False, _seconds(row["due"] - rate.tolerance - row["at"]))

    def _clock(self) -> tuple[str, tuple[int, ...]]:
        """The time in SQL, and its parameters."""
        if self._now is None:
            return _SERVERS_CLOCK, ()
        return "CAST(? AS BIGINT)", (int(self._now() * 1_000_000),)


def _seconds(micros: int) -> float:
    return max(0, int(micros)) / 1_000_000
