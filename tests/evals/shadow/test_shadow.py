"""The shadow: what it takes, what it sheds, what it records, and that nothing of it reaches the user."""

import asyncio
import math
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sluicegate.errors import RunError
from sluicegate.evals.evaluation.baselines import changed
from sluicegate.evals.evaluation.cases import Case
from sluicegate.evals.promotion.gates import Pair, decide
from sluicegate.evals.shadow import shadow_backfill as work_module
from sluicegate.evals.shadow.pairing import Challenge, compare, sampled
from sluicegate.evals.shadow.pairs import PairStore, today
from sluicegate.evals.shadow.shadow import Shadow, pair_up
from sluicegate.evals.shadow.shadow_backfill import Reached, work
from sluicegate.graphs.runtime.outcome import Outcome
from sluicegate.observe.tracing.store import Store
from sluicegate.observe.tracing.storing.shared import open_store
from sluicegate.observe.tracing.tracer import RecordingTracer
from sluicegate.retrieval.replay_retriever import ReplayRetriever
from tests.support.fakes import FakeModels, FakePolicy, FakeRetriever, FakeRouter, services
from tests.support.flows import ANN, runner
from tests.support.shadowing import answered, like, plan, registered
from tests.support.waiting import soon


def challenger(home: Path, **replaced: Any) -> Challenge:
    made = runner(home / "challenger", changed(services(**replaced)), shadow=True)

    async def challenge(champion: Outcome) -> tuple[Outcome, float]:
        return await made.run(champion.state["request"]["text"], ANN), 0.002

    return challenge


async def crashing(_: Outcome) -> tuple[Outcome, float]:
    raise ZeroDivisionError


async def hanging(_: Outcome) -> tuple[Outcome, float]:
    await asyncio.sleep(3600)
    raise AssertionError


RELEASED = threading.Event()


async def blocking(_: Outcome) -> tuple[Outcome, float]:
    """Hangs in a way that no timeout of the loop ends."""
    RELEASED.wait()
    raise AssertionError


async def test_a_pair_has_both_sides(own_home: Path, pairs: PairStore) -> None:
    at = registered(pairs)
    champion = await answered(own_home, router=FakeRouter(confidence=0.5))
    shadow = Shadow(at, pairs, challenger(own_home), price=lambda _run: 0.001)
    assert shadow.after(champion) == ""
    assert shadow.drain(10)
    shadow.close()
    (pair,) = pairs.pairs(at.number)
    assert pair.champion_run == champion.run != pair.challenger_run
    assert (pair.champion["without_llm"], pair.challenger["without_llm"]) == (0.0, 1.0)
    assert (pair.champion["list_usd"], pair.challenger["list_usd"]) == (0.001, 0.002)
    assert pair.slices["intent"] == "question"
    assert (pair.events, pair.day) == ((), today())


# --- what must not reach the user ---


@pytest.mark.slow
@pytest.mark.parametrize("bad", [crashing, hanging, blocking])
async def test_a_bad_challenger_is_not_felt(own_home: Path, pairs: PairStore, bad: Challenge) -> None:
    at = registered(pairs, timeout_s=0.2, queue=8)
    made = runner(own_home)
    champion = await made.run("How?", ANN)
    shadow = Shadow(at, pairs, bad)
    RELEASED.clear()
    try:
        # one that hangs is neither waited for at the hand-over nor at the end, nor by a run
        taken = [shadow.after(like(champion, number)) for number in range(200)]
        assert set(taken) <= {"", "queue full"}
        assert (await made.run("And how else?", ANN)).status == "answered"
        shadow.close(0.3)
    finally:
        RELEASED.set()


async def test_a_flood_is_shed_and_counted(own_home: Path, pairs: PairStore) -> None:
    at = registered(pairs, queue=5, timeout_s=0.3)
    champion = await answered(own_home)
    shadow = Shadow(at, pairs, hanging)
    said = [shadow.after(like(champion, number)) for number in range(300)]
    assert said.count("") <= 7
    shadow.close(0.1)
    counts = pairs.shed(at.number)
    assert counts["queue full"] == said.count("queue full") >= 293


async def test_spending_stops_at_the_daily_cap(own_home: Path, pairs: PairStore) -> None:
    at = registered(pairs, daily={"usd": 0.05})
    champion = await answered(own_home)
    spends = challenger(own_home, models=FakeModels(usd=0.02))
    shadow = Shadow(at, pairs, spends)
    for number in range(8):
        shadow.after(like(champion, number))
    assert shadow.drain(20)
    shadow.close()
    assert len(pairs.pairs(at.number)) == 3
    assert pairs.shed(at.number) == {"daily cost": 5}


