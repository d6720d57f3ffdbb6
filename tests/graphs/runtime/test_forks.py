"""Branches side by side: their order, their isolation, their failures, and what is left of them after a crash."""

import asyncio
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from sluicegate.errors import RunError, UnreachableError
from sluicegate.graphs.proofs.flow import Edge, Flow, FlowNode
from sluicegate.graphs.runtime.build import build
from sluicegate.graphs.runtime.checkpoints import open_checkpoints
from sluicegate.graphs.runtime.run import Runner
from sluicegate.graphs.runtime.waiting.approvals import Approvals
from sluicegate.nodes._settings import NoSettings
from sluicegate.nodes.kinds.control.parallel import Parallel
from sluicegate.nodes.kinds.terminal import Refuse
from sluicegate.services import ModelRequest, Services
from sluicegate.state import State
from tests.support.fakes import FakeModels, FakeTracer, services
from tests.support.flows import ANN, When, released, way
from tests.support.plugged import kind, plugged
from tests.support.processes import Started


@dataclass
class Work:
    """What the nodes of a test do, by their names; each is remembered as it begins and as it ends."""

    does: Mapping[str, Callable[[State, Services], Any]] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)

    def make(self, name: str, _settings: Any) -> Any:
        async def node(state: State, given: Services) -> dict[str, Any]:
            self.seen.append(f"{name}+")
            made = self.does[name](state, given) if name in self.does else {}
            made = await made if asyncio.iscoroutine(made) else made
            self.seen.append(f"{name}-")
            return made or {}

        return node


def step(name: str, to: str, *more: Edge, **given: Any) -> FlowNode:
    return FlowNode(name, "work", edges=(*more, Edge(to)), **given)


def fork(name: str, join: str, *firsts: str, **given: Any) -> FlowNode:
    return FlowNode(name, "parallel", edges=tuple(map(Edge, firsts)), join=join, **given)


ENDS = (FlowNode("ok", "respond"), FlowNode("sorry", "refuse"))


def runner(work: Work, home: Path, *nodes: FlowNode, given: Services | None = None, **conditions: Any) -> Runner:
    home.mkdir(parents=True, exist_ok=True)
    given = given or services()
    flow = Flow(nodes[0].name, {node.name: node for node in (*nodes, *ENDS)})
    made: dict[str, Any] = {name: NoSettings() for name in flow.nodes}
    made |= {one.name: Parallel(branches=["x", "y"], join="z") for one in nodes if one.join}
    graph = build(flow, conditions, {**made, "sorry": Refuse()}, checkpointer=open_checkpoints(home))
    return Runner(graph, given, tracer=given.tracer, approvals=Approvals(home))  # type: ignore[arg-type]


def works(work: Work) -> Any:
    texts = {f"k{number}": str for number in range(6)}
    writes = {"extra", "spend", "documents", "answer", "tags"}
    return plugged(replace(kind("work", writes, {"tags"}, extra=texts), make=work.make))


def extra(key: str, value: str = "done") -> Callable[[State, Services], dict[str, Any]]:
    return lambda state, given: {"extra": {key: value}}


async def meet(started: list[str], name: str, count: int) -> None:
    """Until `count` nodes have come here."""
    started.append(name)
    while len(started) < count:
        await asyncio.sleep(0)


async def test_branches_run_side_by_side_and_come_together_in_the_order_of_the_config(own_home: Path) -> None:
    started: list[str] = []
    work = Work({
        "a": lambda state, given: meet(started, "a", 2),
        "b": lambda state, given: meet(started, "b", 2),
        "a2": extra("k0"),
        "b2": extra("k1"),
    })  # fmt: skip
    tracer = FakeTracer()
    with works(work):
        run = runner(
            work, own_home, fork("f", "j", "b", "a"), step("a", "a2"), step("a2", "j"), step("b", "b2"),
            step("b2", "j"), step("j", "ok"), given=services(tracer=tracer),
        )  # fmt: skip
        outcome = await run.run("How?", ANN)
    assert set(work.seen[:2]) == {"a+", "b+"}
    assert way(outcome.state) == ["f", "b", "b2", "a", "a2", "j", "ok"]
    assert [entry.get("within") for entry in outcome.state["trail"]] == [
        None, "f/b", "f/b", "f/a", "f/a", None, None,
    ]  # fmt: skip
    assert outcome.state["extra"] == {"k0": "done", "k1": "done"}
    assert outcome.state["run"]["visits"] == dict.fromkeys(["f", "a", "a2", "b", "b2", "j", "ok"], 1)
    assert outcome.state["branches"] == {}
    assert {"f/a", "f/b"} <= set(tracer.seen)


