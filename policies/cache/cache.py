"""The answer cache, and the key that keeps it correct.

The key hashes everything an answer depends on: the workflow's digest (config, prompts, policies, router), the
request's text, what the reader may see, the versions of the indexes, and the models. A change of any of them changes
the key, so an outdated or another reader's answer cannot be found. The same parts without the text, but with the
intent, form a space: within one, `near` finds questions by the similarity of their embeddings, and the caller decides
whether one of them asks the same. The cache must never do harm: when its file or its server fails, it misses.

`AnswerStore` has the rows, in the home or on the server that machines share; `AnswerCache` is the service over it,
which waits for a server off the event loop.
"""

import hashlib
import json
import secrets
import sqlite3
import threading
import unicodedata
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import time
from typing import Any, TypedDict, TypeVar

from sluicegate.errors import RunError
from sluicegate.policies.cache.neighbours import Neighbours
from sluicegate.services import Cached, Neighbour, Question
from sluicegate.storage.database import Rows, SqliteDatabase, open_database, place
from sluicegate.storage.schemas import CACHE

__all__ = ["AnswerCache", "AnswerStore", "CacheStats", "NoCache", "answer_key", "answer_space", "normalised"]

T = TypeVar("T")
_KEY_VERSION = 1
_CLOSING = ".?!…。？！"


class CacheStats(TypedDict):
    entries: int
    bytes: int
    hits: int
    misses: int
    hit_rate: float
    """Hits per look-up; 0 before the first."""
    saved_usd: float
    """Original cost of the answers that were reused."""
    evicted: int
    failures: int
    """Look-ups and writes of this process that the file or the server did not allow."""


def normalised(request: str) -> str:
    """The request's text without what cannot change its meaning: case, width of spaces, closing punctuation, and how
    accents are encoded. Numbers, negations, signs and order stay."""
    text = unicodedata.normalize("NFC", unicodedata.normalize("NFC", request).casefold())
    return " ".join(text.split()).rstrip(_CLOSING + " ")


def answer_key(
    *, digest: str, request: str, visible: Sequence[str], versions: Sequence[str], models: Sequence[str] = ()
) -> str:
    """The key of an answer: 64 hex digits.

    `visible` and `versions` are the retriever's `visible` and `version` per index of the workflow, in the same order;
    `models` what would answer, where that is not fixed by the digest.
    """
    parts = [_KEY_VERSION, digest, normalised(request), [*visible], [*versions], [*models]]
    return _hashed(parts)


def answer_space(
    *, digest: str, intent: str, visible: Sequence[str], versions: Sequence[str], embedder: str = ""
) -> str:
    """The space in which paraphrases of a question are searched; 64 hex digits.

    The parts are those of `answer_key`, and the embedding model that really answered: only its vectors are comparable.
    """
    return _hashed([_KEY_VERSION, "space", digest, intent, [*visible], [*versions], embedder])


def _hashed(parts: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(parts, ensure_ascii=True).encode()).hexdigest()


