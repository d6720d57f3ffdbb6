"""Stepping, rewinding and forking a run through branches that run side by side."""

from pathlib import Path

import pytest

from sluicegate.errors import RunError
from sluicegate.graphs.config.load import load
from sluicegate.graphs.runtime.factory import open_workflow
from sluicegate.graphs.runtime.intake import principal
from sluicegate.graphs.session.replay import open_for_replay, replay
from sluicegate.graphs.session.session import Session
from tests.support.forked import PATH, forked
from tests.support.helpdesk import fakes, way

pytestmark = pytest.mark.slow


@pytest.fixture(name="forked")
def _forked(tmp_path: Path) -> Path:
    return forked(tmp_path)


def start(path: Path) -> Session:
    return Session.start(path, "How do I reset it?", as_="ann", change=fakes())


def test_a_workflow_with_branches_is_checked_and_steps_through_them_at_once(forked: Path) -> None:
    assert load(forked).flow.nodes["gather"].join == "recall"
    session = start(forked)
    session.run(until="gather")
    assert session.node == "gather"
    assert session.step().node == "gather"
    assert session.node == "label"
    step = session.step()
    assert {change.field.partition(".")[0] for change in step.changes} == {"tags", "documents"}
    assert (session.node, way(session)) == ("recall", PATH[:5])
    assert way(session.run()) == PATH


def test_a_run_goes_back_to_before_its_branches_and_forks_after_them(forked: Path) -> None:
    session = start(forked).run()
    other = session.fork(at="recall")
    assert (other.node, way(other)) == ("recall", PATH[:5])
    assert way(other.run()) == PATH
    session.rewind("gather")
    assert (session.node, way(session)) == ("gather", PATH[:2])
    assert way(session.run()) == PATH
    session.rewind("recall").edit(intent="outage_report")
    assert session.node == "recall"
    assert "synthesize" in way(session.run())


def test_a_run_does_not_stop_inside_of_branches(forked: Path) -> None:
    with pytest.raises(RunError, match="'look' is in a branch of 'gather'") as caught:
        start(forked).run(until="look")
    assert caught.value.code == "SG615"


async def test_a_recorded_run_is_replayed_and_opened(forked: Path) -> None:
    opened = open_workflow(forked, change=fakes())
    outcome = await opened.runner.run("How do I reset it?", principal("ann", ["employee"]))
    assert [entry["node"] for entry in outcome.state["trail"]] == PATH  # type: ignore[typeddict-item]
    changes = await replay([outcome.run], open_for_replay(forked, change=fakes()))
    assert [each.field for each in changes[0].differences if each.field != "usd"] == []
    session = Session.open(outcome.run, config=forked, change=fakes(), as_="ann", role="employee")
    assert way(session.rewind("facts")) == PATH[:6]
