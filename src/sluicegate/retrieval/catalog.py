"""The catalog of one index: its documents, the texts of its passages, and the current version of its table.

The table (LanceDB) may be ahead of the catalog while an ingest works; readers see the version that the catalog names.
One SQLite transaction moves the catalog on, so an ingest that dies at any moment leaves the old index intact.
"""

import json
import sqlite3
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sluicegate.errors import CorruptError, IndexMissingError, RetrievalError
from sluicegate.retrieval.acl import Document
from sluicegate.retrieval.chunking import content_hash
from sluicegate.storage.schemas import CATALOG
from sluicegate.storage.sqlite import connect, explained, transaction

__all__ = ["Catalog", "DocumentEntry", "IndexHead"]

FORMAT = 2
"""Format number, raised when one version could not use what another one writes. Since 2 passages are whole sentences,
rows and blocks of code."""

_REBUILD = "Run 'sluicegate ingest --rebuild' for this workflow"


@dataclass(frozen=True, slots=True)
class IndexHead:
    """The current state of the index."""

    table: str
    table_version: int
    digest: str
    """Changes whenever a document's text or metadata does."""
    asked: str
    """The embedder that the workflow asked for first, as ``provider:model``."""
    embedder: str
    """The one that answered."""
    fingerprint: str
    """Tells whether another embedder's vectors are comparable; see `embedding`."""
    language: str
    chunks: int
    ingested_at: str


@dataclass(frozen=True, slots=True)
class DocumentEntry:
    """One document and the file it came from."""

    document: Document
    file: str
    """Relative to the workflow's folder when inside it, else absolute."""
    file_hash: str
    """Hash of the file, its sidecar and every setting that affects its passages."""
    text_hash: str
    named: bool
    """Added by a path on the command line, not by the index's own."""
    language: str = ""
    """ISO 639-1 code; empty for a document whose language is not certain."""


