"""What is past a workflow's retention goes from every store; what waits, what is young and what is another's stays."""

from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sluicegate.cli import prune as prune_command
from sluicegate.errors import RunError
from sluicegate.evals.evaluation.result_store import ResultStore
from sluicegate.graphs.config.load import load
from sluicegate.graphs.config.models import RetentionConfig
from sluicegate.graphs.runtime.checkpoints import open_checkpoints
from sluicegate.graphs.session.checkpoint_reader import recorded
from sluicegate.home import home
from sluicegate.observe.tracing.reading.filters import RunFilter
from sluicegate.observe.tracing.storing.shared import open_store
from sluicegate.retention.prune import Pruned, prune
from sluicegate.serving.links.links import make_link
from sluicegate.serving.links.rows import LinkRows
from sluicegate.serving.webhooks.outbox import Announcement, Outbox
from sluicegate.storage.database import open_database, place
from sluicegate.storage.schemas import APPROVALS, CACHE, RESULTS, SHADOW, WEBHOOKS
from sluicegate.storage.sqlite import connect
from tests.support.redacting import ANN, LEA, Desk

DAY_S = 86_400

# typer imports a name that its newest click announces to remove
pytestmark = pytest.mark.filterwarnings("ignore:.*will be removed in Click:DeprecationWarning")


def _in_days(days: int) -> Callable[[], float]:
    """A clock that is so many days ahead."""
    return lambda: datetime.now(UTC).timestamp() + days * DAY_S


def _waiting() -> list[str]:
    with closing(open_checkpoints(place())) as checkpoints:
        return [*checkpoints.interrupts.threads()]


@pytest.mark.slow
async def test_finished_runs_go_and_waiting_ones_stay(desk: Desk) -> None:
    opened = desk.opened()
    config, runner = opened.workflow.config, opened.runner
    answered = (await runner.run("When does the gate open?", ANN)).run
    desk.router.label = "risky"
    decided = (await runner.run("May I open the gate?", ANN)).run
    await runner.decide(decided, "reject", LEA)
    waiting = (await runner.run("May I close the gate?", ANN)).run
    opened.tracer.close()

    keep = config.retention
    assert prune(config).runs == 0
    assert prune(config, now=_in_days(keep.runs_days - 1)).runs == 0
    other = config.model_copy(update={"workflow": "other"})
    later = _in_days(keep.traces_days + 1)
    assert prune(other, now=later) == Pruned(runs=0, traces=0, answers=0, results=0, events=0, turns=0)
    assert prune(config, now=later) == Pruned(runs=2, traces=2, answers=0, results=0, events=0, turns=0)

    for run in (answered, decided):
        with pytest.raises(RunError, match="SG603"):
            recorded(run)
    assert _waiting() == [waiting]
    with closing(open_store()) as traces:
        assert [row["run_id"] for row in traces.runs(RunFilter())] == [waiting]
    with closing(open_database(place(), APPROVALS)) as store, store.reading() as execute:
        assert execute("SELECT * FROM decisions") == []
    # and it is decided as if nothing had been
    again = desk.opened()
    outcome = await again.runner.decide(waiting, "approve", LEA)
    assert outcome.state["run"]["status"] == "answered"
    again.tracer.close()


def test_the_time_of_a_checkpoint_is_in_its_id(monkeypatch: pytest.MonkeyPatch) -> None:
    from langgraph.checkpoint.base import id as ids

    from sluicegate.retention.prune import _uuid6  # type: ignore[reportPrivateUsage]

    monkeypatch.setattr(ids, "_last_v6_timestamp", None)
    for at in (1_700_000_000, 1_700_000_001, 1_900_000_000):
        monkeypatch.setattr("time.time_ns", lambda at=at: at * 1_000_000_000)
        made = str(ids.uuid6(clock_seq=-2))
        assert made[:18] == _uuid6(at)
        assert _uuid6(at - 0.1) < made < _uuid6(at + 0.1)


def test_expired_answers_and_old_results_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load(Desk(tmp_path / "desk", monkeypatch).file).config
    now = datetime.now(UTC).timestamp()
    with closing(connect(home() / "cache.sqlite", CACHE)) as cache:
        for key, expires in (("old", now - 1), ("young", now + 9999)):
            cache.execute("INSERT INTO answers VALUES (?, '{}', 0, ?, 0, 0, 2)", (key, expires))
        cache.execute("UPDATE counters SET size = 4")
    ResultStore().close()
    with closing(connect(home() / "evals" / "results.sqlite", RESULTS)) as results:
        for row, at in (("old", "2020-01-01T00:00:00+00:00"), ("young", "9999-01-01T00:00:00+00:00")):
            results.execute("INSERT INTO results VALUES ('u', ?, '{}', ?)", (row, at))
    with closing(connect(home() / "shadow.sqlite", SHADOW)) as shadow:
        for number, workflow in ((1, "desk"), (2, "other")):
            shadow.execute(
                "INSERT INTO shadows VALUES (?, ?, '', '', '', '', '', '', '', '', NULL)", (number, workflow)
            )
            for day in ("2020-01-01", "9999-01-01"):
                pair = "INSERT INTO pairs (shadow, champion_run, day, usd, pair) VALUES (?, ?, ?, 0, '{}')"
                shadow.execute(pair, (number, day, day))
    assert prune(config, now=lambda: now) == Pruned(runs=0, traces=0, answers=1, results=2, events=0, turns=0)
    with closing(connect(home() / "cache.sqlite", CACHE)) as cache:
        assert [row["key"] for row in cache.execute("SELECT key FROM answers")] == ["young"]
        assert cache.execute("SELECT size FROM counters").fetchone()["size"] == 2
    with closing(connect(home() / "shadow.sqlite", SHADOW)) as shadow:
        assert shadow.execute("SELECT count(*) AS n FROM pairs").fetchone()["n"] == 3


def test_the_command_says_what_it_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(tmp_path / "desk", monkeypatch)
    result = CliRunner().invoke(prune_command.app, [str(desk.file)])
    assert (result.exit_code, result.output) == (
        0,
        "deleted: 0 runs, 0 traces, 0 answers, 0 results, 0 events, 0 turns, 0 rates, 0 stretches, 0 objects\n",
    )


def test_a_day_is_the_least() -> None:
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        RetentionConfig(runs_days=0)


@pytest.mark.slow
async def test_links_and_events_go_with_their_runs_and_those_of_budgets_after_two_months(desk: Desk) -> None:
    opened = desk.opened()
    config, runner = opened.workflow.config, opened.runner
    desk.router.label = "risky"
    decided, waiting = [(await runner.run("May I open the gate?", ANN)).run for _ in range(2)]
    for run in (decided, waiting):
        await make_link(runner, run, LEA, by="ops")
    with closing(Outbox()) as outbox:
        for run in (decided, waiting, ""):
            outbox.add(Announcement("approval.waiting", (run,), "desk", run, "2026-11-27", {}), ["ops"])
    await runner.decide(decided, "reject", LEA)
    opened.tracer.close()
    assert prune(config, now=_in_days(config.retention.runs_days + 1)).runs == 1
    assert [link.run for link in LinkRows().find()] == [waiting]
    assert sorted(_events()) == ["", waiting]
    assert prune(config, now=_in_days(63)).events == 1
    assert _events() == [waiting]


def _events() -> list[str]:
    with closing(Outbox()) as outbox:
        left = [one.run for one in outbox.deliveries()]
    with closing(open_database(place(), WEBHOOKS)) as store, store.reading() as execute:
        assert sorted(row["run"] for row in execute("SELECT run FROM events")) == sorted(left)
    return left
