"""An ingest into a store: the index as it serves is brought up to date on this machine, and published as a version.

What is at work here is `ingest`, in a folder with the files of the version that serves. Nobody reads that folder, and
one that dies leaves at most files on the store which no version names; the next ingest removes both.
"""

import asyncio
import secrets
import shutil
import sqlite3
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sluicegate.errors import RetrievalError
from sluicegate.home import make_private
from sluicegate.retrieval import table as tables
from sluicegate.retrieval.catalog import Catalog, IndexHead
from sluicegate.retrieval.config import IndexConfig
from sluicegate.retrieval.files import indexes_of
from sluicegate.retrieval.ingest import IngestReport, alone, ingest
from sluicegate.retrieval.stores.lease import Lease, held
from sluicegate.retrieval.stores.objects import Objects, open_objects
from sluicegate.retrieval.stores.replica import CATALOG_FILE, Replica, replica_folder
from sluicegate.retrieval.stores.versions import KEEP_S, Pointer, StoredFile, StoredVersions, VersionManifest
from sluicegate.services import Embedder

__all__ = ["ingest_index", "looked_at", "readable_folder", "swept"]


def readable_folder(workflow: str, index: str, config: IndexConfig) -> Path:
    """The folder with the version of an index that serves now, fetched if need be; for one look, not to follow it.

    Raises as `Replica.current`.
    """
    return looked_at(workflow, index, config)[0]


def looked_at(workflow: str, index: str, config: IndexConfig) -> tuple[Path, str]:
    """The same, and why the store was not asked, or its version not fetched; empty where nothing is wrong."""
    if config.store is None:
        return indexes_of(workflow) / index, ""
    with closing(Replica(config.store, index=index, outage_s=config.store_outage_hours * 3_600)) as replica:
        return replica.look(), replica.status().fault


async def ingest_index(
    workflow: str,
    index: str,
    paths: Sequence[Path],
    config: IndexConfig,
    models: Embedder,
    *,
    rebuild: bool = False,
    **options: Any,
) -> IngestReport:
    """`ingest`, of an index of the home or of a store.

    Raises as it, and `RetrievalError` SG700 and SG701, SG702 (taken over, nothing is published), SG703 (the store holds
    another workflow's index, unless `rebuild`).
    """
    if config.store is None:
        folder = indexes_of(workflow) / index
        return await ingest(folder, paths, config, models, rebuild=rebuild, **options)
    objects = await asyncio.to_thread(open_objects, config.store)
    async with _at_work(objects, index) as (lease, folder):
        versions = StoredVersions(objects)
        replica = Replica(config.store, index=index)
        pointer = await asyncio.to_thread(versions.fence, lease.token)
        base = await asyncio.to_thread(_begun, versions, replica, pointer, folder, rebuild)
        if base and (base.workflow, base.index) != (workflow, index) and not rebuild:
            raise RetrievalError(
                "SG703",
                f"the store {config.store} holds index {base.index!r} of {base.workflow}",
                hint="Choose another prefix, or take it over with --rebuild",
            )
        before, found = _head(folder), _stamps(folder)
        report = await ingest(folder, paths, config, models, rebuild=rebuild, **options)
        head = _head(folder)
        if head and head != before:
            # a version on a store is one version of the table
            with tables.guarded(index):
                version = await tables.purge(folder, head.table)
            with closing(Catalog(folder)) as catalog:
                catalog.moved(replace(head, table_version=version))
            same = [path for path, stamp in _stamps(folder).items() if found.get(path) == stamp]
            unchanged = {path: base.files[path] for path in same} if base else {}
            if lease.lost.is_set():
                raise RetrievalError("SG702", f"the lease of index {index!r} was lost", hint="Ingest again")
            files = await asyncio.to_thread(_uploaded, versions, lease.token, folder, unchanged)
            published = datetime.now(UTC).isoformat(timespec="seconds")
            manifest = VersionManifest(lease.token, workflow, index, head.digest, published, files)
            pointer = await asyncio.to_thread(versions.publish, manifest)
            await asyncio.to_thread(replica.adopt, pointer, manifest, folder)
        if not lease.lost.is_set():
            await asyncio.to_thread(versions.sweep, pointer)
    return report


