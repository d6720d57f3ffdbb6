"""Tags in a workflow: conditions on them, what is proved of them, and whole runs on the embedded models."""

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sluicegate.cli._support.outcome import as_json, print_outcome
from sluicegate.errors import ConfigError
from sluicegate.graphs.conditions.conditions import Conditions
from sluicegate.graphs.config.load import inspect, load
from sluicegate.graphs.picture.annotations import node_notes
from sluicegate.graphs.runtime.factory import open_workflow
from sluicegate.graphs.runtime.intake import principal
from sluicegate.graphs.runtime.outcome import Outcome
from sluicegate.home import home
from sluicegate.observe.tracing.store import Store
from sluicegate.observe.views.tree import span_tree
from sluicegate.policies.kill_switch import KillSwitch
from tests.support.tagged import DESK

SCORES = {"urgent": 0.6, "leak": 0.1}


def tags(*found: str, **scores: float) -> dict[str, Any]:
    return {"tags": {"found": list(found), "scores": scores, "limits": dict.fromkeys(scores, 0.3)}}


@pytest.mark.parametrize(
    ("text", "state", "holds"),
    [
        ("'urgent' in tags.found", tags("urgent", **SCORES), True),
        ("!('leak' in tags.found)", tags("urgent", **SCORES), True),
        ("tags.scores.urgent > 0.5 && tags.scores['leak'] < tags.limits.leak", tags("urgent", **SCORES), True),
        ("size(tags.found) == 1", tags("urgent", **SCORES), True),
        ("tags.found.exists(t, t == 'urgent')", tags("urgent", **SCORES), True),
        # before any node looked
        ("'urgent' in tags.found", {}, False),
        ("!('urgent' in tags.found)", {}, False),
        # a node looked for the one, none yet for the other: neither it nor its opposite is certain
        ("'urgent' in tags.found", tags("urgent", urgent=0.6), True),
        ("'leak' in tags.found", tags("urgent", urgent=0.6), False),
        ("!('leak' in tags.found)", tags("urgent", urgent=0.6), False),
        ("tags.scores.leak < 0.5", tags("urgent", urgent=0.6), False),
        # what names no tag is about all of them
        ("size(tags.found) == 0", tags(urgent=0.1), False),
        ("!tags.found.exists(t, t == 'urgent')", tags(urgent=0.1), False),
        ("size(tags.found) == 0", tags(urgent=0.1, leak=0.1), True),
    ],
)
def test_a_condition_on_tags_holds_once_they_were_looked_for(text: str, state: dict[str, Any], holds: bool) -> None:
    assert Conditions(tags=["urgent", "leak"]).compile(text).evaluate(state) is holds


@pytest.mark.parametrize(
    ("text", "about"),
    [
        ("'urgent' in tags.found", {"urgent"}),
        ("'urgent' in tags.found && !('leak' in tags.found)", {"urgent", "leak"}),
        ("tags.scores.urgent > 0.5", {"urgent"}),
        ("'urgent' in tags.found || size(tags.found) > 1", {"urgent", "leak", "late"}),
        ("['urgent'].exists(t, t in tags.found)", {"urgent", "leak", "late"}),
        ("intent.risk == 'low'", set[str]()),
    ],
)
def test_which_tags_a_condition_is_about(text: str, about: set[str]) -> None:
    assert Conditions(tags=["urgent", "leak", "late"]).compile(text).tags == about


def test_what_is_no_tag_is_told_with_the_nearest_one() -> None:
    with pytest.raises(ConfigError) as caught:
        Conditions(tags=["urgent"]).compile("'urgnt' in tags.found && tags.scores.urgnt > 0.5")
    assert [(one.code, one.suggestion) for one in caught.value.problems] == [("SG123", "urgent")] * 2
    # without tags there is nothing to compare with; that nothing writes them is told elsewhere
    assert Conditions().compile("'urgnt' in tags.found").tags == {"urgnt"}


def test_without_a_tag_node_nothing_writes_tags(tmp_path: Path) -> None:
    file = tmp_path / "workflow.yaml"
    file.write_text(
        DESK.replace("kind: tag\n    most: 1\n", "kind: policy-check\n").replace(
            DESK[DESK.index("    tags:\n") : DESK.index("    then:\n")], ""
        )
    )
    problems = inspect(file)[1]
    assert {problem.message for problem in problems if problem.code == "SG124"} == {
        "tags.found has no value at 'desk': no earlier node writes it"
    }


CHECKED = """\
workflow: checked
version: 1
purpose: A draft about what stays inside goes to a person.
models:
  slm: {use: "embedded:smollm2-135m"}
  embedder: {use: "embedded:all-minilm-l6-v2"}
intents:
  question: {task: short-answer}
start: gate
nodes:
  gate: {kind: policy-check, then: [{when: "policy.verdict == 'deny'", go: refuse}, {otherwise: draft}]}
  draft: {kind: slm-answer, prompt: answer, then: check}
  check:
    kind: output-check
    guards: [secrets]
    then: [{when: "checks.failed", go: refuse}, {otherwise: mark}]
  mark:
    kind: tag
    of: draft
    tags: {inside: {describe: "prices we pay to suppliers"}}
    then:
      - {when: "'inside' in tags.found", go: approve}
      - {when: "!('inside' in tags.found)", go: respond}
      - {otherwise: refuse}
  approve:
    kind: human-interrupt
    approvers: role:lead
    then: [{when: "approval.verdict in ['approve', 'edit']", go: respond}, {otherwise: refuse}]
  respond: {kind: respond}
  refuse: {kind: refuse}
guarantees:
  - {no: respond, without: tag}
  - {no: respond, without: human-interrupt, after: tags, where: "'inside' in tags.found"}
  - {no: respond, without: human-interrupt, after: tag, where: "!(!('inside' in tags.found))"}
"""