@pytest.mark.slow
async def test_eight_branches_are_under_way_at_once_and_each_step_is_written_once(own_home: Path) -> None:
    """Each node goes on only when those of all branches have begun."""
    begun: list[list[str]] = [[], [], []]
    chains = [[f"b{branch}n{number}" for number in range(3)] for branch in range(8)]
    work = Work({
        name: lambda state, given, number=number, name=name: meet(begun[number], name, 8)
        for chain in chains
        for number, name in enumerate(chain)
    })  # fmt: skip
    nodes = [step(name, to) for chain in chains for name, to in zip(chain, [*chain[1:], "j"], strict=True)]
    with works(work):
        run = runner(work, own_home, fork("f", "j", *(chain[0] for chain in chains)), *nodes, step("j", "ok"))
        written = list[tuple[str, int]]()
        checkpoints = cast("Any", run.graph.checkpointer)
        put = checkpoints.put

        def noted(config: Any, checkpoint: Any, metadata: Any, versions: Any) -> Any:
            written.append((config["configurable"]["checkpoint_ns"].partition(":")[0], metadata["step"]))
            return put(config, checkpoint, metadata, versions)

        checkpoints.put = noted
        await run.run("How?", ANN)
    # what came in, what begins, and one for every step
    expected = [("", number) for number in range(-1, 6)]
    expected += [(f"f/{chain[0]}", number) for chain in chains for number in range(-1, 4)]
    assert sorted(written) == sorted(expected)


async def test_a_fork_runs_without_checkpoints(own_home: Path) -> None:
    work = Work({"a": extra("k0"), "b": extra("k1")})
    with works(work):
        run = runner(work, own_home, fork("f", "j", "a", "b"), step("a", "j"), step("b", "j"), step("j", "ok"))
        run.graph.checkpointer = None
        opening = run.opening("How?", ANN)
        state = await run.graph.ainvoke(opening, context=run.services)
    assert state["extra"] == {"k0": "done", "k1": "done"}


async def test_a_branch_sees_its_own_state_until_the_join(own_home: Path) -> None:
    """The second node of `b` begins after `a` has written what both may write."""
    turn, saw = asyncio.Event(), dict[str, Any]()

    async def late(state: State, given: Services) -> dict[str, Any]:
        await turn.wait()
        saw["b"] = state.get("extra")
        return {"extra": {"k1": "b"}}

    def then(state: State, given: Services) -> dict[str, Any]:
        turn.set()
        saw["a2"] = state.get("extra")
        return {}

    work = Work({"first": extra("k2", "before"), "a": extra("k0", "a"), "a2": then, "b": late})
    with works(work):
        run = runner(
            work, own_home, step("first", "f"), fork("f", "j", "a", "b"), step("a", "a2"), step("a2", "j"),
            step("b", "j"), step("j", "ok"),
        )  # fmt: skip
        outcome = await run.run("How?", ANN)
    assert saw == {"a2": {"k2": "before", "k0": "a"}, "b": {"k2": "before"}}
    assert outcome.state["extra"] == {"k2": "before", "k0": "a", "k1": "b"}


def document(name: str) -> dict[str, Any]:
    return {
        "id": name, "version": "1", "title": name, "source": "kb", "score": 1.0, "span": [0, 1], "hash": f"h{name}",
    }  # fmt: skip


async def test_concerns_that_merge(own_home: Path) -> None:
    async def ask(state: State, given: Services) -> dict[str, Any]:
        await given.models.chat(ModelRequest("llm", [], max_tokens=5, size="llm"))
        return {}

    async def find(state: State, given: Services) -> dict[str, Any]:
        await ask(state, given)
        return {"documents": [document("two"), document("both")]}

    def tag(name: str, score: float) -> dict[str, Any]:
        return {"tags": {"found": [name], "scores": {name: score}, "limits": {name: 0.1}}}

    async def find_and_tag(state: State, given: Services) -> dict[str, Any]:
        await ask(state, given)
        return {"documents": [document("both"), document("one")], **tag("red", 0.5)}

    work = Work({
        "first": lambda state, given: {"documents": [document("old")]},
        "a": find_and_tag, "b": find, "c": lambda state, given: tag("blue", 0.7), "j": ask,
    })  # fmt: skip
    with works(work):
        run = runner(
            work, own_home, step("first", "f"), fork("f", "j", "a", "b", "c"), step("a", "j"), step("b", "j"),
            step("c", "j"), step("j", "ok"), given=services(models=FakeModels(usd=0.25)),
        )  # fmt: skip
        state = (await run.run("How?", ANN)).state
    assert [one["id"] for one in state["documents"]] == ["both", "one", "two"]
    assert [one["id"] for one in state["earlier_documents"]] == ["old"]
    assert (state["spend"]["usd"], state["spend"]["llm_calls"]) == (0.75, 3)
    assert state["tags"] == {
        "found": ["blue", "red"], "scores": {"red": 0.5, "blue": 0.7}, "limits": {"red": 0.1, "blue": 0.1},
    }  # fmt: skip


