"""One machine ingests into a store, others read: whole versions, soon, and also while the store is away."""

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from sluicegate.errors import RetrievalError
from sluicegate.retrieval.lance import one_version
from sluicegate.retrieval.stores.replica import CATALOG_FILE, KEEP
from sluicegate.retrieval.stores.sharing import swept
from sluicegate.retrieval.stores.versions import StoredVersions
from tests.support.knowledge import HashEmbedder
from tests.support.machines import Site, found_by
from tests.support.s3 import BUCKET, S3Server
from tests.support.waiting import soon

OLD = {name: f"vpn old {name}" for name in ("one", "two", "three")}
NEW = {name: f"vpn new {name}" for name in ("one", "two", "three")}


class Renamed(HashEmbedder):
    def describe(self, role: str) -> str:
        del role
        return "test:renamed"


@pytest.mark.slow
async def test_what_one_machine_ingests_another_one_finds(site: Site) -> None:
    writer, reader = site.machine("writer"), site.machine("reader")
    with pytest.raises(RetrievalError, match=r"SG401.*nothing was ingested into"):
        await reader.found()
    site.write("old")
    report = await writer.ingest()
    assert report.chunks == 3
    assert await reader.found() == OLD
    assert await writer.found() == OLD
    assert reader.models.texts == ["vpn"], "a reader embeds questions, never documents"


@pytest.mark.slow
async def test_a_reader_moves_to_the_next_version_and_fetches_what_is_new(site: Site) -> None:
    writer, reader = site.machine("writer"), site.machine("reader")
    site.write("old")
    await writer.ingest()
    retriever = reader.retriever()
    try:
        before = retriever.version("kb")
        assert await found_by(retriever) == OLD
        site.write("new", ("one", "two"))
        await site.machine("another writer").ingest()
        await soon(lambda: retriever.version("kb") != before)
        assert await found_by(retriever) == {name: NEW[name] for name in ("one", "two")}
        assert retriever.stored()["kb"].fault == ""
    finally:
        retriever.close()


@pytest.mark.slow
async def test_nothing_is_published_where_nothing_changed(site: Site) -> None:
    writer = site.machine("writer")
    site.write("old")
    await writer.ingest()
    versions = StoredVersions(site.objects())
    first = versions.pointer()
    assert first
    report = await writer.ingest()
    second = versions.pointer()
    assert second
    assert report.unchanged == 3
    assert (second.version, second.manifest) == (first.version, first.manifest)


@pytest.mark.slow
async def test_what_is_on_the_store_already_is_not_sent_again(site: Site) -> None:
    writer = site.machine("writer")
    site.write("old")
    await writer.ingest()
    # the same vectors under another name: the catalog says so, the table stays
    writer.models = Renamed()
    await writer.ingest()
    versions = StoredVersions(site.objects())
    pointer = versions.pointer()
    assert pointer
    manifest = versions.manifest(pointer)
    assert manifest
    sent = {path for path, file in manifest.files.items() if file.key.startswith("files/0000000002/")}
    assert CATALOG_FILE in sent
    assert [path for path in manifest.files if "/data/" in path and path in sent] == []
    assert await site.machine("reader").found() == OLD


@pytest.mark.slow
async def test_of_many_documents_one_that_was_removed_leaves_the_store(site: Site) -> None:
    """LanceDB keeps removed rows of a fragment until they are a tenth of it."""
    writer, names = site.machine("writer"), [f"document{number}" for number in range(30)]
    site.write("kept", names)
    site.write_one("secretive", "removed")
    await writer.ingest()
    assert await _said(site, "secretive")
    (site.folder / "knowledge" / "removed.md").unlink()
    await writer.ingest()
    with writer.at():
        await asyncio.to_thread(swept, "kb", site.config, keep_s=0.0)
    assert not await _said(site, "secretive")
    assert await site.machine("reader").found() == {name: f"vpn kept {name}" for name in names}