class AnswerStore:
    """The cached answers of one home, or of the machines that share a server. Safe to use from any thread and by
    several processes.

    Counts are written every `_FLUSH_EVERY` look-ups, on close and when counts are read: a crash loses counts, never
    answers. Ages are by each machine's own clock: one that is behind another by more than an answer's age misses it.
    """

    _FLUSH_EVERY = 200

    def __init__(
        self, path: Path | None = None, *, max_mb: float = 256.0, now: Callable[[], float] = time, look: bool = False
    ) -> None:
        """With `path`, the answers of that file."""
        self.database = SqliteDatabase(path, CACHE, look=look) if path else open_database(place(), CACHE, look=look)
        self._max_bytes = int(max_mb * 1_000_000)
        self._now = now
        self._lock = threading.Lock()
        self._hits = self._misses = self._failures = 0
        self._saved = 0.0
        self._used: dict[str, float] = {}
        self._neighbours = Neighbours()

    def get(self, key: str, *, again: bool = False) -> Cached | None:
        """The answer under `key` and its age, or None; `again` for a second try of the same look-up."""
        now = self._now()
        try:
            with self.database.reading() as execute:
                rows = execute("SELECT value, created, expires, saved_usd FROM answers WHERE key = ?", (key,))
            found = None
            with self._lock:
                # an answer from the future means that the clock was set back: its age is unknown
                if rows and rows[0]["created"] <= now < rows[0]["expires"]:
                    found = Cached(_unpacked(rows[0]["value"]), now - rows[0]["created"])
                    self._hits += 1
                    self._misses -= again
                    self._saved += rows[0]["saved_usd"]
                    self._used[key] = now
                else:
                    self._misses += not again
                full = self._hits + self._misses >= self._FLUSH_EVERY
            if full:
                self._flush()
        except (sqlite3.Error, RunError, ValueError, zlib.error):
            return self._failed(None)
        return found

    def put(
        self,
        key: str,
        value: dict[str, Any],
        *,
        ttl_s: float,
        saved_usd: float,
        question: Question | None = None,
    ) -> None:
        """Keep `value` for `ttl_s` seconds; `saved_usd` is its original cost."""
        if ttl_s <= 0:
            return
        packed, now = zlib.compress(json.dumps(value, separators=(",", ":")).encode()), self._now()
        size = len(packed) + len(key) + (len(question.text) + 4 * len(question.vector) if question else 0)
        if size > self._max_bytes:
            return
        try:
            with self.database.writing() as execute:
                # the row of the counts is the lock: writers of all machines take turns
                (counters,) = execute("UPDATE counters SET size = size + ? RETURNING size", (size,))
                old = execute("SELECT size FROM answers WHERE key = ?", (key,))
                execute.many(_KEEP, [(key, packed, now, now + ttl_s, now, saved_usd, size)])
                if old:
                    execute("UPDATE counters SET size = size - ?", (old[0]["size"],))
                    if execute("DELETE FROM questions WHERE key = ? RETURNING 1 AS one", (key,)) and not question:
                        _forget(execute)
                if question:
                    self._neighbours.add(execute, key, question)
                if counters["size"] > self._max_bytes:
                    self._evict(execute, now)
        except (sqlite3.Error, RunError):
            self._failed(None)

    def near(self, question: Question, *, similarity: float) -> Sequence[Neighbour]:
        """The cached questions of the same space with at least this similarity, most similar first."""
        try:
            with self.database.reading() as execute:
                return self._neighbours.near(execute, question, similarity=similarity, now=self._now())
        except (sqlite3.Error, RunError, ValueError):
            return self._failed(())

    def clear(self) -> int:
        """Delete every answer, also from the file; returns how many there were. Raises as `Database` does."""
        return self._delete("expires >= ?", float("-inf"))

    def expire(self) -> int:
        """The same for those whose time is over."""
        return self._delete("expires <= ?", self._now())

    def _delete(self, which: str, than: float) -> int:
        with self.database.erasing() as execute:
            execute("UPDATE counters SET size = size")
            gone = execute(f"DELETE FROM answers WHERE {which} RETURNING size", (than,))  # noqa: S608
            execute("UPDATE counters SET size = size - ?", (sum(row["size"] for row in gone),))
            if gone:
                _forget(execute)
        return len(gone)

    def stats(self) -> CacheStats:
        """Raises as `Database` does."""
        self._flush()
        with self.database.reading() as execute:
            (row,) = execute(
                "SELECT hits, misses, saved_usd, evicted, size, (SELECT COUNT(*) FROM answers) AS entries FROM counters"
            )
        asked = row["hits"] + row["misses"]
        return {
            "entries": row["entries"],
            "bytes": row["size"],
            "hits": row["hits"],
            "misses": row["misses"],
            "hit_rate": row["hits"] / asked if asked else 0.0,
            "saved_usd": round(row["saved_usd"], 6),
            "evicted": row["evicted"],
            "failures": self._failures,
        }

    def close(self) -> None:
        try:
            self._flush()
        finally:
            self.database.close()

    def _failed(self, instead: T) -> T:
        with self._lock:
            self._failures += 1
        return instead

    def _flush(self) -> None:
        """Write counts and times of use."""
        with self._lock:
            counted, used = (self._hits, self._misses, self._saved), self._used
            self._hits = self._misses = 0
            self._saved, self._used = 0.0, {}
        if not (counted[0] or counted[1]):
            return
        try:
            with self.database.writing() as execute:
                execute("UPDATE counters SET hits = hits + ?, misses = misses + ?, saved_usd = saved_usd + ?", counted)
                execute.many("UPDATE answers SET used = ? WHERE key = ?", sorted((at, key) for key, at in used.items()))
        except BaseException:
            with self._lock:
                self._hits, self._misses = self._hits + counted[0], self._misses + counted[1]
                self._saved, self._used = self._saved + counted[2], used | self._used
            raise

    def _evict(self, execute: Rows, now: float) -> None:
        """Evict expired answers and then the least recently used, to nine tenths of the bound."""
        execute("DELETE FROM answers WHERE expires <= ?", (now,))
        dropped = list[tuple[str]]()
        (row,) = execute("SELECT COALESCE(SUM(size), 0) AS size FROM answers")
        size = int(row["size"])
        if size > self._max_bytes * 0.9:
            for row in execute("SELECT key, size FROM answers ORDER BY used"):
                if size <= self._max_bytes * 0.9:
                    break
                dropped.append((row["key"],))
                size -= row["size"]
        execute.many("DELETE FROM answers WHERE key = ?", dropped)
        execute("UPDATE counters SET size = ?, evicted = evicted + ?", (size, len(dropped)))
        _forget(execute)


