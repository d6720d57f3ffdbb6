"""The passages' table in LanceDB: its columns, its indexes, and how it is opened, written and compacted.

A full text index and scalar indexes on the filter columns always; a vector index only where a flat search would be
slow. Versions are pinned: readers open the one that the catalog names.
"""

import errno
import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from sluicegate.errors import RetrievalError, SluicegateError, UnwritableError
from sluicegate.lazy_modules import postponed
from sluicegate.retrieval.acl import quoted

__all__ = [
    "FLAT_ROWS",
    "add",
    "contrast",
    "create",
    "delete",
    "guarded",
    "index",
    "open_at",
    "purge",
    "tidy",
    "vectors_of",
    "writable",
]

FLAT_ROWS = 20_000
"""Rows up to which a flat search takes a few milliseconds and is exact; above, an HNSW index is built."""

_CONTRAST_ROWS = 256
"""Passages that tell how far apart the vectors of an index are: enough for an average."""

_KEEP_VERSIONS = timedelta(minutes=10)
"""Longer than any search: a search that has begun on an old version finishes on it."""

_FOREVER = timedelta(days=36_500)

_CLIENT = {
    f"lance_namespace_urllib3_client.api.{name}_api": [f"{name.title().replace('_', '')}Api"]
    for name in (
        "branch", "data", "index", "materialized_view", "metadata", "namespace", "table", "tag", "transaction"
    )
}  # fmt: skip
"""LanceDB imports a client for remote servers, whose checks of arguments take half the time of its import to build."""


@contextmanager
def guarded(index: str) -> Generator[None]:
    """Convert LanceDB's errors: SG607 for a full or read-only disk, SG402 for anything else."""
    try:
        yield
    except SluicegateError:
        raise
    except Exception as error:
        message = str(error)
        number = error.errno if isinstance(error, OSError) else None
        if number in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM} or re.search(
            r"No space left|File too large|[Qq]uota exceeded|Read-only file system|Permission denied", message
        ):
            raise UnwritableError(
                f"cannot write index {index!r}: {_short(message)}",
                hint="Free space or check permissions, then ingest again; the index is unchanged",
            ) from error
        raise RetrievalError(
            "SG402",
            f"index {index!r} is corrupt: {_short(message)}",
            hint="Run 'sluicegate ingest --rebuild' for this workflow",
        ) from error


def _short(message: str) -> str:
    return " ".join(message.split())[:300]


async def open_at(folder: Path, name: str, version: int) -> Any:
    """The table at one version, for reading."""
    table: Any = await (await _connect(folder)).open_table(name)
    await table.checkout(version)
    schema = await table.schema()

    async def same() -> Any:
        return schema

    # LanceDB asks for it at each query; that of one version never changes
    table.schema = same
    return table


async def contrast(table: Any) -> float:
    """How far apart the vectors of an index are: 1 less the mean cosine between the first of its passages; 1 where
    there are fewer than two."""
    import numpy as np

    found = (await table.query().select(["vector"]).limit(_CONTRAST_ROWS).to_arrow())["vector"].combine_chunks()
    if len(found) < 2:
        return 1.0
    vectors = found.flatten().to_numpy().reshape(len(found), -1).astype(np.float64)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    total = vectors.sum(axis=0)
    count = len(vectors)
    return float(1 - (total @ total - count) / (count * (count - 1)))


async def create(folder: Path, name: str, dimension: int) -> Any:
    """A new, empty table."""
    import pyarrow

    pa: Any = pyarrow
    schema: Any = pa.schema(
        [
            ("document", pa.string()),
            ("ordinal", pa.int32()),
            ("start", pa.int32()),
            ("end", pa.int32()),
            ("hash", pa.string()),
            ("input", pa.string()),
            ("text", pa.string()),
            ("approved", pa.bool_()),
            ("valid_until", pa.int32()),
            ("clearance", pa.int8()),
            ("readers", pa.list_(pa.string())),
            ("vector", pa.list_(pa.float32(), dimension)),
        ]
    )
    return await (await _connect(folder)).create_table(name, schema=schema)


