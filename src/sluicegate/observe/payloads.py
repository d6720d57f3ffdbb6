"""People and their words, apart from the audit log, so that they can be erased without touching it.

The log names a person by a random pseudonym and a text by an HMAC under a random key of that person. Both live here.
Erasing a person deletes pseudonym, key and texts: what stays in the log can then be linked to nobody, and the HMACs can
no longer be tried against guesses. What the placeholders of a person's runs stand for is here too, and goes with them.
"""

import hmac
import secrets
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from time import time
from typing import Any

from sluicegate.services import Hidden
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
CREATE TABLE IF NOT EXISTS redactions (
    run TEXT NOT NULL, placeholder TEXT NOT NULL, person TEXT NOT NULL, kind TEXT NOT NULL, stage TEXT NOT NULL,
    value TEXT NOT NULL, at REAL NOT NULL,
    PRIMARY KEY (run, placeholder)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS redactions_person ON redactions (person);
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
    """Safe to use from any thread and by several processes; it is also the `services.Vault` of runs that are kept.

    Raises `RunError` SG606, SG607 or SG608.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = connect(path, schema=_SCHEMA)
        with suppress(OSError):
            path.chmod(0o600)
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

    def hide(self, run: str, person: str, hidden: Mapping[str, Hidden]) -> None:
        """Keep what a run's placeholders stand for, among the data of the person who asked."""
        pseudonym, now = self.person(person or "unknown").pseudonym, time()
        rows = [(run, name, pseudonym, one.kind, one.stage, one.value, now) for name, one in hidden.items()]
        with self._lock, transaction(self._connection) as connection:
            connection.executemany("INSERT OR REPLACE INTO redactions VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def hidden(self, run: str) -> dict[str, Hidden]:
        """What a run's placeholders stand for, as far as not erased."""
        with self._lock, explained(self._path):
            rows = self._connection.execute("SELECT * FROM redactions WHERE run = ?", (run,)).fetchall()
        return {row["placeholder"]: Hidden(row["value"], row["kind"], row["stage"]) for row in rows}

    def forget(self, before: float) -> int:
        """Delete what placeholders older than `before` (Unix seconds) stand for; how many there were."""
        with self._lock:
            with transaction(self._connection) as connection:
                count = connection.execute("DELETE FROM redactions WHERE at < ?", (before,)).rowcount
            self._truncate()
        return count

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
                deleted += connection.execute("DELETE FROM redactions WHERE person = ?", (row["pseudonym"],)).rowcount
                connection.execute("DELETE FROM people WHERE id = ?", (id,))
            self._known.pop(id, None)
            self._truncate()
        return row["pseudonym"], deleted

    def _truncate(self) -> None:
        with explained(self._path):
            # what was deleted may still stand in the write-ahead log
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        with explained(self._path):
            self._connection.close()

    def _row(self, id: str) -> Any:
        return self._connection.execute("SELECT * FROM people WHERE id = ?", (id,)).fetchone()

    def _data_version(self) -> int:
        return self._connection.execute("PRAGMA data_version").fetchone()[0]
