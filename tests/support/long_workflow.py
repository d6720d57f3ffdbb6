"""A workflow of any length, in which stretches with a fork, a for-each, a sub-workflow and a loop follow each other."""

import shutil
from pathlib import Path

from tests.support.family import family, kyc_of

__all__ = ["long_workflow"]

_HEAD = """\
workflow: long
version: 1
purpose: Whatever comes up.

models:
  slm: {use: "embedded:smollm2-135m"}
  embedder: {use: "embedded:all-minilm-l6-v2"}
intents:
  password_reset: {task: short-answer, risk: low}
  outage_report: {task: synthesis, risk: low}
  payroll: {task: short-answer, risk: high}
indexes: {kb: {path: .}}
start: classify
nodes:
  classify: {kind: classify, then: gate}
  gate: {kind: policy-check, then: [{when: "policy.verdict == 'deny'", go: refuse}, {otherwise: fork0}]}
  check: {kind: output-check, guards: [length], then: [{when: "checks.failed", go: refuse}, {otherwise: approve}]}
  approve:
    kind: human-interrupt
    approvers: "role:clerk"
    then: [{when: "approval.verdict in ['approve', 'edit']", go: respond}, {otherwise: refuse}]
  respond: {kind: respond}
  refuse: {kind: refuse}
"""
_STRETCH = """\
  fork@: {kind: parallel, branches: [find@, mark@, look@], join: meet@}
  find@: {kind: retrieve, index: kb, then: note@}
  note@: {kind: tag, tags: {urgent: {}}, then: meet@}
  mark@: {kind: tag, tags: {calm: {}}, then: [{when: "'calm' in tags.found", go: more@}, {otherwise: meet@}]}
  more@: {kind: retrieve, index: kb, then: meet@}
  look@: {kind: retrieve, index: kb, then: meet@}
  meet@: {kind: tag, tags: {late: {}}, then: [{when: "intent.risk == 'high'", go: each@}, {otherwise: child@}]}
  each@: {kind: for-each, over: documents, do: item@, at_most: 5, collect: notes@, then: child@}
  item@: {kind: slm-answer, prompt: draft, then: each@}
  child@:
    kind: workflow
    use: ../kyc/workflow.yaml
    take: [answer]
    then: [{when: "child.status == 'answered'", go: draft@}, {otherwise: refuse}]
  draft@: {kind: slm-answer, prompt: draft, max_visits: 2, then: check@}
  check@:
    kind: output-check
    guards: [length]
    then:
      - {when: "checks.failed && intent.task != 'synthesis'", go: draft@}
      - {when: "checks.failed", go: check}
      - {otherwise: NEXT}
"""
_GUARANTEES = """
guarantees:
  - {no: respond, without: output-check, after: slm-answer, when: "intent.risk == 'high'"}
  - {no: respond, without: human-interrupt, when: "intent.task == 'synthesis'"}
  - {no: respond, without: retrieve}
  - {no: respond, without: tag, when: "principal.clearance == 'internal'"}
"""


def long_workflow(at: Path, stretches: int) -> Path:
    """Its file; six nodes, and twelve for each of `stretches`."""
    file = family(at)
    text = _HEAD
    for number in range(stretches):
        following = f"fork{number + 1}" if number + 1 < stretches else "check"
        text += _STRETCH.replace("NEXT", following).replace("@", str(number))
    file.write_text(text + _GUARANTEES)
    shutil.copytree(kyc_of(file).parent / "prompts", file.parent / "prompts")
    return file
