"""What waiting for PostgreSQL does to the event loop: many runs at once, and three ways of asking a server.

Runs have instant models; their checkpoints, ledger, decisions, tool calls and the people of the audit log are on a
server on this machine (`benchmarks/ledger.py` says how), whose `synchronous_commit` is off. The lag is by how much a
sleep of 2 ms was late. The three ways do the same transactions on as many connections: on the loop itself, on threads
as `Server.call` does, and with psycopg's asynchronous connections.
"""

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.ledger import server
from sluicegate.graphs.runtime.checkpoints import open_checkpoints
from sluicegate.graphs.runtime.waiting.approvals import Approvals
from sluicegate.observe.audit.log import AuditLog
from sluicegate.observe.auditor import Auditor
from sluicegate.observe.incidents import Incidents
from sluicegate.policies.config import BudgetConfig
from sluicegate.policies.ledger.postgres import PostgresLedger
from sluicegate.storage.postgres import Server
from tests.faults import desk

AT_ONCE, RUNS, CALLS = 16, 25, 100
UPSERT = "INSERT INTO edges VALUES (%s, %s) ON CONFLICT (k) DO UPDATE SET v = excluded.v"
SELECT = "SELECT v FROM edges WHERE k = %s"


async def lagging(work: Callable[[int], Awaitable[Any]], each: int) -> dict[str, float]:
    """`AT_ONCE` tasks that do the work `each` times: how often a second, its CPU, and the loop's lag meanwhile."""
    lags: list[float] = []

    async def watch() -> None:
        while True:
            asked = time.perf_counter()
            try:
                await asyncio.sleep(0.002)
            finally:
                lags.append((time.perf_counter() - asked - 0.002) * 1000)

    async def task(number: int) -> None:
        for turn in range(each):
            await work(number * each + turn)

    watching = asyncio.create_task(watch())
    started, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*map(task, range(AT_ONCE)))
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching
    lags.sort()
    done = AT_ONCE * each
    return {
        "per_s": round(done / seconds, 1),
        "cpu_ms": round(cpu / done * 1000, 3),
        "lag_p50_ms": round(lags[len(lags) // 2], 2),
        "lag_p99_ms": round(lags[int(len(lags) * 0.99)], 2),
    }


async def runs(url: str, home: Path) -> dict[str, float]:
    made, shared = desk.runner(home), Server(url)
    log = AuditLog(home / "shared-audit", key=home / "audit.pem", server=shared)
    facts = {"workflow": "test", "version": "1", "digest": "digest-1", "policy_set": "p"}
    auditor = Auditor(log, Incidents(home / "incidents.sqlite", audit=log), **facts)
    ledger = PostgresLedger(shared, BudgetConfig(per_day_usd=1000.0))
    made.services = replace(made.services, ledger=ledger, audit=auditor)
    made.graph.checkpointer = open_checkpoints(shared)
    made = desk.Runner(made.graph, made.services, tracer=made.tracer, approvals=Approvals(shared))
    await made.run(desk.REQUESTS["plain"], desk.ANN)
    return await lagging(lambda number: made.run(f"How do I reset it, {number}?", desk.ANN), RUNS)


async def ways(url: str) -> dict[str, dict[str, float]]:
    import psycopg
    from psycopg_pool import AsyncConnectionPool

    connections = [psycopg.connect(url, autocommit=True) for _ in range(AT_ONCE)]
    connections[0].execute("CREATE TABLE edges (k TEXT PRIMARY KEY, v BYTEA)")
    threads, loop = ThreadPoolExecutor(AT_ONCE), asyncio.get_running_loop()

    def blocking(number: int) -> None:
        connection = connections.pop()
        with connection.pipeline() as pipeline, connection.transaction():
            connection.execute(UPSERT, (str(number), bytes(400)))
            read = connection.execute(SELECT, (str(number),))
            pipeline.sync()
            read.fetchall()
        connections.append(connection)

    async def on_the_loop(number: int) -> None:
        blocking(number)

    async def on_threads(number: int) -> None:
        await loop.run_in_executor(threads, blocking, number)

    options: Any = {"min_size": AT_ONCE, "max_size": AT_ONCE, "kwargs": {"autocommit": True}, "open": False}
    async with AsyncConnectionPool(url, **options) as pool:
        await pool.wait()

        async def asynchronous(number: int) -> None:
            async with pool.connection() as one, one.pipeline() as pipeline, one.transaction():
                await one.execute(UPSERT, (str(number), bytes(400)))
                read = await one.execute(SELECT, (str(number),))
                await pipeline.sync()
                await read.fetchall()

        every = (on_the_loop, on_threads, asynchronous)
        return {way.__name__: await lagging(way, CALLS) for way in every}


def measure() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, server() as url:
        url = f"{url}{'&' if '?' in url else '?'}options=-csynchronous_commit%3Doff"
        return {"runs": asyncio.run(runs(url, Path(folder))), **asyncio.run(ways(url))}


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
