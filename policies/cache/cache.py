"""The answer cache, and the key that keeps it correct.

The key hashes everything an answer depends on: the workflow's digest (config, prompts, policies, router), the
request's text, what the reader may see, the versions of the indexes, and the models. A change of any of them changes
the key, so an outdated or another reader's answer cannot be found. The same parts without the text, but with the
intent, form a space: within one, `near` finds questions by the similarity of their embeddings, and the caller decides
whether one of them asks the same. The cache must never do harm: when its file fails, it misses.
"""

import hashlib
import json
import sqlite3
import threading
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from time import time
from typing import Any, TypedDict

from sluicegate.errors import RunError
from sluicegate.home import home
from sluicegate.policies.cache.neighbours import Neighbours
from sluicegate.services import Cached, Neighbour, Question
from sluicegate.storage.schemas import CACHE
from sluicegate.storage.sqlite import connect, transaction

__all__ = ["CacheStats", "NoCache", "SqliteCache", "answer_key", "answer_space", "normalised"]

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
    """Look-ups and writes of this process that the file did not allow."""


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


class SqliteCache:
    """Implements `sluicegate.services.Cache` in a SQLite file, shared by the processes of one home.

    Counts are written every `_FLUSH_EVERY` look-ups, on close and when counts are read: a crash loses counts, never
    answers.
    """

    _FLUSH_EVERY = 200

    def __init__(
        self, path: Path | None = None, *, max_mb: float = 256.0, now: Callable[[], float] = time, look: bool = False
    ) -> None:
        self._connection = connect(path or home() / "cache.sqlite", CACHE, look=look)
        self._max_bytes = int(max_mb * 1_000_000)
        self._now = now
        self._lock = threading.Lock()
        self._hits = self._misses = self._failures = 0
        self._saved = 0.0
        self._used: dict[str, float] = {}
        self._neighbours = Neighbours(self._connection)

    def get(self, key: str, *, again: bool = False) -> Cached | None:
        """The answer under `key` and its age, or None; `again` for a second try of the same look-up."""
        now = self._now()
        with self._lock:
            try:
                row: Any = self._connection.execute(
                    "SELECT value, created, expires, saved_usd FROM answers WHERE key = ?", (key,)
                ).fetchone()
                found = None
                # an answer from the future means that the clock was set back: its age is unknown
                if row is not None and row["created"] <= now < row["expires"]:
                    found = Cached(json.loads(row["value"]), now - row["created"])
                    self._hits += 1
                    self._misses -= again
                    self._saved += row["saved_usd"]
                    self._used[key] = now
                else:
                    self._misses += not again
                if self._hits + self._misses >= self._FLUSH_EVERY:
                    self._flush()
            except (sqlite3.Error, RunError, ValueError):
                self._failures += 1
                return None
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
        text, now = json.dumps(value, separators=(",", ":")), self._now()
        size = len(text) + len(key) + (len(question.text) + 4 * len(question.vector) if question else 0)
        if size > self._max_bytes:
            return
        with self._lock:
            try:
                with transaction(self._connection) as connection:
                    old: Any = connection.execute("SELECT size FROM answers WHERE key = ?", (key,)).fetchone()
                    connection.execute(
                        "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?)",
                        (key, text, now, now + ttl_s, now, saved_usd, size),
                    )
                    if question:
                        self._neighbours.add(key, question)
                    grown = size - (old["size"] if old else 0)
                    connection.execute("UPDATE counters SET size = size + ?", (grown,))
                    self._evict(connection, now)
            except (sqlite3.Error, RunError):
                self._failures += 1

    def near(self, question: Question, *, similarity: float) -> Sequence[Neighbour]:
        """The cached questions of the same space with at least this similarity, most similar first."""
        with self._lock:
            try:
                return self._neighbours.near(question, similarity=similarity, now=self._now())
            except (sqlite3.Error, RunError, ValueError):
                self._failures += 1
                return ()

    def clear(self) -> int:
        """Delete every answer, also from the file; returns how many there were."""
        return self._delete("expires >= ?", float("-inf"))

    def expire(self) -> int:
        """The same for those whose time is over."""
        return self._delete("expires <= ?", self._now())

    def _delete(self, which: str, than: float) -> int:
        with self._lock, transaction(self._connection) as connection:
            gone = connection.execute(f"DELETE FROM answers WHERE {which} RETURNING size", (than,)).fetchall()  # noqa: S608
            connection.execute("UPDATE counters SET size = size - ?", (sum(row["size"] for row in gone),))
        with self._lock:
            # deleted rows may still be in the write-ahead log
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return len(gone)

    def stats(self) -> CacheStats:
        with self._lock:
            self._flush()
            row: Any = self._connection.execute(
                "SELECT hits, misses, saved_usd, evicted, size, (SELECT COUNT(*) FROM answers) AS entries FROM counters"
            ).fetchone()
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
        with self._lock:
            self._flush()
            self._connection.close()

    def _flush(self) -> None:
        """Write counts and times of use; the lock is held."""
        if not (self._hits or self._misses):
            return
        with transaction(self._connection) as connection:
            connection.execute(
                "UPDATE counters SET hits = hits + ?, misses = misses + ?, saved_usd = saved_usd + ?",
                (self._hits, self._misses, self._saved),
            )
            connection.executemany(
                "UPDATE answers SET used = ? WHERE key = ?", [(at, key) for key, at in self._used.items()]
            )
        self._hits = self._misses = 0
        self._saved = 0.0
        self._used.clear()

    def _evict(self, connection: sqlite3.Connection, now: float) -> None:
        """Evict expired answers and then the least recently used, to nine tenths of the bound."""
        size: int = connection.execute("SELECT size FROM counters").fetchone()["size"]
        if size <= self._max_bytes:
            return
        connection.execute("DELETE FROM answers WHERE expires <= ?", (now,))
        dropped = 0
        size = connection.execute("SELECT COALESCE(SUM(size), 0) AS size FROM answers").fetchone()["size"]
        for row in connection.execute("SELECT key, size FROM answers ORDER BY used").fetchall():
            if size <= self._max_bytes * 0.9:
                break
            connection.execute("DELETE FROM answers WHERE key = ?", (row["key"],))
            size -= row["size"]
            dropped += 1
        connection.execute("UPDATE counters SET size = ?, evicted = evicted + ?", (size, dropped))


class NoCache:
    """`services.Cache` that always misses and stores nothing: for runs that are measured, replayed or shadowed."""

    def get(self, key: str, *, again: bool = False) -> Cached | None:
        del key, again
        return None

    def put(
        self,
        key: str,
        value: dict[str, Any],
        *,
        ttl_s: float,
        saved_usd: float,
        question: Question | None = None,
    ) -> None: ...

    def near(self, question: Question, *, similarity: float) -> Sequence[Neighbour]:
        del question, similarity
        return ()