@pytest.mark.slow
async def test_a_run_reads_one_version_and_the_next_run_the_next(site: Site) -> None:
    writer, reader = site.machine("writer"), site.machine("reader")
    site.write("old")
    await writer.ingest()
    retriever = reader.retriever()
    try:
        with one_version():
            before = retriever.version("kb")
            site.write("new")
            await writer.ingest()
            await soon(lambda: retriever.stored()["kb"].version == 2)
            assert retriever.version("kb") == before
            assert await found_by(retriever) == OLD
            assert (await asyncio.gather(found_by(retriever)))[0] == OLD, "a branch beside it"
        assert await found_by(retriever) == NEW
    finally:
        retriever.close()


@pytest.mark.slow
async def test_while_ingests_follow_each_other_a_search_finds_one_generation(site: Site) -> None:
    writer, reader = site.machine("writer"), site.machine("reader")
    site.write("generation0")
    await writer.ingest()
    retriever = reader.retriever()
    seen: list[int] = []

    async def search() -> None:
        while not seen or seen[-1] < 4:
            with one_version():
                texts = set((await found_by(retriever)).values())
            generations = {text.split()[1] for text in texts}
            assert len(generations) == 1, texts
            assert len(texts) == 3
            seen.append(int(generations.pop().removeprefix("generation")))

    async def write() -> None:
        for number in range(1, 5):
            site.write(f"generation{number}")
            await writer.ingest()

    try:
        await asyncio.gather(search(), write())
    finally:
        retriever.close()
    assert seen == sorted(seen)
    assert len([*(reader.home / "replicas").glob("*/*-*")]) <= 1 + KEEP


@pytest.mark.slow
async def test_an_ingest_that_was_taken_over_publishes_nothing(site: Site) -> None:
    writer, reader = site.machine("writer"), site.machine("reader")
    site.write("old")
    await writer.ingest()
    site.write("new")

    def overtaken(_done: int, _all: int, file: str) -> None:
        # what the machine that takes over does first
        if not file:
            StoredVersions(site.objects()).fence(7)

    with pytest.raises(RetrievalError, match=r"SG702.*has taken over"):
        await writer.ingest(progress=overtaken)
    assert await reader.found() == OLD
    await site.machine("another writer").ingest()
    assert await reader.found() == NEW


@pytest.mark.slow
async def test_a_store_of_another_workflow_is_not_written_unasked(site: Site) -> None:
    site.write("old")
    await site.machine("writer").ingest()
    with pytest.raises(RetrievalError, match=r"SG703.*holds index 'kb' of helpdesk"):
        await site.machine("writer").ingest("onboarding")
    assert await site.machine("reader").found() == OLD
    await site.machine("writer").ingest("onboarding", rebuild=True)


@pytest.mark.slow
async def test_what_was_removed_leaves_the_store(site: Site) -> None:
    writer, reader = site.machine("writer"), site.machine("reader")
    site.write("secretive")
    await writer.ingest()
    site.write("new")
    await writer.ingest()
    assert await _said(site, "secretive"), "readers that are not there yet may still fetch it"
    with writer.at():
        assert await asyncio.to_thread(swept, "kb", site.config, keep_s=0.0) > 0
    assert not await _said(site, "secretive")
    assert await reader.found() == NEW


async def _said(site: Site, word: str) -> bool:
    objects = site.objects()
    for at in objects.list("files/"):
        place = site.folder / "fetched"
        objects.download(at.key, place)
        if word.encode() in place.read_bytes():
            return True
    return False


@pytest.mark.slow
async def test_what_a_killed_ingest_left_is_removed_and_what_a_later_one_adds_is_not(site: Site) -> None:
    writer = site.machine("writer")
    site.write("old")
    await writer.ingest()
    versions = StoredVersions(site.objects())
    (site.folder / "left").write_text("left")
    # the next ingest has the token 2; one of a higher token is at work where it is slow, and does not know it yet
    left, later = (versions.add(site.folder / "left", token, 99) for token in (2, 9))
    site.write("new")
    await writer.ingest()
    keys = {at.key for at in site.objects().list("files/")}
    assert left.key not in keys
    assert later.key in keys
    assert await site.machine("reader").found() == NEW


