"""A run with another one within it, which asks a person and calls a tool, in processes that are killed at a named
point; otherwise as in `desk`.
"""

import os
import tempfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from sluicegate.graphs.config.load import Workflow
from sluicegate.graphs.runtime.checkpoints import open_checkpoints
from sluicegate.graphs.runtime.factory import open_workflow
from sluicegate.home import home
from sluicegate.observe.audit.verify import verify
from sluicegate.policies.config import BudgetConfig
from sluicegate.policies.kill_switch import KillSwitch
from sluicegate.policies.ledger.factory import open_ledger
from sluicegate.services import Services
from sluicegate.storage.database import open_database, place
from sluicegate.storage.run_ids import child_run
from sluicegate.storage.schemas import APPROVALS
from sluicegate.storage.sqlite import connect
from tests.faults.desk import PaidModels, main, preloaded
from tests.support.fakes import FakeRouter
from tests.support.family import ANN, CLERK, edit, family, kyc_of

RUN = "once"
CHILD = child_run(RUN, "kyc", 1)
LOADED: list[Workflow] = []
"""The workflow, once for all processes."""
EXTRACT = "{kind: extract, prompt: fields, fields: {type: object, properties: {title: {}}}, values: {title: derived}"


def workflow(at: Path) -> Path:
    """`claims`, whose `kyc` asks a person before it opens a ticket, and says what came of it."""
    claims = family(at)
    kyc = kyc_of(claims)
    edit(kyc, "otherwise: draft}", "otherwise: fields}")
    edit(kyc, "  draft: {", f"  fields: {EXTRACT}, then: draft}}\n  draft: {{")
    edit(kyc, "go: respond}, {otherwise: refuse}]\n  respond", "go: act}, {otherwise: refuse}]\n  respond")
    edit(kyc, "  respond:", "  act: {kind: call-tool, tool: create_ticket, then: respond}\n  respond:")
    (kyc.parent / "prompts" / "fields.md").write_text("{{question}} {{fields}}")
    edit(claims, "take: [answer, checks]", "take: [answer, checks, tool_calls]")
    return claims


async def drive(folder: Path) -> dict[str, Any]:
    """Start the run, or take it up; approve what waits."""
    os.environ["SLUICEGATE_HOME"] = str(folder / "home")
    folder.mkdir(parents=True, exist_ok=True)
    (claims,) = LOADED

    def change(services: Services) -> Services:
        return replace(services, models=PaidModels(folder), router=FakeRouter("identity"))

    runner = open_workflow(claims, change=change).runner
    outcome = await runner.run("My roof leaks", ANN, run=RUN)
    if outcome.waiting:
        outcome = await runner.decide(RUN, "approve", CLERK)
    with closing(open_checkpoints(place())) as checkpoints:
        child: Any = checkpoints.state(CHILD)
        threads = sorted(checkpoints.threads())
    return {
        "status": outcome.status,
        "way": [step["node"] for step in outcome.state["trail"]],
        "child": outcome.state.get("child"),
        "childs_way": [step["node"] for step in child["trail"]],
        "threads": threads,
        "calls": [call["status"] for call in outcome.state["tool_calls"]],
        "spend": [each["spend"]["slm_calls"] for each in (outcome.state, child)],
    }


def left_behind(folder: Path) -> dict[str, Any]:
    """What lies on the disk after both processes."""
    ledger = open_ledger(BudgetConfig(per_day_usd=1.0), switch=KillSwitch())
    with open_database(place(), APPROVALS).reading() as execute:
        decisions = execute("SELECT run, applied FROM decisions")
    verdict = verify(home() / "audit")
    return {
        "tickets": connect(home() / "tickets.sqlite").execute("SELECT count(*) FROM tickets").fetchone()[0],
        "decisions": [[row["run"], row["applied"]] for row in decisions],
        "calls": len((folder / "calls").read_bytes()),
        "spent": [ledger.caps(name)[0].spent for name in ("claims", "kyc")],
        "held": [ledger.caps(name)[0].held for name in ("claims", "kyc")],
        "audit_findings": [str(finding) for finding in verdict.findings],
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as files:
        LOADED.append(preloaded(workflow(Path(files))))
        main(drive, left_behind, (RUN, CHILD))
