"""A machine's copies of the versions on a store, and the thread that follows the store.

A version is fetched once, by one process of the machine, checked by its hashes and then never changed; a file that an
earlier version has too is linked. `current` is a folder that `Catalog` and LanceDB read as they read an index of the
home. It is asked at every search and asks nobody: a thread looks every second whether another version serves, and
fetches it while searches go on in the one before.

While the store cannot be reached, the version that is there goes on serving, and `status` says so; after
`outage_s` it no longer does, for who was allowed to read what may long be different.
"""

import hashlib
import os
import shutil
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from sluicegate.errors import IndexMissingError, RetrievalError, RunError, UnwritableError
from sluicegate.home import home, make_private, private_folder, tighten, write_private
from sluicegate.retrieval.stores.objects import open_objects
from sluicegate.retrieval.stores.versions import Pointer, StoredVersions, VersionManifest
from sluicegate.storage.file_lock import locked_file

__all__ = ["CATALOG_FILE", "KEEP", "POLL_S", "Replica", "ReplicaStatus", "replica_folder"]

CATALOG_FILE = "catalog.sqlite"

POLL_S = 1.0
"""Seconds between two looks at the store: a version serves on every machine within this and the time to fetch it."""

_LONGEST_PAUSE_S = 5.0
"""Between two looks at a store that fails."""

_KEEP_S = 60.0
"""How long a version stays on this machine after another one serves; longer than any search."""

KEEP = 3
"""Former versions at most, however fast they follow each other."""


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """How far a machine is with a store."""

    version: int
    """0: none yet."""
    confirmed: float
    """When the store last said that it is this one, in seconds since the epoch."""
    fault: str
    """Why the store could not be asked or a version not be fetched at the last look; empty: it could."""


def replica_folder(url: str) -> Path:
    """Where this machine keeps what it has of a store. Raises `RunError` SG607."""
    return home() / "replicas" / hashlib.sha256(url.encode()).hexdigest()[:16]


