"""What the statistics of a promotion promise and cost, and what a shadow adds to the champion's latency.

    python benchmarks/evals.py [--runs N] [--json]

Error rates and power are simulated: each run draws pairs of two zero-one metrics and looks after every pair, as an
operator may. The z-test beside it is one-sided at the same 5 % and looked at as often, from the 30th pair on. The
shadow's overhead is measured on the fakes of the tests with a model that takes 20 ms, so that what is added is seen
against something realistic and small; the order of the two kinds of run alternates.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))
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


def z_test_passes(differences: NDArray[np.float64]) -> bool:
    n = np.arange(1, len(differences) + 1)
    mean = np.cumsum(differences) / n
    deviation = np.sqrt(np.maximum(np.cumsum(differences**2) / n - mean**2, 1e-12))
    return bool(((mean + MARGIN) / (deviation / np.sqrt(n)))[30:].max() > 1.645)


def simulated(runs: int) -> dict[str, Any]:
    from sluicegate.evals.sequences import rejects_at

    found: dict[str, Any] = {"runs": runs, "pairs": LAST, "false": [], "power": []}
    for name, worse, better in WORSE:
        rows = [draws(seed, worse, better) for seed in range(runs)]
        ours = sum(rejects_at(row, -MARGIN, ERROR) is not None for row in rows) / runs
        found["false"].append({"case": name, "ours": ours, "z_test": sum(map(z_test_passes, rows)) / runs})
    for name, worse, better in EQUAL:
        sizes = [rejects_at(draws(10_000 + seed, worse, better), -MARGIN, ERROR) or LAST + 1 for seed in range(runs)]
        power = {size: sum(one <= size for one in sizes) / runs for size in SIZES}
        found["power"].append({"case": name, "median_pairs": float(np.median(sizes)), "power": power})
    return found


def speed() -> dict[str, float]:
    """Seconds for a whole decision on 100,000 pairs, the least of three."""
    from sluicegate.evals.gates import Pair, decide
    from sluicegate.evals.plan import Plan

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
    took: list[float] = []
    for _ in range(3):
        started = time.perf_counter()
        decide(plan, pairs)
        took.append(time.perf_counter() - started)
    return {"seconds_for_100000_pairs": min(took)}


async def overhead(rounds: int) -> dict[str, float]:
    """Median milliseconds of a champion's run, alone and with its outcome handed to a shadow whose challenger works."""
    from sluicegate.evals.pairs import PairStore
    from sluicegate.evals.plan import Plan
    from sluicegate.evals.shadow import Shadow
    from tests.evals.test_gates import PLAN
    from tests.evals.test_shadow import Waits, challenger
    from tests.fakes import services
    from tests.graphs.test_run import ANN, runner

    home = Path(os.environ["SLUICEGATE_HOME"])
    pairs = PairStore()
    plan = Plan.model_validate({**PLAN, "timeout_s": 5.0, "queue": 8})
    at = pairs.start("test", plan, champion=("a", "1"), challenger=("b", "2"))
    made = runner(home, services(models=Waits()))
    shadow = Shadow(at, pairs, challenger(home, models=Waits()))
    times: dict[bool, list[float]] = {True: [], False: []}
    handing: list[float] = []
    for number in range(2 * rounds):
        shadowed = number % 2 == 1
        if not shadowed:
            shadow.drain(10)
        started = time.perf_counter()
        outcome = await made.run(f"Question {number}", ANN)
        handed = time.perf_counter()
        if shadowed:
            shadow.after(outcome)
            handing.append(time.perf_counter() - handed)
        times[shadowed].append(time.perf_counter() - started)
    shadow.close(2)
    alone, with_shadow = float(np.median(times[False])), float(np.median(times[True]))
    return {
        "alone_ms": alone * 1000,
        "shadowed_ms": with_shadow * 1000,
        "added": with_shadow / alone - 1,
        "after_us": float(np.median(handing)) * 1e6,
        "after_share": float(np.median(handing)) / alone,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=150)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found: dict[str, Any] = {**simulated(given.runs), "speed": speed(), "shadow": asyncio.run(overhead(given.rounds))}
    if given.json:
        print(json.dumps(found, indent=1))
        return
    print(f"{given.runs} runs of {LAST} pairs, looked at after every pair; margin {MARGIN}, error {ERROR}")
    for row in found["false"]:
        print(f"  passed, {row['case']}: {row['ours']:.1%}; z-test {row['z_test']:.1%}")
    for row in found["power"]:
        power = ", ".join(f"{size}: {share:.0%}" for size, share in row["power"].items())
        print(f"  passed, {row['case']}: {power}; median {row['median_pairs']:.0f} pairs")
    print(f"a decision on 100,000 pairs: {found['speed']['seconds_for_100000_pairs']:.2f} s")
    shadow = found["shadow"]
    print(
        f"champion's median {shadow['alone_ms']:.1f} ms alone, {shadow['shadowed_ms']:.1f} ms shadowed "
        f"({shadow['added']:+.1%}); handing over {shadow['after_us']:.0f} us ({shadow['after_share']:.2%})"
    )


if __name__ == "__main__":
    main()
