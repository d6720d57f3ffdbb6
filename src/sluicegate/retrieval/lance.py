"""`LanceRetriever`: hybrid search over LanceDB for `services.Retriever`, with the requester's read access built in.

A vector search and a keyword search run side by side, both filtered before ranking by approval, validity and what the
principal may read; their scores are added, cosine similarity plus a share of BM25 (Bruch, Gai and Ingber, "An
Analysis of Fusion Functions for Hybrid Retrieval", TOIS 2023: sums of scores rank better than reciprocal rank fusion).
Every hit is checked again in Python against the catalog before it is returned.
"""

import asyncio
import json
import math
import re
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sluicegate.errors import IndexMissingError, RetrievalError, nearest
from sluicegate.retrieval import table as tables
from sluicegate.retrieval.acl import Document, by_labels, day_number, where
from sluicegate.retrieval.catalog import Catalog, IndexHead
from sluicegate.retrieval.chunking import content_hash
from sluicegate.retrieval.config import IndexConfig
from sluicegate.retrieval.embedding import embedded
from sluicegate.retrieval.stores.replica import CATALOG_FILE, POLL_S, Replica, ReplicaStatus
from sluicegate.services import Embedder, EmbeddingRequest, ReadFilter
from sluicegate.state import DocumentRef, Principal

__all__ = ["LanceRetriever", "one_version", "search_terms"]

_WORDS = 0.06
"""Weight of a point of BM25 in cosine similarity. A softmax over passages fitted to the helpdesk's training
questions gave 0.067, to its calibration questions 0.059. For 94 % of the latter a right passage is then among the first
five; for 91 % by reciprocal ranks."""

_CONTRAST = 0.6
"""Contrast of an index (see `table.contrast`) below which words weigh less, in proportion. The English encoder, for
which their weight was fitted, has 0.84 on the helpdesk's documents, and 0.75 on their paragraphs; that for many
languages has 0.19, as all its cosines are close to 0.85, and some points of BM25 for common words would outweigh
what it says. With it 89 % of the helpdesk's calibration questions then find a right passage among the first five,
and 86 % with the whole weight."""
_LEAST = 0.15
"""Share of their weight that words keep: where passages are alike in meaning, they alone tell them apart."""

_LONGEST = 2_000
"""Characters of a question that are embedded; embedders read about as many and cut the rest themselves."""

_TERMS = 64
"""Maximum distinct words of a question to search for."""

_COLUMNS = ["document", "ordinal", "start", "end", "hash", "vector"]


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """A snapshot of an index."""

    folder: Path
    head: IndexHead
    documents: dict[str, Document]


@dataclass(frozen=True, slots=True)
class _Hit:
    document: Document
    ordinal: int
    span: tuple[int, int]
    hash: str
    similarity: float
    fused: float


