"""Incremental ingest: only what changed is read, split and embedded; the index changes atomically.

The table is written first, at versions that no reader opens; then one transaction of the catalog makes the last of
them the index (see `catalog`). A lock allows one ingest at a time; it is released when its process ends.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sluicegate.errors import LockedError, Problem, RetrievalError, UnwritableError
from sluicegate.home import private_folder, tighten
from sluicegate.language import CERTAIN, language_of
from sluicegate.retrieval import table as tables
from sluicegate.retrieval.acl import clearance_rank, day_number
from sluicegate.retrieval.catalog import Catalog, DocumentEntry, IndexHead
from sluicegate.retrieval.chunking import Chunk, content_hash, cut, searched
from sluicegate.retrieval.config import IndexConfig
from sluicegate.retrieval.embedding import embedded
from sluicegate.retrieval.files import KnowledgeFile, configured, find, path_of, unreadable
from sluicegate.retrieval.loaders import NothingToRead, load
from sluicegate.retrieval.metadata import document
from sluicegate.services import Embedder, EmbeddingRequest
from sluicegate.storage.sqlite import connect, transaction

__all__ = ["IngestReport", "Progress", "alone", "ingest"]

Progress = Callable[[int, int, str], None]
"""Files done, files in all, the current file."""

_ROWS = 512
"""Passages per write to the table."""

_LETTERS = 40
"""A document with fewer says too little of its language."""

PATIENCE_S = 10.0
"""Seconds that an ingest waits for another one."""


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What an ingest did; documents are named by id."""

    added: tuple[str, ...]
    updated: tuple[str, ...]
    unchanged: int
    removed: tuple[str, ...]
    chunks: int
    """Passages in the index now."""
    embedded: int
    """Passages that had to be embedded."""
    seconds: float
    problems: tuple[Problem, ...]
    """Files that were left out (SG403), and as warnings the documents that cannot be retrieved."""


@dataclass(slots=True)
class _Plan:
    """What an ingest has to do."""

    old: dict[str, DocumentEntry]
    """The index's documents by id."""
    files: list[tuple[KnowledgeFile, bool]]
    """Files to read; True where only a path of the command line leads to it."""
    unchanged: dict[str, str]
    """Ids of documents that stay as they are, with their files."""
    gone: set[str]
    """Ids of documents that leave the index or are replaced."""
    problems: list[Problem]


async def ingest(
    index_dir: Path,
    paths: Sequence[Path],
    config: IndexConfig,
    models: Embedder,
    *,
    folders: Sequence[Path],
    progress: Progress = lambda _done, _all, _file: None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    rebuild: bool = False,
    flat_rows: int = tables.FLAT_ROWS,
) -> IngestReport:
    """Bring the index in `index_dir` up to date with its files.

    `config.path` is looked up in `folders`: the workflow's own, then those of the workflows it extends. Without `paths`
    the whole index is brought up to date, with `paths` only what is under them. A document whose file is gone or has
    become unreadable leaves the index. `rebuild` starts from scratch, also on a corrupt index or for another embedder;
    searches see the old index until the new one is complete. Above `flat_rows` passages a vector index is built.

    Raises `RetrievalError` SG402 (corrupt), SG403 (a path does not exist), SG404 (built with another embedder),
    `RunError` SG607 (disk full), SG608 (another ingest is at work), `ModelError` from `models`.
    """
    started = time.monotonic()
    async with alone(index_dir, index_dir.name):
        folders = [await asyncio.to_thread(folder.resolve) for folder in folders]
        catalog = await asyncio.to_thread(_open, index_dir, rebuild=rebuild)
        try:
            head = catalog.head()
            if rebuild:
                head, leaving = None, {entry.document.id for entry in catalog.entries().values()}
                plan = await asyncio.to_thread(_plan, {}, paths, config, folders)
                plan.gone |= leaving
            else:
                plan = await asyncio.to_thread(_plan, catalog.entries(), paths, config, folders)
            writer = _Writer(index_dir, catalog, head, plan, config, models)
            await writer.run(now(), progress, flat_rows)
        finally:
            catalog.close()
            # the table is written by a library, by the umask
            await asyncio.to_thread(tighten, index_dir)
    read = {entry.document.id for entry, _ in writer.read}
    return IngestReport(
        added=tuple(sorted(read - plan.old.keys())),
        updated=tuple(sorted(read & plan.old.keys())),
        unchanged=len(plan.unchanged),
        removed=tuple(sorted(plan.old.keys() & plan.gone - read)),
        chunks=writer.head.chunks if writer.head else 0,
        embedded=writer.embedded,
        seconds=time.monotonic() - started,
        problems=tuple(plan.problems),
    )


