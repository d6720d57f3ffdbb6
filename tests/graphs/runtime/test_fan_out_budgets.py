"""Budgets of branches and items: reserved before the first of them begins, the cheaper way for what has no room, and
nothing left of it when they have ended, however they end."""

import asyncio
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from sluicegate.errors import ModelError, RunError
from sluicegate.graphs.proofs.flow import Edge, Flow
from sluicegate.graphs.runtime.budgets.bounds import RouteBounds
from sluicegate.graphs.runtime.build import build
from sluicegate.graphs.runtime.checkpoints import open_checkpoints
from sluicegate.graphs.runtime.run import Runner
from sluicegate.graphs.runtime.waiting.approvals import Approvals
from sluicegate.graphs.session import history
from sluicegate.nodes._settings import NoSettings
from sluicegate.nodes.attempts import AttemptLimits, Retry
from sluicegate.nodes.kinds.answering import LlmSynthesize, SlmAnswer
from sluicegate.nodes.kinds.control.parallel import Parallel
from sluicegate.nodes.kinds.terminal import Refuse
from sluicegate.policies.config import BudgetConfig
from sluicegate.policies.ledger.ledger import BudgetLedger, SqliteLedger
from sluicegate.policies.ledger.postgres import PostgresLedger
from sluicegate.services import Completion, ModelRequest
from sluicegate.state import State
from sluicegate.storage.postgres import server
from tests.support.fakes import FakeTracer
from tests.support.flows import ANN, When, released, way
from tests.support.mapping import flow, given, node, runner, settings
from tests.support.priced import Priced, sums
from tests.support.processes import Started

STOPPED = {"stopped": When({"spend.stopped": lambda s: s["spend"]["stopped"]}, lambda s: s["spend"]["stopped"])}


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def ledgers(request: pytest.FixtureRequest, own_home: Path) -> Iterator[Any]:
    made = list[BudgetLedger]()
    own_home.mkdir(exist_ok=True)

    def opened(**budget: Any) -> BudgetLedger:
        config = BudgetConfig(**budget)
        if request.param == "sqlite":
            made.append(SqliteLedger(config, own_home / "ledger.sqlite"))
        else:
            made.append(PostgresLedger(server(request.getfixturevalue("postgres")), config))
        return made[-1]

    yield opened
    for ledger in made:
        ledger.close()


# --- items ---

ITEMS = flow(
    node("assess", "llm-synthesize", ("stopped", "quick"), (None, "each"), within="each", on_error=Edge("each")),
    node("quick", "slm-answer", (None, "each"), within="each", on_error=Edge("each")),
)


def own(**each: Any) -> dict[str, Any]:
    return {
        **settings(**each),
        "assess": LlmSynthesize(prompt="assess", max_tokens=100),
        "quick": SlmAnswer(prompt="quick", max_tokens=50),
    }


def items(home: Path, ledger: BudgetLedger, models: Priced | None = None, **more: Any) -> Runner:
    using = given(models=models or Priced(), ledger=ledger, **more.pop("services", {}))
    return runner(home, more.pop("of", ITEMS), own(**more), using, STOPPED)


def by(state: State) -> list[str]:
    return [each["answer"]["by"] for each in (state.get("items") or {})["notes"]]


async def bound_of_items(home: Path) -> float:
    """US dollars that all five can cost."""
    home.mkdir(parents=True, exist_ok=True)
    ledger = SqliteLedger(BudgetConfig(per_run_usd=100), home / "ample.sqlite")
    made: list[float] = []

    class Looking(Priced):
        async def chat(self, request: ModelRequest) -> Completion:
            made.append(sums(ledger)["held"] / 1e6)
            return await super().chat(request)

    await items(home / "ample", ledger, Looking(), at_once=1).run("How?", ANN)
    ledger.close()
    return made[0]


