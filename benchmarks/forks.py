"""What a fork of eight branches takes, beside one of its branches alone and beside LangGraph's own fan-out.

    python benchmarks/forks.py [--record]

Each branch is three nodes one after another, which wait about as long as a fast model takes, or are idle. The variants
take turns in each round, a round gives a ratio, and the figures are medians over rounds. What waits is measured by the
clock; idle nodes by processor time, which a busy machine lengthens less. Nothing is traced: `benchmarks/tracing.py`
measures that.

Written by hand, a branch is a graph of its own as well, since the branches of one graph would wait for each other after
every node: LangGraph begins the next step when all nodes of the last one have ended.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from benchmarks import results
from sluicegate.graphs.proofs.flow import Edge, Flow, FlowNode
from sluicegate.graphs.runtime.build import build
from sluicegate.graphs.runtime.checkpoints import open_checkpoints
from sluicegate.graphs.runtime.intake import principal, request
from sluicegate.nodes._settings import NoSettings
from sluicegate.nodes.kinds.control.parallel import Parallel
from sluicegate.services import Services
from sluicegate.state import State
from tests.support.fakes import services
from tests.support.plugged import kind, plugged

BRANCHES, LENGTH, WAIT_S = 8, 3, 0.1
ROUNDS, IDLE_ROUNDS = 15, 100
ABOUT = f"""
A run with a fork of {BRANCHES} branches, each of {LENGTH} nodes, which wait for {WAIT_S * 1000:.0f} ms (by the clock)
or do nothing (processor time). *By hand* is LangGraph's own fan-out of the same nodes over the same state, a graph per
branch, without decisions or a merge of what the branches changed. Both keep checkpoints of every node in SQLite
where it says so, ours and LangGraph's. Ratios are medians over {ROUNDS} rounds ({IDLE_ROUNDS} of idle nodes), in which
the variants take turns.
"""

Once = Callable[[str], Awaitable[Any]]
CHAINS = [[f"branch{branch}_{number}" for number in range(LENGTH)] for branch in range(BRANCHES)]


def initial() -> State:
    asked = request("How do I reset my password?", channel="cli", id="r", received_at=services().now())
    run: Any = {"id": "r", "workflow": "w", "version": "1", "digest": "d", "started_at": "", "status": "running",
                "visits": {}, "shadow": False}  # fmt: skip
    return {"request": asked, "principal": principal("a"), "run": run, "trail": [], "tool_calls": []}


def ours(wait: float, home: str | None, branches: int = BRANCHES) -> Once:
    """A compiled workflow; with one branch its nodes are in a line, without a fork."""
    nodes = {"join": FlowNode("join", "point")}
    for chain in CHAINS[:branches]:
        for name, to in zip(chain, [*chain[1:], "join"], strict=True):
            nodes[name] = FlowNode(name, "work", edges=(Edge(to),))
    firsts = tuple(Edge(chain[0]) for chain in CHAINS[:branches])
    forked = branches > 1
    nodes["start"] = FlowNode("start", "parallel" if forked else "point", edges=firsts, join="join" if forked else "")
    settings: dict[str, Any] = dict.fromkeys(nodes, NoSettings())
    if forked:
        settings["start"] = Parallel(branches=[edge.to for edge in firsts], join="join")

    async def work(state: State, given: Services) -> dict[str, Any]:
        await asyncio.sleep(wait)
        return {}

    async def point(state: State, given: Services) -> dict[str, Any]:
        return {}

    with plugged(kind("work", (), node=work), kind("point", (), node=point)):
        graph = build(Flow("start", nodes), {}, settings, checkpointer=open_checkpoints(Path(home)) if home else None)
    given, state = services(), initial()

    async def once(thread: str) -> Any:
        config: Any = {"configurable": {"thread_id": thread}}
        durability: Any = {"durability": "sync"} if home else {}
        ended = await graph.ainvoke(state, config, context=given, **durability)
        assert len(ended["trail"]) == branches * LENGTH + 2

    return once


def by_hand(wait: float, saver: Any = None) -> Once:
    from langgraph.graph import END, START, StateGraph

    async def work(state: State) -> dict[str, Any]:
        await asyncio.sleep(wait)
        return {"trail": [{"node": "work"}]}

    async def point(state: State) -> dict[str, Any]:
        return {"trail": [{"node": "point"}]}

    whole = StateGraph(State)
    whole.add_node("start", point).add_node("join", point).add_edge(START, "start").add_edge("join", END)
    for chain in CHAINS:
        branch = StateGraph(State)
        for name in chain:
            branch.add_node(name, work)
        for before, after in zip([START, *chain], [*chain, END], strict=True):
            branch.add_edge(before, after)
        compiled = branch.compile()

        async def run(state: State, compiled: Any = compiled) -> dict[str, Any]:
            return {"trail": (await compiled.ainvoke({**state, "trail": []}))["trail"]}

        whole.add_node(chain[0], run).add_edge("start", chain[0])
    whole.add_edge([chain[0] for chain in CHAINS], "join")
    graph, state = whole.compile(checkpointer=saver), initial()

    async def once(thread: str) -> Any:
        durability: Any = {"durability": "sync"} if saver else {}
        ended = await graph.ainvoke(state, {"configurable": {"thread_id": thread}}, **durability)
        assert len(ended["trail"]) == BRANCHES * LENGTH + 2

    return once


async def in_turns(variants: dict[str, Once], rounds: int, timer: Callable[[], float]) -> dict[str, list[float]]:
    """Milliseconds of each variant, round by round; a first round is not counted."""
    found: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(rounds + 1):
        for name, once in variants.items():
            started = timer()
            await once(f"{name} {number}")
            found[name].append((timer() - started) * 1000)
    return {name: times[1:] for name, times in found.items()}


async def measured() -> list[tuple[str, ...]]:
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

    rows: list[tuple[str, ...]] = []

    def told(what: str, found: dict[str, list[float]], name: str, beside: str, goal: str = "") -> None:
        ratio = statistics.median(one / other for one, other in zip(found[name], found[beside], strict=True))
        times = (f"{statistics.median(found[each]):.1f}" for each in (name, beside))
        rows.append((what, name, *times, f"{ratio:.2f} of {beside}", goal))
        print(*rows[-1], sep=" | ")

    for what, wait, rounds, timer in (
        ("waiting", WAIT_S, ROUNDS, time.perf_counter),
        ("idle", 0.0, IDLE_ROUNDS, time.process_time),
    ):
        with tempfile.TemporaryDirectory() as home:
            async with AsyncSqliteSaver.from_conn_string(f"{home}/by_hand.sqlite") as saver:
                variants = {
                    "fork": ours(wait, None),
                    "by hand": by_hand(wait),
                    "one branch, SQLite": ours(wait, home, branches=1),
                    "fork, SQLite": ours(wait, home),
                    "by hand, SQLite": by_hand(wait, saver),
                }
                found = await in_turns(variants, rounds, timer)
        if wait:
            told(what, found, "fork, SQLite", "one branch, SQLite", "1.2")
        told(what, found, "fork", "by hand", "1.15" if wait else "")
        told(what, found, "fork, SQLite", "by hand, SQLite", "1.15" if wait else "")
    return rows


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--record", action="store_true", help="for docs/measured.md")
    given = arguments.parse_args()
    rows = asyncio.run(measured())
    columns = ("nodes", "run", "ms", "beside it, ms", "ratio", "goal")
    if given.record:
        results.record("forks", "A fork of eight branches", ABOUT, [results.table(columns, *rows)])


if __name__ == "__main__":
    main()
