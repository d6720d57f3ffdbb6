"""Machines that share an index on a store: each with a home of its own, one documents folder among them."""

import uuid
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sluicegate.retrieval.config import IndexConfig
from sluicegate.retrieval.ingest import IngestReport
from sluicegate.retrieval.lance import LanceRetriever
from sluicegate.retrieval.stores.objects import Objects, open_objects
from sluicegate.retrieval.stores.sharing import ingest_index
from tests.support.knowledge import TODAY, HashEmbedder, person

__all__ = ["Machine", "Site"]

SOON_S = 0.02
"""Between two looks at the store."""


class Machine:
    def __init__(self, site: "Site", name: str) -> None:
        self._site = site
        self.home = site.folder / f"home-{name}"
        self.models = HashEmbedder()

    @contextmanager
    def at(self) -> Generator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SLUICEGATE_HOME", str(self.home))
            yield

    async def ingest(self, workflow: str = "helpdesk", **options: Any) -> IngestReport:
        options = {"folders": [self._site.folder], "now": lambda: TODAY, **options}
        with self.at():
            return await ingest_index(workflow, "kb", [], self._site.config, self.models, **options)

    def retriever(self, **options: Any) -> LanceRetriever:
        """For the caller to close."""
        with self.at():
            options = {"now": lambda: TODAY, "poll_s": SOON_S, **options}
            return LanceRetriever(self.home / "indexes", {"kb": self._site.config}, self.models, **options)

    async def found(self, words: str = "vpn") -> dict[str, str]:
        """What a new reader finds: documents by id, with their text."""
        retriever = self.retriever()
        try:
            return await found_by(retriever, words)
        finally:
            retriever.close()


async def found_by(retriever: LanceRetriever, words: str = "vpn") -> dict[str, str]:
    passages = await retriever.search("kb", words, person(), k=50)
    return {Path(passage["id"]).stem: retriever.text(passage).strip() for passage in passages}


class Site:
    """A folder of documents, and a store."""

    def __init__(self, folder: Path, store: str) -> None:
        self.folder = folder
        self.store = f"{store}/{uuid.uuid4().hex[:8]}"
        self.config = IndexConfig(path=("knowledge",), minimum_score=0.0, store=self.store, keep_removed_days=0)
        (folder / "knowledge").mkdir(parents=True)

    def machine(self, name: str) -> Machine:
        return Machine(self, name)

    def objects(self) -> Objects:
        return open_objects(self.store)

    def write(self, words: str, names: Sequence[str] = ("one", "two", "three")) -> None:
        """Documents of one generation: each says `words`."""
        for path in (self.folder / "knowledge").iterdir():
            path.unlink()
        for name in names:
            self.write_one(words, name)

    def write_one(self, words: str, name: str) -> None:
        text = f"---\napproved: true\nreaders: everyone\nclearance: public\n---\nvpn {words} {name}\n"
        (self.folder / "knowledge" / f"{name}.md").write_text(text, encoding="utf-8")
