"""What the statistics of a promotion promise and cost, and what a shadow adds to the champion's latency.

    python benchmarks/evals.py [--runs N] [--json] [--record]

Error rates and power are simulated: each run draws pairs of two zero-one metrics and looks after every pair, as an
operator may. The z-test beside it is one-sided at the same 5 % and looked at as often, from the 30th pair on. The
shadow's overhead is measured through the service, on the fakes of the tests with a model that takes 20 ms, so that what
is added is seen against something realistic and small, with a challenger that burns all the processor it gets.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks import results

os.environ.setdefault("SLUICEGATE_HOME", tempfile.mkdtemp())

ERROR, MARGIN, LAST = 0.05, 0.05, 5000

# name, chance that the challenger loses a pair, chance that it wins it
WORSE = [
    ("worse by the margin, 20 % of pairs differ", 0.125, 0.075),
    ("worse by the margin, only losses", 0.05, 0.0),
    ("worse by the margin, 55 % of pairs differ", 0.3, 0.25),
]
EQUAL = [
    ("equal, 4 % of pairs differ", 0.02, 0.02),
    ("equal, 10 % of pairs differ", 0.05, 0.05),
    ("equal, 20 % of pairs differ", 0.1, 0.1),
    ("equal, 50 % of pairs differ", 0.25, 0.25),
]
SIZES = (250, 500, 1000, 2000, 5000)


def draws(seed: int, worse: float, better: float) -> NDArray[np.float64]:
    return np.random.default_rng(seed).choice([-1.0, 0.0, 1.0], LAST, p=[worse, 1 - worse - better, better])


def simulated(runs: int) -> dict[str, Any]:
    from tests.support.peeking import rejects_at, z_test_passes

    found: dict[str, Any] = {"runs": runs, "pairs": LAST, "false": [], "power": []}
    for name, worse, better in WORSE:
        rows = [draws(seed, worse, better) for seed in range(runs)]
        ours = sum(rejects_at(row, -MARGIN, ERROR) is not None for row in rows) / runs
        found["false"].append(
            {"case": name, "ours": ours, "z_test": sum(z_test_passes(row, -MARGIN) for row in rows) / runs}
        )
    for name, worse, better in EQUAL:
        sizes = [rejects_at(draws(10_000 + seed, worse, better), -MARGIN, ERROR) or LAST + 1 for seed in range(runs)]
        power = {size: sum(one <= size for one in sizes) / runs for size in SIZES}
        found["power"].append({"case": name, "median_pairs": float(np.median(sizes)), "power": power})
    return found


def speed() -> dict[str, float]:
    """Seconds to read 100,000 pairs and to decide on them, the least of three: on the clock and of the processor."""
    from sluicegate.evals.promotion.gates import Pair, decide
    from sluicegate.evals.promotion.plan import Plan
    from sluicegate.evals.shadow.pairs import PairStore

    plan = Plan.model_validate(
        {
            "plan": "speed",
            "goal": {"metric": "without_llm"},
            "guardrails": [{"metric": "correct", "margin": 0.02}, {"metric": "seconds", "margin": 0.05, "cap": 10}],
            "limits": [{"event": "failed", "rate": 0.01}],
            "pairs": {"minimum": 1000, "maximum": 200_000},
        }
    )
    rng = np.random.default_rng(0)
    seconds, right, saves = rng.gamma(2, 1, (100_000, 2)), rng.random((100_000, 2)) < 0.9, rng.random(100_000) < 0.1
    pairs = [
        Pair(
            "a",
            "b",
            f"2026-11-{1 + row % 9:02}",
            {"correct": float(right[row, 0]), "seconds": seconds[row, 0], "without_llm": 0.0},
            {"correct": float(right[row, 1]), "seconds": seconds[row, 1], "without_llm": float(saves[row])},
            slices={"intent": f"i{row % 15}"},
        )
        for row in range(100_000)
    ]
    store = PairStore(Path(tempfile.mkdtemp()))
    at = store.start("speed", plan, champion=("a", "1"), challenger=("b", "2"))
    made = [replace(pair, champion_run=str(row)) for row, pair in enumerate(pairs)]
    with store._database.writing() as rows:
        rows.many(
            "INSERT INTO pairs (shadow, champion_run, day, usd, pair) VALUES (?, ?, ?, 0, ?)",
            ((at.number, pair.champion_run, pair.day, json.dumps(asdict(pair))) for pair in made),
        )
    took: list[float] = []
    used: list[float] = []
    deciding: list[float] = []
    for _ in range(3):
        started, spent = time.perf_counter(), time.process_time()
        read = store.pairs(at.number)
        deciding.append(time.process_time())
        decide(plan, read)
        took.append(time.perf_counter() - started)
        used.append(time.process_time() - spent)
        deciding[-1] = time.process_time() - deciding[-1]
    store.close()
    return {
        "seconds_for_100000_pairs": min(took),
        "cpu_seconds_for_100000_pairs": min(used),
        "cpu_seconds_of_the_statistics": min(deciding),
    }


BURNS = """
import os, sys, threading
os.nice(19)
threading.Thread(target=lambda: [None for _ in iter(int, 1)], daemon=True).start()
for line in sys.stdin: pass
"""
"""A challenger that takes all the processor it is given, at the priority of the process beside."""


async def overhead(rounds: int) -> dict[str, float]:
    """What a shadow adds to a served request: medians of wall time and of the serving process's processor time.

    Blocks of ten requests with and without a shadow alternate; without, the process beside is stopped too.
    """
    import signal

    from sluicegate.evals.promotion.plan import Plan
    from sluicegate.evals.shadow.pairs import PairStore
    from sluicegate.evals.shadow.shadow_worker import ShadowProcess
    from sluicegate.graphs.config.load import load
    from tests.support import stand
    from tests.support.flows import ANN
    from tests.support.shadowing import PLAN

    workflow = load(stand.WORKFLOW / "workflow.yaml")
    pairs = PairStore()
    plan = Plan.model_validate({**PLAN, "timeout_s": 5.0, "queue": 8})
    pairs.start(workflow.name, plan, champion=("a", workflow.digest), challenger=("b", "2"))
    wall: dict[bool, list[float]] = {True: [], False: []}
    cpu: dict[bool, list[float]] = {True: [], False: []}
    offering: list[float] = []
    async with stand.service(beside=lambda name: ShadowProcess(name, (sys.executable, "-c", BURNS))) as service:
        beside: Any = service._shadow
        without = stand.NoShadow(workflow.name)
        without.refresh = beside.refresh  # type: ignore[method-assign]
        for number in range(2 * rounds):
            shadowed = number // 10 % 2 == 1
            service._shadow = beside if shadowed else without  # type: ignore[assignment]
            if number % 10 == 0:
                beside._process.send_signal(signal.SIGCONT if shadowed else signal.SIGSTOP)
            started, used = time.perf_counter(), time.process_time()
            outcome = await service.ask(f"wait 0.02 {number}", ANN)
            wall[shadowed].append(time.perf_counter() - started)
            # the offer comes after the answer: it is the server's, not this caller's
            await asyncio.sleep(0.03)
            cpu[shadowed].append(time.process_time() - used)
            if shadowed:
                handed = time.perf_counter()
                assert beside.offer(outcome) == ""
                offering.append(time.perf_counter() - handed)
        service._shadow = beside
        beside._process.send_signal(signal.SIGCONT)
    pairs.close()
    middle = {key: float(np.median(value)) for key, value in (("alone", wall[False]), ("shadowed", wall[True]))}
    spent = {key: float(np.median(value)) for key, value in (("alone", cpu[False]), ("shadowed", cpu[True]))}
    return {
        "alone_ms": middle["alone"] * 1000,
        "shadowed_ms": middle["shadowed"] * 1000,
        "added": middle["shadowed"] / middle["alone"] - 1,
        "alone_cpu_ms": spent["alone"] * 1000,
        "shadowed_cpu_ms": spent["shadowed"] * 1000,
        "offer_us": float(np.median(offering)) * 1e6,
        "offer_share": float(np.median(offering)) / middle["alone"],
    }


ABOUT = f"""
Simulated: runs of up to {LAST:,} pairs with a look after every pair, margin {MARGIN}, error {ERROR}. The z-test beside
it is one-sided at the same error and looked at as often. The time of a served request is measured through the service,
with a model that takes 20 ms and a challenger that burns all the processor it gets, in blocks of ten with and without
it; on a machine that other work fills the difference drowns in noise.
"""


def tables(found: dict[str, Any]) -> list[results.Table]:
    shadow, speed = found["shadow"], found["speed"]
    passed = ((row["case"], f"{row['ours']:.1%}", f"{row['z_test']:.1%}") for row in found["false"])
    shown = (
        (row["case"], *(f"{share:.0%}" for share in row["power"].values()), f"{row['median_pairs']:,.0f}")
        for row in found["power"]
    )
    sizes = (f"{int(size):,}" for size in found["power"][0]["power"])
    return [
        results.table(("a challenger that must not pass", "passes", "passes a z-test"), *passed),
        results.table(("shown to be no worse, after pairs", *sizes, "median"), *shown),
        results.table(
            ("time", "measured", "target"),
            ("a decision on 100,000 pairs, processor", f"{speed['cpu_seconds_for_100000_pairs']:.1f} s", "5 s"),
            ("of it the statistics", f"{speed['cpu_seconds_of_the_statistics']:.1f} s", ""),
            ("a served request, median, alone", f"{shadow['alone_ms']:.1f} ms", ""),
            ("with a shadow", f"{shadow['shadowed_ms']:.1f} ms ({shadow['added']:+.1%})", "+2%"),
            ("processor time of the server a request, alone", f"{shadow['alone_cpu_ms']:.1f} ms", ""),
            ("with a shadow", f"{shadow['shadowed_cpu_ms']:.1f} ms", ""),
            ("handing a request over", f"{shadow['offer_us']:.0f} µs", ""),
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=150)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--record", action="store_true")
    given = parser.parse_args()
    found: dict[str, Any] = {**simulated(given.runs), "speed": speed(), "shadow": asyncio.run(overhead(given.rounds))}
    if given.record:
        results.record("evals", "Promotion and shadow", ABOUT, tables(found))
    if given.json:
        print(json.dumps(found, indent=1))
        return
    print(f"{given.runs} runs of {LAST} pairs, looked at after every pair; margin {MARGIN}, error {ERROR}")
    for row in found["false"]:
        print(f"  passed, {row['case']}: {row['ours']:.1%}; z-test {row['z_test']:.1%}")
    for row in found["power"]:
        power = ", ".join(f"{size}: {share:.0%}" for size, share in row["power"].items())
        print(f"  passed, {row['case']}: {power}; median {row['median_pairs']:.0f} pairs")
    took, used, deciding = found["speed"].values()
    print(
        f"a decision on 100,000 pairs, read from the store: {took:.2f} s, {used:.2f} s of the processor, "
        f"{deciding:.2f} s of them the statistics (target 5 s)"
    )
    shadow = found["shadow"]
    print(
        f"a served request, median: {shadow['alone_ms']:.1f} ms alone, {shadow['shadowed_ms']:.1f} ms shadowed "
        f"({shadow['added']:+.1%}; target 2 %), with {os.cpu_count()} cores and a load of {os.getloadavg()[0]:.1f}"
    )
    print(
        f"  of which in the serving process: handing over {shadow['offer_us']:.0f} us ({shadow['offer_share']:.2%}), "
        f"processor time {shadow['alone_cpu_ms']:.2f} ms alone, {shadow['shadowed_cpu_ms']:.2f} ms shadowed"
    )


if __name__ == "__main__":
    main()
