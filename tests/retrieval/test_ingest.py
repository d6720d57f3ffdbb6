"""Ingest: only what changed, all or nothing, one at a time."""

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sluicegate.errors import RetrievalError, RunError
from sluicegate.retrieval import table as tables
from sluicegate.services import EmbeddingRequest, Embeddings
from tests.support import ROOT
from tests.support.knowledge import TODAY, Desk, HashEmbedder, person


@pytest.mark.slow
async def test_unchanged_files_cost_nothing(desk: Desk) -> None:
    desk.article("vpn.md", "# VPN\n\nReset the vpn token.")
    desk.article("deep/mail.md", "# Mail\n\nOpen the mailbox.")
    first = await desk.ingest()
    assert first.added == ("knowledge/deep/mail.md", "knowledge/vpn.md")
    assert (first.updated, first.unchanged, first.removed, first.chunks, first.embedded) == ((), 0, (), 2, 2)
    before = {path: path.stat().st_mtime_ns for path in (desk.indexes / "kb").rglob("*") if "lock" not in path.name}
    desk.models.texts.clear()
    again = await desk.ingest()
    assert (again.added, again.updated, again.unchanged, again.removed, again.chunks) == ((), (), 2, (), 2)
    assert desk.models.texts == []
    after = {path: path.stat().st_mtime_ns for path in before if path.exists()}
    tables_before = {path: stamp for path, stamp in before.items() if ".lance" in str(path)}
    assert tables_before
    assert tables_before.items() <= after.items()


@pytest.mark.slow
async def test_only_what_changed_is_embedded(desk: Desk) -> None:
    desk.article("vpn.md", "# VPN\n\nReset the vpn token.")
    desk.article("mail.md", "# Mail\n\nOpen the mailbox.")
    await desk.ingest()
    retriever = desk.retriever()
    before = retriever.version("kb")
    desk.models.texts.clear()
    desk.article("vpn.md", "# VPN\n\nAsk the desk for a new token.")
    report = await desk.ingest()
    assert (report.updated, report.unchanged, report.embedded) == (("knowledge/vpn.md",), 1, 1)
    assert [text for text in desk.models.texts if "mailbox" in text] == []
    # the same retriever sees it
    found = await retriever.search("kb", "token", person(), k=5)
    assert ["new token" in retriever.text(document) for document in found] == [True, False]
    assert retriever.version("kb") != before


@pytest.mark.slow
async def test_a_change_of_facts_embeds_nothing(desk: Desk) -> None:
    desk.article("vpn.md", "# VPN\n\nReset the vpn token.")
    await desk.ingest()
    desk.models.texts.clear()
    desk.article("vpn.md", "# VPN\n\nReset the vpn token.", readers="role:hr")
    report = await desk.ingest()
    assert (report.updated, report.embedded, desk.models.texts) == (("knowledge/vpn.md",), 0, [])
    assert await desk.ids("vpn") == []
    assert await desk.ids("vpn", person(roles=["hr"])) == ["knowledge/vpn.md"]


@pytest.mark.slow
async def test_a_removed_file_disappears(desk: Desk) -> None:
    gone = desk.article("vpn.md", "vpn token")
    desk.article("mail.md", "vpn mail")
    await desk.ingest()
    gone.unlink()
    report = await desk.ingest()
    assert (report.removed, report.chunks) == (("knowledge/vpn.md",), 1)
    assert await desk.ids("vpn token") == ["knowledge/mail.md"]
    (desk.folder / "knowledge" / "mail.md").unlink()
    assert (await desk.ingest()).chunks == 0
    assert await desk.ids("vpn token") == []
    # and the index can be filled again
    desk.article("new.md", "vpn anew")
    await desk.ingest()
    assert await desk.ids("vpn") == ["knowledge/new.md"]


@pytest.mark.slow
async def test_words_of_a_removed_passage_stay_for_a_while(desk: Desk) -> None:
    path = desk.article("vpn.md", "vpn token")
    desk.article("mail.md", "mail")
    await desk.ingest()
    retriever = desk.retriever()
    [document] = await retriever.search("kb", "vpn", person(), k=1)
    path.unlink()
    await desk.ingest()
    assert retriever.text(document) == "vpn token"
    desk.now = TODAY + timedelta(days=8)
    desk.article("mail.md", "mail changed")
    await desk.ingest()
    with pytest.raises(RetrievalError) as caught:
        retriever.text(document)
    assert caught.value.code == "SG402"


