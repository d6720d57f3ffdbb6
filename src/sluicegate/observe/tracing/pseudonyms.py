"""People and their texts, apart from the audit log, so that they can be erased without touching it.

The log names a person by a random pseudonym and a text by an HMAC under a random key of that person. Both live here.
Erasing a person deletes pseudonym, key and texts: what stays in the log can then be linked to nobody, and the HMACs can
no longer be tested against guesses. Placeholder values of a person's runs are here too, and are erased with them.

Machines that share a server share this too: the one that finishes a run needs its placeholder values, and one erasure
is an erasure everywhere.
"""

import hmac
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from time import time
from typing import Any, TypeVar

from sluicegate.errors import RunError
from sluicegate.home import private_folder
from sluicegate.services import Hidden
from sluicegate.storage.database import Database, PostgresDatabase, SqliteDatabase
from sluicegate.storage.postgres import Server
from sluicegate.storage.schemas import PAYLOADS
from sluicegate.storage.sqlite import written_at

__all__ = ["Payload", "Payloads", "Person"]

T = TypeVar("T")


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

    Raises `RunError` SG606, SG607 or SG608 of a file, SG625 of a server.
    """

    def __init__(self, path: Path, server: Server | None = None) -> None:
        """In the file `path`, or on `server` instead."""
        self._known: dict[str, Person] = {}
        self._lock = threading.Lock()
        self._path = path
        self._seen: object = None
        if server:
            self._database: Database = PostgresDatabase(server, PAYLOADS)
            return
        private_folder(path.parent)
        self._database = SqliteDatabase(path, PAYLOADS)

    async def call(self, work: Callable[..., T], *given: Any) -> T:
        """Off the event loop, where a server is asked."""
        return await self._database.call(work, *given)

    def person(self, id: str) -> Person:
        """The person's pseudonym and key, created at first use. While a server is away, who was known last is."""
        with self._lock:
            self._forget_if_written()
            if id not in self._known or self._database.remote:
                try:
                    with self._database.reading() as execute:
                        rows = execute(_PERSON, (id,))
                except RunError:
                    if id not in self._known:
                        raise
                    # who was erased meanwhile is found by it no more than by the records before
                    return self._known[id]
                if not rows:
                    with self._database.writing() as execute:
                        execute(
                            "INSERT INTO people VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                            (id, f"person-{secrets.token_hex(8)}", secrets.token_bytes(32)),
                        )
                        rows = execute(_PERSON, (id,))
                self._known[id] = Person(rows[0]["pseudonym"], rows[0]["key"])
            return self._known[id]

    def put(self, person: Person, *, run: str, name: str, text: str, at: str) -> str:
        """Store a text; returns its id."""
        payload = secrets.token_hex(12)
        text = text.encode("utf-8", "replace").decode()
        if self._database.remote:
            # PostgreSQL keeps no texts with it
            text = text.replace("\0", "\ufffd")
        with self._database.writing() as execute:
            execute("INSERT INTO payloads VALUES (?, ?, ?, ?, ?, ?)", (payload, person.pseudonym, run, name, text, at))
        return payload

    def of_run(self, run: str) -> list[Payload]:
        """The texts of a run that have not been erased, oldest first."""
        with self._database.reading() as execute:
            rows = execute("SELECT * FROM payloads WHERE run = ? ORDER BY at, id", (run,))
        return [Payload(row["id"], row["run"], row["name"], row["text"], row["at"]) for row in rows]

    async def hide(self, run: str, person: str, hidden: Mapping[str, Hidden]) -> None:
        """Store a run's placeholder values with the requester's data."""
        await self.call(self._hide, run, person, hidden)

    def _hide(self, run: str, person: str, hidden: Mapping[str, Hidden]) -> None:
        pseudonym, now = self.person(person or "unknown").pseudonym, time()
        rows = [(run, name, pseudonym, one.kind, one.stage, one.value, now) for name, one in hidden.items()]
        with self._database.writing() as execute:
            execute.many(
                "INSERT INTO redactions VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (run, placeholder) DO UPDATE SET"
                " person = excluded.person, kind = excluded.kind, stage = excluded.stage, value = excluded.value,"
                " at = excluded.at",
                rows,
            )

    async def hidden(self, run: str) -> dict[str, Hidden]:
        """A run's placeholder values, as far as not erased."""
        return await self.call(self._hidden, run)

    def _hidden(self, run: str) -> dict[str, Hidden]:
        with self._database.reading() as execute:
            rows = execute("SELECT * FROM redactions WHERE run = ?", (run,))
        return {row["placeholder"]: Hidden(row["value"], row["kind"], row["stage"]) for row in rows}

    def forget(self, before: float) -> int:
        """Delete placeholder values older than `before` (Unix seconds); returns how many."""
        with self._database.erasing() as execute:
            return len(execute("DELETE FROM redactions WHERE at < ? RETURNING run", (before,)))

    def runs(self, id: str) -> list[str]:
        """The runs of which a person's texts or placeholder values are kept."""
        which = "FROM {} JOIN people ON person = pseudonym WHERE people.id = ?"
        tables = " UNION ".join(f"SELECT run {which.format(table)}" for table in ("payloads", "redactions"))
        with self._database.reading() as execute:
            return [row["run"] for row in execute(tables, (id, id)) if row["run"]]

    def names(self) -> dict[str, str]:
        """The person behind each pseudonym, as far as not erased."""
        with self._database.reading() as execute:
            return {row["pseudonym"]: row["id"] for row in execute("SELECT id, pseudonym FROM people")}

    def erase(self, id: str) -> tuple[str, int]:
        """Delete a person: the pseudonym they had (empty when unknown) and how many texts went with them."""
        with self._lock, self._database.erasing() as execute:
            rows = execute(_PERSON, (id,))
            if not rows:
                return "", 0
            pseudonym = rows[0]["pseudonym"]
            deleted = [
                row
                for table in ("payloads", "redactions")
                for row in execute(f"DELETE FROM {table} WHERE person = ? RETURNING run", (pseudonym,))  # noqa: S608
            ]
            execute("DELETE FROM people WHERE id = ?", (id,))
            self._known.pop(id, None)
        return pseudonym, len(deleted)

    def vacuum(self) -> None:
        self._database.vacuum()

    def close(self) -> None:
        self._database.close()

    def _forget_if_written(self) -> None:
        """Who was known may have been erased by another process, or on another machine, which a server is asked."""
        if self._database.remote:
            if len(self._known) > _MOST_KNOWN:
                self._known.clear()
            return
        seen = written_at(self._path)
        if seen != self._seen:
            self._known.clear()
            self._seen = seen


_MOST_KNOWN = 10_000
"""People of whom a process knows the pseudonym while a server is away."""
_PERSON = "SELECT * FROM people WHERE id = ?"
