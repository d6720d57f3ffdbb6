"""What a worker does with a block: its rows through a workflow that it keeps open, or through a small task."""

import asyncio
import hashlib
import sqlite3
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sluicegate.batch.budget import BatchBudget, BlockBudget, Planned
from sluicegate.batch.engines.engine import Worker
from sluicegate.batch.files.folder import Folder
from sluicegate.batch.files.output import Counts, Failed, RowResult, commit
from sluicegate.batch.files.plan import Manifest, RowBlock
from sluicegate.batch.files.rows import BlockReader, InputRow
from sluicegate.batch.task import TaskSpec
from sluicegate.errors import CorruptError, LockedError, RunError, SluicegateError
from sluicegate.graphs.runtime.factory import open_workflow
from sluicegate.graphs.runtime.outcome import Outcome
from sluicegate.graphs.runtime.run import Runner
from sluicegate.graphs.runtime.run_lock import RunBusy
from sluicegate.policies.ledger.calls import micros
from sluicegate.state import Principal, State

__all__ = ["CHANNEL", "BlockDone", "Job", "run_of"]

T = TypeVar("T")

CHANNEL = "batch"
_SETTLE_EVERY = 16
"""Rows that end before the shared ledger is told what they have spent."""
_BUSY_TRIES, _BUSY_S = 60, 0.5
"""A run that is still held by a worker that was killed is free a moment later."""


@dataclass(frozen=True, slots=True)
class BlockDone:
    """What came of a block."""

    number: int
    counts: Counts
    refused: str = ""
    """The cap that had no room for the rest of its rows; it is committed where this is empty."""
    ran: int = 0
    """Rows of a block that is not committed that came out all the same, for the next time."""


@dataclass(frozen=True, slots=True)
class Job:
    """All that a worker is told; it crosses processes. `open` makes the worker, as `engine.EngineWork`."""

    out: str
    manifest: Manifest
    asker: Principal
    """Requester of rows that name none."""
    workflow: Path | None = None
    task: TaskSpec | None = None
    concurrency: int = 1
    max_cost: float | None = None
    """US dollars of the whole batch."""
    resumed: bool = False
    """Runs of it may have begun before."""

    def open(self) -> "Settling":
        return _Worker(self)


@dataclass(slots=True)
class _Done:
    results: list[RowResult] = field(default_factory=list[RowResult])
    failures: list[Failed] = field(default_factory=list[Failed])
    refused: str = ""
    """The cap that had no room for the others."""
    ran: int = 0

    def add(self, done: Sequence[RowResult | Failed]) -> None:
        self.results += [one for one in done if isinstance(one, RowResult)]
        self.failures += [one for one in done if isinstance(one, Failed)]


class Settling(Worker[RowBlock, BlockDone], Protocol):
    """A worker of a batch."""

    def settle(self, item: RowBlock) -> None:
        """Book what killed workers may have spent on a block, and release what they had reserved for it."""
        ...


class _Rows(Protocol):
    """What rows go through."""

    async def block(self, block: RowBlock, rows: Sequence[InputRow]) -> _Done: ...

    async def settle(self, block: RowBlock, rows: Sequence[InputRow]) -> None: ...

    def close(self) -> None: ...