async def test_items_that_fit_exactly_are_all_done_in_full(ledgers: Any, own_home: Path) -> None:
    """The bound holds: with a cap of just that much no call of an item is refused."""
    ledger = ledgers(per_run_usd=await bound_of_items(own_home))
    outcome = await items(own_home, ledger).run("How?", ANN)
    assert by(outcome.state) == ["assess"] * 5
    assert outcome.state.get("reserved") is None
    assert "without" not in outcome.state["trail"][1]["branch"]["reason"]
    assert (sums(ledger)["held"], sums(ledger)["reservations"]) == (0, 0)


@pytest.mark.parametrize("at_once", [1, 5])
async def test_what_has_no_room_takes_the_cheaper_way_in_the_order_of_the_list(
    ledgers: Any, own_home: Path, at_once: int
) -> None:
    whole = await bound_of_items(own_home)
    ledger, models = ledgers(per_run_usd=0.65 * whole), Backwards()
    outcome = await items(own_home, ledger, models, at_once=at_once).run("How?", ANN)
    state = outcome.state
    assert by(state) == ["assess"] * 3 + ["quick"] * 2, "whichever is faster"
    assert outcome.status == "answered"
    assert models.large == 3
    reason = state["trail"][1]["branch"]["reason"]
    assert reason.startswith("without large models: 3, 4 (per_run_usd: $0.0")
    last = state["trail"][1].get("items", [])[4]["trail"][0]["branch"]
    assert (last["to"], last["values"]) == ("quick", {"spend.stopped": True})
    assert "SG501 per_run_usd" in state["spend"]["stopped_by"]
    assert 0 < state["spend"]["usd"] < 0.65 * whole
    assert sums(ledger)["held"] == 0
    assert sums(ledger)["spent"] == pytest.approx(state["spend"]["usd"] * 1e6, abs=5)


@dataclass
class Backwards(Priced):
    """The later an item, the sooner it is answered."""

    async def chat(self, request: ModelRequest) -> Completion:
        number = sum(f"Text {n}." in request.messages[-1].content for n in range(5))
        for _ in range(10 * (5 - number)):
            await asyncio.sleep(0)
        return await super().chat(request)


async def test_where_nothing_fits_no_call_is_paid(own_home: Path) -> None:
    ledger = SqliteLedger(BudgetConfig(per_day_usd=0.000001))
    models = Priced()
    state = (await items(own_home, ledger, models).run("How?", ANN)).state
    assert by(state) == ["quick"] * 5
    assert (models.large, state["spend"]["usd"]) == (0, 0.0)


async def test_tokens_are_reserved_too(own_home: Path) -> None:
    """A cap on tokens counts what is free, too: then an item has room for the small model, or for nothing."""
    ledger = SqliteLedger(BudgetConfig(per_run_tokens=4_000))
    state = (await items(own_home, ledger, at_least=1).run("How?", ANN)).state
    limited = state["trail"][1]["branch"]["reason"]
    assert "per_run_tokens: " in limited
    spent = state["spend"]["prompt_tokens"] + state["spend"]["completion_tokens"]
    assert 0 < spent <= 4_000


async def test_without_a_cap_nothing_is_reserved_before_the_calls(own_home: Path) -> None:
    ledger, tracer = SqliteLedger(BudgetConfig()), FakeTracer()
    state = (await items(own_home, ledger, services={"tracer": tracer}).run("How?", ANN)).state
    assert by(state) == ["assess"] * 5
    assert "reserved" not in state


async def test_a_second_visit_reserves_anew(own_home: Path) -> None:
    again = When({"visits": lambda s: s["run"]["visits"]["each"]}, lambda s: s["run"]["visits"]["each"] < 2)
    nodes = {**ITEMS.nodes, "each": replace(ITEMS.nodes["each"], edges=(Edge("facts", "again"), Edge("draft")))}
    nodes["facts"] = replace(nodes["facts"], max_visits=2)
    ledger = SqliteLedger(BudgetConfig(per_run_usd=1))
    using = given(models=Priced(), ledger=ledger)
    made = runner(own_home, Flow("facts", nodes), own(), using, {**STOPPED, "again": again})
    state = (await made.run("How?", ANN)).state
    assert state["run"]["visits"]["each"] == 2
    assert sums(ledger) == {**sums(ledger), "held": 0, "reservations": 0, "calls": 11}


