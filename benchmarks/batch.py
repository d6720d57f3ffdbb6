"""What a batch does in a second, by this process and by actors of Ray, and what memory it takes.

    python benchmarks/batch.py [--rows NUMBER] [--rounds NUMBER] [--record]

Every row is routed by a lexical router, which takes less than a millisecond: the figure is that of the batch around
it. Each variant runs in a process of its own. Its rate counts from the first block that is done to the last, so that
neither the start of Ray nor the reading of the router is in it; the reading of ids before is told apart. The variants
take turns in each round, and ratios are medians over rounds.
"""

import argparse
import asyncio
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from benchmarks import results
from sluicegate.batch.engines.engine import Engine
from sluicegate.batch.engines.factory import open_engine
from sluicegate.batch.run import Wanted, open_batch
from sluicegate.batch.task import TaskSpec
from sluicegate.batch.work import BlockDone
from sluicegate.graphs.runtime.intake import principal
from tests.support.made_rows import fitted_at

CASES = ROOT / "configs" / "helpdesk" / "eval" / "cases.jsonl"
BLOCK = 500
VARIANTS = ("this process", "Ray, 1 actor", "Ray, 2 actors")
ABOUT = """
Rows per second of `sluicegate batch task route` with the helpdesk's lexical router, in blocks of {block} rows, from the
first block that is done to the last; planning is the reading of all ids before. Memory is the most that the driver, and
the largest actor, ever had. Ratios are of a round, in which the variants take turns; medians where there are several
(rounds here: {rounds}). Ray's driver and its own processes need processor time beside the actors.
"""


def one(variant: str, rows: int, router: str) -> dict[str, Any]:
    """Run a variant in this process."""
    with tempfile.TemporaryDirectory(prefix="sluicegate-batch-") as folder:
        os.environ["SLUICEGATE_HOME"] = f"{folder}/home"
        data = Path(folder) / "in.jsonl"
        texts = [json.loads(line)["text"] for line in CASES.read_text("utf-8").splitlines() if line.strip()]
        with data.open("w", encoding="utf-8") as file:
            for number in range(rows):
                file.write(json.dumps({"id": f"r{number}", "text": f"{texts[number % len(texts)]} {number}"}) + "\n")
        started = time.perf_counter()
        task = TaskSpec("route", {"router": router}, "embedded:smollm2-135m")
        wanted = Wanted(str(data), f"{folder}/out", principal("batch"), task=task, block_rows=BLOCK)
        batch = open_batch(wanted)
        planned = time.perf_counter() - started
        actors = 0 if variant == VARIANTS[0] else int(variant.split()[1])
        engine: Engine = open_engine("ray" if actors else "local", workers=actors)
        times: list[tuple[float, int]] = []
        largest = [0]

        def done(block: BlockDone, new: int) -> None:
            del block
            times.append((time.perf_counter(), new))
            if actors and len(times) % 20 == 0:
                largest[0] = max(largest[0], peak_of_actors())

        found = batch.run(engine, on_block=done)
        assert found.counts.rows == rows, found
        largest[0] = max(largest[0], peak_of_actors() if actors else 0)
        engine.close()
        counted = sum(new for _, new in times[1:])
        return {
            "rate": counted / ((times[-1][0] - times[0][0]) or math.inf),
            "planned": rows / planned,
            "driver_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "actor_mb": largest[0] / 1024,
        }


def peak_of_actors() -> int:
    """The most kilobytes that an actor on this machine ever had."""
    peaks = [0]
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "cmdline").read_bytes().startswith(b"ray::_Actor"):
                status = (folder / "status").read_text()
                peaks.append(int(status.partition("VmHWM:")[2].split()[0]))
        except (OSError, IndexError):
            continue
    return max(peaks)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(one(given.one[0], int(given.one[1]), given.one[2])))
        return
    with tempfile.TemporaryDirectory(prefix="sluicegate-router-") as folder:
        asyncio.run(fitted_at(Path(folder) / "lexical", embeddings=False))
        compare(given, f"{folder}/lexical")


def compare(given: argparse.Namespace, router: str) -> None:
    found: dict[str, list[dict[str, Any]]] = {variant: [] for variant in VARIANTS}
    small = {variant: child(variant, given.rows // 10, router) for variant in VARIANTS}
    for _ in range(given.rounds):
        for variant in VARIANTS:
            found[variant].append(child(variant, given.rows, router))
            print(variant, found[variant][-1], flush=True)
    rows: list[list[object]] = []
    for variant in VARIANTS:
        pairs = zip(found[variant], found[VARIANTS[1]], strict=True)
        ratio = statistics.median(its["rate"] / other["rate"] for its, other in pairs)
        large = found[variant]

        def memory(key: str, variant: str = variant, large: list[dict[str, Any]] = large) -> str:
            most = max(each[key] for each in large)
            return f"{small[variant][key]:.0f} → {most:.0f} MB" if most else ""

        rate = statistics.median(each["rate"] for each in large)
        rows.append([variant, f"{rate:,.0f}", f"{ratio:.2f}", memory("driver_mb"), memory("actor_mb")])
    plan = statistics.median(each["planned"] for each in found[VARIANTS[0]])
    head = ("engine", "rows/s", "against one actor", "driver", "largest actor")
    table = results.table(head, *rows)
    planning = results.table(("", "rows/s"), ["planning", f"{plan:,.0f}"])
    for row in rows:
        print(*row, sep="  ")
    print(f"planning {plan:,.0f} rows/s")
    if given.record:
        title = f"Batches: {given.rows:,} rows, and the memory of a tenth of them beside it"
        results.record("batch", title, ABOUT.format(block=BLOCK, rounds=given.rounds), [table, planning])


def child(variant: str, rows: int, router: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--one", variant, str(rows), router]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