def run_of(batch: str, id: str) -> str:
    """The id of a row's run: the same whenever the row is done. It sorts by the time that the batch began."""
    return batch[:12] + hashlib.blake2b(f"{batch}\0{id}".encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


class _Worker:
    def __init__(self, job: Job) -> None:
        self._job = job
        self._folder = Folder(job.out)
        self._reader = BlockReader(job.asker, job.manifest.id_column)
        # one loop for all blocks: clients of model servers belong to the loop that opened them
        self._loop = asyncio.Runner()
        self._rows: _Rows = _TaskRows(job, job.task) if job.task else _WorkflowRows(job)

    def __call__(self, item: RowBlock) -> BlockDone:
        return self._loop.run(self._done(item))

    def settle(self, item: RowBlock) -> None:
        """As `Settling.settle`."""
        self._loop.run(self._rows.settle(item, [row for row in self._reader.rows(item) if not row.code]))

    def close(self) -> None:
        self._loop.close()
        self._rows.close()

    async def _done(self, block: RowBlock) -> BlockDone:
        started = time.perf_counter()
        rows = self._reader.rows(block)
        failed = [Failed(row.id, row.number, row.code, row.why, 0, "", 0.0) for row in rows if row.code]
        done = await self._rows.block(block, [row for row in rows if not row.code])
        results = sorted(done.results, key=lambda one: one.row)
        failures = sorted([*failed, *done.failures], key=lambda one: one.row)
        counts = Counts.of(results, failures, time.perf_counter() - started)
        if not done.refused:
            commit(self._folder, block, results, failures, counts)
        return BlockDone(block.number, counts, done.refused, done.ran)


class _WorkflowRows:
    def __init__(self, job: Job) -> None:
        assert job.workflow is not None
        self._job = job
        self._opened = open_workflow(job.workflow)
        digest = self._opened.workflow.digest
        if digest != job.manifest.digest:
            raise RunError(
                "SG707",
                f"{job.workflow} is {digest[:12]} here, and the batch is of {job.manifest.digest[:12]}",
                hint="Every machine needs the workflow as the batch began with it",
            )
        self._budget = BatchBudget(self._opened, job.manifest.batch, job.max_cost)

    async def block(self, block: RowBlock, rows: Sequence[InputRow]) -> _Done:
        if self._budget.by_calls:
            services = self._opened.runner.services
            ledger = self._budget.of_calls(services.ledger) if self._job.max_cost is not None else services.ledger
            runner, done = self._runner(ledger), _Done()
            done.add(await _at_once(self._job.concurrency, [self._row(row, runner) for row in rows]))
            return done
        money = self._budget.of_block(block.number)
        try:
            return await self._paid_by(money, rows)
        finally:
            money.close()

    def close(self) -> None:
        self._opened.tracer.hand_over()
        self._budget.close()
        self._opened.close()

    async def settle(self, block: RowBlock, rows: Sequence[InputRow]) -> None:
        if not self._budget.by_calls:
            money = self._budget.of_block(block.number)
            try:
                await self._taken_over(money, rows)
            finally:
                money.close()

    async def _taken_over(self, money: BlockBudget, rows: Sequence[InputRow]) -> dict[int, Planned]:
        """The rows by their numbers, when what earlier workers have spent on them is booked."""
        began = self._job.resumed or money.abandoned
        planned = {row.number: self._planned(row, began=began) for row in rows}
        if began:
            await money.take_over([*planned.values()])
        return planned

    async def _paid_by(self, money: BlockBudget, rows: Sequence[InputRow]) -> _Done:
        planned = await self._taken_over(money, rows)
        runner, done, left = self._runner(money.ledger), _Done(), list(rows)
        while left:
            # a run that has ended, or waits, costs nothing to show
            resting = [row for row in left if planned[row.number].resting]
            room, done.refused = await money.reserve([planned[row.number] for row in left if row not in resting])
            names = {one.name for one in room}
            now = [row for row in left if str(row.number) in names] + resting
            if now:
                made = await self._settled(money, runner, now, planned)
                done.add(made)
                done.ran += sum(isinstance(one, RowResult) for one in made) - len(resting)
            await money.release()
            if not now:
                return done
            left = [row for row in left if row not in now]
        done.refused = ""
        return done

    async def _settled(
        self, money: BlockBudget, runner: Runner, rows: Sequence[InputRow], planned: dict[int, Planned]
    ) -> list[RowResult | Failed]:
        """These rows, and what they have spent booked, some at a time."""
        ended: list[Planned] = []

        async def one(row: InputRow) -> RowResult | Failed:
            done = await self._row(row, runner)
            ended.append(planned[row.number])
            if len(ended) >= _SETTLE_EVERY:
                now, ended[:] = list(ended), []
                await money.settle(now)
            return done

        done = await _at_once(self._job.concurrency, [one(row) for row in rows])
        await money.settle(ended)
        return done

    def _planned(self, row: InputRow, *, began: bool) -> Planned:
        run, runner = run_of(self._job.manifest.batch, row.id), self._opened.runner
        state = runner.last_state(run) if began else None
        resting = state is not None and (not runner.unfinished(run) or runner.waits(run))
        return Planned(str(row.number), run, row.asker["id"], self._budget.bound(row.text), state, resting)

    def _runner(self, ledger: Any) -> Runner:
        runner = self._opened.runner
        return runner.serving(replace(runner.services, ledger=ledger))

    async def _row(self, row: InputRow, runner: Runner) -> RowResult | Failed:
        run, started = run_of(self._job.manifest.batch, row.id), time.perf_counter()
        try:
            outcome = await _when_free(
                lambda: runner.run(row.text, row.asker, channel=CHANNEL, run=run, attachments=row.attachments)
            )
            answer = await runner.shown(outcome, row.asker)
        except SluicegateError as error:
            if _of_the_machine(error):
                raise
            state = await runner.call(runner.last_state, run)
            return Failed(row.id, row.number, error.code, error.message, _spent(state), run, _since(started))
        return _result(row, outcome, answer)


class _TaskRows:
    def __init__(self, job: Job, task: TaskSpec) -> None:
        self._job, self._ask = job, task.open()

    async def block(self, block: RowBlock, rows: Sequence[InputRow]) -> _Done:
        del block
        done = _Done()
        done.add(await _at_once(self._job.concurrency, [self._row(row) for row in rows]))
        return done

    async def settle(self, block: RowBlock, rows: Sequence[InputRow]) -> None:
        """A task has no budget."""

    def close(self) -> None:
        """Models are the process's."""

    async def _row(self, row: InputRow) -> RowResult | Failed:
        started = time.perf_counter()
        try:
            made = await self._ask(row.text)
        except SluicegateError as error:
            return Failed(row.id, row.number, error.code, error.message, 0, "", _since(started))
        return RowResult(
            row.id, row.number, "answered", made.answer, "", made.label, made.confidence, None, made.model,
            0, 0, 0, "", "", made.ms,
        )  # fmt: skip


async def _at_once(most: int, work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """The results in order, `most` at a time; the first error ends the others."""
    gate = asyncio.Semaphore(most)

    async def one(each: Coroutine[Any, Any, T]) -> T:
        async with gate:
            return await each

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(each)) for each in work]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    finally:
        for each in work:
            each.close()
    return [task.result() for task in tasks]