class LanceRetriever:
    """Searches the indexes in `folder`, one subfolder each, as written by `ingest`, and those on stores.

    `readable` says what a principal may read in an index, like `ReadFilters.readable` of the policies; its `permits`
    is asked once more for every document that would be returned. An index that another process brings up to date is
    seen from the next search on; one on a store from the next run on, soon after it was published (`stores.replica`).
    """

    def __init__(
        self,
        folder: Path,
        indexes: Mapping[str, IndexConfig],
        models: Embedder,
        *,
        readable: Callable[[Principal, str], ReadFilter] = by_labels,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        poll_s: float = POLL_S,
    ) -> None:
        self._folder = folder
        self._indexes = dict(indexes)
        self._models = models
        self._readable = readable
        self._now = now
        self._replicas = {
            name: Replica(config.store, index=name, outage_s=config.store_outage_hours * 3_600, poll_s=poll_s)
            for name, config in indexes.items()
            if config.store
        }
        # by the folder: runs that go on with one version of a stored index are beside those that have begun on the next
        self._catalogs: dict[Path, Catalog] = {}
        self._snapshots: dict[Path, _Snapshot] = {}
        self._tables: dict[Path, tuple[str, int, Any, float]] = {}
        self._visible: OrderedDict[tuple[str, str, int, str], str] = OrderedDict()
        self._children: tuple[LanceRetriever, ...] = ()

    def include(self, children: Iterable["LanceRetriever"]) -> None:
        """Let `readable` know the indexes of workflows within this one's too, each by its own policies."""
        self._children = tuple(children)

    async def search(self, index: str, query: str, principal: Principal, *, k: int) -> list[DocumentRef]:
        """The best `k` passages that are approved, valid today and readable by `principal`, best first.

        `score` is the cosine similarity of question and passage, in [0, 1]; the order is that of the fused ranking.
        Raises `RetrievalError` SG401 (no such index, or nothing ingested), SG402 (corrupt), SG404 (built with another
        embedder), `ModelError` from the embedder.
        """
        config = self._config(index)
        if replica := self._replicas.get(index):
            # the first version may be long on its way
            await asyncio.to_thread(replica.current)
        snapshot = self._snapshot(index)
        head = snapshot.head
        readable = self._readable(principal, index)
        nothing = readable["labels"] == [] or readable["max_rank"] < 0
        if not query.strip() or k < 1 or nothing or not head.chunks:
            return []
        request = EmbeddingRequest(config.embedder, [query[:_LONGEST]], like=head.fingerprint)
        made = await embedded(self._models, request, index=index, built_with=head.embedder)
        vector = made.vectors[0]
        try:
            hits = await self._hits(index, snapshot, query, vector, readable, k)
        except RetrievalError:
            # an ingest may have replaced what was being read
            again = self._snapshot(index)
            if again == snapshot:
                raise
            hits = await self._hits(index, again, query, vector, readable, k)
        return [_reference(hit) for hit in hits]

    def text(self, document: DocumentRef) -> str:
        """The passage's text. Raises `RetrievalError` SG402 when it was removed."""
        for index in self._indexes:
            if not self._made(index):
                continue
            text = self._catalog(index).text(document["hash"])
            if text is not None:
                return text
        raise RetrievalError(
            "SG402",
            f"text of passage {document['id']!r} version {document['version']!r} is no longer in the index",
            hint="The document was removed; send the request again to use the current documents",
        )

    def version(self, index: str) -> str:
        """Changes whenever the index's content changes. Raises `RetrievalError` SG401, SG402."""
        self._config(index)
        return self._snapshot(index).head.digest

    def visible(self, index: str, principal: Principal) -> str:
        """A key that two principals share exactly when they may read the same documents, today."""
        self._config(index)
        snapshot = self._snapshot(index)
        today = self._today()
        key = (index, snapshot.head.digest, today, json.dumps(principal, sort_keys=True))
        if key not in self._visible:
            readable = self._readable(principal, index)
            ids = [d.id for d in snapshot.documents.values() if _allowed(d, index, readable, today)]
            self._visible[key] = content_hash(json.dumps(ids))
            if len(self._visible) > 1_000:
                self._visible.popitem(last=False)
        return self._visible[key]

    def readable(self, documents: Sequence[DocumentRef], principal: Principal) -> list[DocumentRef]:
        """Those whose document policy lets `principal` read, by the current indexes.

        Where several indexes have a document of that id, those that hold the passage's text decide, all of them.
        """
        made = [(each, index) for each in self._every for index in each._indexes if each._holds_any(index)]
        found = [(each, index, each._snapshot(index).documents) for each, index in made]
        rights = {(each, index): each._readable(principal, index) for each, index in made}

        def may_read(document: DocumentRef) -> bool:
            having = [place for place in found if document["id"] in place[2]]
            holding = [place for place in having if place[0]._catalog(place[1]).text(document["hash"]) is not None]
            return bool(having) and all(
                _readable_by(rights[each, index], documents[document["id"]], index)
                for each, index, documents in holding or having
            )

        return [document for document in documents if may_read(document)]

    @property
    def _every(self) -> tuple["LanceRetriever", ...]:
        return (self, *(one for each in self._children for one in each._every))

    def _holds_any(self, index: str) -> bool:
        return self._made(index) and self._catalog(index).head() is not None

    def stored(self) -> dict[str, ReplicaStatus]:
        """How far this process is with the stores of its indexes, of those that it has searched."""
        found = {name: replica.status() for name, replica in self._replicas.items()}
        return {name: status for name, status in found.items() if status.version}

    def folder_of(self, index: str) -> Path:
        """The folder to read an index from; of a stored one the version with which the run has begun. Raises as
        `Replica.current`."""
        replica = self._replicas.get(index)
        if replica is None:
            return self._folder / index
        pinned = _PINNED.get()
        if pinned is None:
            return replica.current()
        # a run may outlast what is kept of its version, and then moves on
        folder = pinned.get(replica.url)
        if folder is None or not (folder / CATALOG_FILE).is_file():
            pinned[replica.url] = folder = replica.current()
        return folder

    def close(self) -> None:
        for replica in self._replicas.values():
            replica.close()
        for catalog in self._catalogs.values():
            catalog.close()
        self._catalogs.clear()
        self._snapshots.clear()
        self._tables.clear()

    async def _hits(
        self,
        index: str,
        snapshot: _Snapshot,
        query: str,
        vector: Sequence[float],
        readable: ReadFilter,
        k: int,
    ) -> list[_Hit]:
        config = self._config(index)
        today = self._today()
        condition = where(readable, today)
        terms = search_terms(query) if config.hybrid else ""
        limit = max(50, 4 * k)
        with tables.guarded(index):
            table, contrast = await self._table(snapshot)
        weight = _WORDS * min(1.0, max(_LEAST, contrast / _CONTRAST))
        while True:
            with tables.guarded(index):
                near, worded = await asyncio.gather(
                    _by_meaning(table, vector, condition, limit), _by_words(table, terms, condition, limit)
                )
            ranked = _fused(near, worded, vector, snapshot.documents, weight, config.minimum_score)
            verdicts: dict[str, bool] = {}
            hits: list[_Hit] = []
            for hit in ranked:
                name = hit.document.id
                if name not in verdicts:
                    verdicts[name] = _allowed(hit.document, index, readable, today)
                if verdicts[name]:
                    hits.append(hit)
                if len(hits) == k:
                    return hits
            # policy denied some of them, so take further ones
            if all(verdicts.values()) or (len(near) < limit and len(worded) < limit) or limit >= 5_000:
                return hits
            limit *= 4

    def _today(self) -> int:
        return day_number(self._now().astimezone(UTC).date())

    def _config(self, index: str) -> IndexConfig:
        if index not in self._indexes:
            near = nearest(index, self._indexes)
            raise IndexMissingError(
                f"unknown index {index!r}; one of: {', '.join(self._indexes) or 'none'}",
                hint=f"Did you mean {near!r}?" if near else None,
            )
        return self._indexes[index]

    def _made(self, index: str) -> bool:
        if index not in self._replicas:
            folder = self._folder / index
            return folder in self._catalogs or (folder / CATALOG_FILE).is_file()
        try:
            self.folder_of(index)
        except IndexMissingError:
            return False
        return True

    def _catalog(self, index: str) -> Catalog:
        return self._opened(index, self.folder_of(index))

    def _opened(self, index: str, folder: Path) -> Catalog:
        if folder not in self._catalogs:
            for gone in [each for each in self._catalogs if not each.is_dir()]:
                self._catalogs.pop(gone).close()
                self._snapshots.pop(gone, None)
                self._tables.pop(gone, None)
            self._catalogs[folder] = Catalog(folder, name=index)
        return self._catalogs[folder]

    def _snapshot(self, index: str) -> _Snapshot:
        """The current index; its documents are read again only when it has changed."""
        folder = self.folder_of(index)
        catalog = self._opened(index, folder)
        known = self._snapshots.get(folder)
        if known and known.head == catalog.head():
            return known
        head, documents = catalog.documents()
        if head is None:
            raise IndexMissingError(f"index {index!r} is empty", hint="Run 'sluicegate ingest' for this workflow")
        self._snapshots[folder] = _Snapshot(folder, head, documents)
        return self._snapshots[folder]

    async def _table(self, snapshot: _Snapshot) -> tuple[Any, float]:
        """The table of an index, and its `contrast`."""
        head = snapshot.head
        known = self._tables.get(snapshot.folder)
        if known and known[:2] == (head.table, head.table_version):
            return known[2], known[3]
        table = await tables.open_at(snapshot.folder, head.table, head.table_version)
        contrast = await tables.contrast(table)
        self._tables[snapshot.folder] = (head.table, head.table_version, table, contrast)
        return table, contrast


