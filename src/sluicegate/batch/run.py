"""A batch from its beginning to its end, and again from wherever it was cut short."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sluicegate.batch.engines.engine import Engine
from sluicegate.batch.files.folder import Folder, InputFile, input_files
from sluicegate.batch.files.output import Counts, committed
from sluicegate.batch.files.plan import MANIFEST, PLAN, BlockPlan, Manifest, RowBlock, hash_of, make_plan
from sluicegate.batch.task import TaskSpec
from sluicegate.batch.work import BlockDone, Job
from sluicegate.errors import BudgetError, NotFoundError, RunError
from sluicegate.graphs.runtime.intake import new_run_id
from sluicegate.graphs.runtime.run_lock import Presence
from sluicegate.state import Principal
from sluicegate.storage.database import place

__all__ = ["Batch", "Standing", "Wanted", "open_batch", "standing"]

SUMMARY = "summary.json"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody asks for; the folder that it goes to must agree with it."""

    input: str
    out: str
    asker: Principal
    workflow: Path | None = None
    name: str = ""
    version: str = ""
    digest: str = ""
    task: TaskSpec | None = None
    id_column: str = "id"
    """Empty: the rows are numbered."""
    block_rows: int = 256
    limit: int = 0
    concurrency: int = 1
    max_cost: float | None = None

    @property
    def version_digest(self) -> str:
        return self.digest or hashlib.sha256(self.task.identity.encode() if self.task else b"").hexdigest()


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a batch is."""

    manifest: Manifest
    counts: Counts
    blocks: int
    done: int
    seconds: float = 0.0
    """Of the driver, this time."""
    new_rows: int = 0
    """Done this time."""

    @property
    def complete(self) -> bool:
        return self.done == self.blocks

    def as_json(self) -> dict[str, Any]:
        rate = self.new_rows / self.seconds if self.seconds else 0.0
        return {
            "batch": self.manifest.batch,
            "workflow": self.manifest.workflow,
            "version": self.manifest.version,
            "input": self.manifest.input,
            "complete": self.complete,
            "blocks": {"done": self.done, "all": self.blocks},
            "input_rows": self.manifest.rows,
            **self.counts.as_json(),
            "this_time": {"rows": self.new_rows, "seconds": round(self.seconds, 3), "rows_per_second": round(rate, 2)},
        }


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch that is planned, and written down in its folder."""

    folder: Folder
    job: Job
    plan: BlockPlan
    done: dict[int, Counts]
    """The counts of its blocks that are committed."""

    def run(
        self, engine: Engine, *, retry_failed: bool = False, on_block: Callable[[BlockDone, int], None] | None = None
    ) -> Standing:
        """Do what is not done: blocks without output, blocks with rows that wait, which may have been decided, and with
        `retry_failed` blocks with rows that failed.

        `on_block` is told of each block, and of the rows that it adds. Raises `BudgetError` SG501 when a cap has no
        room for what is left, `RunError` SG608 when another process does this batch, and what the workflow raises when
        it is opened.
        """
        started, going = time.perf_counter(), _Going(self.plan.blocks, dict(self.done), retry_failed)
        job, present = self.job, Presence(place(), f"batch {self.job.manifest.batch}")
        try:
            while going.left:
                going.one_pass(engine, job, on_block)
                # runs of a block that was given up half-way have begun
                job = replace(job, resumed=True)
        finally:
            present.end()
            seconds = time.perf_counter() - started
            found = _standing(self.job.manifest, self.plan, going.done, seconds, going.added)
            self.folder.write(SUMMARY, json.dumps(found.as_json(), indent=2).encode())
        return found

    def settle(self) -> Standing:
        """Run nothing: book what killed workers may have spent on blocks that are not done, and release what they had
        reserved, for a batch that nobody goes on with. Raises as `run`."""
        present = Presence(place(), f"batch {self.job.manifest.batch}")
        try:
            worker = self.job.open()
            try:
                for block in self.plan.blocks:
                    if block.number not in self.done:
                        worker.settle(block)
            finally:
                worker.close()
        finally:
            present.end()
        return _standing(self.job.manifest, self.plan, self.done)


class _Going:
    """What is done of a batch, and what is left."""

    def __init__(self, blocks: Sequence[RowBlock], done: dict[int, Counts], retry_failed: bool) -> None:
        self.done, self.added = done, 0
        self.left: list[RowBlock] = [one for one in blocks if _undone(done.get(one.number), retry_failed)]
        self._refused = ""

    def one_pass(self, engine: Engine, job: Job, on_block: Callable[[BlockDone, int], None] | None) -> None:
        """Once over what is left. Raises `BudgetError` SG501 when a cap has no room and nothing came out."""
        finished, moved, self._refused = set[int](), False, ""
        for result in engine.map(job, self._fed()):
            if result.refused:
                self._refused, moved = result.refused, moved or result.ran > 0
                continue
            new = 0 if result.number in self.done else result.counts.rows
            self.done[result.number] = result.counts
            finished.add(result.number)
            self.added += new
            if on_block:
                on_block(result, new)
        self.left = [block for block in self.left if block.number not in finished]
        if self.left and not finished and not moved:
            rows = sum(block.rows for block in self.left)
            raise BudgetError(
                "SG501",
                f"{rows} rows are left, and the next has no room: {self._refused}",
                hint="What is done stands; give the same command again when there is room",
            )

    def _fed(self) -> Iterator[RowBlock]:
        """The blocks, until a cap has no room: what is under way may leave some, and the rest is asked for then."""
        for block in self.left:
            if self._refused:
                return
            yield block


