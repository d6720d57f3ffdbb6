"""A workflow that waits for people, and a clock that has moved on."""

from datetime import datetime, timedelta
from typing import Any

import pytest

WORKFLOW = """
workflow: desk
version: 1
purpose: Drafts that a person decides on.
models:
  slm: {use: "embedded:smollm2-135m"}
intents:
  access:   {task: summary, risk: high, max_tokens: 60, describe: "wants a permission"}
  hardware: {task: summary, risk: low, max_tokens: 60, describe: "wants a device"}
router: {strategy: slm}
start: classify
nodes:
  classify: {kind: classify, then: gate}
  gate:
    kind: policy-check
    then:
      - {when: "policy.verdict == 'deny'", go: refuse}
      - {otherwise: draft}
  draft: {kind: summarize, prompt: draft, then: check}
  check: {kind: output-check, guards: [tone], then: approve}
  approve:
    kind: human-interrupt
    approvers: role:lead
    escalate_to: role:manager
    timeout: 24h
    then:
      - {when: "approval.verdict in ['approve', 'edit']", go: respond}
      - {otherwise: refuse}
  respond: {kind: respond}
  refuse: {kind: refuse, say: "%s"}
guards:
  tone: {action: regenerate}
"""


def later(monkeypatch: pytest.MonkeyPatch, hours: float) -> None:
    """Move the clock of every workflow that is opened from now on."""

    class Late(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + timedelta(hours=hours)

    monkeypatch.setattr("sluicegate.graphs.runtime.factory.datetime", Late)