_PINNED: ContextVar[dict[str, Path] | None] = ContextVar("pinned", default=None)


@contextmanager
def one_version() -> Generator[None]:
    """In this block, and the tasks that it starts, every stored index is read at the version of its first reading."""
    token = _PINNED.set({} if (within := _PINNED.get()) is None else within)
    try:
        yield
    finally:
        _PINNED.reset(token)


def _allowed(document: Document, index: str, readable: ReadFilter, today: int) -> bool:
    return not document.refusal(readable, today) and readable["permits"](document.attributes(index))


def _readable_by(readable: ReadFilter, document: Document, index: str) -> bool:
    """Whether the requester is among its readers, regardless of approval and validity."""
    return not document.forbidden(readable) and readable["permits"](document.attributes(index))


def search_terms(query: str) -> str:
    """A question's different words, at most 64: letters and digits only, so that nothing in it is an operator."""
    words = dict.fromkeys(word.lower() for word in re.findall(r"[^\W_]+", query))
    return " ".join(word for word, _ in zip(words, range(_TERMS), strict=False))


@dataclass(frozen=True, slots=True)
class _Row:
    document: str
    ordinal: int
    span: tuple[int, int]
    hash: str
    rank: float
    """Its distance, or its points of BM25."""
    vector: Any


async def _rows(query: Any, rank: str) -> list[_Row]:
    """A query's result; the vectors stay the columns' memory, since a list of fifty makes 19,200 numbers."""
    found = await query.select([*_COLUMNS, rank]).to_arrow()
    plain = (found[name].to_pylist() for name in ("document", "ordinal", "start", "end", "hash", rank))
    flat = found["vector"].combine_chunks()
    vectors = flat.flatten().to_numpy().reshape(len(found), -1) if len(found) else ()
    return [
        _Row(document, ordinal, (start, end), content, value, vector)
        for document, ordinal, start, end, content, value, vector in zip(*plain, vectors, strict=True)
    ]


