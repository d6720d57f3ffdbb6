"""A run through branches that run side by side: its trace, its tree in the terminal, its graph in Langfuse."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sluicegate.cli.trace import app
from sluicegate.graphs.runtime.factory import open_workflow
from sluicegate.graphs.runtime.intake import principal
from sluicegate.home import home
from sluicegate.observe.tracing.store import Store
from sluicegate.observe.views.tree import span_tree
from tests.support.forked import PATH, forked
from tests.support.helpdesk import fakes
from tests.support.receiver import PUBLIC, SECRET, Receiver

# typer imports a name that its newest click announces to remove
pytestmark = pytest.mark.filterwarnings("ignore:.*will be removed in Click:DeprecationWarning")

GRAPH = "langfuse.observation.metadata.langgraph_"


async def traced(file: Path) -> list[dict[str, Any]]:
    opened = open_workflow(file, change=fakes())
    outcome = await opened.runner.run("How do I reset it?", principal("ann", ["employee"]))
    assert outcome.status == "answered"
    opened.close()
    store = Store(home() / "store.sqlite")
    spans = store.spans(outcome.run)
    store.close()
    return spans


@pytest.mark.slow
async def test_what_a_branch_does_is_under_its_fork(own_home: Path, tmp_path: Path) -> None:
    spans = await traced(forked(tmp_path))
    by_id = {span["span_id"]: span for span in spans}
    above = {span["name"]: by_id[span["parent"]]["name"] for span in spans if span["parent"]}
    for branch in ("label", "look"):
        assert (above[branch], above[f"gather/{branch}"]) == (f"gather/{branch}", "gather")
    assert above["gather"] == above["recall"] == above["classify"]
    (root,) = span_tree(spans)
    (fork,) = (item for item in root.children if item.title == "gather")
    assert [item.title for item in fork.children if item.title.startswith("gather/")] == ["gather/label", "gather/look"]


@pytest.mark.slow
async def test_the_agent_graph_has_branches_beside_each_other(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Receiver() as langfuse:
        monkeypatch.setenv("LANGFUSE_HOST", langfuse.url)
        monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", PUBLIC)
        monkeypatch.setenv("LANGFUSE_SECRET_KEY", SECRET)
        await traced(forked(tmp_path))
        steps = {
            span.attributes[f"{GRAPH}node"]: span.attributes[f"{GRAPH}step"]
            for span in langfuse.spans
            if f"{GRAPH}node" in span.attributes
        }
    assert steps == {name: PATH.index(name) + 1 - (name == "look") for name in PATH}


@pytest.mark.slow
async def test_the_terminal_shows_each_branch_with_what_it_did(own_home: Path, tmp_path: Path) -> None:
    spans = await traced(forked(tmp_path))
    done = CliRunner(env={"COLUMNS": "200"}).invoke(
        app, ["show", spans[0]["run_id"], "--as", "ann", "--role", "employee"]
    )
    assert done.exit_code == 0, done.output
    lines = [line.strip("│├└─ ") for line in done.stdout.splitlines()]
    shown = [line.split()[0] for line in lines if line]
    order = ["gather", "gather/label", "gather/look", "recall"]
    assert [name for name in shown if name in order] == order
