"""A run through branches that run side by side, and one through a list, over HTTP."""

import json
from pathlib import Path

import pytest

from sluicegate.graphs.runtime.factory import open_workflow
from tests.support import stand
from tests.support.forked import PATH, forked
from tests.support.helpdesk import HELPDESK, fakes

pytestmark = pytest.mark.slow

LISTED = """\
extends: {base}
nodes:
  facts:
    then:
      - {{when: "intent.task == 'synthesis'", go: synthesize}}
      - {{otherwise: each}}
  each: {{kind: for-each, over: documents, do: label, at_most: 6, collect: labels, then: answer}}
  label: {{kind: tag, tags: {{short: {{describe: "is short"}}}}, then: each}}
"""


def test_each_step_of_a_branch_is_an_event(tmp_path: Path) -> None:
    service = stand.service(forked(tmp_path), open_version=lambda source, *_: open_workflow(source, change=fakes()))
    with (
        stand.served(service) as client,
        client.stream("POST", "/v1/runs", json={"text": "How do I reset it?", "stream": True}) as response,
    ):
        blocks = response.read().decode().strip().split("\n\n")
        events = [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in
                  (block.split("\n") for block in blocks)]  # fmt: skip
        run = client.get(f"/v1/runs/{events[-1][1]['run']}").json()
    steps = [data["node"] for name, data in events if name == "step"]
    # branches as they come
    assert {*steps[3:5]} == {"label", "look"}
    assert steps[:3] + sorted(steps[3:5]) + steps[5:] == PATH
    assert [name for name, _ in events if name != "step"] == ["run", "result"]
    assert events[-1][1]["status"] == run["status"] == "answered"


def test_a_list_is_a_step_and_each_item_a_part_of_it(tmp_path: Path) -> None:
    path = tmp_path / "listed" / "workflow.yaml"
    path.parent.mkdir()
    path.write_text(LISTED.format(base=HELPDESK.resolve()), encoding="utf-8")
    service = stand.service(path, open_version=lambda source, *_: open_workflow(source, change=fakes()))
    with stand.served(service) as client:
        said = client.post("/v1/runs", json={"text": "How do I reset it?"}).json()
        trail = client.get(f"/v1/runs/{said['run']}/trail").json()
    assert said["status"] == "answered"
    nodes = [each["node"] for each in trail["decisions"]]
    # of one passage, an item
    assert nodes == ["classify", "gate", "recall", "facts", "label", "each", "answer", "check"]
    [item] = [each for each in trail["decisions"] if each["node"] == "label"]
    assert item["taken"] == "each"
