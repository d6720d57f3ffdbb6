"""What a batch writes: a Parquet file of rows for each block, those that failed in one beside it, and their counts.

    rows/part-00000017.parquet     what came out, a row per input row
    failed/part-00000017.parquet   the input rows that failed, with their code

A block is committed when its file in ``rows/`` is there, and that file is written last. Written again, as by an actor
that was taken for dead, it replaces itself: nothing can stand there twice.
"""

import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sluicegate.batch.files.arrow import arrow, parquet
from sluicegate.batch.files.folder import Folder
from sluicegate.batch.files.plan import RowBlock

__all__ = ["FAILED", "ROWS", "Counts", "Failed", "RowResult", "commit", "committed"]

ROWS, FAILED = "rows", "failed"
_COUNTS = b"sluicegate"
"""Key of a part's counts in its metadata."""


@dataclass(frozen=True, slots=True)
class RowResult:
    """A row that did not fail, as it is written."""

    id: str
    row: int
    """Number in the input, from 1."""
    status: str
    """``answered``, ``refused`` or ``waiting``; of a task ``answered``."""
    answer: str
    """What the requester gets; empty while it waits. Of a task its value, as JSON where it is no text."""
    path: str
    label: str
    """The intent, or the label of a task."""
    confidence: float | None
    """Of the label."""
    answer_confidence: float | None
    model: str
    prompt_tokens: int
    completion_tokens: int
    usd_micros: int
    """Cost in whole micro-dollars, as the ledger counts."""
    stopped_by: str
    """Why a call of a model was not made, with its code; empty when none was stopped."""
    run: str
    ms: float
    """Working time."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A row that failed."""

    id: str
    row: int
    code: str
    message: str
    usd_micros: int
    run: str
    ms: float


@dataclass(slots=True)
class Counts:
    """Of a part, or of many."""

    rows: int = 0
    status: Counter[str] = field(default_factory=Counter[str])
    path: Counter[str] = field(default_factory=Counter[str])
    failed: Counter[str] = field(default_factory=Counter[str])
    """By code."""
    usd_micros: int = 0
    tokens: int = 0
    seconds: float = 0.0
    """Of work, all workers together."""

    @classmethod
    def of(cls, results: Sequence[RowResult], failures: Sequence[Failed], seconds: float) -> "Counts":
        return cls(
            len(results) + len(failures),
            Counter(one.status for one in results),
            Counter(one.path for one in results if one.path),
            Counter(one.code for one in failures),
            sum(one.usd_micros for one in (*results, *failures)),
            sum(one.prompt_tokens + one.completion_tokens for one in results),
            seconds,
        )

    def add(self, other: "Counts") -> None:
        self.rows += other.rows
        self.status += other.status
        self.path += other.path
        self.failed += other.failed
        self.usd_micros += other.usd_micros
        self.tokens += other.tokens
        self.seconds += other.seconds

    @property
    def usd(self) -> float:
        return self.usd_micros / 1_000_000

    @property
    def waiting(self) -> int:
        return self.status["waiting"]

    @property
    def failures(self) -> int:
        return sum(self.failed.values())

    def as_json(self) -> dict[str, Any]:
        """Plain data; the key of a counter with nothing in it is left out."""
        return {
            "rows": self.rows,
            "status": dict(self.status),
            "path": dict(self.path),
            "failed": dict(self.failed),
            "usd": self.usd,
            "tokens": self.tokens,
            "seconds": round(self.seconds, 3),
        }

    def dumps(self) -> bytes:
        return json.dumps({name: getattr(self, name) for name in self.__dataclass_fields__}).encode()

    @classmethod
    def loads(cls, content: bytes) -> "Counts":
        said: dict[str, Any] = json.loads(content)
        counters: dict[str, Any] = {name: Counter[str](said[name]) for name in ("status", "path", "failed")}
        return cls(**{**said, **counters})


def commit(
    folder: Folder, block: RowBlock, results: Sequence[RowResult], failures: Sequence[Failed], counts: Counts
) -> None:
    """Write a block's output; whole, or not at all."""
    if failures:
        folder.write(f"{FAILED}/{block.name}", _parquet(Failed, failures, {}))
    else:
        folder.remove(f"{FAILED}/{block.name}")
    folder.write(f"{ROWS}/{block.name}", _parquet(RowResult, results, {_COUNTS: counts.dumps()}))


def committed(folder: Folder) -> dict[int, Counts]:
    """The counts of the blocks that are done, by their numbers. Reads the end of each file."""
    found: dict[int, Counts] = {}
    for name in folder.names(ROWS):
        with folder.open(f"{ROWS}/{name}") as file:
            metadata: Mapping[bytes, bytes] = parquet().read_schema(file).metadata
        found[int(name.removeprefix("part-").removesuffix(".parquet"))] = Counts.loads(metadata[_COUNTS])
    return found


def _parquet(
    of: type[RowResult] | type[Failed], rows: Iterable[RowResult | Failed], metadata: Mapping[bytes, bytes]
) -> bytes:
    pa = arrow()
    kinds: dict[Any, Any] = {str: pa.string(), int: pa.int64(), float: pa.float64()}
    fields = [(name, kinds.get(one.type, pa.float64())) for name, one in of.__dataclass_fields__.items()]
    schema = pa.schema(fields, metadata=dict(metadata))
    sink = io.BytesIO()
    parquet().write_table(pa.Table.from_pylist([asdict(row) for row in rows], schema=schema), sink, compression="zstd")
    return sink.getvalue()