CLAIMS = """
import sys
from sluicegate.evals.shadow.pairs import PairStore
from sluicegate.evals.promotion.gates import Pair
pairs = PairStore()
at = pairs.running("test")
print("ready", flush=True)
sys.stdin.readline()
for number in range(40):
    if not pairs.claim(at, run := f"{sys.argv[1]}-{number}"):
        pairs.add(at.number, Pair(run, "b", sys.argv[2], {}, {}), usd=0.01)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("daily", "pairs_made"), [({"pairs": 25}, {25}), ({"pairs": 1000, "usd": 0.5}, range(47, 51))])
def test_daily_caps_hold_across_processes(pairs: PairStore, daily: dict[str, Any], pairs_made: Any) -> None:
    at = registered(pairs, daily=daily)
    # the dearest pair so far is known: what is under way counts as much
    assert pairs.claim(at, "first") == ""
    pairs.add(at.number, Pair("first", "b", today(), {}, {}), usd=0.01)
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", CLAIMS, str(number), today()],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for number in range(3)
    ]  # fmt: skip
    for worker in workers:
        assert worker.stdout
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        worker.communicate("go\n", timeout=60)
        assert worker.returncode == 0
    usd, count = pairs.spent(at.number, today())
    assert count in pairs_made
    assert len(pairs.pairs(at.number)) == count
    assert usd <= at.plan.daily.usd + 1e-9


@pytest.mark.usefixtures("each_place")
async def test_pairs_a_day_are_capped(own_home: Path, pairs: PairStore) -> None:
    at = registered(pairs, daily={"pairs": 2})
    champion = await answered(own_home)
    shadow = Shadow(at, pairs, crashing)
    for number in range(5):
        shadow.after(like(champion, number))
    assert shadow.drain(10)
    shadow.close()
    assert len(pairs.pairs(at.number)) == 2


async def test_what_is_handed_over_twice_is_paired_once_and_nothing_is_missing(
    own_home: Path, pairs: PairStore
) -> None:
    at = registered(pairs)
    champion = await answered(own_home)
    shadow = Shadow(at, pairs, challenger(own_home))
    assert [shadow.after(champion), shadow.after(champion)] == ["", ""]
    assert shadow.drain(20)
    shadow.close()
    assert len(pairs.pairs(at.number)) == 1
    assert pairs.shed(at.number) == {}


async def test_another_version_of_the_champion_is_not_compared(own_home: Path, pairs: PairStore) -> None:
    champion = await answered(own_home)
    state: Any = {**champion.state, "run": {**champion.state["run"], "digest": "promoted"}}
    shadow = Shadow(registered(pairs), pairs, crashing)
    assert shadow.after(Outcome("r", state, 1.0)) == "another version of the champion"
    shadow.close()


async def test_concurrency_is_capped(own_home: Path, pairs: PairStore) -> None:
    running = peak = 0

    async def slow(champion: Outcome) -> tuple[Outcome, float]:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        await asyncio.sleep(0.05)
        running -= 1
        return champion, 0.0

    at = registered(pairs, concurrency=2)
    champion = await answered(own_home)
    shadow = Shadow(at, pairs, slow)
    for number in range(8):
        shadow.after(like(champion, number))
    assert shadow.drain(10)
    shadow.close()
    assert peak == 2


async def test_something_odd_is_not_raised(pairs: PairStore) -> None:
    shadow = Shadow(registered(pairs), pairs, crashing)
    odd: Any = Outcome("r", {}, 0.0)  # type: ignore[typeddict-item]
    assert shadow.after(odd) == "not comparable: KeyError"
    shadow.close()


# --- what a pair is made of ---


async def test_failing_counts_as_the_worst(own_home: Path) -> None:
    champion = await answered(own_home)
    pair, usd = await compare(plan(), champion, crashing, list_usd=0.001)
    assert (pair.events, pair.challenger_run, usd) == (("failed",), "", 0.0)
    assert pair.challenger["grounded"] == 0.0
    assert pair.challenger["seconds"] == pair.challenger["list_usd"] == math.inf
    late, _ = await compare(plan(timeout_s=0.05), champion, hanging)
    assert late.events == ("timed_out",)


@pytest.mark.parametrize(
    ("ours", "theirs", "case", "events"),
    [
        ({"policy": FakePolicy({"ask"})}, {}, None, ("must_refuse_answered",)),
        ({}, {"policy": FakePolicy({"ask"})}, Case("c", "t", ANN, refused=False), ("must_answer_refused",)),
        ({}, {}, Case("c", "t", ANN, refused=False), ()),
    ],
    ids=["answers what policy denies", "refuses what must be answered", "neither"],
)
async def test_events(
    own_home: Path, ours: dict[str, Any], theirs: dict[str, Any], case: Case | None, events: tuple[str, ...]
) -> None:
    champion = await answered(own_home, **ours)
    pair, _ = await compare(plan(), champion, challenger(own_home, **theirs), case=case)
    assert pair.events == events


async def test_the_challenger_gets_the_champions_passages(own_home: Path) -> None:
    champion = await answered(own_home)
    recorded = ReplayRetriever(FakeRetriever(count=0))
    found: list[Any] = []

    async def looks_up(outcome: Outcome) -> tuple[Outcome, float]:
        found.extend(await recorded.search("kb", "something else", ANN, k=5))
        return outcome, 0.0

    pair, _ = await compare(plan(), champion, looks_up)
    assert found == champion.state.get("documents") != []
    assert pair.withheld == ()
    assert await recorded.search("kb", "q", ANN, k=5) == []


@pytest.mark.slow
async def test_what_its_policies_forbid_is_withheld_and_the_pair_says_so(own_home: Path, pairs: PairStore) -> None:
    at = registered(pairs)
    champion = await answered(own_home)
    retriever = ReplayRetriever(FakeRetriever(forbidden=frozenset({"kb-1"})))
    shadow = Shadow(at, pairs, challenger(own_home, retriever=retriever))
    assert shadow.after(champion) == ""
    assert shadow.drain(10)
    shadow.close()
    (pair,) = pairs.pairs(at.number)
    assert pair.withheld == ("kb-1",)
    assert [document["id"] for document in champion.state.get("documents", [])] == ["kb-1"]
    assert decide(at.plan, [pair]).withheld == 1


async def test_a_pair_holds_no_text_of_the_request(own_home: Path, pairs: PairStore) -> None:
    at = registered(pairs)
    champion = await runner(own_home, services()).run("How do I reset zebra?", ANN)
    await pair_up(at, pairs, challenger(own_home), champion, None, lambda _run: None)
    assert pairs.count(at.number) == 1
    assert b"zebra" not in b"".join(file.read_bytes() for file in own_home.glob("shadow.sqlite*"))


async def test_sampling_is_by_request_and_stratum(own_home: Path) -> None:
    champion = await answered(own_home)
    outcomes = [like(champion, number) for number in range(2000)]
    some = plan(sample={"share": 0.2, "strata": {"report": 1.0}})
    chosen = [sampled(some, outcome.state) for outcome in outcomes]
    assert 320 < sum(chosen) < 480
    assert chosen == [sampled(some, outcome.state) for outcome in outcomes]
    intent: Any = {**champion.state.get("intent", {}), "label": "report"}
    assert all(sampled(some, {**outcome.state, "intent": intent}) for outcome in outcomes[:50])


async def test_cached_answers_and_shadows_are_passed_over(own_home: Path, pairs: PairStore) -> None:
    made = runner(own_home)
    await made.run("How?", ANN)
    cached = await made.run("how", ANN)
    shadow = Shadow(registered(pairs), pairs, crashing)
    assert shadow.after(cached) == "served from the cache"
    itself = await runner(own_home / "s", services(), shadow=True).run("How?", ANN)
    assert shadow.after(itself) == "a shadow itself"
    shadow.close()


# --- what is fixed ---


@pytest.mark.usefixtures("each_place")
def test_a_plan_cannot_change_after_its_first_pair(pairs: PairStore) -> None:
    at = registered(pairs)
    assert registered(pairs) == at
    pairs.stop("test")
    pairs.add(at.number, Pair("a", "b", today(), {}, {}), usd=0.0)
    with pytest.raises(RunError, match="has changed since its first pair") as raised:
        registered(pairs, error=0.1)
    assert raised.value.code == "SG616"
    with pytest.raises(RunError, match="not the one that its shadow was started with"):
        pairs.under("test", plan(error=0.1))
    assert pairs.under("test", plan()).number == at.number
    assert registered(pairs).stopped_at is None or pairs.is_running(at.number)


@pytest.mark.usefixtures("each_place")
def test_one_comparison_at_a_time(pairs: PairStore) -> None:
    registered(pairs)
    with pytest.raises(RunError, match="already has a shadow"):
        registered(pairs, plan="another")
    pairs.stop("test")
    with pytest.raises(RunError) as raised:
        pairs.stop("test")
    assert raised.value.code == "SG617"
    assert registered(pairs, plan="another").number == 2


@pytest.mark.usefixtures("each_place")
def test_a_claim_is_in_work_while_its_pair_can_come_and_lost_after(
    pairs: PairStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    at, other = registered(pairs), PairStore()
    assert pairs.claim(at, "r1") == ""
    assert other.claim(at, "r1") == "paired before"
    assert pairs.claim(at, "r2") == ""
    assert (other.in_work(at.number), other.shed(at.number)) == (2, {})
    pairs.add(at.number, Pair("r2", "b", today(), {}, {}), usd=0.01)
    assert (other.in_work(at.number), other.shed(at.number)) == (1, {})
    late = datetime.now(UTC).timestamp() + at.plan.timeout_s + 60
    monkeypatch.setattr("sluicegate.evals.shadow.pairs.time.time", lambda: late)
    assert (other.in_work(at.number), other.shed(at.number)) == (0, {"lost": 1})
    other.close()


async def test_a_worker_that_is_stopped_gives_its_claim_back(own_home: Path, pairs: PairStore) -> None:
    at = registered(pairs)
    outcome = await answered(own_home)
    working = asyncio.create_task(pair_up(at, pairs, hanging, outcome, None, lambda _run: None))
    assert await soon(lambda: pairs.claimed(at.number, [outcome.run])) == {outcome.run}
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert pairs.claimed(at.number, [outcome.run]) == set()


# --- from the records, in another process ---


@pytest.mark.slow
@pytest.mark.usefixtures("each_place")
async def test_work_pairs_what_was_recorded(own_home: Path, pairs: PairStore) -> None:
    at = registered(pairs)
    store = open_store()
    tracer = RecordingTracer(store)
    made = runner(own_home, services(tracer=tracer))
    outcomes = [await made.run(f"Question {number}", ANN) for number in range(3)]
    waits = runner(own_home, services(tracer=tracer, router=FakeRouter("access")))
    await waits.run("Give me access", ANN)
    old = services(tracer=tracer)
    old = replace(old, workflow=replace(old.workflow, digest="older"))
    await runner(own_home, old).run("Question of another version", ANN)
    counts = await work(at, challenge=challenger(own_home))
    assert counts == {"paired": 3, "another version of the champion": 1}
    assert [pair.champion_run for pair in pairs.pairs(at.number)] == [outcome.run for outcome in outcomes]
    assert (await work(at, challenge=crashing)).get("paired") is None
    with tracer.run("gone", workflow="test", digest="digest-1"):
        tracer.finish("answered", outcomes[0].state)
    assert (await work(at, challenge=crashing))["no checkpoint"] == 1
    pairs.stop("test")
    await made.run("Question after the end", ANN)
    assert (await work(at, challenge=crashing))["stopped"] == 1
    store.close()


async def recorded_runs(home: Path, count: int) -> list[Outcome]:
    store = Store(home / "store.sqlite")
    made = runner(home, services(tracer=RecordingTracer(store)))
    outcomes = [await made.run(f"Question {number}", ANN) for number in range(count)]
    made.services.tracer.flush()  # type: ignore[attr-defined]
    store.close()
    return outcomes


@pytest.mark.slow
async def test_a_later_pass_begins_where_the_last_one_came_to(
    own_home: Path, pairs: PairStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluicegate.evals.shadow.shadow_backfill._PAGE", 3)
    at = registered(pairs, sample={"share": 0.5})
    await recorded_runs(own_home, 8)
    looked_at: list[str] = []

    def outcome_of(run: str, store: Store) -> Outcome:
        looked_at.append(run)
        return real(run, store)

    real = work_module.outcome_of
    monkeypatch.setattr(work_module, "outcome_of", outcome_of)
    reached = Reached()
    first = await work(at, challenge=crashing, reached=reached)
    # a page at a time, each run once
    assert (first["paired"] + first["not sampled"], len(set(looked_at)), len(looked_at)) == (8, 8, 8)
    assert await work(at, challenge=crashing, reached=reached) == {}
    assert len(looked_at) == 8
    await recorded_runs(own_home, 2)
    assert sum((await work(at, challenge=crashing, reached=reached)).values()) == 2
    assert len(looked_at) == 10


@pytest.mark.slow
async def test_a_cap_ends_the_pass_and_what_it_holds_back_comes_another_day(
    own_home: Path, pairs: PairStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = registered(pairs, daily={"pairs": 2})
    outcomes = await recorded_runs(own_home, 5)
    reached = Reached()
    assert await work(at, challenge=crashing, reached=reached) == {"paired": 2, "daily pairs": 1}
    monkeypatch.setattr("sluicegate.evals.shadow.pairs.today", lambda: "2999-01-01")
    assert await work(at, challenge=crashing, reached=reached) == {"paired": 2, "daily pairs": 1}
    monkeypatch.setattr("sluicegate.evals.shadow.pairs.today", lambda: "2999-01-02")
    assert await work(at, challenge=crashing, reached=reached) == {"paired": 1}
    assert {pair.champion_run for pair in pairs.pairs(at.number)} == {outcome.run for outcome in outcomes}


@pytest.mark.slow
async def test_a_limit_counts_pairs_and_not_what_is_passed_over(own_home: Path, pairs: PairStore) -> None:
    at = registered(pairs, sample={"share": 0.5})
    await recorded_runs(own_home, 12)
    made = 0
    while done := (await work(at, challenge=crashing, limit=1)).get("paired"):
        assert done == 1
        made += 1
    assert made == len(pairs.pairs(at.number)) > 1