@pytest.mark.slow
async def test_paths_narrow_the_work(desk: Desk, tmp_path: Path) -> None:
    first = desk.article("a/one.md", "one")
    second = desk.article("b/two.md", "two")
    await desk.ingest()
    first.write_text("changed")
    second.write_text("changed too")
    report = await desk.ingest(desk.folder / "knowledge" / "a")
    assert (report.updated, report.unchanged) == (("knowledge/a/one.md",), 1)
    # a file from elsewhere stays in the index as long as it exists
    outside = tmp_path / "elsewhere.md"
    outside.write_text("---\napproved: true\nreaders: everyone\n---\nelsewhere")
    assert (await desk.ingest(outside)).added == (outside.as_posix(),)
    report = await desk.ingest()
    assert report.removed == ()
    assert report.updated == ("knowledge/b/two.md",)
    outside.unlink()
    assert (await desk.ingest()).removed == (outside.as_posix(),)


async def test_a_missing_folder_does_not_empty_the_index(desk: Desk) -> None:
    desk.article("vpn.md", "vpn")
    await desk.ingest()
    shutil.move(desk.folder / "knowledge", desk.folder / "not mounted")
    with pytest.raises(RetrievalError, match="does not exist"):
        await desk.ingest()
    assert await desk.ids("vpn") == ["knowledge/vpn.md"]


@pytest.mark.slow
async def test_unreadable_documents_are_problems_and_the_others_go_on(desk: Desk, tmp_path: Path) -> None:
    desk.article("good.md", "vpn good")
    turned = desk.article("turned.md", "vpn turned bad")
    await desk.ingest()
    turned.write_bytes(b"caf\xe9 \x81")
    desk.write("broken.pdf", b"not a pdf")
    desk.write("empty.md", "")
    desk.article("twin.md", "twin", id="knowledge/good.md")
    secret = tmp_path / "secret.md"
    secret.write_text("secret")
    (desk.folder / "knowledge" / "link.md").symlink_to(secret)
    desk.write("notes.xyz", "passed over")
    desk.write(".hidden.md", "passed over")
    desk.article("new.md", "vpn new")
    report = await desk.ingest()
    assert report.added == ("knowledge/new.md",)
    assert report.removed == ("knowledge/turned.md",)
    assert [problem.code for problem in report.problems] == ["SG403"] * 5
    # nothing of it is lost
    assert [problem.message for problem in report.problems if problem.severity == "warning"] == [
        "knowledge/empty.md: contains no text"
    ]
    named = sorted(problem.message.split(":")[0] for problem in report.problems)
    assert named == [f"knowledge/{name}" for name in ("broken.pdf", "empty.md", "link.md", "turned.md", "twin.md")]
    assert sorted(await desk.ids("vpn")) == ["knowledge/good.md", "knowledge/new.md"]


async def test_documents_that_nobody_finds_are_named(desk: Desk) -> None:
    desk.write("draft.md", "just text")
    [problem] = (await desk.ingest()).problems
    assert problem.severity == "warning"
    assert "draft.md: it cannot be retrieved, because it is not approved and it names no readers" in str(problem)
    assert await desk.ids("text") == []


async def test_a_file_that_is_too_large(desk: Desk) -> None:
    desk.config = desk.config.model_copy(update={"max_file_mb": 0.001})
    desk.article("large.md", "x " * 1_000)
    assert "max_file_mb" in str((await desk.ingest()).problems[0])


async def test_another_embedder_is_refused_until_a_rebuild(desk: Desk) -> None:
    desk.article("vpn.md", "vpn")
    await desk.ingest()
    other = HashEmbedder("test:other")
    retriever = desk.retriever()
    desk.models = other
    for changed in (False, True):
        if changed:
            desk.article("vpn.md", "vpn changed")
        with pytest.raises(RetrievalError) as caught:
            await desk.ingest()
        assert caught.value.code == "SG404"
        assert "--rebuild" in str(caught.value.hint)
        assert "test:hash" in caught.value.message
    with pytest.raises(RetrievalError) as caught:
        await desk.ids("vpn")
    assert caught.value.code == "SG404"
    report = await desk.ingest(rebuild=True)
    assert report.added == ("knowledge/vpn.md",)
    assert await desk.ids("vpn") == ["knowledge/vpn.md"]
    # a retriever that had the old index open goes on with the new one, and so with its embedder
    with pytest.raises(RetrievalError):
        await retriever.search("kb", "vpn", person(), k=1)


@pytest.mark.slow
async def test_settings_that_shape_passages_cut_anew(desk: Desk) -> None:
    desk.article("vpn.md", "A word. " * 60)
    one = await desk.ingest()
    desk.config = desk.config.model_copy(
        update={"chunk": desk.config.chunk.model_copy(update={"size": 100, "overlap": 0})}
    )
    many = await desk.ingest()
    assert (one.chunks, many.updated) == (1, ("knowledge/vpn.md",))
    assert many.chunks >= 5
    desk.config = desk.config.model_copy(update={"language": "German"})
    assert (await desk.ingest()).unchanged == 1
    assert await desk.ids("word") == ["knowledge/vpn.md"]


