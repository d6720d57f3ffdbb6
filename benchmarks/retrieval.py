"""Retrieval: latency and recall of filtered vector search against the exact answer, on synthetic rows.

Rows are unit vectors around random centres, as passages cluster by topic; one in twenty is readable by the asker (the
5 % filter). Latency is the median of the queries, recall@10 the share of the exact ten (by NumPy, over the readable
rows) that came back. ``search`` is the whole of `LanceRetriever.search` but for the embedder: catalog, both rankings,
fusion and the second check. Run: ``python benchmarks/retrieval.py [--rows 1000 20000 100000] [--json]``.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from sluicegate.retrieval import table as tables
from sluicegate.retrieval.acl import NEVER, Document
from sluicegate.retrieval.catalog import Catalog, DocumentEntry, IndexHead
from sluicegate.retrieval.config import IndexConfig
from sluicegate.retrieval.lance import LanceRetriever
from sluicegate.services import EmbeddingRequest, Embeddings
from sluicegate.state import Principal

DIMENSION = 384
ASKER: Principal = {"id": "ann", "roles": ["helpdesk"], "groups": [], "clearance": "internal"}
WORDS = [f"word{number}" for number in range(5_000)]


@dataclass(frozen=True)
class Row:
    rows: int
    index: str
    build_s: float
    vector_ms: float
    search_ms: float
    recall_at_10: float


class Given:
    """An embedder that is told which vector comes next."""

    def __init__(self) -> None:
        self.vector: list[float] = []

    def describe(self, role: str) -> str:
        return role

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        del request
        return Embeddings([self.vector], "given", "given")


def clustered(rows: int, random: np.random.Generator, centres: np.ndarray) -> np.ndarray:
    points = centres[random.integers(len(centres), size=rows)] + random.normal(0, 0.06, (rows, DIMENSION))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


async def measured(rows: int, queries: int) -> Row:
    random = np.random.default_rng(rows)
    centres = random.normal(0, 1 / DIMENSION**0.5, (200, DIMENSION))
    vectors = clustered(rows, random, centres)
    asked = clustered(queries, random, centres)
    readable = np.arange(0, rows, 20)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "kb"
        place.mkdir()
        started = time.perf_counter()
        kind = await built(place, vectors, {int(row) for row in readable}, random)
        build_s = time.perf_counter() - started
        models = Given()
        retriever = LanceRetriever(Path(folder), {"kb": IndexConfig(path=("k",), minimum_score=0.0)}, models)
        head = retriever.version("kb") and Catalog(place).head()
        assert head
        table = await tables.open_at(place, head.table, head.table_version)
        condition = "approved = true AND array_has_any(readers, ['everyone', 'role:helpdesk'])"
        recalls: list[float] = []
        vector_ms: list[float] = []
        search_ms: list[float] = []
        for number, vector in enumerate(asked):
            models.vector = vector.tolist()
            query = table.query().nearest_to(models.vector).distance_type("cosine").where(condition).limit(10)
            started = time.perf_counter()
            near = await query.ef(100).refine_factor(2).select(["ordinal", "_distance"]).to_list()
            vector_ms.append((time.perf_counter() - started) * 1000)
            exact = readable[np.argsort(-(vectors[readable] @ vector))[:10]]
            recalls.append(len({row["ordinal"] for row in near} & set(exact.tolist())) / 10)
            started = time.perf_counter()
            await retriever.search("kb", f"{WORDS[number]} {WORDS[-number]}", ASKER, k=10)
            search_ms.append((time.perf_counter() - started) * 1000)
        retriever.close()
    return Row(
        rows,
        kind,
        round(build_s, 1),
        round(statistics.median(vector_ms), 1),
        round(statistics.median(search_ms), 1),
        round(statistics.mean(recalls), 3),
    )


async def built(place: Path, vectors: np.ndarray, readable: set[int], random: np.random.Generator) -> str:
    """The index that an ingest of these rows would leave: two documents, one of them for the asker."""
    table = await tables.create(place, "passages_benchmark", DIMENSION)
    for start in range(0, len(vectors), 5_000):
        rows: list[dict[str, Any]] = []
        for number, vector in enumerate(vectors[start : start + 5_000], start=start):
            ours = number in readable
            rows.append(
                {
                    "document": "ours" if ours else "theirs",
                    "ordinal": number,
                    "start": 0,
                    "end": 10,
                    "hash": str(number),
                    "input": str(number),
                    "text": " ".join(WORDS[word] for word in random.integers(len(WORDS), size=60)),
                    "approved": True,
                    "valid_until": NEVER,
                    "clearance": 0,
                    "readers": ["role:helpdesk" if ours else "role:other"],
                    "vector": vector,
                }
            )
        await tables.add(table, rows)
    chunks = await tables.index(table, language="English")
    catalog = Catalog(place, make=True)
    entries = [
        DocumentEntry(
            Document(name, "1", name, name, "", True, (reader,), "public", NEVER, ()), name, "", "", named=False
        )
        for name, reader in (("ours", "role:helpdesk"), ("theirs", "role:other"))
    ]
    now = datetime.now(UTC)
    version = int(await table.version())
    head = IndexHead("passages_benchmark", version, "", "given", "given", "given", "English", chunks, now.isoformat())
    catalog.advance(head, [(entry, []) for entry in entries], [], now, keep_removed=timedelta())
    catalog.close()
    kinds = {column: found.index_type for found in await table.list_indices() for column in found.columns}
    return str(kinds.get("vector", "flat"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 20_000, 100_000])
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--json", action="store_true", dest="as_json")
    options = parser.parse_args()
    results = [asyncio.run(measured(rows, options.queries)) for rows in options.rows]
    if options.as_json:
        json.dump([asdict(result) for result in results], sys.stdout, indent=2)
        print()
        return
    print(f"{'rows':>8} {'index':>12} {'build s':>8} {'vector ms':>10} {'search ms':>10} {'recall@10':>10}")
    for row in results:
        print(
            f"{row.rows:>8} {row.index:>12} {row.build_s:>8} {row.vector_ms:>10} {row.search_ms:>10}"
            f" {row.recall_at_10:>10}"
        )


if __name__ == "__main__":
    main()