@pytest.mark.parametrize("on_error", [True, False])
async def test_a_for_each_that_fails_releases_what_it_has_not_spent(own_home: Path, on_error: bool) -> None:
    models, ledger = Priced(poison={"Text": ModelError("SG305", "no")}), SqliteLedger(BudgetConfig(per_run_usd=1))
    of = flow(*(ITEMS.nodes[name] for name in ("assess", "quick")), on_error=on_error)
    made = items(own_home, ledger, models, of=of)
    if on_error:
        assert way((await made.run("How?", ANN)).state)[-1] == "sorry"
    else:
        with pytest.raises(RunError, match="SG636"):
            await made.run("How?", ANN)
    assert sums(ledger) == {**sums(ledger), "held": 0, "reservations": 0, "calls": 0}


async def test_a_run_that_fails_among_its_items_can_go_on(own_home: Path) -> None:
    """What a process in trouble had reserved is others' to spend; the run's calls are then reserved one by one."""
    of = replace(ITEMS, nodes={**ITEMS.nodes, "assess": replace(ITEMS.nodes["assess"], on_error=None)})
    ledger = SqliteLedger(BudgetConfig(per_run_usd=1))
    broken = items(own_home, ledger, Priced(poison={"Text 3.": ModelError("SG305", "no")}), of=of, at_once=1)
    with pytest.raises(ModelError, match="SG305"):
        await broken.run("How?", ANN, run="first")
    assert sums(ledger) == {**sums(ledger), "held": 0, "reservations": 0}
    assert sums(ledger)["calls"] < 5
    state = (await items(own_home, ledger, of=of, at_once=1).resume("first")).state
    assert by(state) == ["assess"] * 5
    assert (sums(ledger)["held"], sums(ledger)["calls"]) == (0, 6)


async def test_a_copy_of_a_run_draws_nothing_of_the_first_ones_reservation(own_home: Path) -> None:
    ledger = SqliteLedger(BudgetConfig(per_run_usd=1))
    made = items(own_home, ledger)
    await made.run("How?", ANN, run="first")
    snapshots = history.lineage(made.graph, "first")
    ahead = history.before(snapshots, "draft")
    history.copied(made.graph, snapshots[snapshots.index(ahead) :], "second", lambda state: state)
    await made.graph.ainvoke(None, {"configurable": {"thread_id": "second"}}, context=made.services)
    assert sums(ledger)["held"] == 0


def killed_among_items(home: str, word: str) -> None:
    """For a process of its own: it is killed when a model is asked something with this word."""

    class Deadly(Priced):
        async def chat(self, request: ModelRequest) -> Completion:
            for _ in range(50):
                await asyncio.sleep(0)
            if word in request.messages[-1].content:
                os.kill(os.getpid(), signal.SIGKILL)
            return await super().chat(request)

    Path(home).mkdir(exist_ok=True)
    ledger = SqliteLedger(BudgetConfig(per_run_usd=1), Path(home) / "ledger.sqlite")
    asyncio.run(items(Path(home), ledger, Deadly(), at_once=2).run("How?", ANN, run="killed"))