@pytest.fixture
def checked(tmp_path: Path) -> Path:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "answer.md").write_text("---\nid: answer\nversion: 1\n---\n{{question}}\n")
    return tmp_path / "workflow.yaml"


def test_that_a_tagged_draft_goes_to_a_person_is_proved(checked: Path) -> None:
    """By the condition itself; that another wording means the same is not seen, which keeps the proof sound."""
    checked.write_text(CHECKED)
    [problem] = inspect(checked)[1]
    assert (problem.code, "!(!(" in problem.message) == ("SG134", True)
    checked.write_text("\n".join(CHECKED.splitlines()[:-1]))
    assert inspect(checked)[1] == []


@pytest.mark.parametrize(
    ("old", "new", "route"),
    [
        ("{when: \"'inside' in tags.found\", go: approve}", "{when: \"'inside' in tags.found\", go: respond}", "mark"),
        ("tags.found\", go: approve}", "tags.found && checks.failed\", go: approve}", "mark"),
        ("{otherwise: mark}]", "{when: \"checks.action == 'pass'\", go: respond}, {otherwise: mark}]", "check"),
    ],
)  # fmt: skip
def test_a_way_past_the_person_or_the_tags_is_told(checked: Path, old: str, new: str, route: str) -> None:
    text = "\n".join(CHECKED.splitlines()[:-1])
    assert text.count(old) == 1
    checked.write_text(text.replace(old, new))
    broken = [one.message for one in inspect(checked)[1] if one.code == "SG134"]
    assert broken
    assert all(f"{route}, respond" in message for message in broken)


def test_a_branch_and_its_opposite_are_not_enough_for_tags(checked: Path) -> None:
    """The embedder may not be allowed to look: neither is certain then, and the run would be stuck."""
    checked.write_text("\n".join(CHECKED.replace("      - {otherwise: refuse}\n", "").splitlines()[:-1]))
    assert [problem.code for problem in inspect(checked)[1]] == ["SG132"]


def test_the_words_of_a_tag_are_part_of_the_digest(tmp_path: Path) -> None:
    file = tmp_path / "workflow.yaml"
    digests: set[str] = set()
    for text in (DESK, DESK.replace("lunch and coffee", "lunch"), DESK.replace('coffee", limit: 0.25', 'coffee"')):
        file.write_text(text)
        digests.add(load(file).digest)
    assert len(digests) == 3


async def ran(tmp_path: Path, text: str) -> Outcome:
    file = tmp_path / "workflow.yaml"
    file.write_text(DESK)
    opened = open_workflow(file)
    outcome = await opened.runner.run(text, principal("ann", ["employee"]))
    opened.tracer.close()
    return outcome


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("My payslip for October is wrong.", "Ask payroll."),
        ("The VPN drops every hour.", "Ask the network team."),
        ("What is for lunch in the canteen today?", "Ask the kitchen."),
        ("How tall is the Eiffel tower?", "Nobody here does that."),
    ],
)
async def test_a_request_finds_its_way_by_descriptions(tmp_path: Path, text: str, said: str) -> None:
    assert (await ran(tmp_path, text)).text == said


@pytest.mark.slow
async def test_a_run_says_what_it_was_tagged_with(tmp_path: Path) -> None:
    outcome = await ran(tmp_path, "The VPN drops every hour.")
    found = outcome.state["tags"]
    assert found["found"] == ["network"]
    assert set(found["scores"]) == {"payroll", "network", "kitchen"}
    score = found["scores"]["network"]
    [step, _] = outcome.state["trail"]
    assert step["branch"]["values"] == {"tags.found": ["network"]}
    assert node_notes(outcome.state, {"desk": frozenset({"tags"})}) == {"desk": f"network {score:.2f}"}
    spans = Store(home() / "store.sqlite").spans(outcome.run)
    [node] = [item for root in span_tree(spans) for item in root.children if item.title == "desk"]
    assert node.words == f"tag · network {score:.2f} against 0.25"
    said = as_json(outcome, all_llm_usd=None)
    assert said["tags"] == found
    screen = Console(record=True, width=100)
    with screen.capture() as shown:
        print_outcome(said, screen=screen)
    assert f"tags      network {score:.2f}" in shown.get()


async def test_an_embedder_that_may_not_look_leaves_the_way_to_otherwise(tmp_path: Path) -> None:
    KillSwitch().off("model:embedded:all-minilm-l6-v2", reason="leaks", by="lea")
    outcome = await ran(tmp_path, "The VPN drops every hour.")
    assert outcome.text == "A person will look."
    assert outcome.state["spend"]["stopped_by"] == "SG502 model:embedded:all-minilm-l6-v2 is switched off: leaks"
    assert outcome.state["trail"][0]["branch"]["values"]["tags.found"] is None
    assert node_notes(outcome.state, {"desk": frozenset({"tags"})}) == {"desk": "not looked for"}
    spans = Store(home() / "store.sqlite").spans(outcome.run)
    assert any("not looked for" in item.words for root in span_tree(spans) for item in root.children)
