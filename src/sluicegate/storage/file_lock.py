"""Locks on an open file that processes take in turn; the system drops them when their process ends, however it ends.

POSIX has two families. `lock` and `unlock` take the whole file by `flock`, which belongs to the open file, so that
threads with a descriptor each exclude one another too. `try_lock_byte` takes one byte by `lockf`, which belongs to the
process: a file can carry many, but any descriptor of it that the process closes drops them all. Windows has only locks
of byte ranges; there both families are that, and a whole file is locked by a byte that lies behind any content.
"""

import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from sluicegate.home import private_opener

__all__ = ["lock", "locked_file", "try_lock", "try_lock_byte", "unlock", "unlock_byte"]

_PAUSE_S = 0.001
_WHOLE = 2**40
"""The byte that stands for a whole file on Windows; reading and writing elsewhere stays free."""


@contextmanager
def locked_file(path: Path) -> Generator[None]:
    """Hold the lock of a file that exists for it alone, made when absent; waits for it. Raises `OSError`."""
    descriptor = private_opener(str(path), os.O_RDWR | os.O_CREAT)
    try:
        lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def lock(descriptor: int) -> None:
    """Lock the whole file, waiting for whoever holds it. Raises `OSError`."""
    while not try_lock(descriptor):
        time.sleep(_PAUSE_S)


def try_lock(descriptor: int) -> bool:
    """Lock the whole file; False when somebody else holds it. Raises `OSError`."""
    try:
        import fcntl
    except ImportError:
        return _try_windows(descriptor, _WHOLE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def unlock(descriptor: int) -> None:
    try:
        import fcntl
    except ImportError:
        _unlock_windows(descriptor, _WHOLE)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def try_lock_byte(descriptor: int, offset: int) -> bool:
    """Lock one byte, which need not exist; False when another process holds it."""
    try:
        import fcntl
    except ImportError:
        return _try_windows(descriptor, offset)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, offset)
    except OSError:
        return False
    return True


def unlock_byte(descriptor: int, offset: int) -> None:
    try:
        import fcntl
    except ImportError:
        _unlock_windows(descriptor, offset)
    else:
        fcntl.lockf(descriptor, fcntl.LOCK_UN, 1, offset)


def _try_windows(descriptor: int, offset: int) -> bool:
    import msvcrt

    # `locking` starts where the file stands
    os.lseek(descriptor, offset, os.SEEK_SET)
    try:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType] - Windows only
    except OSError:
        return False
    return True


def _unlock_windows(descriptor: int, offset: int) -> None:
    import msvcrt

    os.lseek(descriptor, offset, os.SEEK_SET)
    msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType] - Windows only
