"""People and their words, apart from the audit log, so that they can be erased without touching it.

The log names a person by a random pseudonym and a text by an HMAC under a random key of that person. Both live here.
Erasing a person deletes pseudonym, key and texts: what stays in the log can then be linked to nobody, and the HMACs can
no longer be tried against guesses.
"""

import hmac
import secrets
import threading
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from sluicegate.sqlite import connect, explained, transaction

__all__ = ["Payload", "Payloads", "Person"]

_SCHEMA = """
PRAGMA secure_delete = ON;
CREATE TABLE IF NOT EXISTS people (id TEXT PRIMARY KEY, pseudonym TEXT NOT NULL UNIQUE, key BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS payloads (
    id TEXT PRIMARY KEY, person TEXT NOT NULL, run TEXT NOT NULL, name TEXT NOT NULL, text TEXT NOT NULL,
    at TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS payloads_person ON payloads (person);
CREATE INDEX IF NOT EXISTS payloads_run ON payloads (run);
"""


@dataclass(frozen=True, slots=True)
class Person:
    pseudonym: str
    key: bytes

    def hmac(self, text: str) -> str:
        """HMAC-SHA-256 of a text under this person's key, in hex."""
        return hmac.new(self.key, text.encode("utf-8", "replace"), sha256).hexdigest()


@dataclass(frozen=True, slots=True)
class Payload:
    id: str
    run: str
    name: str
    text: str
    at: str


class Payloads:
    """Safe to use from any thread and by several processes. Raises `RunError` SG606, SG607 or SG608."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = connect(path, schema=_SCHEMA)
        self._lock = threading.Lock()
        self._known: dict[str, Person] = {}
        self._version = self._data_version()

    def person(self, id: str) -> Person:
        """The person's pseudonym and key, made at the first need."""
        with self._lock, explained(self._path):
            version = self._data_version()
            if version != self._version:
                # another process has written, perhaps erased
                self._known.clear()
                self._version = version
            if id not in self._known:
                row = self._row(id)
                if row is None:
                    with transaction(self._connection) as connection:
                        connection.execute(
                            "INSERT OR IGNORE INTO people VALUES (?, ?, ?)",
                            (id, f"person-{secrets.token_hex(8)}", secrets.token_bytes(32)),
                        )
                    row = self._row(id)
                self._known[id] = Person(row["pseudonym"], row["key"])
            return self._known[id]

    def put(self, person: Person, *, run: str, name: str, text: str, at: str) -> str:
        """Keep a text; its id."""
        payload = secrets.token_hex(12)
        with self._lock, transaction(self._connection) as connection:
            text = text.encode("utf-8", "replace").decode()
            connection.execute(
                "INSERT INTO payloads VALUES (?, ?, ?, ?, ?, ?)", (payload, person.pseudonym, run, name, text, at)
            )
        return payload

    def of_run(self, run: str) -> list[Payload]:
        """The texts of a run that have not been erased, oldest first."""
        with self._lock, explained(self._path):
            rows = self._connection.execute("SELECT * FROM payloads WHERE run = ? ORDER BY at, id", (run,)).fetchall()
        return [Payload(row["id"], row["run"], row["name"], row["text"], row["at"]) for row in rows]

    def names(self) -> dict[str, str]:
        """Who is behind each pseudonym, as far as not erased."""
        with self._lock, explained(self._path):
            return {row["pseudonym"]: row["id"] for row in self._connection.execute("SELECT id, pseudonym FROM people")}

    def erase(self, id: str) -> tuple[str, int]:
        """Delete a person: the pseudonym they had (empty when unknown) and how many texts went with them."""
        with self._lock:
            with transaction(self._connection) as connection:
                row = self._row(id)
                if row is None:
                    return "", 0
                deleted = connection.execute("DELETE FROM payloads WHERE person = ?", (row["pseudonym"],)).rowcount
                connection.execute("DELETE FROM people WHERE id = ?", (id,))
            self._known.pop(id, None)
            with explained(self._path):
                # what was deleted may still stand in the write-ahead log
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return row["pseudonym"], deleted

    def close(self) -> None:
        with explained(self._path):
            self._connection.close()

    def _row(self, id: str) -> Any:
        return self._connection.execute("SELECT * FROM people WHERE id = ?", (id,)).fetchone()

    def _data_version(self) -> int:
        return self._connection.execute("PRAGMA data_version").fetchone()[0]
