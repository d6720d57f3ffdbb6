"""Where run-time data is stored.

Runs, checkpoints, ledger, cache, audit log and indexes are in one folder, the home: `SLUICEGATE_HOME` when set, else
the nearest `.sluicegate` folder from the working directory upwards (a notebook in a subfolder sees the same runs),
else a new one in the working directory. Model weights are in the user's cache, shared by all projects.

The home is its owner's alone: folders have the mode 0700 and files 0600, whatever the umask. What is written there is
written by `write_private` or opened with `private_opener`; what libraries have written is tightened by `tighten`.
"""

import os
import stat
from contextlib import suppress
from pathlib import Path

from sluicegate.errors import RunError

__all__ = ["cache_dir", "home", "owner_only", "private_folder", "private_opener", "tighten", "write_private"]

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_KEYS = "keys"
"""Left as they are by `tighten`: a key that others could read is refused by who reads it, not made to look unread."""


def home() -> Path:
    """The home folder, made when absent; one that is open to others is closed to them, with all that is in it.

    Raises `RunError` SG607 when it cannot be made.
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


def owner_only(path: Path) -> None:
    """Take from others what they may do with a file or a folder, as far as it is ours to do so."""
    with suppress(OSError):
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & _OTHERS:
            path.chmod(mode & ~_OTHERS)


def tighten(folder: Path) -> None:
    """`owner_only` of all that is in a folder, and of the folder last: what is cut short is done again."""
    for place, folders, files in os.walk(folder):
        if Path(place) == folder and _KEYS in folders:
            folders.remove(_KEYS)
        for name in (*folders, *files):
            if not (path := Path(place, name)).is_symlink():
                owner_only(path)
    owner_only(folder)


def _nearest() -> Path:
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / ".sluicegate").is_dir():
            return folder / ".sluicegate"
    return here / ".sluicegate"


def _unmade(folder: Path, error: OSError) -> RunError:
    hint = "Set SLUICEGATE_HOME to a writable folder"
    return RunError("SG607", f"cannot create {folder}: {error.strerror}", hint=hint)