@pytest.mark.slow
async def test_a_corrupt_index_is_said_and_rebuilt(desk: Desk) -> None:
    desk.article("vpn.md", "vpn")
    await desk.ingest()
    for path in (desk.indexes / "kb").rglob("*.lance"):
        if path.is_file():
            path.write_bytes(b"garbage")
    with pytest.raises(RetrievalError) as caught:
        await desk.ids("vpn")
    assert caught.value.code == "SG402"
    assert "--rebuild" in str(caught.value.hint)
    await desk.ingest(rebuild=True)
    assert await desk.ids("vpn") == ["knowledge/vpn.md"]

    (desk.indexes / "kb" / "catalog.sqlite").write_bytes(b"garbage, long enough to be read as a header" * 50)
    for leftover in (desk.indexes / "kb").glob("catalog.sqlite-*"):
        leftover.unlink()
    with pytest.raises(RetrievalError) as caught:
        await desk.ids("vpn")
    assert caught.value.code == "SG402"
    with pytest.raises(RetrievalError) as caught:
        await desk.ingest()
    assert caught.value.code == "SG402"
    await desk.ingest(rebuild=True)
    assert await desk.ids("vpn") == ["knowledge/vpn.md"]


@pytest.mark.slow
async def test_a_full_disk_leaves_the_index_whole(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.article("vpn.md", "vpn")
    await desk.ingest()
    desk.article("new.md", "vpn new")

    async def full(table: Any, rows: Any) -> None:
        raise OSError("LanceError(IO): No space left on device (os error 28)")

    with monkeypatch.context() as patch:
        patch.setattr(tables, "add", full)
        with pytest.raises(RunError) as caught:
            await desk.ingest()
    assert caught.value.code == "SG607"
    assert await desk.ids("vpn") == ["knowledge/vpn.md"]
    await desk.ingest()
    assert sorted(await desk.ids("vpn")) == ["knowledge/new.md", "knowledge/vpn.md"]


_KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from sluicegate.retrieval import catalog, ingest, table
from sluicegate.retrieval.config import IndexConfig
from tests.support.knowledge import HashEmbedder, TODAY
index, folder, where = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]

def die(*_args, **_options):
    os.kill(os.getpid(), signal.SIGKILL)

if where == "full disk":
    import resource
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
elif where == "embed":
    class Dying(HashEmbedder):
        async def embed(self, request):
            if len(self.texts) >= 3:
                die()
            return await super().embed(request)
    HashEmbedder = Dying
elif where == "tidy":
    table.tidy = die
elif where != "nowhere":
    owner, name = {"add": (table, "add"), "index": (table, "index"), "advance": (catalog.Catalog, "advance"),
                   "put": (catalog.Catalog, "_put")}[where]
    real = getattr(owner, name)
    if name == "add":
        async def then_die(*args):
            await real(*args)
            die()
        setattr(owner, name, then_die)
    elif name == "put":
        def then_die(*args):
            real(*args)
            die()
        setattr(owner, name, then_die)
    else:
        setattr(owner, name, die)
try:
    asyncio.run(ingest.ingest(index, [], IndexConfig(path=("knowledge",), minimum_score=0), HashEmbedder(),
                              folders=[folder], now=lambda: TODAY))
except Exception as error:
    print(getattr(error, "code", ""), error)