@pytest.mark.slow
@pytest.mark.parametrize("word", ["Text 0.", "Text 3."])
async def test_kill_9_among_items_neither_reserves_twice_nor_leaks(own_home: Path, word: str) -> None:
    status, _, errors = Started(own_home.with_name("said"), os.environ, killed_among_items, str(own_home), word).ended()
    assert status == -signal.SIGKILL, errors
    released("killed")
    ledger = SqliteLedger(BudgetConfig(per_run_usd=1), own_home / "ledger.sqlite")
    before = sums(ledger)
    assert before["held"] > 0
    held: list[int] = []

    class Looking(Priced):
        async def chat(self, request: ModelRequest) -> Completion:
            held.append(sums(ledger)["held"])
            return await super().chat(request)

    state = (await items(own_home, ledger, Looking(), at_once=2).resume("killed")).state
    assert by(state) == ["assess"] * 5
    # what is repeated takes the place of what the dead process had reserved for it
    assert max(held[:-1]) <= before["held"]
    assert sums(ledger) == {**sums(ledger), "held": 0, "reservations": 0}


# --- branches ---


def forked(home: Path, ledger: BudgetLedger, models: Any, **change: Any) -> Runner:
    """Two branches, each of which asks the large model, or the small one where it may not."""
    home.mkdir(parents=True, exist_ok=True)
    nodes = {
        one.name: one
        for one in (
            replace(node("f", "parallel", (None, "a"), (None, "b")), join="j", on_error=Edge("sorry")),
            node("a", "llm-synthesize", ("stopped", "a2"), (None, "j")),
            node("a2", "slm-answer", (None, "j")),
            node("b", "llm-synthesize", ("stopped", "b2"), (None, "j")),
            node("b2", "slm-answer", (None, "j")),
            node("j", "slm-answer", (None, "ok")),
            node("ok", "respond"),
            node("sorry", "refuse"),
        )
    }
    nodes |= {name: replace(nodes[name], **more) for name, more in change.items()}
    own: dict[str, Any] = {name: LlmSynthesize(prompt="p", max_tokens=100) for name in ("a", "b")}
    own |= {name: SlmAnswer(prompt="p", max_tokens=50) for name in ("a2", "b2", "j")}
    own |= {"f": Parallel(branches=["a", "b"], join="j"), "ok": NoSettings(), "sorry": Refuse()}
    using = given(models=models, ledger=ledger)
    graph = build(Flow("f", nodes), STOPPED, own, checkpointer=open_checkpoints(home))
    return Runner(graph, using, tracer=using.tracer, approvals=Approvals(home))  # type: ignore[arg-type]


async def test_branches_are_reserved_together_and_the_later_one_takes_the_cheaper_way(
    ledgers: Any, own_home: Path
) -> None:
    ample = ledgers(per_run_usd=1, per_run_tokens=100_000)
    held: list[int] = []

    class Looking(Priced):
        async def chat(self, request: ModelRequest) -> Completion:
            held.append(sums(ample)["held"])
            return await super().chat(request)

    state = (await forked(own_home, ample, Looking()).run("How?", ANN)).state
    assert way(state) == ["f", "a", "b", "j", "ok"]
    assert state.get("reserved") is None
    both = held[0]
    assert sums(ample)["held"] == 0
    tight = ledgers(per_run_usd=0.9 * both / 1e6)
    outcome = await forked(own_home, tight, models := Priced()).run("How?", ANN)
    state = outcome.state
    assert way(state) == ["f", "a", "b", "b2", "j", "ok"]
    reason = state["trail"][0]["branch"]["reason"]
    assert reason.startswith("without large models: b (per_run_usd: ")
    assert reason.endswith("every branch")
    assert (models.large, state["spend"]["llm_calls"]) == (1, 1)
    assert sums(tight)["held"] == 0


async def test_a_small_model_that_costs_money_is_reserved_where_the_large_one_has_no_room(own_home: Path) -> None:
    models = Priced(prices={"llm": 0.001, "slm": 0.00001})
    for cap, expected in ((10.0, ["a", "b"]), (0.02, ["a", "a2", "b", "b2"])):
        ledger = SqliteLedger(BudgetConfig(per_run_usd=cap))
        state = (await forked(own_home / str(cap), ledger, models).run("How?", ANN)).state
        assert way(state)[1:-2] == expected
        assert state["spend"]["usd"] <= cap


