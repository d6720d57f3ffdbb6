"""The helpdesk with a fork: a tag and a search side by side."""

from pathlib import Path

from tests.support.helpdesk import HELPDESK

__all__ = ["PATH", "forked"]

PATH = ["classify", "gate", "gather", "label", "look", "recall", "facts", "answer", "check", "respond"]

OVERLAY = """\
extends: {base}
nodes:
  gate:
    then:
      - {{when: "policy.verdict == 'deny'", go: refuse}}
      - {{otherwise: gather}}
  gather: {{kind: parallel, branches: [label, look], join: recall}}
  label: {{kind: tag, tags: {{urgent: {{}}}}, then: recall}}
  look: {{kind: retrieve, index: kb, then: recall}}
  recall:
    then:
      - {{when: "intent.by == 'unlike'", go: facts}}
      - {{when: "intent.out_of_scope", go: decline}}
      - {{when: "intent.task == 'tool'", go: details}}
      - {{when: "intent.task == 'summary'", go: digest}}
      - {{when: "cache.hit && intent.risk == 'low'", go: respond}}
      - {{otherwise: facts}}
"""


def forked(at: Path) -> Path:
    """Its file."""
    path = at / "forked" / "workflow.yaml"
    path.parent.mkdir()
    path.write_text(OVERLAY.format(base=HELPDESK.resolve()), encoding="utf-8")
    return path
