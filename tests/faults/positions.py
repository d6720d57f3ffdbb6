"""A run over the rows of a table, with the real durable services, in processes that are killed at a named point.

As `tests.faults.desk`: ``python -m tests.faults.positions FOLDER POINT …``. Of four rows two are equal and one is
poisoned; each of the others is assessed by a model and ordered by a tool.
"""

from collections import Counter
from pathlib import Path
from typing import Any

from sluicegate.errors import ModelError
from sluicegate.graphs.conditions.conditions import Conditions
from sluicegate.graphs.proofs.flow import Edge, Flow
from sluicegate.graphs.runtime.build import build
from sluicegate.graphs.runtime.checkpoints import open_checkpoints
from sluicegate.graphs.runtime.intake import attached
from sluicegate.graphs.runtime.run import Runner
from sluicegate.graphs.runtime.waiting.approvals import Approvals
from sluicegate.nodes._settings import NoSettings
from sluicegate.nodes.kinds.answering import SlmAnswer
from sluicegate.nodes.kinds.call_tool import CallTool
from sluicegate.nodes.kinds.control.for_each import ForEach
from sluicegate.nodes.kinds.policy_check import PolicyCheck
from sluicegate.nodes.tools.tool_runner import ToolRunner
from sluicegate.observe.audit.log import AuditLog
from sluicegate.observe.audit.verify import verify
from sluicegate.observe.auditor import Auditor
from sluicegate.observe.incidents import Incidents
from sluicegate.policies.config import BudgetConfig
from sluicegate.policies.ledger.ledger import SqliteLedger
from sluicegate.services import Completion, ModelRequest
from sluicegate.storage.postgres import configured
from sluicegate.storage.sqlite import connect
from tests.faults.desk import ANN, PRICE, main
from tests.support.fakes import FakeModels, services
from tests.support.mapping import ItemPrompts, node

RUN = "positions"
TABLE = "what,room\nBeamer,1.12\nBeamer,1.12\nPoison,1.12\nDesk,2.07\n"


class PaidModels(FakeModels):
    """Every completed call costs `PRICE` and leaves the place of its item in a file, which no kill takes back."""

    def __init__(self, home: Path) -> None:
        super().__init__(usd=PRICE)
        self._calls = home / "calls"

    def price(self, role: str, prompt_tokens: int, completion_tokens: int) -> float:
        del role, prompt_tokens, completion_tokens
        return PRICE

    async def chat(self, request: ModelRequest) -> Completion:
        text = request.messages[-1].content
        if "Poison" in text:
            raise ModelError("SG305", "not JSON")
        completion = await super().chat(request)
        with self._calls.open("a") as file:
            file.write(text.split("item.index=")[1][0])
        return completion


def runner(home: Path) -> Runner:
    home.mkdir(parents=True, exist_ok=True)
    where = configured() or home
    audit = AuditLog(home / "audit", key=home / "audit.pem")
    given = services(
        models=PaidModels(home),
        prompts=ItemPrompts(),
        ledger=SqliteLedger(BudgetConfig(per_day_usd=1.0), home / "ledger.sqlite"),
        tools=ToolRunner(home, memory=where),
        audit=Auditor(
            audit,
            Incidents(home / "incidents.sqlite", audit=audit),
            workflow="test",
            version="1",
            digest="digest-1",
            policy_set="p",
        ),
    )
    each = ForEach(
        over="request.attachments[0].rows", do="assess", at_most=10, at_once=1, collect="orders", at_least=0.5
    )
    nodes = [
        node("gate", "policy-check", (None, "each")),
        node("each", "for-each", (None, "respond"), do="assess"),
        node("assess", "slm-answer", (None, "order"), within="each", on_error=Edge("each")),
        node("order", "call-tool", (None, "each"), within="each", on_error=Edge("each")),
        node("respond", "respond"),
    ]
    graph = build(
        Flow("gate", {one.name: one for one in nodes}),
        {},
        {
            "gate": PolicyCheck(),
            "each": each,
            "assess": SlmAnswer(prompt="assess"),
            "order": CallTool(tool="create_ticket", arguments={"title": "{{item.what}} for {{item.room}}"}),
            "respond": NoSettings(),
        },
        lists={"each": Conditions().compile_list(each.over)},
        checkpointer=open_checkpoints(where),
    )
    return Runner(graph, given, tracer=given.tracer, approvals=Approvals(where))  # type: ignore[arg-type]


async def drive(home: Path) -> dict[str, Any]:
    state = (await runner(home).run("Order these", ANN, run=RUN, attachments=attached({"t.csv": TABLE}))).state
    results = (state.get("items") or {})["orders"]
    return {
        "status": state["run"]["status"],
        "way": [step["node"] for step in state.get("trail", [])],
        "done": {each["index"]: each["tool_calls"][0]["arguments"]["title"] for each in results},
        "failed": [[one["index"], one["code"]] for one in (state.get("failed_items") or {})["orders"]],
        "keys": [call["key"] for call in state.get("tool_calls", [])],
        "within": [[one["node"] for one in each["trail"]] for each in state.get("trail", [])[1].get("items", ())],
    }


def left_behind(home: Path) -> dict[str, Any]:
    (money,) = SqliteLedger(BudgetConfig(per_day_usd=1.0), home / "ledger.sqlite").caps("test")
    verdict = verify(home / "audit")
    tickets = connect(home / "tickets.sqlite").execute("SELECT title, key FROM tickets ORDER BY title").fetchall()
    return {
        "tickets": [[row["title"], row["key"]] for row in tickets],
        "calls": Counter((home / "calls").read_text()),
        "spent": money.spent,
        "held": money.held,
        "audit_findings": [str(finding) for finding in verdict.findings],
    }


if __name__ == "__main__":
    main(drive, left_behind, [RUN])