async def test_a_fork_that_fails_releases_what_it_has_not_spent(own_home: Path) -> None:
    ledger = SqliteLedger(BudgetConfig(per_run_usd=1))
    models = Priced(poison={"How?": ModelError("SG305", "no")})
    state = (await forked(own_home, ledger, models).run("How?", ANN)).state
    assert way(state)[-1] == "sorry"
    assert sums(ledger) == {**sums(ledger), "held": 0, "reservations": 0, "calls": 0}


async def test_a_run_that_fails_in_a_branch_keeps_no_money_from_others(own_home: Path) -> None:
    ledger = SqliteLedger(BudgetConfig(per_run_usd=1))
    models = Priced(poison={"How?": ModelError("SG305", "no")})
    with pytest.raises(ModelError, match="SG305"):
        await forked(own_home, ledger, models, f={"on_error": None}).run("How?", ANN, run="first")
    assert sums(ledger)["held"] == 0
    state = (await forked(own_home, ledger, Priced(), f={"on_error": None}).resume("first")).state
    assert way(state) == ["f", "a", "b", "j", "ok"]


def killed_in_a_branch(home: str) -> None:
    class Deadly(Priced):
        async def chat(self, request: ModelRequest) -> Completion:
            for _ in range(100):
                await asyncio.sleep(0)
            if len(self.asked) == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            return await super().chat(request)

    Path(home).mkdir(exist_ok=True)
    ledger = SqliteLedger(BudgetConfig(per_run_usd=1), Path(home) / "ledger.sqlite")
    asyncio.run(forked(Path(home), ledger, Deadly()).run("How?", ANN, run="killed"))


@pytest.mark.slow
async def test_kill_9_in_a_branch_neither_reserves_twice_nor_leaks(own_home: Path) -> None:
    status, _, errors = Started(own_home.with_name("said"), os.environ, killed_in_a_branch, str(own_home)).ended()
    assert status == -signal.SIGKILL, errors
    released("killed")
    ledger = SqliteLedger(BudgetConfig(per_run_usd=1), own_home / "ledger.sqlite")
    before = sums(ledger)["held"]
    assert before > 0
    state = (await forked(own_home, ledger, Priced()).resume("killed")).state
    assert way(state) == ["f", "a", "b", "j", "ok"]
    assert sums(ledger) == {**sums(ledger), "held": 0, "reservations": 0}


# --- bounds ---


def test_the_bound_of_a_part_counts_its_loops_attempts_and_children() -> None:
    nodes = {
        one.name: one
        for one in (
            node("a", "llm-synthesize", ("again", "a"), (None, "c"), max_visits=3),
            node("c", "workflow", (None, "end")),
            node("end", "respond"),
        )
    }
    plain = _bound(nodes)
    assert plain.micros == 3 * _bound({**nodes, "a": replace(nodes["a"], max_visits=1)}, child=(0, 0, 0, 0)).micros + 7
    assert plain.tokens % 3 == 5 % 3
    assert (plain.small_micros, plain.small_tokens) == (3, 2)
    limits = AttemptLimits(retry=Retry(times=2))
    twice = _bound({**nodes, "c": replace(nodes["c"], limits=limits)})
    assert twice.micros - plain.micros == 2 * 7


def _bound(nodes: dict[str, Any], child: tuple[int, int, int, int] = (7, 5, 3, 2)) -> Any:
    class Inner:
        def bound(self, question: str) -> tuple[int, int, int, int]:
            assert question == "How?"
            return child

    own: dict[str, Any] = {"a": LlmSynthesize(prompt="p", max_tokens=100), "c": None, "end": NoSettings()}
    using = replace(given(models=Priced()), children={"c": Inner()})  # type: ignore[dict-item]
    return RouteBounds(Flow("a", nodes), own).of_run("How?", using)
