"""What a compiled workflow and its checkpoints cost, against a hand-written LangGraph graph of the same shape.

Seven no-op nodes in a chain of conditional edges; the minimum over repeats that take turns, since the machine may be
shared. Nothing is traced: `benchmarks/tracing.py` measures that. PostgreSQL is on this machine (`benchmarks/ledger.py`
says how), so its figure is that of its disk: every checkpoint is flushed before the next step. ``unflushed`` leaves
that out.
"""

import asyncio
import json
import sys
import tempfile
import time
import timeit
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from sluicegate.graphs.conditions.conditions import Conditions
from sluicegate.graphs.config.load import load
from sluicegate.graphs.config.models import IntentConfig
from sluicegate.graphs.proofs.flow import Edge, Flow, FlowNode
from sluicegate.graphs.runtime.build import build
from sluicegate.graphs.runtime.checkpoints import SqliteCheckpoints, open_checkpoints
from sluicegate.graphs.runtime.intake import principal, request
from sluicegate.nodes._settings import NoSettings
from sluicegate.nodes.kind import NodeKind
from sluicegate.state import State
from sluicegate.storage.postgres import Server

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks import results
from benchmarks.ledger import server
from tests.support.fakes import services

HELPDESK = Path(__file__).resolve().parent.parent / "configs" / "helpdesk" / "workflow.yaml"
NODES, ROUNDS = 7, 150


def compiled(checkpointer: Any) -> Callable[[str], Awaitable[Any]]:
    """Our graph: every node returns nothing, every edge is decided by a CEL condition."""
    from sluicegate.nodes import registry

    def make(name: str, settings: Any) -> Any:
        async def idle(state: State, given: Any) -> dict[str, Any]:
            return {"route": {"threshold": 0.5}}

        return idle

    kind = NodeKind("idle", "does nothing", NoSettings, make, frozenset())
    known = {**registry.kinds(), "idle": kind}
    registry.kinds = lambda: known  # type: ignore[assignment]
    import sluicegate.graphs.runtime.build as building

    building.kinds = registry.kinds  # type: ignore[assignment]
    text = "router.threshold < 0.9"
    conditions = {text: Conditions({"q": IntentConfig(task="short-answer")}, ()).compile(text)}
    nodes = {
        f"n{i}": FlowNode(f"n{i}", "idle", edges=(Edge(f"n{i + 1}", text), Edge(f"n{i + 1}")) if i < NODES - 1 else ())
        for i in range(NODES)
    }
    given = services()
    graph = build(Flow("n0", nodes), conditions, {name: NoSettings() for name in nodes}, checkpointer=checkpointer)
    asked = request("How do I reset my password?", channel="cli", id="r", received_at=given.now())
    run: Any = {"id": "r", "workflow": "w", "version": "1", "digest": "d", "started_at": "", "status": "running",
                "visits": {}, "shadow": False}  # fmt: skip
    state: Any = {"request": asked, "principal": principal("a"), "run": run, "trail": [], "tool_calls": []}

    async def once(thread: str) -> Any:
        config: Any = {"configurable": {"thread_id": thread}}
        durability: Any = {"durability": "sync"} if checkpointer else {}
        return await graph.ainvoke(state, config, context=given, **durability)

    return once


def written_by_hand() -> Callable[[str], Awaitable[Any]]:
    """The reference: the same state, the same chain, plain Python conditions, nothing recorded."""
    from langgraph.graph import END, START, StateGraph

    graph = StateGraph(State)
    for i in range(NODES):

        async def idle(state: State) -> dict[str, Any]:
            return {"route": {"threshold": 0.5}}

        def way(state: State, i: int = i) -> str:
            return f"n{i + 1}" if state["route"]["threshold"] < 0.9 else "n0"

        graph.add_node(f"n{i}", idle)
        if i < NODES - 1:
            graph.add_conditional_edges(f"n{i}", way, [f"n{i + 1}", "n0"])
    graph.add_edge(START, "n0")
    graph.add_edge(f"n{NODES - 1}", END)
    made = graph.compile()
    run: Any = {"id": "r", "visits": {}}
    state: Any = {"request": {"text": "x"}, "principal": principal("a"), "run": run, "trail": [], "tool_calls": []}

    async def once(thread: str) -> Any:
        return await made.ainvoke(state, {"configurable": {"thread_id": thread}})

    return once


async def _fastest(variants: dict[str, Callable[[str], Awaitable[Any]]]) -> dict[str, float]:
    """Milliseconds per run; the variants take turns, so that a busy moment hits all of them."""
    best = dict.fromkeys(variants, float("inf"))
    for round_ in range(ROUNDS):
        for name, once in variants.items():
            started = time.perf_counter()
            await once(f"{name}{round_}")
            best[name] = min(best[name], (time.perf_counter() - started) * 1000)
    return best


def measure() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder, server() as url:
        unflushed = f"{url}{'&' if '?' in url else '?'}options=-csynchronous_commit%3Doff"
        variants = {
            "by_hand_ms": written_by_hand(),
            "compiled_ms": compiled(None),
            "checkpointed_ms": compiled(SqliteCheckpoints(Path(folder) / "checkpoints.sqlite")),
            "postgres_ms": compiled(open_checkpoints(Server(url))),
            "postgres_unflushed_ms": compiled(open_checkpoints(Server(unflushed))),
        }
        best = asyncio.run(_fastest(variants))
    condition, state = Conditions().compile("router.threshold < 0.9"), {"route": {"threshold": 0.5}}
    return {
        "load_ms": round(min(timeit.repeat(lambda: load(HELPDESK), number=1, repeat=5)) * 1000, 1),
        "condition_us": round(min(timeit.repeat(lambda: condition.evaluate(state), number=1000, repeat=5)) * 1000, 2),
        **{name: round(value, 2) for name, value in best.items()},
        "compiled_ratio": round(best["compiled_ms"] / best["by_hand_ms"], 3),
        "checkpointed_ratio": round(best["checkpointed_ms"] / best["compiled_ms"], 3),
        "postgres_to_sqlite": round(best["postgres_ms"] / best["checkpointed_ms"], 2),
        "postgres_unflushed_to_sqlite": round(best["postgres_unflushed_ms"] / best["checkpointed_ms"], 2),
    }


ABOUT = """
Seven idle nodes in a chain of conditional edges, the least of 150 runs that take turns; nothing is traced. PostgreSQL
is on the same machine, so its figure is that of its disk: every checkpoint is flushed before the next step. A network
adds its own.
"""


def tables(found: dict[str, float]) -> list[results.Table]:
    return [
        results.table(
            ("a run of seven idle nodes", "ms", "beside"),
            ("LangGraph, written by hand", found["by_hand_ms"], ""),
            ("compiled workflow", found["compiled_ms"], f"{found['compiled_ratio']} of by hand (target 1.15)"),
            ("checkpoint after every node, SQLite", found["checkpointed_ms"],
             f"{found['checkpointed_ratio']} of compiled (target 2)"),
            ("checkpoint after every node, PostgreSQL", found["postgres_ms"],
             f"{found['postgres_to_sqlite']} of SQLite"),
            ("the same, `synchronous_commit` off", found["postgres_unflushed_ms"],
             f"{found['postgres_unflushed_to_sqlite']} of SQLite"),
        )
    ]  # fmt: skip


if __name__ == "__main__":
    figures = measure()
    print(json.dumps(figures, indent=2))
    if "--record" in sys.argv:
        results.record("compiled", "A compiled workflow", ABOUT, tables(figures))
