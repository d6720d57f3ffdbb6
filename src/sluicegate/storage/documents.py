"""Small documents that decide: what is switched off, and which version of a workflow serves.

In a home each is a file, replaced as a whole, whose reading costs one `stat` while it is unchanged. On a server it is a
row that every process follows (`storage/following.py`), so that reading it costs less, and no round trip. Whoever
changes one reads it, writes it and is seen in one step, however many do so at a time.
"""

import functools
import logging
import os
import uuid
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, TypeAlias

from sluicegate.errors import CorruptError, RunError, UnwritableError
from sluicegate.home import home, private_folder, private_opener
from sluicegate.storage.database import place
from sluicegate.storage.file_lock import locked_file
from sluicegate.storage.following import follower
from sluicegate.storage.postgres import Server

__all__ = ["DocumentDraft", "FileDocument", "Merge", "SmallDocument", "document", "documents"]

log = logging.getLogger(__name__)

Merge: TypeAlias = Callable[[str | None, str], str]
"""What the server has, and what a home had: what both have. Raises `ValueError` or `TypeError` of what is corrupt."""

_IN_HOME = ("switches.json", "switches.json.moved", "champions/*.json", "champions/*.json.moved")


@dataclass(slots=True)
class DocumentDraft:
    """A document while it is being changed."""

    text: str | None
    """As it is, to be set to what it shall be; None when there is none."""
    at: datetime
    """The time of the change: by the server's clock where machines share one."""


class SmallDocument(Protocol):
    name: str
    """In messages."""

    def read(self) -> str | None:
        """The text, the same object while nothing has changed; None when there is none.

        Raises `RunError` SG607 of a file that cannot be read, SG606 of one that is no text, and SG690 when the server
        has not been read for a second.
        """
        ...

    def changing(self) -> AbstractContextManager[DocumentDraft]:
        """The text to be changed, by nobody else meanwhile; unchanged when the block raises. When it is left, every
        check of this process sees the change. Raises `RunError` SG606, SG607 or SG625."""
        ...


class FileDocument:
    """Implements `SmallDocument` in a file of one machine."""

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, str(path)
        self._seen: tuple[tuple[int, int, int], str] | None = None

    def read(self) -> str | None:
        seen = self._seen
        try:
            status = self.path.stat()
            stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
            if seen is None or seen[0] != stamp:
                self._seen = seen = (stamp, self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UnwritableError(f"cannot read {self.path}: {error.strerror}", hint="Check permissions") from error
        except UnicodeDecodeError as error:
            raise CorruptError(f"{self.path} is corrupt: {error}", hint="Restore it from a backup") from error
        return seen[1]

    @contextmanager
    def changing(self) -> Generator[DocumentDraft]:
        with self.alone():
            # an exact copy: a stamp may be the same after two changes in one tick of the clock
            self._seen = None
            before = self.read()
            draft = DocumentDraft(before, datetime.now(UTC))
            yield draft
            if draft.text is not None and draft.text != before:
                self._replace(draft.text)

    @contextmanager
    def alone(self) -> Generator[None]:
        """While nobody else changes it."""
        with ExitStack() as held:
            try:
                private_folder(self.path.parent)
                held.enter_context(locked_file(self.path.with_suffix(".lock")))
            except OSError as error:
                raise self._unwritable(error) from error
            yield

    def set_aside(self) -> None:
        """Take it out of use."""
        try:
            self.path.replace(self.path.with_name(f"{self.path.name}.moved"))
        except OSError as error:
            raise self._unwritable(error) from error

    def _replace(self, text: str) -> None:
        staged = self.path.with_suffix(f".{os.getpid()}.new")
        try:
            with open(staged, "w", encoding="utf-8", opener=private_opener) as out:
                out.write(text)
                out.flush()
                os.fsync(out.fileno())
            staged.replace(self.path)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> RunError:
        message = f"cannot write {self.path}: {error.strerror}"
        return UnwritableError(message, hint="Free space or check permissions")


class _ServerDocument:
    """Implements `SmallDocument` in a row that machines share."""

    def __init__(self, server: Server, key: str) -> None:
        self.name, self._key = f"{key} on {server.name}", key
        self._follower = follower(server)

    def read(self) -> str | None:
        return self._follower.text(self._key)

    @contextmanager
    def changing(self) -> Generator[DocumentDraft]:
        with self._follower.database.writing() as execute:
            execute("INSERT INTO documents VALUES (?, '', NULL) ON CONFLICT DO NOTHING", (self._key,))
            # waits for whoever changes it now
            (row,) = execute("SELECT text FROM documents WHERE name = ? FOR UPDATE", (self._key,))
            (clock,) = execute("SELECT clock_timestamp() AS at")
            draft = DocumentDraft(row["text"], clock["at"].astimezone(UTC))
            yield draft
            if draft.text != row["text"]:
                version = uuid.uuid4().hex
                execute("UPDATE documents SET version = ?, text = ? WHERE name = ?", (version, draft.text, self._key))
        self._follower.catch_up()

    def take_over(self, file: FileDocument, merge: Merge) -> None:
        """Move here what a home has had before its machine shared a server. Cut short, it is done again."""
        with file.alone():
            theirs = file.read()
            if theirs is None:
                return
            try:
                with self.changing() as draft:
                    draft.text = merge(draft.text, theirs)
            except (ValueError, TypeError, KeyError) as error:
                raise CorruptError(f"{file.path} is corrupt: {error}", hint="Restore it, or move it away") from error
            file.set_aside()
        log.warning("%s is on %s now, as %s", file.path, self.name, self._key)


def document(key: str, merge: Merge) -> SmallDocument:
    """The document of this key, ``KEY.json`` in a home; what a home has is moved to the server that is configured.

    Raises `RunError` SG606, SG607, SG612 or SG625.
    """
    where, file = place(), _file(home() / f"{key}.json")
    if not isinstance(where, Server):
        return file
    shared = _ServerDocument(where, key)
    if file.path.is_file():
        shared.take_over(file, merge)
    return shared


def documents() -> list[SmallDocument]:
    """Every document that there is. Raises as `document` does."""
    found: list[SmallDocument] = [_file(path) for pattern in _IN_HOME for path in sorted(home().glob(pattern))]
    where = place()
    if isinstance(where, Server):
        with follower(where).database.reading() as execute:
            rows = execute("SELECT name FROM documents ORDER BY name")
        found += (_ServerDocument(where, row["name"]) for row in rows)
    return found


@functools.lru_cache(maxsize=256)
def _file(path: Path) -> FileDocument:
    return FileDocument(path)
