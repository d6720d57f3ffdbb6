"""What lies on a store: immutable versions of an index, and the pointer to the one that serves.

| object | what |
| --- | --- |
| ``current`` | which version serves, and the token of the ingest that may change it; written under a condition |
| ``versions/N.json`` | the files of version N, which was published by the ingest with the token N |
| ``files/N/…`` | files that the ingest with the token N has added; later versions go on naming them |
| ``lease`` | who is at work; see `lease` |

A file of an index is a table's, which LanceDB never changes, or the catalog, which is published as a whole. A reader
has a version whole or not at all: what it names is on the store before it is named.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from sluicegate.errors import RetrievalError
from sluicegate.retrieval.stores.objects import Objects, Stored

__all__ = ["KEEP_S", "Pointer", "StoredFile", "StoredVersions", "VersionManifest"]

_FORMAT = 1
_POINTER = "current"

KEEP_S = 600.0
"""How long a version stays on the store after the next one was published: longer than any search, and long enough for
a reader to fetch what it began to fetch. What an ingest removed is gone from the store after that."""


@dataclass(frozen=True, slots=True)
class Pointer:
    version: int
    """0: none was published yet."""
    manifest: str
    """The SHA-256 of the version's manifest."""
    fence: int
    """The token of the ingest that may move the pointer on."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    key: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class VersionManifest:
    version: int
    workflow: str
    index: str
    """Whose documents these are."""
    digest: str
    """The index's digest, as in its head."""
    published_at: str
    files: Mapping[str, StoredFile]
    """By the path within the index's folder, with forward slashes."""


class StoredVersions:
    """The versions on one store. Methods raise `RetrievalError` SG402 (unreadable), SG700, SG701."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._known: Stored | None = None

    def pointer(self) -> Pointer | None:
        """Costs a request that has no body while nothing has changed."""
        self._known = self._objects.get(_POINTER, self._known)
        if self._known is None:
            return None
        found = self._parsed(self._known.content, _POINTER)
        return Pointer(found["version"], found["manifest"], found["fence"])

    def fence(self, token: int) -> Pointer:
        """Let only the holder of `token` publish from now on; every holder before has lost the right."""
        while True:
            now = self.pointer() or Pointer(0, "", 0)
            fenced = replace(now, fence=token)
            if self._moved(fenced):
                return fenced

    def manifest(self, pointer: Pointer) -> VersionManifest | None:
        """None when the version was removed, since a later one serves."""
        key = _manifest_key(pointer.version)
        stored = self._objects.get(key)
        if stored is None:
            return None
        if hashlib.sha256(stored.content).hexdigest() != pointer.manifest:
            raise self._unreadable(key)
        found = self._parsed(stored.content, key)
        try:
            files = {_inside(path): StoredFile(**file) for path, file in found["files"].items()}
            return VersionManifest(**{name: found[name] for name in _FIELDS}, files=files)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._unreadable(key) from error

    def add(self, path: Path, token: int, number: int) -> StoredFile:
        """Put a file on the store, for a version that is to name it."""
        key = f"files/{token:010d}/{number}"
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self._objects.upload(key, path)
        return StoredFile(key, path.stat().st_size, digest)

    def publish(self, manifest: VersionManifest) -> Pointer:
        """Make it the version that serves. Raises `RetrievalError` SG702 when its ingest was taken over."""
        body = {name: getattr(manifest, name) for name in _FIELDS}
        body["files"] = {path: asdict(file) for path, file in manifest.files.items()}
        content = json.dumps({"format": _FORMAT, **body}, ensure_ascii=False).encode()
        if not self._objects.put(_manifest_key(manifest.version), content, None):
            raise _taken_over(manifest.index)
        pointer = Pointer(manifest.version, hashlib.sha256(content).hexdigest(), manifest.version)
        if not self._moved(pointer):
            raise _taken_over(manifest.index)
        return pointer

    def fetch(self, file: StoredFile, target: Path) -> bool:
        """Write a file that a version names, checked by its hash; False when it is gone since a later one serves."""
        digest = self._objects.download(file.key, target)
        if digest is None:
            return False
        if digest != file.sha256:
            raise self._unreadable(file.key)
        return True

    def sweep(self, pointer: Pointer, *, keep_s: float = KEEP_S) -> int:
        """Remove versions that no reader uses any more, and what killed ingests have left; returns the objects removed.

        For the holder of the lease, after `fence`. Of what a later ingest adds nothing is touched, even when this
        holder is slow and was taken over: such files have higher tokens, and the others that a later version names are
        named by this one too.
        """
        versions = sorted(self._objects.list("versions/"), key=lambda at: at.key)
        ages = {at.key: self._objects.age(at.key) for at in versions[-1:]}
        newest = versions[-1].written + ages[versions[-1].key] if versions else 0.0
        kept: set[str] = set()
        gone: list[str] = []
        for at, following in zip(versions, [*versions[1:], None], strict=True):
            number = _number(at.key)
            past = number < pointer.version and following is not None and newest - following.written >= keep_s
            unpublished = pointer.version < number <= pointer.fence
            if past or unpublished:
                gone.append(at.key)
                continue
            stored = self._objects.get(at.key)
            files = self._parsed(stored.content, at.key)["files"].values() if stored else ()
            kept |= {file["key"] for file in files}
        # a version goes before its files: whoever still finds it finds them
        self._objects.delete(gone)
        unused = [at.key for at in self._objects.list("files/") if at.key not in kept]
        unused = [key for key in unused if _number(key) <= pointer.fence]
        self._objects.delete(unused)
        return len(gone) + len(unused)

    def _moved(self, pointer: Pointer) -> bool:
        content = json.dumps({"format": _FORMAT, **asdict(pointer)}).encode()
        moved = self._objects.put(_POINTER, content, self._known)
        if moved:
            self._known = moved
        return moved is not None

    def _parsed(self, content: bytes, key: str) -> dict[str, Any]:
        try:
            found = json.loads(content)
            written = found["format"]
        except (ValueError, KeyError, TypeError) as error:
            raise self._unreadable(key) from error
        if written != _FORMAT:
            raise RetrievalError(
                "SG402",
                f"the store {self._objects.url} was written in format {written}; this version reads {_FORMAT}",
                hint="Ingest and read with the same version of Sluicegate",
            )
        return found

    def _unreadable(self, key: str) -> RetrievalError:
        return RetrievalError(
            "SG402",
            f"the object {key} of the store {self._objects.url} is not what was published",
            hint="Run 'sluicegate ingest --rebuild' for this workflow, or restore the store",
        )


_FIELDS = ("version", "workflow", "index", "digest", "published_at")


def _manifest_key(version: int) -> str:
    return f"versions/{version:010d}.json"


def _number(key: str) -> int:
    found = re.match(r"(?:versions|files)/(\d+)", key)
    # what nobody here has named stays
    return int(found[1]) if found else 2**63


def _inside(path: str) -> str:
    """A path of a manifest, which may not lead out of the folder that it is written to."""
    pure = PurePosixPath(path)
    if not path or pure.is_absolute() or ".." in pure.parts or "\\" in path or ":" in path:
        raise ValueError(path)
    return path


def _taken_over(index: str) -> RetrievalError:
    return RetrievalError(
        "SG702",
        f"another ingest of index {index!r} has taken over, because this one seemed to have stopped",
        hint="Nothing was published by this one; ingest again if its documents are newer",
    )
