"""What a batch is: its input divided into blocks, written down once, so that every resume does the same.

The whole input is read once before anything is paid: every row's id is looked at, and one that is missing or stands
there twice stops the batch. Ids are compared by their hashes, which are spilled to a temporary folder and read back in
parts: memory does not grow with the input.
"""

import hashlib
import io
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from sluicegate.batch.files.arrow import arrow, parquet
from sluicegate.batch.files.folder import Folder, InputFile
from sluicegate.batch.files.records import Raw, TextFile, UnreadableRow, parsed
from sluicegate.errors import ConfigError, Place, Problem, RunError

__all__ = ["BlockPlan", "Ids", "Manifest", "RowBlock", "hash_of", "make_plan", "numbered_rows", "row_id"]

_BUCKETS = 64
_SPILL = 1 << 16
_SHOWN = 5
"""How many rows a message names."""


@dataclass(frozen=True, slots=True)
class RowBlock:
    """Consecutive rows of one input file: what a worker does at a time, and one file of the output."""

    number: int
    file: str
    start: int
    """Offset of its first byte; of a Parquet file, its first row in its row group."""
    end: int
    first: int
    """Number of its first row in the whole input, from 1."""
    rows: int
    group: int = 0
    """Of a Parquet file, the row group."""

    @property
    def name(self) -> str:
        return f"part-{self.number:08d}.parquet"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the output in a folder is of. A resume must agree with all of it."""

    batch: str
    """Id; those of its runs begin with it."""
    started: str
    workflow: str
    version: str
    digest: str
    """Of the workflow, or of the task with its settings."""
    input: str
    content: str
    """SHA-256 over the input's bytes."""
    rows: int
    block_rows: int
    id_column: str
    limit: int

    def dumps(self) -> bytes:
        return json.dumps(asdict(self), indent=2).encode()

    @classmethod
    def loads(cls, content: bytes) -> "Manifest":
        return cls(**json.loads(content))


@dataclass(frozen=True, slots=True)
class BlockPlan:
    """The blocks of an input."""

    blocks: Sequence[RowBlock]
    rows: int

    def dumps(self) -> bytes:
        sink = io.BytesIO()
        columns = {name: [getattr(block, name) for block in self.blocks] for name in RowBlock.__dataclass_fields__}
        parquet().write_table(arrow().table(columns), sink)
        return sink.getvalue()

    @classmethod
    def loads(cls, content: bytes) -> "BlockPlan":
        blocks = [RowBlock(**row) for row in parquet().read_table(io.BytesIO(content)).to_pylist()]
        return cls(blocks, sum(block.rows for block in blocks))

    @classmethod
    def read(cls, folder: Folder) -> "BlockPlan | None":
        content = folder.read(PLAN)
        return None if content is None else cls.loads(content)


PLAN, MANIFEST = "plan.parquet", "batch.json"


def row_id(row: Mapping[str, Any], column: str, number: int) -> str:
    """What a row is called; empty where it says nothing. Without a column its number is its id."""
    if not column:
        return str(number)
    value = row.get(column)
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def hash_of(files: Sequence[InputFile]) -> str:
    """SHA-256 over the bytes of the files, read in flat memory."""
    whole = hashlib.sha256()
    for file in files:
        with file.open() as opened:
            while chunk := opened.read(1 << 20):
                whole.update(chunk)
    return whole.hexdigest()