@pytest.mark.slow
async def test_a_reader_whose_version_was_removed_moves_on(site: Site) -> None:
    writer, reader = site.machine("writer"), site.machine("reader")
    site.write("old")
    await writer.ingest()
    retriever = reader.retriever(poll_s=3_600)
    try:
        assert await found_by(retriever) == OLD
        site.write("new")
        await writer.ingest()
        with writer.at():
            await asyncio.to_thread(swept, "kb", site.config, keep_s=0.0)
        assert await found_by(retriever) == OLD, "what it has it has"
        [folder] = (reader.home / "replicas").glob("*/1-*")
        shutil.rmtree(folder)
        assert await found_by(retriever) == NEW
    finally:
        retriever.close()


@pytest.mark.slow
async def test_files_that_are_not_what_was_published_are_refused(site: Site) -> None:
    site.write("old")
    await site.machine("writer").ingest()
    objects = site.objects()
    (site.folder / "other").write_bytes(b"other")
    for at in objects.list("files/"):
        objects.upload(at.key, site.folder / "other")
    reader = site.machine("reader")
    with pytest.raises(RetrievalError, match=r"SG402.*is not what was published"):
        await reader.found()
    assert not [*(reader.home / "replicas").glob("*/1-*")]
    site.write("new")
    with pytest.raises(RetrievalError, match=r"SG402.*is not what was published"):
        await site.machine("another writer").ingest()
    await site.machine("another writer").ingest(rebuild=True)
    assert await reader.found() == NEW


@pytest.mark.slow
async def test_a_manifest_cannot_name_a_file_outside(site: Site) -> None:
    site.write("old")
    await site.machine("writer").ingest()
    objects = site.objects()
    versions = StoredVersions(objects)
    pointer = versions.pointer()
    assert pointer
    manifest = versions.manifest(pointer)
    assert manifest
    files = {f"../../{path}": file for path, file in manifest.files.items()}
    versions.publish(replace(manifest, version=2, files=files))
    with pytest.raises(RetrievalError, match=r"SG402.*versions/0000000002\.json"):
        await site.machine("reader").found()


@pytest.mark.slow
async def test_while_the_store_is_away_a_warm_reader_goes_on_and_a_cold_one_refuses(tmp_path: Path) -> None:
    server = S3Server(tmp_path / "s3")
    site = Site(tmp_path / "site", f"s3://{BUCKET}")
    writer, reader = site.machine("writer"), site.machine("reader")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        site.write("old")
        await writer.ingest()
        retriever, patience = reader.retriever(), site.config
        site.config = patience.model_copy(update={"store_outage_hours": 0.0})
        impatient, site.config = reader.retriever(), patience
        try:
            assert await found_by(retriever) == await found_by(impatient) == OLD
            server.stop()
            await soon(lambda: retriever.stored()["kb"].fault and impatient.stored()["kb"].fault)
            assert "SG700" not in retriever.stored()["kb"].fault
            assert "cannot be reached" in retriever.stored()["kb"].fault
            assert await found_by(retriever) == OLD
            assert await reader.found() == OLD, "a process of this machine that starts now"
            with pytest.raises(RetrievalError, match=r"SG700.*cannot be reached"):
                await site.machine("cold").found()
            with pytest.raises(RetrievalError, match=r"SG700.*cannot be reached"):
                await found_by(impatient)
            site.config = site.config.model_copy(update={"store_outage_hours": 0.0})
            with pytest.raises(RetrievalError, match=r"SG700.*cannot be reached"):
                await reader.found()
            server.start()
            await soon(lambda: not retriever.stored()["kb"].fault)
            site.write("new")
            await writer.ingest()
            await soon(lambda: retriever.stored()["kb"].version == 2)
            assert await found_by(retriever) == NEW
        finally:
            retriever.close()
            impatient.close()
            server.stop()
