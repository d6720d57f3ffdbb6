"""The files of an index: their names, and whether they changed."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sluicegate.errors import Problem, RetrievalError
from sluicegate.home import home
from sluicegate.retrieval.config import IndexConfig
from sluicegate.retrieval.loaders import SIDECAR, SUFFIXES, UNREAD

__all__ = ["KnowledgeFile", "configured", "find", "indexes_of", "path_of", "unreadable"]

_LOADER_VERSION = 12
"""Loader version, raised when files must be read again because their text would differ."""


@dataclass(frozen=True, slots=True)
class KnowledgeFile:
    path: Path
    name: str
    """Relative to the workflow's folder (or the one it extends) when inside it, else absolute; with forward slashes."""
    sidecar: Path | None
    hash: str
    """Hash of its bytes, its sidecar's, and every setting that affects its entry."""


def indexes_of(workflow: str) -> Path:
    """The folder of a workflow's indexes, one subfolder each. Raises `RunError` SG607."""
    return home() / "indexes" / workflow


def configured(config: IndexConfig, folders: Sequence[Path]) -> list[Path]:
    """The index's own paths, each from the first folder that has it."""
    return [path_of(path, folders).resolve() for path in config.path]


def name_of(path: Path, folders: Sequence[Path]) -> str:
    """The name of a file in the catalog."""
    inside = next((folder for folder in folders if path.is_relative_to(folder)), None)
    return path.relative_to(inside).as_posix() if inside else path.as_posix()


def path_of(name: str, folders: Sequence[Path]) -> Path:
    """The file of that name; its expected path when it does not exist."""
    return next((folder / name for folder in folders if (folder / name).exists()), folders[0] / name)


def find(
    roots: Sequence[Path], config: IndexConfig, folders: Sequence[Path]
) -> tuple[list[KnowledgeFile], list[Problem]]:
    """Every readable kind of file under `roots` (resolved), by name, and what is wrong with the others.

    Hidden files, sidecars and files of other kinds inside folders are skipped. Raises `RetrievalError` SG403 when
    a root does not exist: an unmounted folder must not empty an index.
    """
    found: dict[Path, None] = {}
    problems: list[Problem] = []
    for root in roots:
        if root.is_dir():
            known = SUFFIXES | UNREAD.keys()
            inside = sorted(path for path in root.rglob("*") if path.suffix.lower() in known and path.is_file())
            for path in inside:
                if any(part.startswith(".") for part in path.relative_to(root).parts):
                    continue
                if path.suffix.lower() in UNREAD:
                    problems.append(replace(_other_format(path, folders), severity="warning"))
                elif path.resolve().is_relative_to(root):
                    found[path] = None
                else:
                    problems.append(unreadable(name_of(path, folders), "it links to a file outside of its folder"))
        elif root.is_file():
            if root.suffix.lower() in SUFFIXES:
                found[root] = None
            elif root.suffix.lower() in UNREAD:
                problems.append(_other_format(root, folders))
            else:
                kinds = ", ".join(sorted(SUFFIXES))
                problems.append(unreadable(name_of(root, folders), f"{root.suffix or 'no ending'}: not one of {kinds}"))
        else:
            raise RetrievalError(
                "SG403", f"{root} does not exist", hint="Correct the path, or remove it from the index"
            )
    settings = config.model_dump_json(include={"chunk", "approved", "readers", "clearance"})
    files: list[KnowledgeFile] = []
    for path in found:
        name = name_of(path, folders)
        beside = path.with_name(path.name + SIDECAR)
        sidecar = beside if beside.is_file() else None
        misnamed = next((other.name for other in _like_sidecars(path) if other.is_file()), None)
        if misnamed:
            problems.append(unreadable(name, f"its metadata is not read: name it {beside.name!r}, not {misnamed!r}"))
            continue
        try:
            if path.stat().st_size > config.max_file_mb * 1_000_000:
                problems.append(unreadable(name, f"larger than max_file_mb ({config.max_file_mb:g} MB)"))
            else:
                files.append(KnowledgeFile(path, name, sidecar, _hash(path, sidecar, settings)))
        except OSError as error:
            problems.append(unreadable(name, error.strerror or str(error)))
    return files, problems


def _other_format(path: Path, folders: Sequence[Path]) -> Problem:
    suffix = path.suffix.lower()
    return Problem(
        "SG403",
        f"{name_of(path, folders)}: {suffix} is not read",
        hint=f"It is left out of the index; save it as {UNREAD[suffix]}",
    )


def _like_sidecars(path: Path) -> list[Path]:
    """Names under which a sidecar would be overlooked."""
    ends = (".meta.yml", ".meta.json", ".meta.toml")
    names = [f"{base}{end}" for base in (path.name, path.stem) for end in ends]
    return [path.with_name(name) for name in (*names, f"{path.stem}{SIDECAR}", f"{path.name}.yaml", f"{path.name}.yml")]


def unreadable(name: str, why: str) -> Problem:
    return Problem("SG403", f"{name}: {why}", hint="It is left out of the index")


def _hash(path: Path, sidecar: Path | None, settings: str) -> str:
    digest = hashlib.sha256(f"{_LOADER_VERSION} {settings}\n".encode())
    for part in (path, sidecar):
        digest.update(part.read_bytes() if part else b"")
        digest.update(b"\x00sluicegate\x00")
    return digest.hexdigest()
