"""Waiting for what will come: a clock says when to give up, and never what a test finds."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE_S = 240.0
"""Far longer than anything here takes on a busy machine."""


def until(holds: Callable[[], T], what: str = "") -> T:
    """What `holds` returns as soon as it is true."""
    given_up = time.monotonic() + PATIENCE_S
    while not (value := holds()):
        assert time.monotonic() < given_up, what or "it did not come"
        time.sleep(0.01)
    return value


async def soon(holds: Callable[[], T], what: str = "") -> T:
    """The same without holding up the event loop."""
    given_up = time.monotonic() + PATIENCE_S
    while not (value := holds()):
        assert time.monotonic() < given_up, what or "it did not come"
        await asyncio.sleep(0.01)
    return value