class Catalog:
    """Opens `folder`'s catalog; `name` is the index's, unless the folder has it. Raises `RetrievalError`
    SG401 (absent, unless `make`), SG402 (corrupt); `RunError` SG607."""

    def __init__(self, folder: Path, *, make: bool = False, name: str = "") -> None:
        self._path = folder / "catalog.sqlite"
        self._name = name or folder.name
        if not make and not self._path.is_file():
            raise IndexMissingError(f"index {self._name!r} is empty", hint="Run 'sluicegate ingest' for this workflow")
        with self._checked():
            self._database = connect(self._path, CATALOG)

    def close(self) -> None:
        self._database.close()

    def head(self) -> IndexHead | None:
        """None before the first ingest was finished."""
        with self._checked():
            row = self._database.execute("SELECT * FROM head").fetchone()
        if row is None:
            return None
        if row["format"] != FORMAT:
            raise RetrievalError(
                "SG402",
                f"index {self._name!r} was written in format {row['format']}; this version reads {FORMAT}",
                hint=_REBUILD,
            )
        return IndexHead(
            row["table_name"],
            row["table_version"],
            row["digest"],
            row["asked"],
            row["embedder"],
            row["fingerprint"],
            row["language"],
            row["chunks"],
            row["ingested_at"],
        )

    def entries(self) -> dict[str, DocumentEntry]:
        """Every document by its file."""
        with self._checked():
            rows = self._database.execute("SELECT * FROM documents ORDER BY id").fetchall()
            return {
                row["file"]: DocumentEntry(
                    _document(row["facts"]),
                    row["file"],
                    row["file_hash"],
                    row["text_hash"],
                    bool(row["named"]),
                    row["language"],
                )
                for row in rows
            }

    def documents(self) -> tuple[IndexHead | None, dict[str, Document]]:
        """The head and every document by its id, from one snapshot."""
        with self._checked():
            self._database.execute("BEGIN")
            try:
                head = self.head()
                rows = self._database.execute("SELECT id, facts FROM documents ORDER BY id").fetchall()
            finally:
                self._database.execute("COMMIT")
            return head, {row["id"]: _document(row["facts"]) for row in rows}

    def languages(self) -> dict[str, int]:
        """How many documents are in each language; those whose language is not certain do not count."""
        with self._checked():
            rows = self._database.execute(
                "SELECT language, count(*) AS documents FROM documents WHERE language != '' "
                "GROUP BY language ORDER BY count(*) DESC, language"
            )
            return {row["language"]: row["documents"] for row in rows}

    def text(self, hash: str) -> str | None:
        """A passage's text by its hash; None when it was removed."""
        with self._checked():
            row = self._database.execute("SELECT text FROM texts WHERE hash = ?", (hash,)).fetchone()
        return None if row is None else str(row["text"])

    def texts(self) -> Iterator[str]:
        """The text of every searchable passage, each once."""
        with self._checked():
            yield from (
                str(row["text"])
                for row in self._database.execute("SELECT text FROM texts WHERE hash IN (SELECT hash FROM passages)")
            )

    def keep_texts(self, texts: Iterable[tuple[str, str]], now: datetime) -> None:
        """Store (hash, text) pairs ahead of `advance`; unused ones are deleted later."""
        with self._checked(), transaction(self._database) as database:
            database.executemany("INSERT OR IGNORE INTO texts VALUES (?, ?, ?)", ((*t, now.isoformat()) for t in texts))

    def advance(
        self,
        head: IndexHead,
        changed: Sequence[tuple[DocumentEntry, Sequence[str]]],
        removed: Collection[str],
        now: datetime,
        *,
        keep_removed: timedelta,
    ) -> IndexHead:
        """Make `head` the index: with `changed` entries (and their passages' hashes), without the `removed` ids.

        The digest is computed here. Texts that no passage uses any more are deleted after `keep_removed`.
        """
        with self._checked(), transaction(self._database) as database:
            gone = {*removed, *(entry.document.id for entry, _ in changed)}
            database.executemany("DELETE FROM documents WHERE id = ?", ((leaving,) for leaving in gone))
            for entry, hashes in changed:
                database.execute(
                    "INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (
                        entry.document.id,
                        entry.file,
                        entry.file_hash,
                        entry.text_hash,
                        int(entry.named),
                        json.dumps(asdict(entry.document), ensure_ascii=False, sort_keys=True),
                        entry.language,
                    ),
                )
                database.executemany(
                    "INSERT INTO passages VALUES (?, ?)", ((entry.document.id, passage) for passage in hashes)
                )
            used = "EXISTS (SELECT 1 FROM passages WHERE passages.hash = texts.hash)"
            database.execute(f"UPDATE texts SET left_at = NULL WHERE left_at IS NOT NULL AND {used}")  # noqa: S608
            database.execute(
                f"UPDATE texts SET left_at = ? WHERE left_at IS NULL AND NOT {used}",  # noqa: S608
                (now.isoformat(),),
            )
            database.execute("DELETE FROM texts WHERE left_at <= ?", ((now - keep_removed).isoformat(),))
            rows = database.execute("SELECT id, file_hash, text_hash, facts FROM documents ORDER BY id").fetchall()
            head = replace(head, digest=content_hash(json.dumps([tuple(row) for row in rows])))
            self._put(head)
        return head

    def moved(self, head: IndexHead) -> None:
        """Name another version of the table, with the same content."""
        with self._checked(), transaction(self._database):
            self._put(head)

    def _put(self, head: IndexHead) -> None:
        self._database.execute(
            "INSERT OR REPLACE INTO head VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                FORMAT,
                head.table,
                head.table_version,
                head.digest,
                head.asked,
                head.embedder,
                head.fingerprint,
                head.language,
                head.chunks,
                head.ingested_at,
            ),
        )

    @contextmanager
    def _checked(self) -> Generator[None]:
        try:
            with explained(self._path):
                yield
        except CorruptError as error:
            raise self._corrupt(error.message) from error
        except (json.JSONDecodeError, TypeError, sqlite3.DatabaseError) as error:
            raise self._corrupt(str(error)) from error

    def _corrupt(self, why: str) -> RetrievalError:
        return RetrievalError(
            "SG402",
            f"index {self._name!r} is corrupt: {why}",
            hint=_REBUILD,
        )


def _document(facts: str) -> Document:
    fields: dict[str, Any] = json.loads(facts)
    fields["readers"] = tuple(fields["readers"])
    fields["tags"] = tuple(fields["tags"])
    return Document(**fields)