async def _by_meaning(table: Any, vector: Sequence[float], condition: str, limit: int) -> list[_Row]:
    query = table.query().nearest_to(list(vector)).distance_type("cosine").where(condition).limit(limit)
    # used by the HNSW index of a large table: recall 1.0 on 100,000 rows under a 5 % filter
    query = query.ef(max(100, limit)).refine_factor(2)
    rows = await _rows(query, "_distance")
    return sorted(rows, key=lambda row: (row.rank, row.document, row.ordinal))


async def _by_words(table: Any, terms: str, condition: str, limit: int) -> list[_Row]:
    from lancedb.query import MatchQuery

    if not terms:
        return []
    match: Any = MatchQuery
    query = table.query().nearest_to_text(match(terms, "text")).where(condition).limit(limit)
    rows = await _rows(query, "_score")
    return sorted(rows, key=lambda row: (-row.rank, row.document, row.ordinal))


def _fused(
    near: Sequence[_Row],
    worded: Sequence[_Row],
    vector: Sequence[float],
    documents: Mapping[str, Document],
    weight: float,
    minimum: float,
) -> list[_Hit]:
    """Both rankings in one, best first, without passages whose score is below `minimum`.

    The cut-off is needed because a filtered HNSW search pads its result with irrelevant rows.
    """
    import numpy as np

    rows = {(row.document, row.ordinal): row for row in (*near, *worded)}
    if not rows:
        return []
    words = {(row.document, row.ordinal): float(row.rank) for row in worded}
    asked = np.array(vector, dtype=np.float64)
    asked /= math.sqrt(asked @ asked) or 1.0
    passages = np.array([row.vector for row in rows.values()], dtype=np.float64)
    hits: list[_Hit] = []
    # row by row: a matrix product may sum equal rows in different orders, by their place
    for (key, row), passage in zip(rows.items(), passages, strict=True):
        similarity = min(1.0, max(0.0, float(asked @ passage) / (math.sqrt(passage @ passage) or 1.0)))
        fused = similarity + weight * words.get(key, 0.0)
        document = documents.get(row.document)
        if document and fused >= minimum:
            hits.append(_Hit(document, row.ordinal, row.span, row.hash, similarity, fused))
    return sorted(hits, key=lambda hit: (-hit.fused, -hit.similarity, hit.document.id, hit.ordinal))


def _reference(hit: _Hit) -> DocumentRef:
    return {
        "id": hit.document.id,
        "version": hit.document.version,
        "title": hit.document.title,
        "source": hit.document.source,
        "score": round(hit.similarity, 6),
        "span": [*hit.span],
        "hash": hit.hash,
        "classification": hit.document.clearance,
    }
