"""Branches that go over lists, side by side: what each item did is merged, drawn, refused where it would clash."""

from pathlib import Path

import pytest

from sluicegate.graphs.config.load import inspect, load
from sluicegate.graphs.picture.picture import svg
from sluicegate.graphs.runtime.factory import open_workflow
from sluicegate.graphs.runtime.intake import principal
from sluicegate.graphs.session.session import Session
from tests.support.flows import way
from tests.support.helpdesk import HELPDESK, fakes

OVERLAY = """\
extends: {base}
nodes:
  facts: {{then: gather}}
  gather: {{kind: parallel, branches: [short, mark], join: answer}}
  short: {{kind: for-each, over: documents, do: brief, at_most: 5, collect: briefs, then: answer}}
  brief: {{kind: slm-answer, prompt: answer, then: short}}
  mark: {{kind: tag, tags: {{urgent: {{}}}}, then: long}}
  long: {{kind: for-each, over: documents, do: detail, at_most: 5, collect: details, then: answer}}
  detail: {{kind: slm-answer, prompt: answer, then: long}}
"""


def at(tmp_path: Path, text: str = OVERLAY) -> Path:
    path = tmp_path / "lists" / "workflow.yaml"
    path.parent.mkdir()
    path.write_text(text.format(base=HELPDESK.resolve()), encoding="utf-8")
    return path


@pytest.mark.slow
async def test_two_lists_side_by_side_come_together(tmp_path: Path) -> None:
    opened = open_workflow(at(tmp_path), change=fakes())
    outcome = await opened.runner.run("How do I reset it?", principal("ann", ["employee"]))
    state = outcome.state
    assert way(state)[4:9] == ["gather", "short", "mark", "long", "answer"]
    items = state.get("items") or {}
    found = [one["id"] for one in state.get("documents", ())]
    assert found
    assert {name: [one["value"]["id"] for one in results] for name, results in items.items()} == {
        "briefs": found, "details": found,
    }  # fmt: skip
    assert state.get("failed_items") == {"briefs": [], "details": []}
    assert state.get("maps") == {}
    entry = next(one for one in state.get("trail", ()) if one["node"] == "long")
    assert entry.get("within") == "gather/mark"
    assert [one["trail"][0]["node"] for one in entry.get("items", ())] == ["detail"] * len(found)


@pytest.mark.slow
def test_they_are_drawn_and_stepped_through_at_once(tmp_path: Path) -> None:
    file = at(tmp_path)
    drawn = svg(load(file).flow, title="lists")
    assert all(f">{name}<" in drawn for name in ("gather", "short", "brief", "long", "detail"))
    session = Session.start(file, "How do I reset it?", as_="ann", change=fakes())
    session.run(until="gather").step()
    step = session.step()
    assert session.node == "answer"
    assert {change.field.partition(".")[0] for change in step.changes} >= {"items", "tags"}
    session.rewind("gather")
    assert session.state.get("items") in (None, {})
    assert session.run().status == "answered"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("collect: details", "collect: briefs", "writes items.briefs while 'long'"),
        ("over: documents, do: detail", "over: items.briefs, do: detail", "writes items.briefs while 'long'"),
        (
            "mark: {{kind: tag, tags: {{urgent: {{}}}},",
            "mark: {{kind: slm-answer, prompt: seen,",
            "writes items.briefs while 'mark'",
        ),
    ],
)
def test_what_branches_with_lists_may_not_share(old: str, new: str, says: str, tmp_path: Path) -> None:
    assert old in OVERLAY
    file = at(tmp_path, OVERLAY.replace(old, new))
    (file.parent / "prompts").mkdir()
    (file.parent / "prompts" / "seen.md").write_text("---\nid: seen\nversion: 1\n---\n{{question}} {{items.briefs}}")
    found = [each.message for each in inspect(file)[1] if each.code == "SG141"]
    assert any(says in each for each in found), found


def test_a_branch_may_not_begin_within_a_list(tmp_path: Path) -> None:
    file = at(tmp_path, OVERLAY.replace("branches: [short, mark]", "branches: [brief, mark]"))
    assert {"SG139", "SG130"} & {each.code for each in inspect(file)[1]}
