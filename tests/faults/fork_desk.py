"""A run with two branches side by side, one that writes a draft and one that calls a tool, in processes that are killed
at a named point; otherwise as in `desk`.
"""

import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from sluicegate.graphs.config.load import Workflow
from sluicegate.graphs.runtime.factory import open_workflow
from sluicegate.home import home
from sluicegate.observe.audit.verify import verify
from sluicegate.policies.config import BudgetConfig
from sluicegate.policies.kill_switch import KillSwitch
from sluicegate.policies.ledger.factory import open_ledger
from sluicegate.services import Services
from sluicegate.storage.sqlite import connect
from tests.faults.desk import PaidModels, main, preloaded
from tests.support.fakes import FakeRouter
from tests.support.family import ANN

RUN = "once"
LOADED: list[Workflow] = []
"""The workflow, once for all processes."""
WORKFLOW = """\
workflow: claims
version: 1
purpose: Answer a claim, and open a ticket for it.
models: {slm: {use: "embedded:smollm2-135m"}}
intents: {claim: {task: short-answer, risk: low}}
budget: {per_day_usd: 1.0}
start: gate
nodes:
  gate: {kind: policy-check, then: [{when: "policy.verdict == 'deny'", go: refuse}, {otherwise: both}]}
  both: {kind: parallel, branches: [draft, fields], join: check}
  draft: {kind: slm-answer, prompt: draft, then: check}
  fields:
    kind: extract
    prompt: fields
    fields: {type: object, properties: {title: {}}}
    values: {title: derived}
    then: act
  act: {kind: call-tool, tool: create_ticket, then: check}
  check: {kind: output-check, guards: [length], then: [{when: "checks.failed", go: refuse}, {otherwise: respond}]}
  respond: {kind: respond}
  refuse: {kind: refuse}
"""


def workflow(at: Path) -> Path:
    (at / "prompts").mkdir()
    (at / "prompts" / "draft.md").write_text("{{question}}")
    (at / "prompts" / "fields.md").write_text("{{question}} {{fields}}")
    (at / "workflow.yaml").write_text(WORKFLOW)
    return at / "workflow.yaml"


async def drive(folder: Path) -> dict[str, Any]:
    """Start the run, or take it up."""
    os.environ["SLUICEGATE_HOME"] = str(folder / "home")
    folder.mkdir(parents=True, exist_ok=True)
    (loaded,) = LOADED

    def change(services: Services) -> Services:
        return replace(services, models=PaidModels(folder), router=FakeRouter("claim"))

    outcome = await open_workflow(loaded, change=change).runner.run("My roof leaks", ANN, run=RUN)
    state = outcome.state
    return {
        "status": outcome.status,
        "way": [step["node"] for step in state.get("trail", [])],
        "visits": state["run"]["visits"],
        "calls": [call["status"] for call in state.get("tool_calls", [])],
        "slm_calls": state["spend"]["slm_calls"] if "spend" in state else 0,
    }


def left_behind(folder: Path) -> dict[str, Any]:
    """What lies on the disk after both processes."""
    (money,) = open_ledger(BudgetConfig(per_day_usd=1.0), switch=KillSwitch()).caps("claims")
    verdict = verify(home() / "audit")
    return {
        "tickets": connect(home() / "tickets.sqlite").execute("SELECT count(*) FROM tickets").fetchone()[0],
        "calls": len((folder / "calls").read_bytes()),
        "spent": money.spent,
        "held": money.held,
        "audit_findings": [str(finding) for finding in verdict.findings],
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as files:
        LOADED.append(preloaded(workflow(Path(files))))
        main(drive, left_behind, (RUN,))
