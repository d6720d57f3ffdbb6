"""A rate, as a workflow writes it: ``60 per minute``, or ``60 per minute, 10 at once``."""

import re
from dataclasses import dataclass
from typing import Self

__all__ = ["MAX_WAIT_S", "RATE_PATTERN", "Rate"]

MAX_WAIT_S = 600.0
"""The longest that a call may wait for its turn."""

_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}

RATE_PATTERN = r"^[1-9][0-9]{0,8} per (second|minute|hour|day)(, [1-9][0-9]{0,8} at once)?$"


@dataclass(frozen=True, slots=True)
class Rate:
    """A token bucket: it holds `burst`, and is refilled evenly. In any span of ``t`` microseconds no more than
    ``burst + t / interval`` pass."""

    text: str
    interval: int
    """Microseconds that each one takes, rounded up: no rounding lets more pass."""
    burst: int
    """So many pass at once after a pause; by default what the rate says of its whole period."""

    @classmethod
    def of(cls, text: str) -> Self:
        """Raises `ValueError`."""
        if not re.fullmatch(RATE_PATTERN, text):
            raise ValueError(f"{text!r} is no rate; write it as '60 per minute' or '60 per minute, 10 at once'")
        count, _, period, *at_once = text.replace(",", "").split()
        return cls(text, -(-_SECONDS[period] * 1_000_000 // int(count)), int(at_once[0] if at_once else count))

    @property
    def tolerance(self) -> int:
        """Microseconds that one may come before its time: the burst tolerance of GCRA."""
        return (self.burst - 1) * self.interval
