"""The checkpoint saver: LangGraph's contract over SQLite or PostgreSQL, cheap enough to write after every node.

LangGraph's own SQLite saver writes the whole state at every step. This one writes only the channels that a
step changed, each once per version (as LangGraph's Postgres saver does), in one transaction: to a file on the caller's
thread, to a server on another one (`Database.call`).

LangGraph's Postgres savers would not do here: the one refuses `ainvoke`, the other belongs to one event loop and
cannot be called from it, and neither can remove redacted values from a run's history. `benchmarks/compiled.py`
measures ours.
"""

import random
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

from sluicegate.storage.database import Database, Execute, Place, SqliteDatabase, open_database
from sluicegate.storage.plain_data import PlainDataSerializer
from sluicegate.storage.schemas import CHECKPOINTS

__all__ = ["Checkpoints", "SqliteCheckpoints", "open_checkpoints"]

_INTERRUPT = "__interrupt__"
_KEYS = {"channels": ("thread", "ns", "channel", "version"), "writes": ("thread", "ns", "id", "task", "position")}
"""Each table's primary key."""


class Checkpoints(BaseCheckpointSaver[str]):
    """A `BaseCheckpointSaver` for many threads, many event loops and many processes. Raises as `Database` does."""

    def __init__(self, database: Database) -> None:
        super().__init__(serde=PlainDataSerializer())
        self._database = database

    def close(self) -> None:
        self._database.close()

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
        with self._database.writing(thread) as execute:
            execute.many(_put("channels", 6, "thread, ns, channel, version", "type", "value"), rows)
            execute.many(
                _put("checkpoints", 8, "thread, ns, id", "parent", "type", "checkpoint", "metadata_type", "metadata"),
                [(*row, *about)],
            )
            execute("DELETE FROM waiting WHERE thread = ? AND ns = ?", (thread, ns))
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
        replaced = ("channel", "path", "type", "value") if replaces else ()
        with self._database.writing(place["thread_id"]) as execute:
            execute.many(_put("writes", 9, "thread, ns, id, task, position", *replaced), rows)
            if any(channel == _INTERRUPT for channel, _ in writes):
                waits = (place["thread_id"], place.get("checkpoint_ns", ""), place["checkpoint_id"], "", "")
                execute.many(_put("waiting", 5, "thread, ns", "id", "workflow", "deadline"), [waits])

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        place = _place(config)
        thread, ns, wanted = place["thread_id"], place.get("checkpoint_ns", ""), get_checkpoint_id(config)
        which = ("AND id = ?", (thread, ns, wanted)) if wanted else ("ORDER BY id DESC LIMIT 1", (thread, ns))
        with self._database.reading() as execute:
            rows = execute(f"SELECT * FROM checkpoints WHERE thread = ? AND ns = ? {which[0]}", which[1])  # noqa: S608
            return self._tuple(execute, rows[0]) if rows else None

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        clauses, values = ["1 = 1"], list[Any]()
        if config:
            wanted = {"thread": "thread_id", "ns": "checkpoint_ns", "id": "checkpoint_id"}
            for column, key in wanted.items():
                if key in (place := _place(config)):
                    clauses.append(f"{column} = ?")
                    values.append(place[key])
        if before and (latest := get_checkpoint_id(before)):
            clauses.append("id < ?")
            values.append(latest)
        with self._database.reading() as execute:
            rows = execute(
                f"SELECT * FROM checkpoints WHERE {' AND '.join(clauses)} ORDER BY id DESC",  # noqa: S608
                values,
            )
        for row in rows:
            with self._database.reading() as execute:
                found = self._tuple(execute, row)
            metadata: Mapping[str, Any] = found.metadata
            if filter and any(metadata.get(key) != value for key, value in filter.items()):
                continue
            if limit is not None:
                if limit == 0:
                    return
                limit -= 1
            yield found

    def delete_thread(self, thread_id: str) -> None:
        with self._database.writing(thread_id) as execute:
            for table in ("checkpoints", "channels", "writes", "waiting"):
                execute(f"DELETE FROM {table} WHERE thread = ?", (thread_id,))  # noqa: S608

    def rewrite(self, thread_id: str, change: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> int:
        """Put every value of a thread, as ``{channel: value}``, through `change`; how many it has changed.

        The old values are erased as `Database.erasing` says.
        """
        changed = 0
        with self._database.erasing(thread_id) as execute:
            for table in ("channels", "writes"):
                for row in execute(f"SELECT * FROM {table} WHERE thread = ?", (thread_id,)):  # noqa: S608
                    held = {row["channel"]: self.serde.loads_typed((row["type"], row["value"]))}
                    put = change(held)
                    if put == held:
                        continue
                    where = " AND ".join(f"{key} = ?" for key in _KEYS[table])
                    execute(
                        f"UPDATE {table} SET type = ?, value = ? WHERE {where}",  # noqa: S608
                        (*self.serde.dumps_typed(put[row["channel"]]), *(row[key] for key in _KEYS[table])),
                    )
                    changed += 1
        return changed

    def interrupted(self, workflow: str = "") -> Sequence[str]:
        """The threads that are at an interrupt, longest-waiting first: all, or those of this workflow and those that
        were not scheduled yet."""
        which = ("WHERE workflow IN (?, '')", (workflow,)) if workflow else ("", ())
        return self._threads(f"{which[0]} ORDER BY id", which[1])

    def unscheduled(self) -> Sequence[str]:
        """The threads that have come to an interrupt since somebody looked, longest-waiting first."""
        return self._threads("WHERE workflow = '' ORDER BY id", ())

    def schedule(self, thread: str, workflow: str, deadline: str) -> None:
        """Note whose interrupt this is, and its deadline, ISO 8601 in UTC."""
        with self._database.writing() as execute:
            execute("UPDATE waiting SET workflow = ?, deadline = ? WHERE thread = ?", (workflow, deadline, thread))

    def overdue(self, workflow: str, now: str) -> Sequence[str]:
        """The threads of a workflow that are past their deadlines; whatever else waits is not read."""
        return self._threads("WHERE workflow = ? AND deadline < ? ORDER BY deadline", (workflow, now))

    def _threads(self, which: str, values: Sequence[str]) -> Sequence[str]:
        with self._database.reading() as execute:
            return [row["thread"] for row in execute(f"SELECT thread FROM waiting {which}", values)]  # noqa: S608

    def beginning(self, start: str) -> Sequence[str]:
        """Up to three threads whose ids begin like this."""
        with self._database.reading() as execute:
            rows = execute(
                "SELECT DISTINCT thread FROM checkpoints WHERE thread >= ? AND thread < ? ORDER BY thread LIMIT 3",
                (start, f"{start}\U0010ffff"),
            )
        return [row["thread"] for row in rows]

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return await self._database.call(self.get_tuple, config)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        for found in await self._database.call(lambda: [*self.list(config, filter=filter, before=before, limit=limit)]):
            yield found

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        return await self._database.call(self.put, config, checkpoint, metadata, new_versions)

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        await self._database.call(self.put_writes, config, writes, task_id, task_path)

    async def adelete_thread(self, thread_id: str) -> None:
        await self._database.call(self.delete_thread, thread_id)

    def _tuple(self, execute: Execute, row: Mapping[str, Any]) -> CheckpointTuple:
        thread, ns, own = row["thread"], row["ns"], row["id"]
        loaded = self.serde.loads_typed
        checkpoint = loaded((row["type"], row["checkpoint"]))
        versions = [(channel, str(version)) for channel, version in checkpoint["channel_versions"].items()]
        values = checkpoint["channel_values"] = dict[str, Any]()
        marks = ", ".join(["(?, ?)"] * len(versions))
        blobs = execute(
            "SELECT channel, type, value FROM channels WHERE thread = ? AND ns = ?"  # noqa: S608
            f" AND (channel, version) IN (VALUES {marks})",
            (thread, ns, *(part for pair in versions for part in pair)),
        )
        for blob in blobs:
            values[blob["channel"]] = loaded((blob["type"], blob["value"]))
        writes = execute(
            "SELECT task, channel, type, value FROM writes WHERE thread = ? AND ns = ? AND id = ?"
            " ORDER BY path, task, position",
            (thread, ns, own),
        )
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


class SqliteCheckpoints(Checkpoints):
    """The checkpoints of one machine, in a file."""

    def __init__(self, path: Path | str) -> None:
        """Raises `RunError` SG606 (corrupt), SG607 (not writable) or SG608 (locked)."""
        super().__init__(SqliteDatabase(path, CHECKPOINTS))


def open_checkpoints(where: Place) -> Checkpoints:
    """The checkpoints of a home, or of a server. Raises as `Database` does."""
    return Checkpoints(open_database(where, CHECKPOINTS))


def _put(table: str, columns: int, key: str, *replaced: str) -> str:
    """An insert of whole rows; where there is one of this key, these columns of it are replaced."""
    marks = ", ".join("?" * columns)
    does = "UPDATE SET " + ", ".join(f"{column} = excluded.{column}" for column in replaced) if replaced else "NOTHING"
    return f"INSERT INTO {table} VALUES ({marks}) ON CONFLICT ({key}) DO {does}"  # noqa: S608
