"""The checkpoint saver: LangGraph's contract over SQLite or PostgreSQL, cheap enough to write after every node.

LangGraph's own savers write a step twice, what its tasks have done and then the checkpoint, and the SQLite one the
whole state each time. This one writes one row in one transaction, with what the step changed (`storage.step_rows`): to
a file on the caller's thread, to a server on another one (`Database.call`). The rows of version 0.1.0, whose values
are in `channels`, are read as they are. Channels of LangGraph's `DeltaChannel` would need what is not written here.

LangGraph's Postgres savers would not do here: the one refuses `ainvoke`, the other belongs to one event loop and
cannot be called from it, and neither can remove redacted values from a run's history. `benchmarks/compiled.py`
measures ours.
"""

import random
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

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
from langgraph.checkpoint.base import id as checkpoint_ids

from sluicegate.graphs.runtime.waiting.interrupts import Interrupts
from sluicegate.state import State
from sluicegate.storage.database import Database, Execute, Place, SqliteDatabase, open_database
from sluicegate.storage.run_ids import MARK, root_run
from sluicegate.storage.schemas import CHECKPOINTS
from sluicegate.storage.serializer import PlainDataSerializer
from sluicegate.storage.step_rows import PACKED, UPON, StepRow, pack, unpack

__all__ = ["Checkpoints", "SqliteCheckpoints", "open_checkpoints"]

T = TypeVar("T")
_At = tuple[str, str, str | None]
"""Thread, namespace and id of a checkpoint."""

_HELD = 256
"""Checkpoints of which something is remembered; of runs beyond these, a step's row is a little larger."""
_INTERRUPT, _PUSH = "__interrupt__", "__pregel_push"
_APART = frozenset({"id", "channel_values", "channel_versions", "versions_seen"})
_KEYS = {"channels": "thread, ns, channel, version", "writes": "thread, ns, id, task, position"}
"""Each table's primary key."""


