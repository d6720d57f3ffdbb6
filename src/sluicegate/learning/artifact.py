"""A fitted artifact on disk: a self-describing folder that reveals edits.

``card.json`` is for people and programs: data hashes, figures, settings, and the SHA-256 of every other file.
``weights.npz`` holds numbers only (loaded with ``allow_pickle=False``). The artifact's hash is the SHA-256 of the card
in canonical form, so it covers everything. The same data and settings give the same hash: no time and no path is in it.
"""

import hashlib
import json
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sluicegate.errors import ModelError, RunError, UnwritableError

__all__ = ["CARD", "FIT", "FORMAT", "WEIGHTS", "cards_in", "check_place", "edited", "read_card", "write_folder"]

CARD = "card.json"
WEIGHTS = "weights.npz"
FORMAT = 1
FIT = "sluicegate router fit"
REFIT = f"Fit it again: {FIT}"


def cards_in(folder: Path) -> list[Path]:
    """The card of the artifact that a folder is, or those of the artifacts that lie in it."""
    own = folder / CARD
    return [own] if own.exists() else sorted(folder.glob(f"*/{CARD}"))


def check_place(folder: Path) -> None:
    """Whether an artifact can be written to `folder`, asked before the work of a fit; what else is there stays.

    Raises `RunError` SG607 when the disk refuses, `ModelError` SG311 when something other than an artifact is there.
    """
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not (folder / CARD).is_file()):
        raise ModelError(
            "SG311",
            f"{folder} holds something other than a router artifact, which a fit would replace",
            hint="Name a new folder, or empty this one",
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(prefix=f".{folder.name}-", dir=folder.parent):
            pass
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(folder: Path, error: OSError) -> RunError:
    reason = error.strerror or str(error)
    return UnwritableError(f"cannot write {folder}: {reason}", hint="Free space or check permissions")


def write_folder(
    folder: Path, card: Mapping[str, Any], arrays: Mapping[str, Any], files: Mapping[str, bytes] | None = None
) -> str:
    """Write card, weights and other files under `folder`; returns the hash. Raises as `check_place` does."""
    check_place(folder)
    try:
        staged = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            _write_npz(staged / WEIGHTS, arrays)
            for name, content in (files or {}).items():
                (staged / name).write_bytes(content)
            listed = {path.name: _sha256(path) for path in sorted(staged.iterdir())}
            full = {"format": FORMAT, **card, "files": listed}
            digest = _digest(full)
            text = json.dumps({**full, "hash": digest}, ensure_ascii=False, indent=1)
            (staged / CARD).write_text(text + "\n", encoding="utf-8")
            _replace(staged, folder)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
    except OSError as error:
        raise _unwritable(folder, error) from error
    return digest


def read_card(folder: Path, *, task: str | None = None, fit: str = FIT) -> dict[str, Any]:
    """The card, after every file was checked against it. `fit` is the command that writes the artifact.

    Raises `ModelError` SG310 (nothing there), SG311 (edited, damaged, or of another format), SG312 (another task).
    """
    path = folder / CARD
    if not path.is_file():
        raise ModelError("SG310", f"no router artifact in {folder}", hint=f"Fit it: {fit}")
    try:
        card: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        stated, listed, form = card.pop("hash"), card["files"], card["format"]
        present = {file.name for file in folder.iterdir() if file.name != CARD and not file.name.startswith(".")}
        if form != FORMAT:
            raise edited(folder, f"it has format {form}; this release reads {FORMAT}")
        if stated != _digest(card):
            raise edited(folder, f"{CARD} was changed")
        changed = [name for name in listed if name not in present or _sha256(folder / name) != listed[name]]
        if changed or present - listed.keys() - REPORTS:
            names = ", ".join(sorted(changed or present - listed.keys() - REPORTS))
            raise edited(folder, f"{names} {'was changed or is missing' if changed else 'does not belong to it'}")
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise edited(folder, f"{CARD} cannot be read") from error
    card["hash"] = stated
    if task and card.get("task") != task:
        raise ModelError("SG312", f"{folder} was fitted for the task {card.get('task')!r}, not {task!r}", hint=REFIT)
    return card


REPORTS = frozenset({"report.html", "report.json"})
"""Files that a report may leave beside the artifact."""


def _write_npz(path: Path, arrays: Mapping[str, Any]) -> None:
    """As `numpy.savez`, with fixed times: the same numbers give the same bytes."""
    import numpy as np  # not to be imported where only cards are looked at

    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asanyarray(arrays[name]), allow_pickle=False)


def _replace(staged: Path, folder: Path) -> None:
    staged.chmod(0o755)
    if folder.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        folder.replace(old / "old")
        staged.replace(folder)
        shutil.rmtree(old, ignore_errors=True)
    else:
        staged.replace(folder)


def _digest(card: Mapping[str, Any]) -> str:
    canonical = json.dumps(card, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def edited(folder: Path, what: str) -> ModelError:
    """The error SG311 for an artifact whose files are not what its card says."""
    return ModelError("SG311", f"the router artifact {folder} was edited or damaged: {what}", hint=REFIT)
