"""A fitted router on disk: an artifact (see `learning.artifact`) with one text file of n-grams per lexical view."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sluicegate.errors import ModelError
from sluicegate.learning.artifact import FIT, WEIGHTS, edited, read_card, write_folder
from sluicegate.learning.projection import Projection
from sluicegate.routing.calibration.calibration import Calibrator
from sluicegate.routing.intent.head import Head
from sluicegate.routing.intent.lexical import Grams, Lexicon

__all__ = ["Artifact", "check_fits", "read_artifact", "read_head", "write_artifact"]


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


def read_artifact(folder: Path, *, task: str = "intent", fit: str = FIT) -> Artifact:
    """Read and check an intent router, or a head of another `task`. `fit` and what it raises are as in `read_card`."""
    card = read_card(folder, task=task, fit=fit)
    head = read_head(folder, card)
    try:
        fitted = card["calibration"]
        points, scales = (tuple((float(x), float(y)) for x, y in fitted.get(name, ())) for name in ("points", "scales"))
        calibrator = Calibrator(fitted["method"], fitted["temperature"], points, scales)
    except (ValueError, KeyError, TypeError) as error:
        raise edited(folder, "its calibration cannot be read") from error
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
        raise edited(folder, "its files are inconsistent") from error


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
