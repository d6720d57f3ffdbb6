"""Two whole runs, the turns of a conversation, with the real durable services and stand-in models, in processes that
are killed at a named point.

``python -m tests.faults.desk FOLDER POINT …`` imports once, and for each point forks a process that dies there and then
one that goes on; it prints one JSON line per point with what both left behind. A point is
``module:Class.method:before:N`` (or ``after``): the N-th call of that method, before it begins or after it has ended.
Runs are in a home for each point, or in a schema for each of the database that `SLUICEGATE_DATABASE_URL` names.
"""

import asyncio
import importlib
import json
import os
import signal
import sys
import traceback
import uuid
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sluicegate.graphs.config.load import Workflow, load
from sluicegate.graphs.conversations.config import ConversationConfig
from sluicegate.graphs.conversations.turns import Conversations
from sluicegate.graphs.proofs.flow import Flow
from sluicegate.graphs.runtime.build import build
from sluicegate.graphs.runtime.checkpoints import open_checkpoints
from sluicegate.graphs.runtime.intake import principal
from sluicegate.graphs.runtime.run import Runner
from sluicegate.graphs.runtime.waiting.approvals import Approvals
from sluicegate.language import detect, language_of
from sluicegate.nodes.kinds.extract import Extract
from sluicegate.nodes.registry import kinds
from sluicegate.nodes.tools.registry import tools
from sluicegate.nodes.tools.tool_runner import ToolRunner
from sluicegate.observe.audit.log import AuditLog
from sluicegate.observe.audit.verify import verify
from sluicegate.observe.auditor import Auditor
from sluicegate.observe.incidents import Incidents
from sluicegate.policies.cache.cache import AnswerCache, AnswerStore
from sluicegate.policies.config import BudgetConfig
from sluicegate.policies.guards.library import guardrails
from sluicegate.policies.ledger.ledger import SqliteLedger
from sluicegate.services import Completion, ModelRequest
from sluicegate.storage.database import open_database
from sluicegate.storage.postgres import URL, configured
from sluicegate.storage.schemas import APPROVALS, CONVERSATIONS
from sluicegate.storage.sqlite import connect
from tests.support.fakes import FakeModels, FakeRouter, services
from tests.support.flows import CONDITIONS, NODES, SETTINGS, node, released

ANN = principal("ann", ["employee"])
LEAD = principal("lea", ["helpdesk-lead"])
REQUESTS = {"risky": "Give me access to the finance share", "plain": "How do I reset my password?"}
PRICE = 0.001


class PaidModels(FakeModels):
    """Every completed call costs `PRICE` and leaves one byte in a file, which no kill takes back."""

    def __init__(self, home: Path) -> None:
        super().__init__(parsed={"title": "Finance share"}, usd=PRICE)
        self._calls = home / "calls"

    def price(self, role: str, prompt_tokens: int, completion_tokens: int) -> float:
        del role, prompt_tokens, completion_tokens
        return PRICE

    async def chat(self, request: ModelRequest) -> Completion:
        completion = await super().chat(request)
        with self._calls.open("ab") as file:
            file.write(b".")
        return completion


@dataclass
class ByQuestion(FakeRouter):
    async def classify(self, text: str) -> Any:
        self.label = "question" if text.endswith("?") else "access"
        return await super().classify(text)


def runner(home: Path, clock: Any = None) -> Runner:
    """The flow of `tests.support.flows`, with an extraction before the tool; every store on one clock."""
    home.mkdir(parents=True, exist_ok=True)
    where = configured() or home
    now: Any = {"now": clock} if clock else {}
    seconds: Any = {"now": clock.seconds} if clock else {}
    audit = AuditLog(home / "audit", key=home / "audit.pem", **now)
    given = services(
        models=PaidModels(home),
        router=ByQuestion(),
        ledger=SqliteLedger(BudgetConfig(per_day_usd=1.0), home / "ledger.sqlite", **seconds),
        cache=AnswerCache(AnswerStore(home / "cache.sqlite", **seconds)),
        tools=ToolRunner(home, memory=where),
        audit=Auditor(
            audit,
            Incidents(home / "incidents.sqlite", audit=audit, **now),
            workflow="test",
            version="1",
            digest="digest-1",
            policy_set="p",
        ),
        **now,
    )
    nodes = {one.name: one for one in NODES}
    nodes["gate"] = node("gate", "policy-check", ("denied", "refuse"), ("tool", "fields"), (None, "recall"))
    nodes["fields"] = node("fields", "extract", (None, "act"))
    graph = build(
        Flow("classify", nodes),
        CONDITIONS,
        {**SETTINGS, "fields": Extract(prompt="fields")},
        checkpointer=open_checkpoints(where),
    )
    talks = Conversations(where, "test", ConversationConfig(), now=given.now)
    return Runner(graph, given, tracer=given.tracer, approvals=Approvals(where), conversations=talks)  # type: ignore[arg-type]