async def writable(folder: Path, name: str, version: int) -> Any:
    """The table for writing, as it was at `version`: what an unfinished ingest has added is dropped."""
    table = await (await _connect(folder)).open_table(name)
    if await table.version() != version:
        await table.checkout(version)
        await table.restore()
    return table


async def _connect(folder: Path) -> Any:
    with postponed(_CLIENT):
        import lancedb

    return await lancedb.connect_async(str(folder))


async def add(table: Any, rows: Sequence[dict[str, Any]]) -> None:
    import pyarrow as pa

    if rows:
        await table.add(pa.Table.from_pylist(list(rows), schema=await table.schema()))


async def delete(table: Any, documents: Sequence[str]) -> None:
    for start in range(0, len(documents), 500):
        names = ", ".join(quoted(document) for document in documents[start : start + 500])
        await table.delete(f"document IN ({names})")


async def vectors_of(table: Any, document: str) -> dict[str, Sequence[float]]:
    """A document's vectors by the hash of what was embedded."""
    rows = await table.query().where(f"document = {quoted(document)}").select(["input", "vector"]).to_list()
    return {row["input"]: row["vector"] for row in rows}


async def index(table: Any, *, language: str, flat_rows: int = FLAT_ROWS, again: bool = False) -> int:
    """Create missing indexes (all of them with `again`) and update the others; returns the rows.

    IVF_HNSW_SQ with one partition per million rows and cosine distance: recall stays near 1 under a narrow filter,
    where IVF_PQ fell to a third.
    """
    from lancedb.index import FTS, Bitmap, BTree, HnswSq, LabelList

    kinds: dict[str, Any] = {
        "document": BTree(),
        "approved": Bitmap(),
        "clearance": Bitmap(),
        "valid_until": BTree(),
        "readers": LabelList(),
        "text": FTS(language=language, max_token_length=64),
    }
    rows = int(await table.count_rows())
    if rows > flat_rows:
        kinds["vector"] = HnswSq(distance_type="cosine", num_partitions=max(1, rows // 1_000_000))
    made = {column for found in await table.list_indices() for column in found.columns}
    for column, config in kinds.items():
        if again or column not in made:
            await table.create_index(column, config=config, replace=True)
    # versions are kept here: the one that readers use may be old, and is no longer the latest
    await table.optimize(cleanup_older_than=_FOREVER)
    return rows


async def tidy(folder: Path, name: str) -> None:
    """Delete what no reader uses any more. Only when the catalog names the latest version of this table."""
    connection = await _connect(folder)
    for other in (await connection.list_tables()).tables:
        if other != name:
            await connection.drop_table(other)
    await (await connection.open_table(name)).optimize(cleanup_older_than=_KEEP_VERSIONS)


async def purge(folder: Path, name: str) -> int:
    """Leave the latest version of a table alone, without the rows that were deleted; returns its number.

    Only in a folder where nobody else reads or writes.
    """
    table = await (await _connect(folder)).open_table(name)
    if _lacks_rows(folder / f"{name}.lance") and (
        rows := await table.query().select(["document", "ordinal"]).limit(1).to_list()
    ):
        # a fragment keeps deleted rows until a tenth of it is deleted, or it is put together with another one: with
        # that of a row which is written anew
        at = f"document = {quoted(rows[0]['document'])} AND ordinal = {rows[0]['ordinal']:d}"
        await table.update(where=at, updates_sql={"ordinal": "ordinal"})
        # fragments are put together when all of them are indexed
        await table.optimize(cleanup_older_than=_FOREVER)
    await table.optimize(cleanup_older_than=timedelta(milliseconds=1), delete_unverified=True)
    return int(await table.version())


def _lacks_rows(table: Path) -> bool:
    return any(table.glob("_deletions/*"))
