"""A knowledge folder, an embedder that needs no weights, and the two sides of an index."""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sluicegate.errors import ChainFailedError, UnlikeEmbedderError
from sluicegate.retrieval.acl import by_labels
from sluicegate.retrieval.config import IndexConfig
from sluicegate.retrieval.ingest import IngestReport, ingest
from sluicegate.retrieval.lance import LanceRetriever
from sluicegate.services import EmbeddingRequest, Embeddings, ReadFilter
from sluicegate.state import Principal

TODAY = datetime(2026, 6, 15, 12, tzinfo=UTC)


@dataclass
class HashEmbedder:
    """Bags of words, hashed into 256 dimensions: texts that share words are near. Counts what it was asked."""

    name: str = "test:hash"
    texts: list[str] = field(default_factory=list)

    def describe(self, role: str) -> str:
        assert role == "embedder"
        return self.name

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        assert request.role == "embedder"
        if request.like is not None and request.like != self.name:
            failed = ChainFailedError(f"no model of 'embedder' answered: {self.name}")
            failed.failures = [UnlikeEmbedderError("gives other embeddings")]
            raise failed
        self.texts += request.texts
        return Embeddings([hashed(text, self.name) for text in request.texts], self.name, self.name)


def hashed(text: str, salt: str = "test:hash") -> list[float]:
    vector = [1e-4] * 256
    for word in re.findall(r"\w+", text.lower()):
        vector[int.from_bytes(hashlib.md5(f"{salt}{word}".encode()).digest()[:4], "big") % 256] += 1
    length = sum(value * value for value in vector) ** 0.5
    return [value / length for value in vector]


@dataclass
class Desk:
    """One workflow's folder with its knowledge, and its index."""

    folder: Path
    indexes: Path
    config: IndexConfig
    models: HashEmbedder
    now: datetime = TODAY

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.folder / "knowledge" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def article(self, name: str, body: str, **facts: Any) -> Path:
        """A Markdown article that everyone may read, unless `facts` say otherwise."""
        said = {"approved": "true", "readers": "everyone", "clearance": "public", **facts}
        front = "".join(f"{key}: {value}\n" for key, value in said.items())
        return self.write(name, f"---\n{front}---\n{body}\n")

    async def ingest(self, *paths: Path, **options: Any) -> IngestReport:
        options = {"folders": [self.folder], "now": lambda: self.now, **options}
        return await ingest(self.indexes / "kb", list(paths), self.config, self.models, **options)

    def retriever(self, readable: Callable[[Principal, str], ReadFilter] = by_labels) -> LanceRetriever:
        return LanceRetriever(self.indexes, {"kb": self.config}, self.models, readable=readable, now=lambda: self.now)

    async def ids(self, query: str, who: Principal | None = None, k: int = 10) -> list[str]:
        """What a search by a new retriever finds: documents' ids, best first, each once."""
        retriever = self.retriever()
        try:
            found = await retriever.search("kb", query, who or person(), k=k)
        finally:
            retriever.close()
        return list(dict.fromkeys(document["id"] for document in found))


def person(
    id: str = "ann", *, roles: Sequence[str] = (), groups: Sequence[str] = (), clearance: Any = "internal"
) -> Principal:
    return {"id": id, "roles": [*roles], "groups": [*groups], "clearance": clearance}