class Checkpoints(BaseCheckpointSaver[str]):
    """A `BaseCheckpointSaver` for many threads, many event loops and many processes. Raises as `Database` does."""

    def __init__(self, database: Database) -> None:
        super().__init__(serde=PlainDataSerializer())
        self._database = database
        self.interrupts = Interrupts(database)
        self._guard = threading.Lock()
        self._last: dict[_At, StepRow] = {}
        self._results: dict[_At, list[tuple[Any, ...]]] = {}

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
        thread, ns, parent = place["thread_id"], place["checkpoint_ns"], place.get("checkpoint_id")
        dumped, values = self.serde.dumps_typed, checkpoint["channel_values"]
        step = StepRow(
            rest={key: value for key, value in checkpoint.items() if key not in _APART},
            versions={channel: str(version) for channel, version in checkpoint["channel_versions"].items()},
            seen={node: {**triggers} for node, triggers in checkpoint["versions_seen"].items()},
            metadata=get_checkpoint_metadata(config, metadata),
            values={channel: dumped(values[channel]) for channel in new_versions if channel in values},
        )
        packed = pack(step, self._last.get((thread, ns, parent)), self._dumps)
        with self._database.writing(thread) as execute:
            row = (thread, ns, checkpoint["id"], parent, *packed, "", b"")
            execute.many(_put("checkpoints", 8, "thread, ns, id"), [row])
            execute("DELETE FROM waiting WHERE thread = ? AND ns = ?", (thread, ns))
        with self._guard:
            self._results.pop((thread, ns, parent), None)
            self._last.pop((thread, ns, parent), None)
            _remember(self._last, (thread, ns, checkpoint["id"]), step)
        return _config(thread, ns, checkpoint["id"])

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """What a task has done is in the checkpoint of its step, which follows: it is held back until then, and only
        written where other tasks of the step are to be done, fail or wait. A process that is killed in between repeats
        the tasks that are not written."""
        place = _place(config)
        at = (place["thread_id"], place.get("checkpoint_ns", ""), place["checkpoint_id"])
        rows = [
            (*at, task_id, WRITES_IDX_MAP.get(channel, position), channel, task_path, *self.serde.dumps_typed(value))
            for position, (channel, value) in enumerate(writes)
        ]
        with self._guard:
            held = self._results.pop(at, [])
            if not _lasts(writes, task_path):
                _remember(self._results, at, [*held, *rows])
                return
        # special writes (interrupt, error, resume) replace their predecessor, a task's results never change
        replaces = all(channel in WRITES_IDX_MAP for channel, _ in writes)
        replaced = ("channel", "path", "type", "value") if replaces else ()
        with self._database.writing(at[0]) as execute:
            execute.many(_put("writes", 9, _KEYS["writes"]), held)
            execute.many(_put("writes", 9, _KEYS["writes"], *replaced), rows)
            # what a child asks is asked by the run that it belongs to
            if any(channel == _INTERRUPT for channel, _ in writes) and MARK not in at[0]:
                row = (*at, "", "", 0)
                execute.many(_put("waiting", 6, "thread, ns", "id", "workflow", "deadline", "announced"), [row])

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        place = _place(config)
        thread, ns, wanted = place["thread_id"], place.get("checkpoint_ns", ""), get_checkpoint_id(config)
        until = ("AND id <= ?", (thread, ns, wanted)) if wanted else ("", (thread, ns))
        with self._database.reading() as execute:
            rows = execute(f"SELECT * FROM checkpoints WHERE thread = ? AND ns = ? {until[0]} ORDER BY id", until[1])  # noqa: S608
            if not rows or (wanted and rows[-1]["id"] != wanted):
                return None
            _follow(rows[-1]["id"])
            return self._tuple(execute, rows)

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
                f"SELECT thread, ns, id FROM checkpoints WHERE {' AND '.join(clauses)} ORDER BY id DESC",  # noqa: S608
                values,
            )
        for row in rows:
            found = self.get_tuple(_config(row["thread"], row["ns"], row["id"]))
            if found is None:
                continue
            metadata: Mapping[str, Any] = found.metadata
            if filter and any(metadata.get(key) != value for key, value in filter.items()):
                continue
            if limit is not None:
                if limit == 0:
                    return
                limit -= 1
            yield found

    def delete_thread(self, thread_id: str) -> None:
        """Delete a thread, which is then erased as `Database.erasing` says."""
        with self._database.erasing(thread_id) as execute:
            for table in ("checkpoints", "channels", "writes", "waiting"):
                execute(f"DELETE FROM {table} WHERE thread = ?", (thread_id,))  # noqa: S608

    def rewrite(self, thread_id: str, change: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> int:
        """Put every value of a thread, as ``{channel: value}``, through `change`; how many it has changed.

        The old values are erased as `Database.erasing` says.
        """
        changed = 0
        with self._database.erasing(thread_id) as execute:
            for table, keys in _KEYS.items():
                for row in execute(f"SELECT * FROM {table} WHERE thread = ?", (thread_id,)):  # noqa: S608
                    value = self._changed(row["channel"], (row["type"], row["value"]), change)
                    if value is None:
                        continue
                    key = keys.split(", ")
                    execute(
                        f"UPDATE {table} SET type = ?, value = ? WHERE {' AND '.join(f'{name} = ?' for name in key)}",  # noqa: S608
                        (*value, *(row[name] for name in key)),
                    )
                    changed += 1
            rows = execute("SELECT * FROM checkpoints WHERE thread = ? ORDER BY ns, id", (thread_id,))
            steps = self._steps(rows)
            for step in steps.values():
                new = {channel: self._changed(channel, value, change) for channel, value in step.values.items()}
                changed += len(new := {channel: value for channel, value in new.items() if value})
                step.values = {**step.values, **new}
            for row in rows if changed else ():
                if step := steps.get((row["ns"], row["id"])):
                    before = steps.get((row["ns"], row["parent"])) if row["type"] == UPON else None
                    execute(
                        "UPDATE checkpoints SET type = ?, checkpoint = ? WHERE thread = ? AND ns = ? AND id = ?",
                        (*pack(step, before, self._dumps), thread_id, row["ns"], row["id"]),
                    )
        return changed

    def threads(self, before: str = "") -> Sequence[str]:
        """Every thread, oldest first; with `before`, those whose last checkpoint has a smaller id, which is older."""
        with self._database.reading() as execute:
            rows = execute(
                "SELECT thread, max(id) AS last FROM checkpoints GROUP BY thread HAVING ? = '' OR max(id) < ?"
                " ORDER BY last",
                (before, before),
            )
        return [row["thread"] for row in rows]

    def state(self, thread: str) -> State | None:
        """The last state of a run's thread; None when it is not one."""
        found = self.get_tuple(_config(thread, "", ""))
        values = found.checkpoint["channel_values"] if found else {}
        return cast("State", values) if values.keys() >= {"run", "principal"} else None

    def within(self, run: str) -> Mapping[str, str]:
        """Every run within this one, however deep, with the one that it is a child of."""
        start = f"{root_run(run)}{MARK}"
        with self._database.reading() as execute:
            rows = execute(
                "SELECT DISTINCT thread FROM checkpoints WHERE thread >= ? AND thread < ?",
                (start, f"{start}\U0010ffff"),
            )
        states = {row["thread"]: self.state(row["thread"]) for row in rows}
        return {thread: state["run"].get("parent", "") for thread, state in states.items() if state}

    def vacuum(self) -> None:
        self._database.vacuum()

    def last_interrupt(self, thread: str) -> Any:
        """What a thread was last interrupted with, whether it has gone on since or not; None when it never was."""
        with self._database.reading() as execute:
            rows = execute(
                "SELECT type, value FROM writes WHERE thread = ? AND channel = ? ORDER BY id DESC LIMIT 1",
                (thread, _INTERRUPT),
            )
        return self.serde.loads_typed((rows[0]["type"], rows[0]["value"]))[0].value if rows else None

    def beginning(self, start: str) -> Sequence[str]:
        """Up to three threads whose ids begin like this; children only by more than the id of their run."""
        with self._database.reading() as execute:
            rows = execute(
                "SELECT DISTINCT thread FROM checkpoints WHERE thread >= ? AND thread < ? AND thread NOT LIKE ?"
                " ORDER BY thread LIMIT 3",
                (start, f"{start}\U0010ffff", "" if MARK in start else f"%{MARK}%"),
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
        if _lasts(writes, task_path):
            await self._database.call(self.put_writes, config, writes, task_id, task_path)
        else:
            self.put_writes(config, writes, task_id, task_path)

    async def adelete_thread(self, thread_id: str) -> None:
        await self._database.call(self.delete_thread, thread_id)

    def _tuple(self, execute: Execute, rows: Sequence[Mapping[str, Any]]) -> CheckpointTuple:
        """The last of a thread's rows, all of one namespace."""
        row, steps, loaded = rows[-1], self._steps(rows), self.serde.loads_typed
        thread, ns, own = row["thread"], row["ns"], row["id"]
        if step := steps.get((ns, own)):
            metadata: Any = step.metadata
            checkpoint: Any = {**step.rest, "id": own, "channel_versions": step.versions, "versions_seen": step.seen}
        else:
            metadata = loaded((row["metadata_type"], row["metadata"]))
            checkpoint = loaded((row["type"], row["checkpoint"]))
        versions = {channel: str(version) for channel, version in checkpoint["channel_versions"].items()}
        held = {
            channel: value
            for each in steps.values()
            for channel, value in each.values.items()
            if versions.get(channel) == each.versions[channel]
        }
        if len(steps) < len(rows):
            marks = ", ".join(["(?, ?)"] * len(versions))
            blobs = execute(
                "SELECT channel, type, value FROM channels WHERE thread = ? AND ns = ?"  # noqa: S608
                f" AND (channel, version) IN (VALUES {marks})",
                (thread, ns, *(part for pair in versions.items() for part in pair)),
            )
            held |= {blob["channel"]: (blob["type"], blob["value"]) for blob in blobs}
        checkpoint["channel_values"] = {channel: loaded(held[channel]) for channel in versions if channel in held}
        writes = execute(
            "SELECT * FROM writes WHERE thread = ? AND ns = ? AND id = ? ORDER BY path, task, position",
            (thread, ns, own),
        )
        held_back = self._results.get((thread, ns, own), ())
        done = {write[3:5]: write for write in (*held_back, *(tuple(write.values()) for write in writes))}
        return CheckpointTuple(
            config=_config(thread, ns, own),
            checkpoint=checkpoint,
            metadata=metadata,
            parent_config=_config(thread, ns, row["parent"]) if row["parent"] else None,
            pending_writes=[
                (task, channel, loaded((kind, value))) for *_, task, _, channel, _, kind, value in done.values()
            ],
        )

    def _steps(self, rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], StepRow]:
        """Those of a thread's rows that are packed, by namespace and id; the parent of each comes before it."""
        steps: dict[tuple[str, str], StepRow] = {}
        for row in rows:
            if row["type"] in PACKED:
                before = steps.get((row["ns"], row["parent"]))
                steps[row["ns"], row["id"]] = unpack(row["type"], row["checkpoint"], before, self._loads)
        return steps

    def _changed(
        self, channel: str, value: tuple[str, bytes], change: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    ) -> tuple[str, bytes] | None:
        held = {channel: self.serde.loads_typed(value)}
        put = change(held)
        return None if put == held else self.serde.dumps_typed(put[channel])

    def _dumps(self, value: Any) -> bytes:
        return self.serde.dumps_typed(value)[1]

    def _loads(self, data: bytes) -> Any:
        return self.serde.loads_typed(("msgpack", data))


def _lasts(writes: Sequence[tuple[str, Any]], task_path: str) -> bool:
    """Whether these writes are needed before their step ends: interrupts, errors, verdicts, and the results of a task
    that was sent, which has others beside it."""
    return _PUSH in task_path or any(channel in WRITES_IDX_MAP or channel == _PUSH for channel, _ in writes)


def _remember(held: dict[_At, T], at: _At, value: T) -> None:
    held[at] = value
    if len(held) > _HELD:
        del held[next(iter(held))]


def _place(config: RunnableConfig) -> dict[str, Any]:
    return config.get("configurable", {})


def _follow(id: str) -> None:
    """Have this process make later ids than this one from now on.

    The last checkpoint of a thread is the one with the greatest id, which begins with the time, and whoever wrote this
    one may have a clock that is ahead of ours.
    """
    clock: Any = checkpoint_ids
    try:
        made_at = checkpoint_ids.UUID(id).time
    except ValueError:  # none of LangGraph's
        return
    if clock._last_v6_timestamp is None or clock._last_v6_timestamp < made_at:
        clock._last_v6_timestamp = made_at


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