def _plan(
    entries: dict[str, DocumentEntry], paths: Sequence[Path], config: IndexConfig, folders: Sequence[Path]
) -> _Plan:
    """Compare the files with the catalog's `entries` (by file)."""
    own = configured(config, folders)
    if paths:
        roots = [path.resolve() for path in paths]
    else:
        # documents added by the command line stay until their file is removed
        kept = (path_of(name, folders) for name, entry in entries.items() if entry.named)
        roots = [*own, *(path for path in kept if path.is_file())]
    files, problems = find(roots, config, folders)
    plan = _Plan({entry.document.id: entry for entry in entries.values()}, [], {}, set(), problems)
    found = {file.name for file in files}
    for name, entry in entries.items():
        path = path_of(name, folders)
        looked_for = not paths or any(path.is_relative_to(root) for root in roots)
        if name not in found and (looked_for or not path.is_file()):
            plan.gone.add(entry.document.id)
        elif name not in found:
            plan.unchanged[entry.document.id] = name
    for file in files:
        entry = entries.get(file.name)
        if entry and entry.file_hash == file.hash:
            plan.unchanged[entry.document.id] = file.name
            continue
        if entry:
            plan.gone.add(entry.document.id)
        plan.files.append((file, not any(file.path.is_relative_to(root) for root in own)))
    return plan


class _Writer:
    """Carries out a plan. `read`, `embedded` and `head` are its results."""

    def __init__(
        self,
        index_dir: Path,
        catalog: Catalog,
        head: IndexHead | None,
        plan: _Plan,
        config: IndexConfig,
        models: Embedder,
    ) -> None:
        self._index_dir = index_dir
        self._catalog = catalog
        self._plan = plan
        self._config = config
        self._models = models
        self._asked = models.describe(config.embedder)
        self._built_with = head.embedder if head else ""
        self._fingerprint = head.fingerprint if head else None
        self._table: Any = None
        self._old_table: Any = None
        self._table_name = head.table if head else f"passages_{uuid.uuid4().hex[:8]}"
        self._dimension = 0
        self._rows: list[dict[str, Any]] = []
        self._taken = dict(plan.unchanged)
        self.head = head
        self.read: list[tuple[DocumentEntry, list[str]]] = []
        self.embedded = 0

    async def run(self, now: datetime, progress: Progress, flat_rows: int) -> None:
        plan = self._plan
        new_name = self.head is not None and self.head.asked != self._asked
        if new_name:
            # refused unless its vectors are the same
            await self._vectors([])
        new_language = self.head is not None and self.head.language != self._config.language
        if not (plan.files or plan.gone or new_language or new_name):
            return
        if self.head:
            with tables.guarded(self._index_dir.name):
                self._old_table = await tables.open_at(self._index_dir, self.head.table, self.head.table_version)
                self._table = await tables.writable(self._index_dir, self.head.table, self.head.table_version)
                await tables.delete(self._table, sorted(plan.gone))
        for number, (file, named) in enumerate(plan.files):
            progress(number, len(plan.files), file.name)
            await self._take(file, now, named=named)
        progress(len(plan.files), len(plan.files), "")
        if not (self.read or plan.gone or new_language or new_name):
            return
        if self._table is None and not self._rows:
            # nothing is left of a rebuilt index
            [vector] = await self._vectors(["nothing"])
            self._dimension = len(vector)
        with tables.guarded(self._index_dir.name):
            table = await self._flush()
            chunks = await tables.index(table, language=self._config.language, flat_rows=flat_rows, again=new_language)
            version = int(await table.version())
        head = IndexHead(
            table=self._table_name,
            table_version=version,
            digest="",
            asked=self._asked,
            embedder=self._built_with,
            fingerprint=self._fingerprint or "",
            language=self._config.language,
            chunks=chunks,
            ingested_at=now.isoformat(),
        )
        self.head = await asyncio.to_thread(
            self._catalog.advance,
            head,
            self.read,
            plan.gone,
            now,
            keep_removed=timedelta(days=self._config.keep_removed_days),
        )
        with tables.guarded(self._index_dir.name):
            await tables.tidy(self._index_dir, self._table_name)

    async def _take(self, file: KnowledgeFile, now: datetime, *, named: bool) -> None:
        """Read, split and embed one file; faults become problems."""
        plan = self._plan
        try:
            entry, passages, notes = await asyncio.to_thread(_read, file, self._config, named=named)
        except ValueError as error:
            severity = "warning" if isinstance(error, NothingToRead) else "error"
            plan.problems.append(replace(unreadable(file.name, str(error)), severity=severity))
            return
        name = entry.document.id
        if name in self._taken:
            plan.problems.append(unreadable(file.name, f"its id {name!r} is already used by {self._taken[name]}"))
            return
        self._taken[name] = file.name
        plan.problems.extend(_notices(entry, notes, day_number(now.date())))
        inputs = [searched(entry.document.title, passage.text) for passage in passages]
        keys = [content_hash(text) for text in inputs]
        known: dict[str, Sequence[float]] = {}
        if self._old_table is not None and name in plan.old:
            with tables.guarded(self._index_dir.name):
                known = await tables.vectors_of(self._old_table, name)
        missing = {key: text for key, text in zip(keys, inputs, strict=True) if key not in known}
        if missing:
            known |= dict(zip(missing, await self._vectors(list(missing.values())), strict=True))
            self.embedded += len(missing)
            self._dimension = len(known[keys[0]])
        await asyncio.to_thread(self._catalog.keep_texts, [(p.hash, p.text) for p in passages], now)
        self._rows.extend(
            _row(entry, ordinal, passage, key, known[key])
            for ordinal, (passage, key) in enumerate(zip(passages, keys, strict=True))
        )
        self.read.append((entry, [passage.hash for passage in passages]))
        if len(self._rows) >= _ROWS:
            with tables.guarded(self._index_dir.name):
                await self._flush()

    async def _vectors(self, texts: list[str]) -> Sequence[Sequence[float]]:
        """Vectors of the index's own embedder, or of the first that answers when the index is new."""
        request = EmbeddingRequest(self._config.embedder, texts, like=self._fingerprint, remember=True, passages=True)
        made = await embedded(self._models, request, index=self._index_dir.name, built_with=self._built_with)
        self._built_with, self._fingerprint = made.model, made.fingerprint
        return made.vectors

    async def _flush(self) -> Any:
        """Write the pending rows; returns the table."""
        if self._table is None:
            self._table = await tables.create(self._index_dir, self._table_name, self._dimension)
        await tables.add(self._table, self._rows)
        self._rows = []
        return self._table


