"""The checkpoint saver: LangGraph's contract over SQLite, cheap enough to write after every node.

LangGraph's own SQLite saver writes the whole state at every step. This one writes only the channels that a
step changed, each once per version (as LangGraph's Postgres saver does), in one transaction, on the caller's
thread: a commit in write-ahead mode is a copy into the page cache, which is cheaper than a thread switch and
survives `kill -9`. `benchmarks/checkpoints.py` measures both.
"""

import random
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    get_checkpoint_id,
    get_checkpoint_metadata,
)

from sluicegate.sqlite import connect, explained, transaction

__all__ = ["SqliteCheckpoints"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS checkpoints (
    thread TEXT NOT NULL, ns TEXT NOT NULL, id TEXT NOT NULL, parent TEXT,
    type TEXT NOT NULL, checkpoint BLOB NOT NULL, metadata_type TEXT NOT NULL, metadata BLOB NOT NULL,
    PRIMARY KEY (thread, ns, id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS channels (
    thread TEXT NOT NULL, ns TEXT NOT NULL, channel TEXT NOT NULL, version TEXT NOT NULL,
    type TEXT NOT NULL, value BLOB NOT NULL,
    PRIMARY KEY (thread, ns, channel, version)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS writes (
    thread TEXT NOT NULL, ns TEXT NOT NULL, id TEXT NOT NULL, task TEXT NOT NULL, position INTEGER NOT NULL,
    channel TEXT NOT NULL, path TEXT NOT NULL, type TEXT NOT NULL, value BLOB NOT NULL,
    PRIMARY KEY (thread, ns, id, task, position)
) WITHOUT ROWID;
"""


_KEYS = {"channels": ("thread", "ns", "channel", "version"), "writes": ("thread", "ns", "id", "task", "position")}
"""Each table's primary key."""


class SqliteCheckpoints(BaseCheckpointSaver[str]):
    """A `BaseCheckpointSaver` for many threads of one process and many processes of one machine."""

    def __init__(self, path: Path | str) -> None:
        """Raises `RunError` SG606 (corrupt), SG607 (not writable) or SG608 (locked)."""
        super().__init__()
        self._path = path
        self._connection = connect(path, schema=_SCHEMA)
        self._lock = threading.Lock()

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def get_next_version(self, current: str | None, channel: None) -> str:
        """Counts up, with a random tail: two forks of one checkpoint must not share a version."""
        del channel
        count = int(current.split(".")[0]) + 1 if current else 1
        return f"{count:08}.{random.getrandbits(48):012x}"

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        place = _place(config)
        thread, ns = place["thread_id"], place["checkpoint_ns"]
        bare = {key: value for key, value in checkpoint.items() if key != "channel_values"}
        values = checkpoint["channel_values"]
        dumped = self.serde.dumps_typed
        rows = [
            (thread, ns, channel, str(version), *dumped(values[channel]))
            for channel, version in new_versions.items()
            if channel in values
        ]
        row = (thread, ns, checkpoint["id"], place.get("checkpoint_id"), *dumped(bare))
        about = dumped(get_checkpoint_metadata(config, metadata))
        with self._lock, transaction(self._connection) as database:
            database.executemany("INSERT OR REPLACE INTO channels VALUES (?, ?, ?, ?, ?, ?)", rows)
            database.execute("INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*row, *about))
        return _config(thread, ns, checkpoint["id"])

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        place = _place(config)
        rows = [
            (
                place["thread_id"], place.get("checkpoint_ns", ""), place["checkpoint_id"], task_id,
                WRITES_IDX_MAP.get(channel, position), channel, task_path, *self.serde.dumps_typed(value),
            )
            for position, (channel, value) in enumerate(writes)
        ]  # fmt: skip
        # special writes (interrupt, error, resume) replace their predecessor, a task's results never change
        replaces = all(channel in WRITES_IDX_MAP for channel, _ in writes)
        verb = "REPLACE" if replaces else "IGNORE"
        with self._lock, transaction(self._connection) as database:
            database.executemany(f"INSERT OR {verb} INTO writes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)  # noqa: S608

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        place = _place(config)
        thread, ns, wanted = place["thread_id"], place.get("checkpoint_ns", ""), get_checkpoint_id(config)
        which = ("AND id = ?", (thread, ns, wanted)) if wanted else ("ORDER BY id DESC LIMIT 1", (thread, ns))
        with self._lock, explained(self._path):
            row = self._connection.execute(
                f"SELECT * FROM checkpoints WHERE thread = ? AND ns = ? {which[0]}",  # noqa: S608
                which[1],
            ).fetchone()
            return self._tuple(row) if row else None

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        clauses, values = ["1"], list[Any]()
        if config:
            wanted = {"thread": "thread_id", "ns": "checkpoint_ns", "id": "checkpoint_id"}
            for column, key in wanted.items():
                if key in (place := _place(config)):
                    clauses.append(f"{column} = ?")
                    values.append(place[key])
        if before and (latest := get_checkpoint_id(before)):
            clauses.append("id < ?")
            values.append(latest)
        with self._lock, explained(self._path):
            rows = self._connection.execute(
                f"SELECT * FROM checkpoints WHERE {' AND '.join(clauses)} ORDER BY id DESC",  # noqa: S608
                values,
            ).fetchall()
        for row in rows:
            with self._lock, explained(self._path):
                found = self._tuple(row)
            metadata: Mapping[str, Any] = found.metadata
            if filter and any(metadata.get(key) != value for key, value in filter.items()):
                continue
            if limit is not None:
                if limit == 0:
                    return
                limit -= 1
            yield found

    def delete_thread(self, thread_id: str) -> None:
        with self._lock, transaction(self._connection) as database:
            for table in ("checkpoints", "channels", "writes"):
                database.execute(f"DELETE FROM {table} WHERE thread = ?", (thread_id,))  # noqa: S608

    def rewrite(self, thread_id: str, change: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> int:
        """Put every value of a thread, as ``{channel: value}``, through `change`; how many it has changed.

        What stood there before is gone from the file and from its write-ahead log.
        """
        changed = 0
        with self._lock, explained(self._path):
            self._connection.execute("PRAGMA secure_delete = ON")
            with transaction(self._connection) as database:
                for table in ("channels", "writes"):
                    for row in database.execute(f"SELECT * FROM {table} WHERE thread = ?", (thread_id,)).fetchall():  # noqa: S608
                        held = {row["channel"]: self.serde.loads_typed((row["type"], row["value"]))}
                        put = change(held)
                        if put == held:
                            continue
                        where = " AND ".join(f"{key} = ?" for key in _KEYS[table])
                        database.execute(
                            f"UPDATE {table} SET type = ?, value = ? WHERE {where}",  # noqa: S608
                            (*self.serde.dumps_typed(put[row["channel"]]), *(row[key] for key in _KEYS[table])),
                        )
                        changed += 1
            if changed:
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return changed

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return self.get_tuple(config)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        for found in self.list(config, filter=filter, before=before, limit=limit):
            yield found

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        return self.put(config, checkpoint, metadata, new_versions)

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        self.put_writes(config, writes, task_id, task_path)

    async def adelete_thread(self, thread_id: str) -> None:
        self.delete_thread(thread_id)

    def _tuple(self, row: sqlite3.Row) -> CheckpointTuple:
        thread, ns, own = row["thread"], row["ns"], row["id"]
        loaded = self.serde.loads_typed
        checkpoint = loaded((row["type"], row["checkpoint"]))
        values = checkpoint["channel_values"] = dict[str, Any]()
        for channel, version in checkpoint["channel_versions"].items():
            blob = self._connection.execute(
                "SELECT type, value FROM channels WHERE thread = ? AND ns = ? AND channel = ? AND version = ?",
                (thread, ns, channel, str(version)),
            ).fetchone()
            if blob:
                values[channel] = loaded((blob["type"], blob["value"]))
        writes = self._connection.execute(
            "SELECT task, channel, type, value FROM writes WHERE thread = ? AND ns = ? AND id = ?"
            " ORDER BY path, task, position",
            (thread, ns, own),
        ).fetchall()
        return CheckpointTuple(
            config=_config(thread, ns, own),
            checkpoint=checkpoint,
            metadata=loaded((row["metadata_type"], row["metadata"])),
            parent_config=_config(thread, ns, row["parent"]) if row["parent"] else None,
            pending_writes=[(w["task"], w["channel"], loaded((w["type"], w["value"]))) for w in writes],
        )


def _place(config: RunnableConfig) -> dict[str, Any]:
    return config.get("configurable", {})


def _config(thread: str, ns: str, id: str) -> RunnableConfig:
    return {"configurable": {"thread_id": thread, "checkpoint_ns": ns, "checkpoint_id": id}}