async def test_branches_may_branch_loop_and_fork(own_home: Path) -> None:
    again = When({}, lambda state: state["run"]["visits"]["a"] < 3)
    work = Work({"x": extra("k0"), "y": extra("k1")})
    with works(work):
        run = runner(
            work, own_home, fork("f", "j", "a", "g"), step("a", "j", Edge("a", "again"), max_visits=5),
            fork("g", "j", "x", "y"), step("x", "j"), step("y", "j"), step("j", "ok"), again=again,
        )  # fmt: skip
        outcome = await run.run("How?", ANN)
    assert way(outcome.state) == ["f", "a", "a", "a", "g", "x", "y", "j", "ok"]
    assert [entry.get("within", "") for entry in outcome.state["trail"][4:7]] == ["f/g", "f/g/g/x", "f/g/g/y"]
    assert outcome.state["extra"] == {"k0": "done", "k1": "done"}


async def test_a_fork_may_be_entered_again(own_home: Path) -> None:
    again = When({}, lambda state: state["run"]["visits"]["j"] < 3)
    work = Work({"b": lambda state, given: {"extra": {"k1": state.get("extra", {}).get("k1", "") + "b"}}})
    with works(work):
        run = runner(
            work, own_home, fork("f", "j", "a", "b", max_visits=9), step("a", "j"), step("b", "j"),
            step("j", "ok", Edge("f", "again")), again=again,
        )  # fmt: skip
        outcome = await run.run("How?", ANN)
    assert way(outcome.state) == ["f", "a", "b", "j"] * 3 + ["ok"]
    assert outcome.state["extra"] == {"k1": "bbb"}


def raises(error: Exception) -> Callable[[State, Services], Any]:
    def does(state: State, given: Services) -> Any:
        raise error

    return does


@pytest.mark.parametrize("siblings", ["await", "cancel"])
async def test_a_failed_branch_takes_the_error_branch_of_its_fork(siblings: Any, own_home: Path) -> None:
    go = asyncio.Event()

    async def slow(state: State, given: Services) -> dict[str, Any]:
        await (asyncio.sleep(0.01) if siblings == "await" else asyncio.Event().wait())
        return {"extra": {"k1": "b"}}

    async def spend(state: State, given: Services) -> dict[str, Any]:
        await given.models.chat(ModelRequest("llm", [], max_tokens=5, size="llm"))
        go.set()
        return {"extra": {"k0": "a"}}

    async def fails(state: State, given: Services) -> dict[str, Any]:
        await go.wait()
        raise UnreachableError("no server answers")

    work = Work({"a": fails, "b0": spend, "b": slow})
    failing = fork("f", "j", "a", "b0", on_error=Edge("sorry"), siblings=siblings)
    with works(work):
        run = runner(
            work, own_home, failing, step("a", "j"), step("b0", "b"), step("b", "j"), step("j", "ok"),
            given=services(models=FakeModels(usd=0.25)),
        )  # fmt: skip
        state = (await run.run("How?", ANN)).state
    assert ("b-" in work.seen) == (siblings == "await")
    expected = ["f", "a", "b0", *(["b"] if siblings == "await" else []), "f", "sorry"]
    assert way(state) == expected
    assert "extra" not in state
    assert (state["failure"]["node"], state["failure"]["cause"]) == ("a", "unavailable")
    assert (state["spend"]["usd"], state["spend"]["llm_calls"]) == (0.25, 1)
    last = next(entry for entry in reversed(state["trail"]) if entry["node"] == "f")
    assert (last["branch"]["to"], last["branch"]["condition"]) == ("sorry", "on_error")


async def test_the_error_branch_of_a_node_stays_in_its_branch(own_home: Path) -> None:
    work = Work({"a": raises(KeyError("id")), "a2": extra("k0"), "b": extra("k1")})
    with works(work):
        run = runner(
            work, own_home, fork("f", "j", "a", "b", on_error=Edge("sorry")), step("a", "j", on_error=Edge("a2")),
            step("a2", "j"), step("b", "j"), step("j", "ok"),
        )  # fmt: skip
        state = (await run.run("How?", ANN)).state
    assert way(state) == ["f", "a", "a2", "b", "j", "ok"]
    assert state["extra"] == {"k0": "done", "k1": "done"}


