"""A workflow whose tool call waits for a person, with real tools and stand-ins for the models only."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.fakes import FakeModels, FakeRouter

__all__ = ["REQUEST", "WORKFLOW", "ticket_desk"]

REQUEST = "Printer on floor 2 is jammed, please open a ticket"

WORKFLOW = """
workflow: tickets
version: 1
purpose: A ticket waits for a person.
models:
  slm: {use: "embedded:smollm2-135m"}
intents:
  repair: {task: tool, risk: high, max_tokens: 60, tool: create_ticket, describe: "something is broken"}
  question: {task: short-answer, risk: low, max_tokens: 60, describe: "a question"}
router: {strategy: slm}
tools: [create_ticket]
start: classify
nodes:
  classify: {kind: classify, then: gate}
  gate:
    kind: policy-check
    then:
      - {when: "policy.verdict == 'deny'", go: refuse}
      - {otherwise: details}
  details:
    kind: extract
    prompt: ticket
    then:
      - {when: "intent.risk == 'high'", go: approve}
      - {otherwise: refuse}
  approve:
    kind: human-interrupt
    approvers: role:lead
    timeout: 24h
    then:
      - {when: "approval.verdict == 'approve'", go: act}
      - {when: "approval.verdict == 'edit'", go: %(edit)s}
      - {otherwise: refuse}
  act:
    kind: call-tool
    say: "Ticket {{result.id}} is open."
    then: [{when: "tool.ok", go: check}, {otherwise: refuse}]
  check: {kind: output-check, guards: [length], then: [{when: "checks.failed", go: refuse}, {otherwise: respond}]}
  respond: {kind: respond}
  refuse: {kind: refuse, say: "No."}
"""


def ticket_desk(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, extracted: Any, edit: str = "act", workflow: str = WORKFLOW
) -> Path:
    """The workflow's file; every model gives `extracted`, and an `edit` goes to that node."""
    monkeypatch.setattr(
        "sluicegate.graphs.runtime.factory.ModelSet", lambda _models: FakeModels({"slm": ""}, parsed=extracted)
    )
    monkeypatch.setattr("sluicegate.graphs.runtime.factory._router", lambda *_: FakeRouter("repair"))
    monkeypatch.setattr("sluicegate.graphs.runtime.factory.Opened.warm", lambda _opened: None)
    (folder / "prompts").mkdir(parents=True)
    prompt = "---\nid: ticket\nversion: 1\n---\n{{question}}{{fields}}\n"
    (folder / "prompts" / "ticket.md").write_text(prompt, encoding="utf-8")
    path = folder / "workflow.yaml"
    path.write_text(workflow % {"edit": edit}, encoding="utf-8")
    return path