def open_batch(wanted: Wanted) -> Batch:
    """Plan a batch and write the plan down, or take up the one that its folder has.

    Raises as `make_plan` does, and `RunError` SG707 when the folder has another batch.
    """
    folder, files = Folder(wanted.out), input_files(wanted.input)
    written, content = folder.read(MANIFEST), hash_of(files)
    if written is None:
        plan = make_plan(files, id_column=wanted.id_column, block_rows=wanted.block_rows, limit=wanted.limit)
        manifest = _manifest(wanted, content, plan.rows)
        folder.write(PLAN, plan.dumps())
        # written last: a folder without it has no batch
        folder.write(MANIFEST, manifest.dumps())
        return Batch(folder, _job(wanted, manifest, resumed=False), plan, {})
    manifest = Manifest.loads(written)
    _must_agree(manifest, _manifest(wanted, content, manifest.rows), wanted)
    plan = BlockPlan.read(folder)
    if plan is None:
        raise RunError("SG707", f"{wanted.out} has lost {PLAN}", hint="Begin again in an empty folder")
    plan = _moved(plan, files)
    return Batch(folder, _job(wanted, manifest, resumed=True), plan, committed(folder))


def standing(out: str) -> Standing:
    """How far the batch of a folder is. Raises `RunError` SG603 when there is none."""
    folder = Folder(out)
    written, plan = folder.read(MANIFEST), BlockPlan.read(folder)
    if written is None or plan is None:
        raise NotFoundError(f"no batch in {out}", hint="Begin one: sluicegate batch run CONFIG FILE --out FOLDER")
    return _standing(Manifest.loads(written), plan, committed(folder))


def _standing(
    manifest: Manifest, plan: BlockPlan, done: dict[int, Counts], seconds: float = 0.0, new_rows: int = 0
) -> Standing:
    whole = Counts()
    for counts in done.values():
        whole.add(counts)
    return Standing(manifest, whole, len(plan.blocks), len(done), seconds, new_rows)


def _undone(counts: Counts | None, retry_failed: bool) -> bool:
    return counts is None or counts.waiting > 0 or (retry_failed and counts.failures > 0)


def _manifest(wanted: Wanted, content: str, rows: int) -> Manifest:
    return Manifest(
        batch=new_run_id(),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        workflow=wanted.name or (wanted.task.task if wanted.task else ""),
        version=wanted.version,
        digest=wanted.version_digest,
        input=wanted.input,
        content=content,
        rows=rows,
        block_rows=wanted.block_rows,
        id_column=wanted.id_column,
        limit=wanted.limit,
    )


def _job(wanted: Wanted, manifest: Manifest, *, resumed: bool) -> Job:
    return Job(
        wanted.out,
        manifest,
        wanted.asker,
        workflow=wanted.workflow and wanted.workflow.absolute(),
        task=wanted.task,
        concurrency=wanted.concurrency,
        max_cost=wanted.max_cost,
        resumed=resumed,
    )


def _must_agree(begun: Manifest, now: Manifest, wanted: Wanted) -> None:
    """Raises `RunError` SG707."""
    if begun.digest != now.digest:
        what = f"{wanted.out} has a batch of {begun.workflow} {begun.version} {begun.digest[:12]}"
        hint = "Finish it on the version that it began with, or begin another batch in another folder"
        raise RunError("SG707", f"{what}, and this is {now.workflow} {now.version} {now.digest[:12]}", hint=hint)
    if begun.content != now.content:
        what = f"{wanted.out} has a batch of another input: {begun.input} as it was on {begun.started}"
        raise RunError("SG707", what, hint="Give the input that it began with, or begin another batch")
    for name in ("id_column", "limit", "block_rows"):
        if getattr(begun, name) != getattr(now, name):
            what = f"the batch in {wanted.out} has {name} {getattr(begun, name)!r}, not {getattr(now, name)!r}"
            raise RunError("SG707", what, hint="Give the same options as at first, or begin another batch")


def _moved(plan: BlockPlan, files: Sequence[InputFile]) -> BlockPlan:
    """The plan with the input where it is now: the same bytes may have another name."""
    names = list(dict.fromkeys(block.file for block in plan.blocks))
    if names == [file.uri for file in files]:
        return plan
    now = dict(zip(names, (file.uri for file in files), strict=False))
    return BlockPlan([replace(block, file=now.get(block.file, block.file)) for block in plan.blocks], plan.rows)
