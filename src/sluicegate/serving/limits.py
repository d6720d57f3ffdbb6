"""Admission control: active runs, queued requests, and requests per user, over all services of a process; and how often
a user may ask, over all processes.

Requests beyond the limits are rejected at once, with a time to retry after; nothing grows without a bound.
"""

import asyncio
import math
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sluicegate.errors import RunError
from sluicegate.policies.config import LimitsConfig
from sluicegate.policies.rates.limiter import RateLimiter
from sluicegate.serving.execution.suspects import Solitude
from sluicegate.serving.execution.turns import Turns
from sluicegate.state import Principal

__all__ = ["AdmissionController", "Busy", "Limits", "RequestRates", "ServiceAdmission"]


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of a service, or of all services of a process together."""

    running: int = 16
    """Concurrent runs; those that wait for a person do not count."""
    waiting: int = 64
    """Queued requests; further ones are rejected."""
    per_principal: int = 8
    """Concurrent requests of one user, active and queued."""
    timeout_s: float = 60.0
    """Seconds after which an HTTP caller gets 202 while the run continues."""
    body_bytes: int = 1_000_000
    """Maximum size of a request body in bytes."""
    grace_s: float = 5.0
    """Seconds for which a server that is told to end takes requests as before, while `/readyz` already says 503."""
    drain_s: float = 30.0
    """Seconds that active runs have to finish when the service closes; interrupted ones are resumed later."""


class Busy(RunError):  # noqa: N818 - said of the service
    """Rejected for now (SG620; SG730 where a rate is used up)."""

    def __init__(self, message: str, *, retry_after_s: int, theirs: bool = False, code: str = "SG620") -> None:
        """`theirs`: for what the caller does, not for what the service has to do."""
        super().__init__(code, message, hint=f"Retry in {retry_after_s} s")
        self.retry_after_s = retry_after_s
        self.theirs = theirs


class AdmissionController:
    """Lets requests in, those of all services that share it. Used from one event loop."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.recovering = Turns(limits.running)
        """Held by each run that is taken up, since nobody waits in the queue for it."""
        self.turns = Turns(limits.running)
        """Held by each request or decision that is worked on; by priority."""
        self.solitude = Solitude()
        """Held by whatever is carried: with others, or alone."""
        self._inside: Counter[str] = Counter()

    @asynccontextmanager
    async def admitted(self, who: str) -> AsyncGenerator[None]:
        """Count as inside while the block lasts. Raises `Busy` at once when there is no room."""
        if self._inside[who] >= self.limits.per_principal:
            raise Busy(f"{who} has {self._inside[who]} requests in progress", retry_after_s=1, theirs=True)
        if self.inside >= self.limits.running + self.limits.waiting:
            raise Busy(f"{self.inside} requests are in progress", retry_after_s=2)
        self._inside[who] += 1
        try:
            yield
        finally:
            self._inside[who] -= 1
            if not self._inside[who]:
                del self._inside[who]

    @property
    def inside(self) -> int:
        """Active and queued requests."""
        return self._inside.total()


class ServiceAdmission:
    """One service's share in it: what is inside of its own, and whether it takes more."""

    def __init__(self, controller: AdmissionController) -> None:
        self._controller = controller
        self.inside = 0
        self.closed = False

    @asynccontextmanager
    async def admitted(self, who: str) -> AsyncGenerator[None]:
        """As `AdmissionController.admitted`; once closed, always `Busy`."""
        if self.closed:
            raise Busy("the service is closing", retry_after_s=5)
        async with self._controller.admitted(who):
            self.inside += 1
            try:
                yield
            finally:
                self.inside -= 1


class RequestRates:
    """How often people may ask one workflow, on all servers of a home or a database together."""

    def __init__(self) -> None:
        self.refused = 0
        """Requests of this process for which a person's rate had no room."""
        self._limiter: RateLimiter | None = None

    async def admit(self, workflow: str, limits: LimitsConfig, asker: Principal) -> None:
        """Count a new request. Raises `Busy` SG730 where the asker's rate has no room for it, and as `RateLimiter`."""
        rate = limits.of_person(asker["roles"])
        if rate is None:
            return
        if self._limiter is None:
            # not before it is needed: most workflows have no rates
            self._limiter = await asyncio.to_thread(RateLimiter)
        turn = await self._limiter.book_person(asker["id"], workflow, rate)
        if not turn.booked:
            self.refused += 1
            message = f"{asker['id']} may ask {rate.text}"
            raise Busy(message, retry_after_s=max(1, math.ceil(turn.wait_s)), theirs=True, code="SG730")

    def close(self) -> None:
        if self._limiter:
            self._limiter.close()
