"""Processor time of reading, checking and proving a workflow of up to 1,000 nodes.

    python benchmarks/checking.py [--record]

Stretches of twelve nodes follow each other: a fork of three branches, a for-each, a sub-workflow, and a draft with its
check in a loop. Each figure is the least of three, after one workflow has been loaded, since a machine that is shared
only adds to it.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from benchmarks import results
from sluicegate.graphs.config.load import load
from tests.support.long_workflow import long_workflow

STRETCHES = (10, 20, 41, 83)
LIMIT_MS = 1_000
ABOUT = """
Reading, checking and proving a workflow: stretches of twelve nodes, each with a fork of three branches, a for-each, a
sub-workflow, and a draft that may be written again after its check; three intents, four guarantees of its own beside
the built-in ones. Processor time, the least of three, without that of starting Python.
"""


def cpu_s(file: Path) -> tuple[int, float]:
    nodes, times = 0, list[float]()
    for _ in range(3):
        started = time.process_time()
        nodes = len(load(file).flow.nodes)
        times.append(time.process_time() - started)
    return nodes, min(times)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--record", action="store_true", help="for docs/measured.md")
    given = arguments.parse_args()
    rows: list[tuple[str, ...]] = []
    with tempfile.TemporaryDirectory() as folder:
        load(long_workflow(Path(folder) / "first", 1))
        for stretches in STRETCHES:
            nodes, spent = cpu_s(long_workflow(Path(folder) / f"{stretches}", stretches))
            goal = f"{LIMIT_MS:,} ms" if 490 < nodes < 510 else ""
            rows.append((f"{nodes:,}", f"{spent * 1000:,.0f} ms", f"{spent / nodes * 1000:.2f} ms", goal))
            print(*rows[-1], sep=" | ")
    if given.record:
        table = results.table(("nodes", "processor time", "per node", "goal"), *rows)
        results.record("checking", "Checking a workflow", ABOUT, [table])


if __name__ == "__main__":
    main()