@pytest.mark.parametrize("siblings", ["await", "cancel"])
async def test_after_a_failure_without_an_error_branch_only_what_was_not_done_is_run_again(
    siblings: Any, own_home: Path
) -> None:
    go, broken = asyncio.Event(), [UnreachableError("no server answers")]

    async def fails(state: State, given: Services) -> dict[str, Any]:
        await go.wait()
        if broken:
            raise broken.pop()
        return {"extra": {"k0": "a"}}

    def done(state: State, given: Services) -> dict[str, Any]:
        return {"extra": {"k1": "b"}}

    async def slow(state: State, given: Services) -> None:
        if not go.is_set():
            go.set()
            await (asyncio.Event().wait() if siblings == "cancel" else asyncio.sleep(0.01))

    work = Work({"a": fails, "b": done, "b2": slow})
    nodes = (
        fork("f", "j", "a", "b", siblings=siblings), step("a", "j"), step("b", "b2"), step("b2", "j"),
        step("j", "ok"),
    )  # fmt: skip
    with works(work):
        with pytest.raises(UnreachableError):
            await runner(work, own_home, *nodes).run("How?", ANN, run="r")
        assert ("b2-" in work.seen) == (siblings == "await")
        state = (await runner(work, own_home, *nodes).run("How?", ANN, run="r")).state
    assert way(state) == ["f", "a", "b", "b2", "j", "ok"]
    assert state["extra"] == {"k0": "a", "k1": "b"}
    assert work.seen.count("b+") == 1
    assert work.seen.count("b2+") == (1 if siblings == "await" else 2)


async def test_a_run_that_is_stopped_in_its_branches_leaves_nothing_at_work_and_is_resumed_there(
    own_home: Path,
) -> None:
    begun, stopped = list[str](), asyncio.Event()

    async def held(state: State, given: Services) -> None:
        if not stopped.is_set():
            await meet(begun, "held", 2)
            await stopped.wait()

    nodes = (
        fork("f", "j", "a", "b"),
        step("a", "a2"),
        step("a2", "j"),
        step("b", "b2"),
        step("b2", "j"),
        step("j", "ok"),
    )
    work = Work({"a": extra("k0"), "b": extra("k1"), "a2": held, "b2": held})
    with works(work):
        running = asyncio.ensure_future(runner(work, own_home, *nodes).run("How?", ANN, run="r"))
        while len(begun) < 2:
            await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert [name for name in work.seen if name.endswith("-")] == ["a-", "b-"]
        stopped.set()
        state = (await runner(work, own_home, *nodes).resume("r")).state
    assert way(state) == ["f", "a", "a2", "b", "b2", "j", "ok"]
    assert state["extra"] == {"k0": "done", "k1": "done"}
    assert {name: work.seen.count(f"{name}+") for name in ("a", "b", "a2", "b2")} == {"a": 1, "b": 1, "a2": 2, "b2": 2}


async def test_errors_that_no_other_node_can_help_with_fail_the_run(own_home: Path) -> None:
    work = Work({"a": raises(RunError("SG607", "the disk is full"))})
    failing = fork("f", "j", "a", "b", on_error=Edge("sorry"))
    with works(work):
        run = runner(work, own_home, failing, step("a", "j"), step("b", "j"), step("j", "ok"))
        with pytest.raises(RunError, match="the disk is full"):
            await run.run("How?", ANN)


KILLED = (fork("f", "j", "a", "b"), step("a", "a2"), step("a2", "j"), step("b", "b2"), step("b2", "j"), step("j", "ok"))


def killed(home: str, at: str) -> None:
    """For a process of its own: it is killed in node `at`, when the other branch has come as far as it can."""

    async def kill(state: State, given: Services) -> None:
        while len([one for one in work.seen if one.endswith("-")]) < DONE_BEFORE[at]:
            await asyncio.sleep(0)
        for _ in range(1_000):  # a step's checkpoint is written after it
            await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGKILL)

    work = Work({"a": extra("k0"), "b2": extra("k1"), at: kill})
    with works(work):
        asyncio.run(runner(work, Path(home), *KILLED).run("How?", ANN, run="killed"))


DONE_BEFORE = {"a2": 3, "b2": 3, "j": 4}
"""How many nodes have ended when a node is killed."""


@pytest.mark.slow
@pytest.mark.parametrize("at", DONE_BEFORE)
async def test_kill_9_in_a_branch_repeats_that_node_alone(own_home: Path, at: str) -> None:
    status, _, errors = Started(own_home.with_name("said"), os.environ, killed, str(own_home), at).ended()
    assert status == -signal.SIGKILL, errors
    released("killed")
    work = Work({"a": extra("k0"), "b2": extra("k1")})
    with works(work):
        outcome = await runner(work, own_home, *KILLED).resume("killed")
    assert way(outcome.state) == ["f", "a", "a2", "b", "b2", "j", "ok"]
    assert outcome.state["extra"] == {"k0": "done", "k1": "done"}
    assert [one for one in work.seen if one.endswith("+")] == list(dict.fromkeys([f"{at}+", "j+"]))
