"""Where run-time data is stored.

Runs, checkpoints, ledger, cache, audit log and indexes are in one folder, the home: `SLUICEGATE_HOME` when set, else
the nearest `.sluicegate` folder from the working directory upwards (a notebook in a subfolder sees the same runs),
which must belong to the user, else a new one in the working directory. Model weights are in the user's cache, shared
by all projects.

The home is its owner's alone: folders have the mode 0700 and files 0600, whatever the umask. What is written there is
written by `write_private` or opened with `private_opener`; what libraries have written is tightened by `tighten`.
"""

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from sluicegate.errors import RunError, UnwritableError

__all__ = [
    "cache_dir",
    "distrust",
    "home",
    "make_private",
    "owner_only",
    "private_folder",
    "private_opener",
    "tighten",
    "write_private",
]

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_AS_FOUND = frozenset({"keys", "mcp.json"})
"""Left as they are by `tighten`: a key that others could read, and a list of programs that others could write, are
refused by who reads them, not made to look untouched."""


def home() -> Path:
    """The home folder, made when absent; one that is open to others is closed to them, with all that is in it.

    Raises `RunError` SG607 when it cannot be made, SG630 when one was found that belongs to another user.
    """
    configured = os.environ.get("SLUICEGATE_HOME")
    folder = Path(configured).expanduser() if configured else _nearest()
    try:
        private_folder(folder)
    except OSError as error:
        raise _unmade(folder, error) from error
    if folder.stat().st_mode & _OTHERS:
        tighten(folder)
    return folder


def cache_dir() -> Path:
    """The user's cache for weights and embeddings; `SLUICEGATE_CACHE` moves it. Raises `RunError` SG607."""
    import platformdirs

    configured = os.environ.get("SLUICEGATE_CACHE")
    folder = Path(configured).expanduser() if configured else platformdirs.user_cache_path("sluicegate")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unmade(folder, error) from error
    return folder


def distrust(status: os.stat_result) -> str:
    """Why a file that says what may run, or who may call, is not to be trusted; empty when it is."""
    if not _is_ours(status):
        return "it belongs to another user"
    return "it is writable by other users" if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) else ""


def _is_ours(status: os.stat_result) -> bool:
    """Whether it belongs to this user, to the one who called `sudo`, or to root."""
    if not hasattr(os, "geteuid"):
        return True
    ours = {0, os.geteuid()}
    if os.geteuid() == 0 and (caller := os.environ.get("SUDO_UID", "")).isdecimal():
        ours.add(int(caller))
    return status.st_uid in ours


def private_folder(folder: Path) -> Path:
    """The folder, made with the parents it lacks, for its owner only. Raises `OSError`."""
    try:
        folder.mkdir(mode=0o700)
    except FileNotFoundError:
        private_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError:
        # a disk that is read-only may say so before it says that the folder is there
        if not folder.is_dir():
            raise
    return folder


def private_opener(path: str, flags: int) -> int:
    """For `open`: a file that is made is for its owner only."""
    return os.open(path, flags, 0o600)


def write_private(path: Path, text: str) -> None:
    """Write a file of the home. Raises `OSError`."""
    with open(path, "w", encoding="utf-8", opener=private_opener) as file:
        file.write(text)


def make_private(path: Path, content: bytes) -> None:
    """Make a file of the home that is not there yet, such as a key, whole and on the disk. Of two processes that make
    one, the first wins. Raises `OSError`."""
    private_folder(path.parent)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    try:
        os.link(fresh, path)
    except FileExistsError:
        pass
    finally:
        fresh.unlink()


def owner_only(path: Path) -> None:
    """Take from others what they may do with a file or a folder, as far as it is ours to do so."""
    with suppress(OSError):
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & _OTHERS:
            path.chmod(mode & ~_OTHERS)


def tighten(folder: Path) -> None:
    """`owner_only` of all that is in a folder, and of the folder last: what is cut short is done again."""
    for place, folders, files in os.walk(folder):
        skipped = _AS_FOUND if Path(place) == folder else frozenset[str]()
        folders[:] = [name for name in folders if name not in skipped]
        for name in (*folders, *(name for name in files if name not in skipped)):
            if not (path := Path(place, name)).is_symlink():
                owner_only(path)
    owner_only(folder)


def _nearest() -> Path:
    here = Path.cwd()
    for folder in (here, *here.parents):
        found = folder / ".sluicegate"
        if found.is_dir():
            if not (_is_ours(found.lstat()) and _is_ours(found.stat())):
                raise RunError(
                    "SG630",
                    f"{found} belongs to another user, who could decide there what runs",
                    hint=f"Set SLUICEGATE_HOME to a folder of your own, or to {found} if you trust its owner",
                )
            return found
    return here / ".sluicegate"


def _unmade(folder: Path, error: OSError) -> RunError:
    hint = "Set SLUICEGATE_HOME to a writable folder"
    return UnwritableError(f"cannot create {folder}: {error.strerror}", hint=hint)
