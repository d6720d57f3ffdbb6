"""One ingest at a time over all machines: a lease on the store that outlives no killed process for long.

The object ``lease`` names its holder, who renews it. Whoever finds it not renewed for a while, by the store's clock,
takes it over; a machine knows of itself that its last holder is dead, and waits for nothing. Each holder has a token,
higher than all before. It is written into the pointer to the version that serves (`versions.fence`) before anything
else, so a holder that was only slow, and has been taken over, finds the pointer changed and publishes nothing.
"""

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

from sluicegate.errors import LockedError, RetrievalError
from sluicegate.retrieval.stores.objects import Objects, Stored

__all__ = ["Lease", "held"]

_KEY = "lease"

EXPIRES_S = 30.0
"""From when a lease that was not renewed may be taken over."""

_PATIENCE_S = 10.0
"""Seconds that an ingest waits for one that is at work."""


@dataclass(frozen=True, slots=True)
class _Held:
    token: int
    holder: str
    """Empty: nobody's."""
    machine: str
    since: str
    renewed: str
    """Unlike at each renewal, and of each holder."""


class Lease:
    """Held by this process, as far as it knows."""

    def __init__(self, token: int) -> None:
        self.token = token
        self.lost = threading.Event()
        """Set when another process has taken over, or might have."""


@contextmanager
def held(
    objects: Objects,
    *,
    machine: str,
    index: str,
    above: Callable[[], int],
    expires_s: float = EXPIRES_S,
    patience_s: float = _PATIENCE_S,
    pause: Callable[[float], object] = time.sleep,
) -> Generator[Lease]:
    """Hold the lease of a store; renewed from a thread until the block ends.

    `machine` names whoever can have no other ingest at work than this one; tokens are higher than what `above` returns
    too, should somebody delete the lease. Raises `LockedError` when another holder
    keeps renewing it, `RetrievalError` SG700, SG701.
    """
    ours, stored = _acquired(objects, machine, index, above, expires_s, patience_s, pause)
    lease, over = Lease(ours.token), threading.Event()

    def renew() -> None:
        nonlocal ours, stored
        renewed = time.monotonic()
        while not over.wait(expires_s / 5):
            again = replace(ours, renewed=secrets.token_hex(8))
            began = time.monotonic()
            try:
                now = objects.put(_KEY, _written(again), stored)
            except RetrievalError:
                # an outage; nobody else can take over meanwhile, but nobody knows how long it lasts
                if time.monotonic() - renewed > expires_s:
                    lease.lost.set()
                    return
                continue
            if now is None:
                lease.lost.set()
                return
            ours, stored, renewed = again, now, began

    thread = threading.Thread(target=renew, name=f"lease of {index}", daemon=True)
    thread.start()
    try:
        yield lease
    finally:
        over.set()
        thread.join()
        if not lease.lost.is_set():
            _release(objects, ours, stored)


def _release(objects: Objects, ours: _Held, stored: Stored) -> None:
    try:
        objects.put(_KEY, _written(replace(ours, holder="", machine="", renewed=secrets.token_hex(8))), stored)
    except RetrievalError:
        # it runs out by itself; what the ingest came to is what counts
        return


def _acquired(
    objects: Objects,
    machine: str,
    index: str,
    above: Callable[[], int],
    expires_s: float,
    patience_s: float,
    pause: Callable[[float], object],
) -> tuple[_Held, Stored]:
    began = time.monotonic()
    first: Stored | None = None
    while True:
        stored = objects.get(_KEY)
        found = _read(stored.content, objects.url) if stored else None
        first = first or stored
        if found is None or not found.holder or found.machine == machine or objects.age(_KEY) > expires_s:
            ours = _Held(
                max(found.token if found else 0, above()) + 1,
                f"{socket.gethostname()}, process {os.getpid()}",
                machine,
                datetime.now(UTC).isoformat(timespec="seconds"),
                secrets.token_hex(8),
            )
            if taken := objects.put(_KEY, _written(ours), stored):
                return ours, taken
            continue
        if stored != first and time.monotonic() - began > patience_s:
            raise LockedError(
                f"another ingest of index {index!r} is running: on {found.holder}, since {found.since}",
                hint="Try again when it is done",
            )
        pause(min(1.0, expires_s / 10))


def _written(held: _Held) -> bytes:
    return json.dumps(asdict(held)).encode()


def _read(content: bytes, url: str) -> _Held:
    try:
        return _Held(**json.loads(content))
    except (ValueError, TypeError) as error:
        raise RetrievalError(
            "SG402", f"the lease of the store {url} is unreadable", hint="Delete its object 'lease', and ingest again"
        ) from error