async def drive(home: Path) -> dict[str, Any]:
    """Start both runs, or take them up; approve what waits."""
    made = runner(home)
    found: dict[str, Any] = {}
    for name, text in REQUESTS.items():
        outcome = await made.run(text, ANN, run=name, session="c")
        if outcome.waiting:
            outcome = await made.decide(name, "approve", LEAD)
        found[name] = {
            "status": outcome.status,
            "way": [step["node"] for step in outcome.state.get("trail", [])],
            "knows": [turn["question"] for turn in outcome.state["conversation"]["turns"]],
        }
    return found


def left_behind(home: Path) -> dict[str, Any]:
    """What lies on the disk after both processes."""
    (money,) = SqliteLedger(BudgetConfig(per_day_usd=1.0), home / "ledger.sqlite").caps("test")
    verdict = verify(home / "audit")
    with open_database(configured() or home, APPROVALS).reading() as execute:
        decisions = execute("SELECT applied FROM decisions")
    with open_database(configured() or home, CONVERSATIONS).reading() as execute:
        turns = execute("SELECT number, run FROM turns ORDER BY number")
    return {
        "tickets": connect(home / "tickets.sqlite").execute("SELECT count(*) FROM tickets").fetchone()[0],
        "decisions": [row["applied"] for row in decisions],
        "turns": [[row["number"], row["run"]] for row in turns],
        "calls": len((home / "calls").read_bytes()),
        "spent": money.spent,
        "held": money.held,
        "audit_findings": [str(finding) for finding in verdict.findings],
        "audit_records": verdict.records,
        "cached": connect(home / "cache.sqlite").execute("SELECT count(*) FROM answers").fetchone()[0],
    }


def arm(point: str) -> None:
    """Make this process die at `point`."""
    module, path, when, count = point.split(":")
    owner: Any = importlib.import_module(module)
    *outer, name = path.split(".")
    for step in outer:
        owner = getattr(owner, step)
    real, seen = getattr(owner, name), 0

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def counted(*arguments: Any, **named: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen != int(count):
            return real(*arguments, **named)
        if when == "before":
            die()
        result = real(*arguments, **named)
        if not asyncio.iscoroutine(result):
            die()

        async def finished() -> None:
            await result
            die()

        return finished()

    setattr(owner, name, counted)


def loaded() -> None:
    """What every process would load for itself, in the one that they are forked from: most of the time of each."""
    language_of("Where does this go?")
    kinds(), tools()


def in_a_process(work: Callable[[], Any]) -> tuple[int, Any]:
    """The exit status of a forked process, and what `work` gave in it."""
    loaded()
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        status = 1
        try:
            os.write(writer, json.dumps(work()).encode())
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), json.loads(said) if said else None


def schema(url: str) -> str:
    """The URL of a new schema: the runs of all points have the same names."""
    import psycopg

    name = f"killed{uuid.uuid4().hex}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")  # type: ignore[arg-type]
    return f"{url}{'&' if '?' in url else '?'}options=-csearch_path%3D{name}"


def preloaded(file: Path) -> Workflow:
    """A workflow, with all that a process loads once."""
    guardrails()
    importlib.import_module("sluicegate.observe.tracing.tracer")
    importlib.import_module("sluicegate.routing.factory")
    detect("What a process loads once.")
    return load(file)


def main(
    drive: Callable[[Path], Coroutine[Any, Any, dict[str, Any]]] = drive,
    left_behind: Callable[[Path], dict[str, Any]] = left_behind,
    runs: Sequence[str] = tuple(REQUESTS),
) -> None:
    folder, url = Path(sys.argv[1]), os.environ.get(URL, "")
    for number, point in enumerate(sys.argv[2:]):
        home = folder / str(number)
        if url:
            os.environ[URL] = in_a_process(lambda: schema(url))[1]

        def doomed(point: str = point, home: Path = home) -> Any:
            arm(point)
            return asyncio.run(drive(home))  # type: ignore[arg-type]

        def again(home: Path = home) -> Any:
            released(*runs)
            return {**asyncio.run(drive(home)), "left": left_behind(home)}

        killed, _ = in_a_process(doomed)
        status, found = in_a_process(again)
        print(json.dumps({"point": point, "killed": killed, "status": status, "found": found}), flush=True)


if __name__ == "__main__":
    main()