def _read(file: KnowledgeFile, config: IndexConfig, *, named: bool) -> tuple[DocumentEntry, list[Chunk], Sequence[str]]:
    loaded = load(file.path, file.sidecar)
    text_hash = content_hash(loaded.text)
    found = document(loaded.raw, config, file=file.name, title=loaded.title or file.path.stem, text_hash=text_hash)
    passages = cut(loaded, config.chunk)
    if not passages:
        raise NothingToRead("contains nothing but headings, links or pictures")
    entry = DocumentEntry(found, file.name, file.hash, text_hash, named, _language(loaded.text))
    return entry, passages, loaded.notes


def _language(text: str) -> str:
    return language_of(text, least=CERTAIN) if sum(map(str.isalpha, text)) >= _LETTERS else ""


def _notices(entry: DocumentEntry, notes: Sequence[str], today: int) -> list[Problem]:
    """What to know about a document, and why it cannot be retrieved, if so."""
    found = [
        Problem("SG403", f"{entry.file}: {note}", hint="Read its passages before you rely on it", severity="warning")
        for note in notes
    ]
    reasons = [] if entry.document.approved else ["it is not approved"]
    if not entry.document.readers:
        reasons.append("it names no readers")
    if entry.document.valid_until < today:
        reasons.append("its last day is over")
    if reasons:
        found.append(
            Problem(
                "SG403",
                f"{entry.file}: it cannot be retrieved, because {' and '.join(reasons)}",
                hint="Set 'approved: true', 'readers:' and 'valid_until:' in its metadata, or the index's defaults",
                severity="warning",
            )
        )
    return found


def _row(entry: DocumentEntry, ordinal: int, passage: Chunk, key: str, vector: Sequence[float]) -> dict[str, Any]:
    document = entry.document
    return {
        "document": document.id,
        "ordinal": ordinal,
        "start": passage.start,
        "end": passage.end,
        "hash": passage.hash,
        "input": key,
        "text": searched(document.title, passage.text),
        "approved": document.approved,
        "valid_until": document.valid_until,
        "clearance": clearance_rank(document.clearance),
        "readers": list(document.readers),
        "vector": vector,
    }


def _open(index_dir: Path, *, rebuild: bool) -> Catalog:
    """The catalog; `rebuild` moves a corrupt one aside."""
    try:
        catalog = Catalog(index_dir, make=True)
        if rebuild:
            catalog.head()
            catalog.entries()
    except RetrievalError:
        if not rebuild:
            raise
        for part in index_dir.glob("catalog.sqlite*"):
            part.replace(part.with_name(f"corrupt-{part.name}"))
        return Catalog(index_dir, make=True)
    return catalog


@asynccontextmanager
async def alone(index_dir: Path, index: str) -> AsyncGenerator[None]:
    """Hold the writing lock of an index in that folder. Raises `RunError` SG608 when another ingest
    holds it for long, SG607."""

    def acquire() -> ExitStack:
        private_folder(index_dir)
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                with ExitStack() as stack:
                    connection = connect(index_dir / "lock.sqlite")
                    stack.callback(connection.close)
                    connection.execute("PRAGMA busy_timeout = 50")
                    stack.enter_context(transaction(connection))
                    return stack.pop_all()
            except LockedError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)

    try:
        held = await asyncio.to_thread(acquire)
    except LockedError as error:
        raise LockedError(f"another ingest of index {index!r} is running", hint="Try again when it is done") from error
    except OSError as error:
        raise UnwritableError(
            f"cannot write index {index!r}: {error.strerror}", hint="Free space or check permissions"
        ) from error
    with held:
        yield
