"""A circuit breaker: a model that keeps failing is skipped for a while, then tried by one call."""

import threading
from collections.abc import Callable

__all__ = ["Breaker"]


class Breaker:
    """Closed until `failures` in a row, then open for `seconds`, then half-open: one call decides. Thread-safe."""

    def __init__(self, failures: int, seconds: float, clock: Callable[[], float]) -> None:
        self._most = failures
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._failed = 0
        self._until = 0.0
        self._trying = False

    def admits(self) -> bool:
        """Whether a call may proceed; if so, it must end in `succeeded`, `failed` or `abandoned`."""
        with self._lock:
            if self._failed < self._most:
                return True
            if self._trying or self._clock() < self._until:
                return False
            self._trying = True
            return True

    def succeeded(self) -> None:
        with self._lock:
            self._failed = 0
            self._trying = False

    def failed(self) -> None:
        with self._lock:
            self._failed += 1
            self._trying = False
            if self._failed >= self._most:
                self._until = self._clock() + self._seconds

    def abandoned(self) -> None:
        """The call gave no information about the model: it was cancelled, or its own input was at fault."""
        with self._lock:
            self._trying = False
