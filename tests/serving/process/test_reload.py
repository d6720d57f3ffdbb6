"""Edits of served workflows: taken when they are whole and sound, and never otherwise. Looks are made one by one."""

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sluicegate import Service
from sluicegate.errors import NotFoundError, RunError
from sluicegate.evals.promotion.champions import promote
from sluicegate.graphs.config.load import Workflow, load
from sluicegate.graphs.runtime.intake import principal
from sluicegate.serving.limits import Busy
from sluicegate.serving.process import reload as reloading
from sluicegate.serving.process.discovery import load_all
from sluicegate.serving.process.reload import Reload
from sluicegate.serving.workflows import Workflows
from tests.support import stand
from tests.support.stand import TEXT, written
from tests.support.waiting import soon

ANN, LEAD = principal("ann", ["employee"]), principal("lea", ["helpdesk-lead"])


@asynccontextmanager
async def served(*paths: Path) -> AsyncIterator[tuple[Workflows, Reload]]:
    """These files and folders, on fakes, after a first look."""

    def make(workflow: Workflow) -> Service:
        return stand.service(workflow)  # type: ignore[arg-type]

    workflows = Workflows([make(each) for each in load_all(paths)])
    reload = Reload(workflows, paths, make)
    async with workflows:
        await reload.once()
        yield workflows, reload