_KEEP = (
    "INSERT INTO answers (key, value, created, expires, used, saved_usd, size) VALUES (?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (key) DO UPDATE SET value = excluded.value, created = excluded.created, expires = excluded.expires,"
    " used = excluded.used, saved_usd = excluded.saved_usd, size = excluded.size"
)


def _unpacked(value: bytes) -> Any:
    # what was kept before answers were packed is the JSON itself
    return json.loads(value if value.startswith(b"{") else zlib.decompress(value))


def _forget(execute: Rows) -> None:
    """Questions have gone: whoever has them in memory, on whatever machine, reads them again before the next search."""
    execute("UPDATE counters SET epoch = ?", (secrets.token_hex(8),))


class AnswerCache:
    """Implements `sluicegate.services.Cache`."""

    def __init__(self, store: AnswerStore) -> None:
        self.store = store

    async def get(self, key: str, *, again: bool = False) -> Cached | None:
        return await self.store.database.call(partial(self.store.get, key, again=again))

    async def put(
        self,
        key: str,
        value: dict[str, Any],
        *,
        ttl_s: float,
        saved_usd: float,
        question: Question | None = None,
    ) -> None:
        put = partial(self.store.put, key, value, ttl_s=ttl_s, saved_usd=saved_usd, question=question)
        await self.store.database.call(put)

    async def near(self, question: Question, *, similarity: float) -> Sequence[Neighbour]:
        return await self.store.database.call(partial(self.store.near, question, similarity=similarity))

    def close(self) -> None:
        # counts that cannot be written are lost; the run's end is not
        with suppress(sqlite3.Error, RunError):
            self.store.close()


class NoCache:
    """`services.Cache` that always misses and stores nothing: for runs that are measured, replayed or shadowed."""

    async def get(self, key: str, *, again: bool = False) -> Cached | None:
        del key, again
        return None

    async def put(
        self,
        key: str,
        value: dict[str, Any],
        *,
        ttl_s: float,
        saved_usd: float,
        question: Question | None = None,
    ) -> None: ...

    async def near(self, question: Question, *, similarity: float) -> Sequence[Neighbour]:
        del question, similarity
        return ()