"""


def _in_another_process(desk: Desk, where: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _KILLED, str(desk.indexes / "kb"), str(desk.folder), where],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("where", ["embed", "index", "put", "tidy"])
async def test_kill_9_leaves_the_old_index_whole(desk: Desk, where: str) -> None:
    for number in range(5):
        desk.article(f"{number}.md", f"vpn old {number}")
    gone = desk.article("gone.md", "vpn gone")
    await desk.ingest()
    retriever = desk.retriever()
    before = (sorted(await desk.ids("vpn")), retriever.version("kb"))
    for number in range(5):
        desk.article(f"{number}.md", f"vpn changed {number}")
    gone.unlink()
    done = _in_another_process(desk, where)
    assert done.returncode == -signal.SIGKILL, done.stderr
    found = await retriever.search("kb", "vpn changed", person(), k=20)
    after = (sorted(document["id"] for document in found), retriever.version("kb"))
    texts = {retriever.text(document).split()[1] for document in found}
    if where == "tidy":
        # the new index was complete
        assert after != before
        assert texts == {"changed"}
    else:
        assert after == before
        assert texts == {"old", "gone"}
    report = await desk.ingest()
    assert len(report.updated) == (0 if where == "tidy" else 5)
    found = await retriever.search("kb", "vpn changed", person(), k=20)
    assert sorted(document["id"] for document in found) == [f"knowledge/{number}.md" for number in range(5)]
    assert {retriever.text(document).split()[1] for document in found} == {"changed"}


@pytest.mark.slow
async def test_kill_9_of_the_very_first_ingest(desk: Desk) -> None:
    desk.article("vpn.md", "vpn")
    assert _in_another_process(desk, "advance").returncode == -signal.SIGKILL
    with pytest.raises(RetrievalError) as caught:
        await desk.ids("vpn")
    assert caught.value.code == "SG401"
    await desk.ingest()
    assert await desk.ids("vpn") == ["knowledge/vpn.md"]
    assert len(list((desk.indexes / "kb").glob("*.lance"))) == 1


@pytest.mark.slow
async def test_a_write_that_does_not_fit_is_a_full_disk(desk: Desk) -> None:
    for number in range(1_200):
        desk.article(f"{number}.md", f"vpn {number}")
    done = _in_another_process(desk, "full disk")
    assert done.returncode == 0
    assert done.stdout.startswith("SG607 "), done.stdout + done.stderr


@pytest.mark.slow
async def test_two_ingests_at_once(desk: Desk) -> None:
    for number in range(20):
        desk.article(f"{number}.md", f"vpn {number}")
    reports = await asyncio.gather(desk.ingest(), desk.ingest(), desk.ingest())
    assert sorted(len(report.added) for report in reports) == [0, 0, 20]
    assert len(await desk.ids("vpn", k=50)) == 20


@pytest.mark.slow
async def test_a_long_ingest_keeps_others_out(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.article("vpn.md", "vpn")
    started = asyncio.Event()
    go_on = asyncio.Event()

    class Slow(HashEmbedder):
        async def embed(self, request: EmbeddingRequest) -> Embeddings:
            started.set()
            await go_on.wait()
            return await super().embed(request)

    desk.models = Slow()
    monkeypatch.setattr("sluicegate.retrieval.ingest.PATIENCE_S", 0.2)
    long = asyncio.create_task(desk.ingest())
    await started.wait()
    with pytest.raises(RunError) as caught:
        await desk.ingest()
    assert caught.value.code == "SG608"
    assert "another ingest of index" in caught.value.message
    go_on.set()
    assert (await long).added == ("knowledge/vpn.md",)


@pytest.mark.slow
async def test_searches_go_on_while_another_process_ingests(desk: Desk) -> None:
    desk.article("0.md", "vpn 0")
    await desk.ingest()
    retriever = desk.retriever()
    seen: set[int] = set()
    process: subprocess.Popen[bytes] | None = None
    try:
        for number in range(1, 150):
            desk.article(f"{number}.md", f"vpn {number}")
        process = subprocess.Popen(
            [sys.executable, "-c", _KILLED, str(desk.indexes / "kb"), str(desk.folder), "nowhere"],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while process.poll() is None or len(seen) == 1:
            seen.add(len(await retriever.search("kb", "vpn", person(), k=500)))
            await asyncio.sleep(0.01)
            assert process.poll() in (None, 0)
    finally:
        if process and process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
    # never half of it
    assert seen == {1, 150}


async def test_an_index_of_an_older_format_is_refused_until_it_is_rebuilt(desk: Desk) -> None:
    desk.article("vpn.md", "vpn")
    await desk.ingest()
    with closing(sqlite3.connect(desk.indexes / "kb" / "catalog.sqlite")) as database, database:
        database.execute("UPDATE head SET format = 1")
    with pytest.raises(RetrievalError, match="format 1; this version reads 2") as caught:
        await desk.ingest()
    assert (caught.value.code, "--rebuild" in caught.value.hint) == ("SG402", True)
    assert (await desk.ingest(rebuild=True)).added == ("knowledge/vpn.md",)


async def test_what_is_not_read_is_named(desk: Desk) -> None:
    desk.write("good.txt", "Good.")
    desk.write("plan.xlsx", b"PK")
    desk.write("other.md", "Other.")
    desk.write("other.meta.yaml", "approved: false")
    desk.write("guessed.txt", b"caf\xe9")
    report = await desk.ingest()
    named = {
        problem.message.partition(":")[0]: problem for problem in report.problems if "because" not in problem.message
    }
    assert named.keys() == {"knowledge/plan.xlsx", "knowledge/other.md", "knowledge/guessed.txt"}
    assert "save it as CSV" in named["knowledge/plan.xlsx"].hint
    assert "name it 'other.md.meta.yaml', not 'other.meta.yaml'" in named["knowledge/other.md"].message
    assert [named[one].severity for one in sorted(named)] == ["warning", "error", "warning"]
    assert report.added == ("knowledge/good.txt", "knowledge/guessed.txt")