async def looked(reload: Reload, times: int = 2) -> None:
    for _ in range(times):
        await reload.once()


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the reload said; a thread of another test may still log that its server is gone."""
    return [record.getMessage() for record in caplog.records if record.name == reloading.__name__]


def at(service: Service) -> str:
    return service.versions.serving.workflow.version


def bumped(file: Path, version: int) -> None:
    file.write_text(file.read_text().replace("\nversion: 1\n", f"\nversion: {version}\n"))


@pytest.mark.slow
async def test_an_edit_is_served_when_it_has_settled(tmp_path: Path) -> None:
    file = written(tmp_path / "flow" / "workflow.yaml", "flow")
    async with served(file) as (workflows, reload):
        [service] = workflows
        first = service.versions.serving.workflow.digest
        held = await service.accept("hold on", ANN)
        waits = await service.ask("access please", ANN)
        bumped(file, 2)
        await looked(reload, 1)
        assert at(service) == "1", "it may still be written"
        await looked(reload, 1)
        assert at(service) == "2"
        assert (await service.ask("How?", ANN)).summary.version == "2"
        # what was running ends as it began; what waits is treated as after an edit and a restart
        stand.let_go()
        assert (await held.outcome()).summary.digest == first
        with pytest.raises(RunError, match="SG604"):
            await service.decide(waits.run, "approve", LEAD)
        done = await service.decide(waits.run, "approve", LEAD, changed="kept")
        assert (done.status, done.summary.digest) == ("answered", first)


@pytest.mark.parametrize("what", ["prompt", "artifact"])
async def test_whatever_the_digest_covers_is_looked_at(tmp_path: Path, what: str) -> None:
    file = written(tmp_path / "flow" / "workflow.yaml", "flow")
    if what == "artifact":
        file.write_text(file.read_text().replace("artifact: router", "artifact: fitted"))
        shutil.copytree(file.parent / "router", file.parent / "fitted")
    async with served(file) as (workflows, reload):
        [service] = workflows
        before = service.versions.serving.workflow.digest
        if what == "prompt":
            prompt = next((file.parent / "prompts").glob("*.md"))
            prompt.write_text(prompt.read_text() + "\nBe brief.\n")
        else:
            card = file.parent / "fitted" / "card.json"
            card.write_text(card.read_text() + "\n")
        await looked(reload)
        assert service.versions.serving.workflow.digest != before


async def test_what_does_not_change_a_decision_opens_nothing(tmp_path: Path) -> None:
    file = written(tmp_path / "flow" / "workflow.yaml", "flow")
    async with served(file) as (workflows, reload):
        [service] = workflows
        opened = service.versions.serving
        file.write_text(file.read_text() + "# a remark\n")
        await looked(reload, 3)
        assert service.versions.serving is opened
        assert service.versions.given.source.contents[file].endswith(b"# a remark\n")


@pytest.mark.slow
async def test_a_broken_edit_keeps_the_old_and_is_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = written(tmp_path / "flow" / "workflow.yaml", "flow")
    async with served(file) as (workflows, reload):
        [service] = workflows
        good = file.read_text()
        with caplog.at_level(logging.WARNING, reloading.__name__):
            for broken in (good.replace("start:", "begin:"), good.replace("start:", "begin:") + "#\n", "", None):
                if broken is None:
                    file.unlink()
                else:
                    file.write_text(broken)
                await looked(reload, 4)
                assert at(service) == "1"
                assert service.versions.fault
        assert len(warned(caplog)) == 3, "the same fault is told once"
        assert (await service.ask("How?", ANN)).status == "answered"
        file.write_text(good)
        await looked(reload)
        assert service.versions.fault is None
        file.write_text(good)
        bumped(file, 2)
        await looked(reload)
        assert (at(service), service.versions.fault) == ("2", None)


@pytest.mark.slow
async def test_what_goes_on_changing_waits(tmp_path: Path) -> None:
    file = written(tmp_path / "flow" / "workflow.yaml", "flow")
    async with served(file) as (workflows, reload):
        [service] = workflows
        # an editor that empties the file, writes a half, and then the whole
        whole = file.read_text().replace("\nversion: 1\n", "\nversion: 2\n")
        for part in ("", whole[:200], whole):
            file.write_text(part)
            await looked(reload, 1)
            assert (at(service), service.versions.fault) == ("1", None)
        await looked(reload, 1)
        assert at(service) == "2"


@pytest.mark.slow
async def test_what_changes_while_it_is_loaded_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written(tmp_path / "flow" / "workflow.yaml", "flow")
    async with served(file) as (workflows, reload):
        [service] = workflows

        def slow(path: Path) -> Workflow:
            found = load(path)
            if found.version == "2":
                file.write_text(file.read_text().replace("\nversion: 2\n", "\nversion: 33\n"))
            return found

        monkeypatch.setattr(reloading, "load", slow)
        bumped(file, 2)
        await looked(reload)
        assert at(service) == "1"
        await looked(reload)
        assert at(service) == "33"


async def test_what_is_missing_elsewhere_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reloading, "_AGAIN_S", -1.0)
    file = written(tmp_path / "flow" / "workflow.yaml", "flow")
    async with served(file) as (workflows, reload):
        [service] = workflows
        file.write_text("extends: ../base.yaml\nversion: 2\n")
        await looked(reload, 3)
        assert service.versions.fault
        shutil.copytree(file.parent, tmp_path, dirs_exist_ok=True)
        (tmp_path / "base.yaml").write_text(TEXT.replace("workflow: shadow-evaluation", "workflow: flow"))
        await looked(reload)
        assert (at(service), service.versions.fault) == ("2", None)


@pytest.mark.slow
async def test_a_promoted_version_stays(tmp_path: Path) -> None:
    file = written(tmp_path / "flow" / "workflow.yaml", "flow")
    other = tmp_path / "flow" / "two.yaml"
    other.write_text("extends: workflow.yaml\nversion: 2\n")
    async with served(file) as (workflows, reload):
        [service] = workflows
        before = service.versions.serving.workflow
        promote("flow", path=other, digest=load(other).digest, before=(file, before.digest), by="ops", facts={})
        await soon(lambda: at(service) == "2")
        file.write_text(file.read_text().replace("\nversion: 1\n", "\nversion: 3\n"))
        await looked(reload)
        assert (at(service), service.versions.promoted) == ("2", 2)


@pytest.mark.slow
async def test_a_workflow_that_is_added_to_a_folder_is_served(tmp_path: Path) -> None:
    written(tmp_path / "alpha" / "workflow.yaml", "alpha")
    async with served(tmp_path) as (workflows, reload):
        traces = list[str]()
        workflows.watch(lambda trace: traces.append(trace.info.workflow))
        # half copied: the config is there, its prompts come later
        folder = tmp_path / "beta"
        folder.mkdir()
        (folder / "desk.yaml").write_text(TEXT.replace("workflow: shadow-evaluation", "workflow: beta"))
        await looked(reload, 1)
        written(folder / "desk.yaml", "beta")
        await looked(reload, 1)
        assert [each.name for each in workflows] == ["alpha"]
        assert workflows.fault is None
        await looked(reload, 1)
        assert [each.name for each in workflows] == ["alpha", "beta"]
        beta = workflows.of("beta")
        assert beta.limits is workflows.limits
        run = (await beta.ask("How?", ANN)).run
        assert (await workflows.of_run(run)).name == "beta"
        await soon(lambda: "beta" in traces)
        # and it is followed from then on
        bumped(folder / "desk.yaml", 2)
        await looked(reload)
        assert at(beta) == "2"


@pytest.mark.slow
async def test_a_workflow_that_is_taken_out_goes_when_its_runs_are_done(tmp_path: Path) -> None:
    for name in ("alpha", "beta"):
        written(tmp_path / name / "workflow.yaml", name)
    async with served(tmp_path) as (workflows, reload):
        beta = workflows.of("beta")
        held = await beta.accept("hold on", ANN)
        shutil.move(tmp_path / "beta", tmp_path.parent / f"{tmp_path.name}-away")
        await looked(reload, 1)
        assert len(workflows) == 2, "it may be being replaced"
        await looked(reload, 1)
        assert [each.name for each in workflows] == ["alpha"]
        with pytest.raises(Busy, match="closing"):
            await beta.accept("one more", ANN)
        assert (await workflows.of_run(held.run)) is beta
        stand.let_go()
        assert (await held.outcome()).status == "answered"
        await soon(lambda: not workflows._leaving)  # pyright: ignore[reportPrivateUsage]
        with pytest.raises(NotFoundError):
            await (await workflows.of_run(held.run)).find(held.run, ANN)
        # the last one stays, and says so
        shutil.rmtree(tmp_path / "alpha")
        await looked(reload, 3)
        [alpha] = workflows
        assert alpha.versions.fault
        assert (await alpha.ask("How?", ANN)).status == "answered"


@pytest.mark.slow
async def test_a_folder_that_is_away_takes_nothing_with_it(tmp_path: Path) -> None:
    folder = tmp_path / "served"
    for name in ("alpha", "beta"):
        written(folder / name / "workflow.yaml", name)
    async with served(folder) as (workflows, reload):
        folder.rename(tmp_path / "away")
        await looked(reload, 3)
        assert len(workflows) == 2
        (tmp_path / "away").rename(folder)
        await looked(reload, 3)
        assert [each.versions.fault for each in workflows] == [None, None]


@pytest.mark.slow
async def test_a_new_one_that_is_broken_or_has_a_name_that_is_taken_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    written(tmp_path / "alpha" / "workflow.yaml", "alpha")
    async with served(tmp_path) as (workflows, reload):
        with caplog.at_level(logging.WARNING, reloading.__name__):
            second = written(tmp_path / "beta" / "workflow.yaml", "alpha")
            await looked(reload, 4)
        assert [each.name for each in workflows] == ["alpha"]
        assert workflows.fault
        assert workflows.fault.code == "SG144"
        assert len(warned(caplog)) == 1
        second.write_text(second.read_text().replace("workflow: alpha", "workflow: beta"))
        await looked(reload)
        assert [each.name for each in workflows] == ["alpha", "beta"]
        assert workflows.fault is None
        # one that takes another name is another one
        second.write_text(second.read_text().replace("workflow: beta", "workflow: gamma"))
        await looked(reload)
        assert [each.name for each in workflows] == ["alpha", "gamma"]


@pytest.mark.slow
async def test_looks_go_on_whatever_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reloading, "_LOOK_S", 0.01)
    file = written(tmp_path / "flow" / "workflow.yaml", "flow")
    async with served(file) as (workflows, reload):
        fails = 1
        real: Callable[[], object] = reload.once

        async def once() -> None:
            nonlocal fails
            if fails:
                fails -= 1
                raise OSError("the disk is away")
            await real()  # type: ignore[misc]

        monkeypatch.setattr(reload, "once", once)
        following = asyncio.create_task(reload.follow())
        bumped(file, 2)
        [service] = workflows
        await soon(lambda: at(service) == "2")
        reload.stop()
        await following
