"""Where run-time data is stored.

Runs, checkpoints, ledger, cache, audit log and indexes are in one folder, the home: `SLUICEGATE_HOME` when set, else
the nearest `.sluicegate` folder from the working directory upwards (a notebook in a subfolder sees the same runs),
else a new one in the working directory. Model weights are in the user's cache, shared by all projects.
"""

import os
from pathlib import Path

from sluicegate.errors import RunError

__all__ = ["cache_dir", "home"]


def home() -> Path:
    """The home folder, made when absent. Raises `RunError` SG607 when it cannot be made."""
    configured = os.environ.get("SLUICEGATE_HOME")
    folder = Path(configured).expanduser() if configured else _nearest()
    return _made(folder)


def cache_dir() -> Path:
    """The user's cache for weights and embeddings; `SLUICEGATE_CACHE` moves it. Raises `RunError` SG607."""
    import platformdirs

    configured = os.environ.get("SLUICEGATE_CACHE")
    return _made(Path(configured).expanduser() if configured else platformdirs.user_cache_path("sluicegate"))


def _nearest() -> Path:
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / ".sluicegate").is_dir():
            return folder / ".sluicegate"
    return here / ".sluicegate"


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            "SG607", f"cannot create {folder}: {error.strerror}", hint="Set SLUICEGATE_HOME to a writable folder"
        ) from error
    return folder
