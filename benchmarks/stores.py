"""Indexes on a store: a search in the copy of a reading machine, and one of the same table straight on S3.

The store is a real S3 server (versitygw, `make versitygw`) on the loopback address, which has no distance: what a
request to a store far away costs more, `--away` adds to each one, by a proxy that waits. ``home`` is an index of the
home, ``copy`` the same index read from a store through `Replica`, ``direct`` its table opened by LanceDB on S3. A
search is a vector search and a keyword search side by side under the filter of a reader, as `LanceRetriever` makes
them. ``first`` is the first one of a process, for a copy with the time to fetch it. Run: ``python benchmarks/stores.py
[--record]``.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import results
from benchmarks.retrieval import DIMENSION, WORDS, built, clustered
from sluicegate.retrieval import table as tables
from sluicegate.retrieval.acl import by_labels, where
from sluicegate.retrieval.catalog import Catalog
from sluicegate.retrieval.lance import _by_meaning, _by_words  # pyright: ignore[reportPrivateUsage]
from sluicegate.retrieval.stores.objects import open_objects
from sluicegate.retrieval.stores.replica import Replica
from sluicegate.retrieval.stores.versions import StoredVersions, VersionManifest
from tests.support.s3 import BUCKET, S3Server

ASKER: Any = {"id": "ann", "roles": ["helpdesk"], "groups": [], "clearance": "internal"}
TITLE = "An index on object storage"
ABOUT = """A search (by vector and by words, side by side, filtered by reader) in an index of the home, in the copy that
a reading machine keeps of a stored one, and in the same table opened by LanceDB straight on S3. The S3 server is
versitygw on the loopback address; with 20 ms away every request to it waits that long, as one in another zone or region
does. The first search is that of a new process, and fetches the copy. Medians of 30 searches, milliseconds."""


async def searched(table: Any, vector: list[float], words: str) -> None:
    condition = where(by_labels(ASKER, "kb"), 20260101)
    await asyncio.gather(_by_meaning(table, vector, condition, 50), _by_words(table, words, condition, 50))


async def timed(opening: Callable[[], Awaitable[Any]], asked: np.ndarray) -> tuple[float, float]:
    """The first search with its opening, and the median of those after it; in milliseconds."""
    started = time.perf_counter()
    table = await opening()
    await searched(table, asked[0].tolist(), f"{WORDS[0]} {WORDS[1]}")
    first = (time.perf_counter() - started) * 1000
    later: list[float] = []
    for number, vector in enumerate(asked[1:], start=1):
        started = time.perf_counter()
        await searched(table, vector.tolist(), f"{WORDS[number]} {WORDS[-number]}")
        later.append((time.perf_counter() - started) * 1000)
    return first, statistics.median(later)


class Away:
    """A proxy of TCP that holds back what clients send for a while, as a distance does."""

    def __init__(self, port: int, seconds: float) -> None:
        self._port, self._seconds = port, seconds

    async def __aenter__(self) -> int:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        return self._server.sockets[0].getsockname()[1]

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection("127.0.0.1", self._port)

        async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter, wait: float) -> None:
            while chunk := await source.read(1 << 20):
                if wait:
                    await asyncio.sleep(wait)
                target.write(chunk)
                await target.drain()
            target.close()

        await asyncio.gather(pump(reader, ours, self._seconds), pump(theirs, writer, 0.0), return_exceptions=True)


def published(folder: Path, url: str) -> VersionManifest:
    versions = StoredVersions(open_objects(url))
    versions.fence(1)
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    files = {path.relative_to(folder).as_posix(): versions.add(path, 1, number) for number, path in enumerate(paths)}
    manifest = VersionManifest(1, "benchmark", "kb", "digest", "2026-01-01T00:00:00+00:00", files)
    versions.publish(manifest)
    return manifest


def child(rows: int, place: str, url: str, folder: str) -> None:
    """Measure one place in a process of its own, whose first search is a first one."""
    random = np.random.default_rng(7)
    centres = random.normal(0, 1 / DIMENSION**0.5, (200, DIMENSION))
    asked = clustered(31, random, centres)
    del rows

    async def opening() -> Any:
        if place == "direct":
            import lancedb

            options = {
                "aws_endpoint": os.environ["AWS_ENDPOINT_URL"],
                "allow_http": "true",
                "aws_region": "us-east-1",
            }
            head = json.loads(await asyncio.to_thread(Path(folder, "head.json").read_text))
            table: Any = await (await lancedb.connect_async(f"{url}-direct", storage_options=options)).open_table(
                head[0]
            )
            await table.checkout(head[1])
            return table
        at = Path(folder, "home") if place == "home" else await asyncio.to_thread(Replica(url, index="kb").look)
        head = Catalog(at).head()
        assert head
        return await tables.open_at(at, head.table, head.table_version)

    async def both() -> tuple[float, float]:
        return await timed(opening, asked)

    print(json.dumps(asyncio.run(both())))


async def measured(rows: int, away_ms: float, server: S3Server) -> list[tuple[str, ...]]:
    random = np.random.default_rng(rows)
    centres = random.normal(0, 1 / DIMENSION**0.5, (200, DIMENSION))
    found: list[tuple[str, ...]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        place = folder / "home"
        place.mkdir()
        await built(place, clustered(rows, random, centres), {*range(0, rows, 20)}, random)
        head = Catalog(place).head()
        assert head
        (folder / "head.json").write_text(json.dumps([head.table, head.table_version]))
        url = f"s3://{BUCKET}/bench{rows}"
        manifest = await asyncio.to_thread(published, place, url)
        direct = open_objects(f"{url}-direct")
        for path in manifest.files:
            await asyncio.to_thread(direct.upload, path, place / path)
        size = sum(file.size for file in manifest.files.values()) / 1e6
        for away in (0.0, away_ms):
            async with Away(server.port, away / 1000) as port:
                through = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"} if away else {}
                environment = {**os.environ, **through}
                for where_read in ("home", "copy", "direct") if not away else ("copy", "direct"):
                    environment["SLUICEGATE_HOME"] = str(folder / f"reader-{where_read}-{away:g}")
                    process = await asyncio.create_subprocess_exec(
                        sys.executable, "-m", "benchmarks.stores", "--child", where_read, "--url", url,
                        "--folder", name, stdout=subprocess.PIPE, env=environment,
                    )  # fmt: skip
                    said, _ = await process.communicate()
                    first, later = json.loads(said)
                    distance = "" if where_read == "home" else f"{away:g} ms away"
                    row = (f"{rows:,}", f"{size:.0f}", where_read, distance, f"{first:.0f}", f"{later:.1f}")
                    print(*row, sep=" | ", flush=True)
                    found.append(row)
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=int, nargs="+", default=[1_000, 10_000])
    arguments.add_argument("--away", type=float, default=20.0, help="milliseconds that a request waits")
    arguments.add_argument("--record", action="store_true", help="for docs/measured.md")
    arguments.add_argument("--child", default="", help=argparse.SUPPRESS)
    arguments.add_argument("--url", default="", help=argparse.SUPPRESS)
    arguments.add_argument("--folder", default="", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.child:
        child(0, given.child, given.url, given.folder)
        return
    with tempfile.TemporaryDirectory() as folder:
        server = S3Server(Path(folder))
        try:
            os.environ.update(server.environment)
            rows = [row for count in given.rows for row in asyncio.run(measured(count, given.away, server))]
        finally:
            server.stop()
    if given.record:
        columns = ("passages", "MB", "read", "store", "first search", "search")
        results.record("stores", TITLE, ABOUT, [results.table(columns, *rows)])


if __name__ == "__main__":
    main()
