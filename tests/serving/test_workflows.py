"""Several workflows of one process: opened and closed together, within one set of bounds."""

import asyncio
from pathlib import Path

import pytest

from sluicegate import Limits, Service
from sluicegate.errors import ConfigError, NotFoundError, UnknownWorkflowError
from sluicegate.graphs.runtime.intake import principal
from sluicegate.home import home
from sluicegate.observe.tracing.store import Store
from sluicegate.serving.limits import Busy
from sluicegate.serving.workflows import Workflows
from tests.support import stand
from tests.support.stand import written
from tests.support.waiting import soon

ANN, BEN, LEAD = principal("ann", ["employee"]), principal("ben", ["employee"]), principal("lea", ["helpdesk-lead"])


@pytest.fixture
def two(tmp_path: Path) -> list[Service]:
    return [stand.service(written(tmp_path / each / "workflow.yaml", each)) for each in ("alpha", "beta")]


@pytest.mark.slow
async def test_each_answers_and_is_found_by_its_runs(two: list[Service]) -> None:
    async with Workflows(two) as workflows:
        assert [each.name for each in workflows] == ["alpha", "beta"]
        for name in ("alpha", "beta"):
            outcome = await workflows.of(name).ask("How?", ANN)
            assert outcome.summary.workflow == name
            assert (await workflows.of_run(outcome.run)).name == name
        held = await workflows.of("beta").accept("hold on", ANN)
        assert (await workflows.of_run(held.run)).name == "beta"
        stand.let_go()
        await held.outcome()
        with pytest.raises(NotFoundError):
            await workflows.of_run("f" * 24)
        with pytest.raises(UnknownWorkflowError, match="gamma"):
            workflows.of("gamma")
        with pytest.raises(UnknownWorkflowError) as caught:
            workflows.asked_for("")
        assert "alpha, beta" in (caught.value.hint or "")


@pytest.mark.slow
async def test_a_run_of_another_machine_is_found_by_its_record(two: list[Service]) -> None:
    async with Workflows(two) as workflows:
        run = (await workflows.of("beta").ask("access please", ANN)).run
        # traces are each machine's own
        store = Store(home() / "store.sqlite")
        store._connection.execute("DELETE FROM runs")  # pyright: ignore[reportPrivateUsage]
        store.close()
        assert (await workflows.of_run(run)).name == "beta"


@pytest.mark.slow
async def test_the_bounds_are_those_of_all_together(two: list[Service], tmp_path: Path) -> None:
    two[0] = stand.service(tmp_path / "alpha" / "workflow.yaml", limits=Limits(running=1, waiting=2, per_principal=2))
    async with Workflows(two) as workflows:
        alpha, beta = workflows
        assert workflows.limits == alpha.limits == beta.limits
        first = await alpha.accept("hold 1", ANN)
        await soon(lambda: alpha.inside == 1)
        second = await beta.accept("hold 2", ANN)
        assert (alpha.inside, beta.inside, workflows.inside) == (1, 1, 2)
        with pytest.raises(Busy, match="ann has 2"):
            await alpha.accept("hold 3", ANN)
        third = await beta.accept("hold 3", BEN)
        with pytest.raises(Busy, match="3 requests"):
            await alpha.accept("hold 4", BEN)
        stand.let_go()
        await asyncio.gather(*(each.outcome() for each in (first, second, third)))
        models = [each.versions.serving.runner.services.models for each in workflows]
        assert all(each.most_at_once == 1 for each in models)  # type: ignore[attr-defined]
        assert workflows.inside == 0


@pytest.mark.slow
async def test_what_waits_is_listed_over_all_longest_waiting_first(two: list[Service]) -> None:
    async with Workflows(two) as workflows:
        runs = [
            (await workflows.of(name).ask(f"access {number}", principal(f"user-{number}", ["employee"]))).run
            for number, name in enumerate(("beta", "alpha", "beta", "alpha", "alpha"))
        ]
        pages = list[list[str]]()
        after = ""
        while after or not pages:
            page = await workflows.approvals(LEAD, limit=2, after=after)
            pages.append([each["run"] for each in page])
            after = page.next
        assert [run for page in pages for run in page] == runs
        assert [len(page) for page in pages] == [2, 2, 1]
        only = await workflows.approvals(LEAD, workflow="beta")
        assert [each["run"] for each in only] == [runs[0], runs[2]]
        await (await workflows.of_run(runs[0])).decide(runs[0], "approve", LEAD)
        assert len(await workflows.approvals(LEAD)) == 4


async def test_one_that_cannot_be_opened_leaves_none_open(tmp_path: Path) -> None:
    good = stand.service(written(tmp_path / "a" / "workflow.yaml", "a"))
    bad = stand.service(written(tmp_path / "b" / "workflow.yaml", text="workflow: b\n"))
    workflows = Workflows([good, bad])
    with pytest.raises(ConfigError):
        await workflows.open()
    assert not good.ready
    assert not workflows.ready
    with pytest.raises(Busy):
        await good.ask("How?", ANN)


@pytest.mark.slow
async def test_all_are_withdrawn_and_closed_together(two: list[Service]) -> None:
    workflows = Workflows(two)
    assert not workflows.ready
    await workflows.open()
    assert workflows.ready
    workflows.withdraw()
    assert not any(each.ready for each in (workflows, *two))
    outcome = await two[0].ask("How?", ANN)
    assert outcome.status == "answered"
    await workflows.close()
    for each in two:
        with pytest.raises(Busy, match="closing"):
            await each.ask("How?", ANN)


@pytest.mark.slow
async def test_the_ledger_is_opened_once_for_those_who_ask_for_caps(
    two: list[Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    from sluicegate.serving import service as module

    opened = 0
    real = module.open_ledger

    def counted(*given: object, **more: object) -> object:
        nonlocal opened
        opened += 1
        return real(*given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "open_ledger", counted)
    async with Workflows(two) as workflows:
        for _ in range(5):
            for each in workflows:
                await asyncio.to_thread(each.caps)
    assert opened == 2
