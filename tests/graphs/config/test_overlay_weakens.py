"""What an overlay promises less than its base is said, each thing once, and nothing else is."""

from pathlib import Path

import pytest

from sluicegate.graphs.config.load import inspect, load
from sluicegate.graphs.config.overlay import weakened
from sluicegate.graphs.picture.picture import mermaid, svg
from sluicegate.graphs.proofs.guarantees import is_reason
from tests.support.plugged import kind, plugged

BASE = """
workflow: t
version: 1
purpose: Answers after a check and, when it matters, a person.
models: {slm: {use: "embedded:smollm2-135m"}, embedder: {use: "embedded:all-minilm-l6-v2"}}
intents:
  small: {task: short-answer, risk: low}
  large: {task: short-answer, risk: high}
router: {strategy: slm, threshold: 0.8}
guards: {pii: {action: refuse}}
start: classify
nodes:
  classify: {kind: classify, then: gate}
  gate:
    kind: policy-check
    guards: [injection, secrets]
    then: [{when: "policy.verdict == 'deny'", go: refuse}, {otherwise: answer}]
  answer: {kind: slm-answer, prompt: answer, then: check}
  check:
    kind: output-check
    guards: [pii]
    then:
      - {when: "checks.failed", go: refuse}
      - {when: "intent.risk == 'high'", go: approve}
      - {otherwise: respond}
  approve:
    kind: human-interrupt
    approvers: "role:lead"
    then: [{when: "approval.verdict in ['approve', 'edit']", go: respond}, {otherwise: refuse}]
  respond: {kind: respond}
  refuse: {kind: refuse}
guarantees:
  - {no: respond, without: human-interrupt, when: "intent.risk == 'high'"}
"""
DROPPED = "the guarantee `no: respond, without: human-interrupt, when: intent.risk == 'high'` is dropped"
REROUTED = """
guarantees: []
nodes:
  check: {then: [{when: "checks.failed", go: refuse}, {otherwise: respond}]}
  approve: null
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "answer.md").write_text("---\nid: answer\nversion: 1\n---\n{{question}}\n")
    (tmp_path / "base.yaml").write_text(BASE)
    return tmp_path / "base.yaml"


def said(base: Path, over: str, *, name: str = "variant.yaml", extends: str = "base.yaml") -> list[str]:
    file = base.with_name(name)
    file.write_text(f"extends: {extends}\n{over}")
    workflow, problems = inspect(file)
    assert workflow, problems
    return [problem.message for problem in problems if problem.code == "SG138"]


@pytest.mark.parametrize(
    ("over", "what"),
    [
        (
            "guarantees: []",
            DROPPED,
        ),
        ("intents: {large: {risk: medium}}", "the risk of the intent `large` is medium, not high"),
        ("nodes: {gate: {guards: [secrets]}}", "the node `gate` does not run the guard `injection`"),
        ("nodes: {approve: {four_eyes: false}}", "the requester may decide at the node `approve`"),
        ("nodes: {approve: {approvers: 'user:ann'}}", "`approvers` of the node `approve` is user:ann, not role:lead"),
        (
            "nodes: {approve: {escalate_to: 'user:ann'}}",
            "`escalate_to` of the node `approve` is user:ann, not nobody",
        ),
        ("nodes: {gate: {action: read_document}}", "`action` of the node `gate` is read_document, not ask"),
        (
            "intents: {large: null, big: {task: short-answer, risk: low}}",
            "the intent `large` of high risk is removed",
        ),
        ("guards: {pii: {action: redact}}", "`action` of `guards.pii` is redact, not refuse"),
        (
            "waive: [{guarantee: policy-first, reason: a pilot on public data}]",
            "the built-in guarantee `policy-first` is waived",
        ),
    ],
)
def test_a_weaker_promise_is_said_at_its_place(over: str, what: str, base: Path) -> None:
    assert said(base, over) == [f"weaker than base.yaml: {what}"]


def test_a_person_who_is_removed(base: Path) -> None:
    assert said(base, REROUTED) == [
        f"weaker than base.yaml: {what}" for what in (DROPPED, "the human-interrupt node `approve` is removed")
    ]


def test_a_check_of_an_installed_kind_that_is_removed(base: Path) -> None:
    base.write_text(BASE.replace("kind: output-check\n    guards: [pii]", "kind: scan"))
    with plugged(kind("scan", {"checks"}, {"checks"})):
        assert said(base, "nodes: {check: {kind: output-check, guards: [pii]}}") == [
            "weaker than base.yaml: the scan node `check` is removed"
        ]


@pytest.mark.parametrize(
    "over",
    [
        "version: 2",
        "intents: {small: {risk: medium}}",
        "router: {strategy: slm, threshold: 0.9}",
        "nodes: {gate: {guards: [secrets, injection, pii]}}",
        """guarantees:
  - {no: respond, without: human-interrupt, when: "intent.risk == 'high'"}
  - {no: respond, without: policy-check}""",
    ],
)
def test_what_is_as_strong_or_stronger_is_not(over: str, base: Path) -> None:
    assert said(base, over) == []


def test_a_variant_of_a_variant_answers_for_both(base: Path) -> None:
    said(base, REROUTED)
    again = said(base, "version: 3", name="third.yaml", extends="variant.yaml")
    assert [message.removeprefix("weaker than base.yaml: ") for message in again] == [
        DROPPED,
        "the human-interrupt node `approve` is removed",
    ]


def test_a_workflow_is_as_strong_as_itself(base: Path) -> None:
    config = load(base).config
    assert weakened(config, config) == []


@pytest.mark.parametrize(
    "text", ["", "x", "isolate", "TODO write a reason", "tbd tbd tbd", "because", "... --- ...", "no no no"]
)
def test_what_is_no_reason(text: str) -> None:
    assert not is_reason(text)


@pytest.mark.parametrize(
    "text", ["A pilot on public knowledge.", "public data only", "Gilt nur für Testdaten", "只有 公开 数据"]
)
def test_what_is_one(text: str) -> None:
    assert is_reason(text)


def test_waivers_are_in_the_picture(base: Path) -> None:
    base.with_name("waived.yaml").write_text(
        "extends: base.yaml\nwaive: [{guarantee: policy-first, reason: a pilot on <public> data}]\n"
    )
    flow = load(base.with_name("waived.yaml")).flow
    assert "Waived guarantee policy-first: a pilot on &lt;public&gt; data" in svg(flow, title="t")
    assert "waived guarantee policy-first: a pilot on #60;public#62; data" in mermaid(flow)
    assert "aived" not in svg(load(base).flow, title="t")