class Replica:
    """Follows one store. Raises `RetrievalError` SG701 when the extra is missing or a profile cannot sign."""

    def __init__(
        self,
        url: str,
        *,
        index: str,
        outage_s: float = 86_400.0,
        folder: Path | None = None,
        poll_s: float = POLL_S,
    ) -> None:
        self.url = url
        self._index = index
        self._outage_s = outage_s
        self._folder = folder or replica_folder(url)
        self._poll_s = poll_s
        self._versions: StoredVersions | None = None
        self._busy = threading.Lock()
        self._over = threading.Event()
        self._thread: tuple[int, threading.Thread] | None = None
        self._name = ""
        self._fault: RetrievalError | None = None
        self._confirmed = 0.0

    def current(self) -> Path:
        """The folder of the version that serves. Waits only for the first one, and then follows the store.

        Raises `RetrievalError` SG401 (nothing was ingested), SG402, SG700 and SG701 (no version is here, or the last
        one was confirmed too long ago), `RunError` SG607.
        """
        if not (self._name and (self._folder / self._name / _FILES).is_file()):
            # none yet, or it was removed by a process that was not so far behind
            self.look()
        if self._thread is None or self._thread[0] != os.getpid():
            # a fork has the object without its thread
            thread = threading.Thread(target=self._follow, name=f"replica of {self._index}", daemon=True)
            self._thread = os.getpid(), thread
            thread.start()
        if self._fault and time.time() - self._confirmed > self._outage_s:
            raise self._fault
        return self._folder / self._name

    def look(self) -> Path:
        """Ask the store now, and fetch what serves. Falls back to what is here, as `current` does, and raises as it."""
        with self._busy:
            try:
                self._step()
            except RetrievalError as error:
                self._fault = error
                if not self._name:
                    self._as_left()
                if not self._name or time.time() - self._confirmed > self._outage_s:
                    raise
            return self._folder / self._name

    def status(self) -> ReplicaStatus:
        number = int(self._name.partition("-")[0]) if self._name else 0
        return ReplicaStatus(number, self._confirmed, self._fault.message if self._fault else "")

    def close(self) -> None:
        self._over.set()
        if self._thread and self._thread[0] == os.getpid():
            # one that fetches a large file ends with the process
            self._thread[1].join(timeout=0.2)

    def adopt(self, pointer: Pointer, manifest: VersionManifest, folder: Path) -> None:
        """Take a published version from a folder of this machine's instead of from the store."""
        self._install(pointer, manifest, {path: folder / path for path in manifest.files})

    def _follow(self) -> None:
        pause = self._poll_s
        while not self._over.wait(pause):
            try:
                with self._busy:
                    self._step()
                pause = self._poll_s
            except RetrievalError as error:
                self._fault = error
                pause = min(pause * 2, max(_LONGEST_PAUSE_S, self._poll_s))
            except RunError as error:
                self._fault = RetrievalError(error.code, error.message, hint=error.hint)
                pause = min(pause * 2, max(_LONGEST_PAUSE_S, self._poll_s))

    def _step(self) -> None:
        while True:
            pointer = self._on_store().pointer()
            if pointer is None or not pointer.version:
                raise IndexMissingError(
                    f"index {self._index!r} is empty: nothing was ingested into {self.url}",
                    hint="Run 'sluicegate ingest' for this workflow, on one machine",
                )
            name = _name(pointer)
            if name == self._name or (self._folder / name).is_dir() or self._fetched(pointer):
                break
        former, self._name = self._name, name
        self._fault, self._confirmed = None, time.time()
        self._note(name)
        if former != name:
            (self._folder / name / _LEFT).unlink(missing_ok=True)
            self._drop_former(name)

    def _on_store(self) -> StoredVersions:
        if self._versions is None:
            self._versions = StoredVersions(open_objects(self.url))
        return self._versions

    def _fetched(self, pointer: Pointer) -> bool:
        """False when a later version has replaced it meanwhile."""
        manifest = self._on_store().manifest(pointer)
        return manifest is not None and self._install(pointer, manifest, {})

    def _install(self, pointer: Pointer, manifest: VersionManifest, own: Mapping[str, Path]) -> bool:
        """Make a version's folder, of files in `own`, of earlier versions, and of the store; False as `_fetched`."""
        name = _name(pointer)
        try:
            private_folder(self._folder)
            with locked_file(self._folder / ".lock"):
                if (self._folder / name).is_dir():
                    return True
                partial = self._folder / f".{name}"
                shutil.rmtree(partial, ignore_errors=True)
                if not self.fill(partial, manifest, own):
                    shutil.rmtree(partial)
                    return False
                _record(partial, manifest)
                tighten(partial)
                partial.replace(self._folder / name)
        except OSError as error:
            raise UnwritableError(
                f"cannot write the copy of index {self._index!r} in {self._folder}: {error.strerror}",
                hint="Free space or check permissions",
            ) from error
        return True

    def fill(self, folder: Path, manifest: VersionManifest, own: Mapping[str, Path] = MappingProxyType({})) -> bool:
        """Put a version's files into a folder: linked where they are in `own` or here, else fetched; False when one is
        on the store no more. Raises `OSError`."""
        here = {**self._here(), **{manifest.files[path].sha256: place for path, place in own.items()}}
        for path, file in manifest.files.items():
            target = folder / path
            private_folder(target.parent)
            known = here.get(file.sha256)
            if known and _linked(known, target):
                continue
            if not self._on_store().fetch(file, target):
                return False
        return True

    def _here(self) -> dict[str, Path]:
        """Files of the tables of earlier versions, by their hash. Their catalogs are opened for writing by SQLite."""
        found: dict[str, Path] = {}
        for record in self._folder.glob("*-*/" + _FILES):
            for line in record.read_text(encoding="utf-8").splitlines():
                digest, _, path = line.partition(" ")
                if path != CATALOG_FILE:
                    found[digest] = record.parent / path
        return found

    def _note(self, name: str) -> None:
        """For the processes that start while the store is away; at most once in a while, for the disk's sake."""
        note = self._folder / _CONFIRMED
        with suppress(OSError):
            if note.is_file() and time.time() - note.stat().st_mtime < _KEEP_S and note.read_text() == name:
                return
            fresh = note.with_name(f"{_CONFIRMED}.{os.getpid()}.{threading.get_ident()}")
            write_private(fresh, name)
            fresh.replace(note)

    def _as_left(self) -> None:
        """What an earlier process, or another one, last knew to serve."""
        note = self._folder / _CONFIRMED
        with suppress(OSError):
            name = note.read_text(encoding="utf-8")
            if name and "/" not in name and (self._folder / name / _FILES).is_file():
                self._name, self._confirmed = name, note.stat().st_mtime

    def _drop_former(self, name: str) -> None:
        with suppress(OSError), locked_file(self._folder / ".lock"):
            former: list[tuple[float, Path]] = []
            for record in self._folder.glob("*-*/" + _FILES):
                folder = record.parent
                if folder.name == name or folder.name.startswith("."):
                    continue
                left = folder / _LEFT
                if not left.is_file():
                    make_private(left, b"")
                former.append((left.stat().st_mtime, folder))
            former.sort(reverse=True)
            for position, (since, folder) in enumerate(former):
                if position >= KEEP or time.time() - since > _KEEP_S:
                    shutil.rmtree(folder, ignore_errors=True)


_FILES = "files.txt"
"""In a version's folder, written last: the hash and the path of each file."""

_LEFT = "left"
"""In a version's folder, from when another one served."""

_CONFIRMED = "confirmed"


def _name(pointer: Pointer) -> str:
    # a store that was deleted and begun again counts from 1 again
    return f"{pointer.version}-{pointer.manifest[:12]}"


def _record(folder: Path, manifest: VersionManifest) -> None:
    lines = (f"{file.sha256} {path}\n" for path, file in manifest.files.items())
    write_private(folder / _FILES, "".join(lines))


def _linked(known: Path, target: Path) -> bool:
    """Whether the file is there too now. A version that was removed meanwhile is no fault."""
    try:
        os.link(known, target)
    except FileNotFoundError:
        return False
    except OSError:
        try:
            shutil.copyfile(known, target)
        except FileNotFoundError:
            return False
    return True