async def _when_free(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    for _ in range(_BUSY_TRIES):
        with suppress(RunBusy):
            return await work()
        await asyncio.sleep(_BUSY_S)
    return await work()


def _of_the_machine(error: SluicegateError) -> bool:
    """Whether it is no row's fault: every other one would fail of it too."""
    cause = error.__cause__
    server = cause is not None and type(cause).__module__.partition(".")[0] == "psycopg"
    return isinstance(error, CorruptError | LockedError) or isinstance(cause, OSError | sqlite3.Error) or server


def _result(row: InputRow, outcome: Outcome, answer: str) -> RowResult | Failed:
    said = outcome.summary
    usd = micros(said.usd)
    if said.status in ("failed", "running"):
        return Failed(row.id, row.number, "SG611", said.stopped_by or "the run failed", usd, said.run, said.nodes_ms)
    return RowResult(
        row.id, row.number, said.status, answer, said.path or "", said.intent or "", said.confidence,
        said.answer_confidence, said.model or "", said.prompt_tokens, said.completion_tokens, usd, said.stopped_by,
        said.run, said.nodes_ms,
    )  # fmt: skip


def _spent(state: State | None) -> int:
    spend = state.get("spend") if state else None
    return micros(spend["usd"]) if spend else 0


def _since(started: float) -> float:
    return (time.perf_counter() - started) * 1000