def swept(index: str, config: IndexConfig, *, keep_s: float = KEEP_S) -> int:
    """Remove from an index's store what no reader uses any more, without an ingest; returns the objects removed.

    Raises `RetrievalError` SG402, SG700 or SG701, `LockedError` while an ingest is at work, `RunError` SG607.
    """
    if config.store is None:
        return 0
    objects = open_objects(config.store)
    if StoredVersions(objects).pointer() is None:
        return 0

    async def sweep() -> int:
        async with _at_work(objects, index) as (lease, _):
            versions = StoredVersions(objects)
            pointer = await asyncio.to_thread(versions.fence, lease.token)
            return await asyncio.to_thread(lambda: versions.sweep(pointer, keep_s=keep_s))

    return asyncio.run(sweep())


@asynccontextmanager
async def _at_work(objects: Objects, index: str) -> AsyncGenerator[tuple[Lease, Path]]:
    """The lease of a store, and an empty folder; first alone on this machine, then over all."""
    place = replica_folder(objects.url)
    work = place / "work"
    async with alone(work, index):
        # nobody else of this home is at work, so a lease of it is that of a process that was killed
        machine = await asyncio.to_thread(_machine, place)

        def above() -> int:
            pointer = StoredVersions(objects).pointer()
            return pointer.fence if pointer else 0

        with ExitStack() as stack:
            lease = await asyncio.to_thread(
                stack.enter_context, held(objects, machine=machine, index=index, above=above)
            )
            await asyncio.to_thread(shutil.rmtree, work / index, ignore_errors=True)
            try:
                yield lease, work / index
            finally:
                await asyncio.to_thread(shutil.rmtree, work / index, ignore_errors=True)


def _machine(folder: Path) -> str:
    """A name of this home, in which one ingest of the store is at work at a time."""
    name = folder / "machine"
    make_private(name, secrets.token_hex(16).encode())
    return name.read_text()


def _begun(
    versions: StoredVersions, replica: Replica, pointer: Pointer, folder: Path, rebuild: bool
) -> VersionManifest | None:
    """Put the files of the version that serves into a folder; its manifest, None where there is none to begin with."""
    if not pointer.version:
        return None
    try:
        manifest = versions.manifest(pointer)
        whole = manifest is not None and replica.fill(folder, manifest)
    except RetrievalError:
        if not rebuild:
            raise
        manifest, whole = None, False
    if whole:
        return manifest
    if not rebuild:
        raise RetrievalError(
            "SG402",
            f"version {pointer.version}, which serves, is not whole on its store",
            hint="Run 'sluicegate ingest --rebuild' for this workflow, or restore the store",
        )
    shutil.rmtree(folder, ignore_errors=True)
    return None


def _head(folder: Path) -> IndexHead | None:
    """None where nothing was ingested."""
    if not (folder / CATALOG_FILE).is_file():
        return None
    with closing(Catalog(folder)) as catalog:
        return catalog.head()


def _stamps(folder: Path) -> dict[str, tuple[int, int, int]]:
    """The files of the tables, with what changes when one is written. The catalog is published as a copy of its own."""
    found: dict[str, tuple[int, int, int]] = {}
    for path in sorted(folder.glob("*.lance/**/*")):
        if path.is_file():
            status = path.stat()
            found[path.relative_to(folder).as_posix()] = status.st_ino, status.st_size, status.st_mtime_ns
    return found


def _uploaded(
    versions: StoredVersions, token: int, folder: Path, unchanged: Mapping[str, StoredFile]
) -> dict[str, StoredFile]:
    """The files of a version, of which those that are not on the store yet are put there."""
    catalog = folder / f"{CATALOG_FILE}.published"
    with closing(sqlite3.connect(folder / CATALOG_FILE)) as connection:
        # one file, without the pages of what was deleted
        connection.execute("VACUUM INTO ?", (str(catalog),))
    for suffix in ("", "-wal", "-shm"):
        (folder / f"{CATALOG_FILE}{suffix}").unlink(missing_ok=True)
    catalog.replace(folder / CATALOG_FILE)
    paths = [*_stamps(folder), CATALOG_FILE]
    return {
        path: unchanged.get(path) or versions.add(folder / path, token, number) for number, path in enumerate(paths)
    }
