"""A fitted router on disk: a self-describing folder that reveals edits.

``card.json`` is for people and programs: data hashes, figures, settings, and the SHA-256 of every other file.
``weights.npz`` holds numbers only (loaded with ``allow_pickle=False``), one text file per lexical view the n-grams. The
artifact's hash is the SHA-256 of the card in canonical form, so it covers everything. The same data and settings give
the same hash: no time and no path is in it.
"""

import hashlib
import json
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sluicegate.errors import ModelError, RunError
from sluicegate.routing.calibration.calibration import Calibrator
from sluicegate.routing.intent.head import Head, Projection
from sluicegate.routing.intent.lexical import Grams, Lexicon

__all__ = [
    "CARD",
    "FIT",
    "FORMAT",
    "Artifact",
    "check_fits",
    "check_place",
    "read_artifact",
    "read_card",
    "read_head",
    "write_artifact",
    "write_folder",
]

CARD = "card.json"
WEIGHTS = "weights.npz"
FORMAT = 1
FIT = "sluicegate router fit"
REFIT = f"Fit it again: {FIT}"


@dataclass(frozen=True, slots=True)
class Artifact:
    """A router as it was written."""

    head: Head
    calibrator: Calibrator
    card: dict[str, Any]

    @property
    def hash(self) -> str:
        return str(self.card["hash"])


def write_artifact(folder: Path, head: Head, calibrator: Calibrator, card: Mapping[str, Any]) -> str:
    """Write an artifact whole or not at all, in place of an older one; returns its hash. Raises as `check_place`."""
    arrays: dict[str, Any] = {f"weights.{name}": block.astype(np.float16) for name, block in head.weights.items()}
    arrays["bias"] = head.bias
    arrays["landmarks"] = head.landmarks.astype(np.float16)
    if head.projection:
        arrays["projection.mean"] = head.projection.mean
        if head.projection.axes is not None:
            arrays["projection.axes"] = head.projection.axes.astype(np.float16)
    files: dict[str, bytes] = {}
    for name, lexicon in head.lexicons.items():
        arrays[f"idf.{name}"] = lexicon.idf
        files[f"{name}.txt"] = "\n".join(lexicon.entries).encode("utf-8", "surrogatepass")
    full = {
        **card,
        "labels": head.labels,
        "views": {
            name: {
                "kind": lexicon.grams.kind,
                "n": [lexicon.grams.shortest, lexicon.grams.longest],
                "size": len(lexicon),
            }
            for name, lexicon in head.lexicons.items()
        },
        "sharpness": head.sharpness,
        "embed_words": head.embed_words,
        "dimensions": head.dimensions,
        "calibration": {
            "method": calibrator.method,
            "temperature": calibrator.temperature,
            "points": [list(pair) for pair in calibrator.points],
            "scales": [list(pair) for pair in calibrator.scales],
        },
    }
    return write_folder(folder, full, arrays, files)


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
    return RunError("SG607", f"cannot write {folder}: {reason}", hint="Free space or check permissions")


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
            raise _edited(folder, f"it has format {form}; this release reads {FORMAT}")
        if stated != _digest(card):
            raise _edited(folder, f"{CARD} was changed")
        changed = [name for name in listed if name not in present or _sha256(folder / name) != listed[name]]
        if changed or present - listed.keys() - REPORTS:
            names = ", ".join(sorted(changed or present - listed.keys() - REPORTS))
            raise _edited(folder, f"{names} {'was changed or is missing' if changed else 'does not belong to it'}")
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise _edited(folder, f"{CARD} cannot be read") from error
    card["hash"] = stated
    if task and card.get("task") != task:
        raise ModelError("SG312", f"{folder} was fitted for the task {card.get('task')!r}, not {task!r}", hint=REFIT)
    return card


REPORTS = frozenset({"report.html", "report.json"})
"""Files that a report may leave beside the artifact."""


def read_artifact(folder: Path, *, fit: str = FIT) -> Artifact:
    """Read and check an intent router. `fit` and what it raises are as in `read_card`."""
    card = read_card(folder, task="intent", fit=fit)
    head = read_head(folder, card)
    try:
        fitted = card["calibration"]
        points, scales = (tuple((float(x), float(y)) for x, y in fitted.get(name, ())) for name in ("points", "scales"))
        calibrator = Calibrator(fitted["method"], fitted["temperature"], points, scales)
    except (ValueError, KeyError, TypeError) as error:
        raise _edited(folder, "its calibration cannot be read") from error
    return Artifact(head, calibrator, card)


def read_head(folder: Path, card: Mapping[str, Any]) -> Head:
    """The head of an artifact whose card was read. Raises `ModelError` SG311."""
    try:
        with np.load(folder / WEIGHTS, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        lexicons: dict[str, Lexicon] = {}
        for name, view in card["views"].items():
            text = (folder / f"{name}.txt").read_bytes().decode("utf-8", "surrogatepass")
            grams = Grams(view["kind"], *view["n"])
            lexicons[name] = Lexicon(grams, text.split("\n") if text else [], arrays[f"idf.{name}"])
        prefix = "weights."
        return Head(
            labels=card["labels"],
            lexicons=lexicons,
            weights={
                name.removeprefix(prefix): block.astype(np.float32)
                for name, block in arrays.items()
                if name.startswith(prefix)
            },
            bias=arrays["bias"],
            landmarks=arrays["landmarks"].astype(np.float32),
            sharpness=card["sharpness"],
            embed_words=card["embed_words"],
            projection=_projection(arrays),
        )
    except (ValueError, KeyError, TypeError, OSError, zipfile.BadZipFile) as error:
        raise _edited(folder, "its files are inconsistent") from error


def _projection(arrays: Mapping[str, Any]) -> Projection | None:
    if "projection.mean" not in arrays:
        return None
    axes = arrays.get("projection.axes")
    return Projection(arrays["projection.mean"], None if axes is None else axes.astype(np.float32))


def check_fits(card: Mapping[str, Any], *, intents: set[str], where: str) -> None:
    """Whether the artifact's labels are intents of a workflow. Raises `ModelError` SG312, naming those that are not."""
    missing = sorted(set(card["labels"]) - intents)
    if missing:
        shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise ModelError(
            "SG312",
            f"the router artifact predicts {shown}, which {where} does not have",
            hint="Add them under `intents:`, or fit the router again on this workflow's examples",
        )


def _write_npz(path: Path, arrays: Mapping[str, Any]) -> None:
    """As `numpy.savez`, with fixed times: the same numbers give the same bytes."""
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


def _edited(folder: Path, what: str) -> ModelError:
    return ModelError("SG311", f"the router artifact {folder} was edited or damaged: {what}", hint=REFIT)