def make_plan(files: Sequence[InputFile], *, id_column: str, block_rows: int, limit: int = 0) -> BlockPlan:
    """Read the input once, check its ids and divide it. A row that cannot be read is called ``#`` and its number.

    Raises `ConfigError` SG705 with the first rows whose id is missing, or is another row's too; `RunError` SG601 for an
    input without rows.
    """
    blocks: list[RowBlock] = []
    missing: list[Problem] = []
    number = 0
    with Ids() as ids:
        for file in files:
            begun: RowBlock | None = None
            for start, end, group, row in numbered_rows(file, id_column):
                if limit and number >= limit:
                    break
                number += 1
                name = f"#{number}" if row is None else row_id(row, id_column, number)
                if name:
                    ids.add(name, number)
                elif len(missing) < _SHOWN:
                    what = f"row {number} has no {id_column!r}"
                    hint = "Give each row an id of its own, name its column with --id, or number the rows with --number"
                    missing.append(Problem("SG705", what, Place(file.uri, number, 1), hint=hint))
                if begun and begun.rows < block_rows and begun.group == group:
                    begun = RowBlock(begun.number, file.uri, begun.start, end, begun.first, begun.rows + 1, group)
                    blocks[-1] = begun
                else:
                    begun = RowBlock(len(blocks), file.uri, start, end, number, 1, group)
                    blocks.append(begun)
        if missing:
            raise ConfigError(missing)
        if twice := ids.twice():
            hint = "Each row needs an id of its own: it is what makes its run, and its row of the output, one"
            raise ConfigError(
                [
                    Problem("SG705", f"rows {one} and {other} have the same {id_column!r}", hint=hint)
                    for one, other in twice
                ]
            )
    if not number:
        raise RunError("SG601", f"no rows in {', '.join(file.uri for file in files)}")
    return BlockPlan(blocks, number)


def numbered_rows(file: InputFile, id_column: str) -> Iterator[tuple[int, int, int, Mapping[str, Any] | None]]:
    """Start, end and row group of each row, and what its id is read from; None where it cannot be read."""
    if file.kind == ".parquet":
        with file.open() as opened:
            about: Any = parquet().ParquetFile(opened)
            columns = [id_column] if id_column in about.schema_arrow.names else about.schema_arrow.names[:1]
            for group in range(about.num_row_groups):
                at = 0
                for batch in about.iter_batches(row_groups=[group], columns=columns, batch_size=4096):
                    for row in batch.to_pylist():
                        yield at, at + 1, group, row
                        at += 1
        return
    text = TextFile(file)
    for raw in text.rows(text.first):
        yield raw.start, raw.end, 0, _readable(raw, text)


def _readable(raw: Raw, file: TextFile) -> Mapping[str, Any] | None:
    if not isinstance(raw.content, bytes):
        return None
    try:
        return parsed(raw.content, file)
    except UnreadableRow:
        return None


class Ids:
    """Whether any id stands in two rows: hashes in files by their first bits, each of which is sorted alone."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="sluicegate-ids-")
        self._held = [bytearray() for _ in range(_BUCKETS)]

    def __enter__(self) -> "Ids":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.cleanup()

    def add(self, name: str, number: int) -> None:
        digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        held = self._held[digest[0] % _BUCKETS]
        held += digest + number.to_bytes(8, "little")
        if len(held) >= _SPILL:
            self._spill(digest[0] % _BUCKETS)

    def twice(self) -> list[tuple[int, int]]:
        """The first pairs of rows with one id."""
        import numpy as np

        found: list[tuple[int, int]] = []
        for bucket in range(_BUCKETS):
            self._spill(bucket)
            rows = np.fromfile(self._file(bucket), dtype=[("high", "<u8"), ("low", "<u8"), ("row", "<u8")])
            rows.sort(order=("high", "low", "row"))
            same = (rows["high"][1:] == rows["high"][:-1]) & (rows["low"][1:] == rows["low"][:-1])
            numbers = rows["row"]
            found += [(int(numbers[at]), int(numbers[at + 1])) for at in np.flatnonzero(same)[:_SHOWN]]
        return sorted(found)[:_SHOWN]

    def _file(self, bucket: int) -> Path:
        return Path(self._folder.name) / str(bucket)

    def _spill(self, bucket: int) -> None:
        with self._file(bucket).open("ab") as file:
            file.write(self._held[bucket])
        self._held[bucket].clear()
