"""What 200 people who look at the list of runs cost a server, and how far behind they are.

    python benchmarks/viewers.py [--record]

The server runs in this process on the loopback address; the viewers are connections of another one. Runs begin and end
at a steady pace. For every event the delay between the commit of the change and its arrival is taken; the processor
time is this process's, all threads together, and so with the writes.
"""

import asyncio
import json
import os
import sys
import tempfile
import time
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.results import record, table
from sluicegate.home import home
from sluicegate.observe.tracing.store import Store
from tests.support.recorded_runs import BEGAN_NS, begin, end
from tests.support.stand import served, service

VIEWERS, RUNS, PAUSE_S = 200, 50, 0.2
NAME = "shadow-evaluation"


def watch(address: str, viewers: int, ready: Any, results: Any) -> None:
    """`viewers` streams until each has had every change: when each event came, by its number."""
    asyncio.run(_watch(address, viewers, ready, results))


async def _watch(address: str, viewers: int, ready: Any, results: Any) -> None:
    arrived: list[tuple[str, str, int]] = []

    async def one(client: httpx.AsyncClient, number: int, begun: asyncio.Event) -> None:
        headers = {"x-user": f"operator-{number}", "x-roles": "operator"}
        async with client.stream("GET", f"{address}/console/runs/changes?since=0", headers=headers) as response:
            begun.set()
            kept = 0
            async for line in response.aiter_lines():
                if line.startswith("data: {"):
                    told = json.loads(line[6:])
                    arrived.append((told["run"], (">running<" in told["row"] and "running") or "ended", time.time_ns()))
                    kept += told["run"] == "last" and ">running<" not in told["row"]
                    if kept:
                        return

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(limits=limits, timeout=None) as client:
        events = [asyncio.Event() for _ in range(viewers)]
        tasks = [asyncio.create_task(one(client, number, event)) for number, event in enumerate(events)]
        await asyncio.gather(*(event.wait() for event in events))
        ready.put("")
        await asyncio.gather(*tasks)
    results.put(arrived)


def measured(viewers: int) -> tuple[float, list[float]]:
    """Processor seconds of the server, and the delays in milliseconds."""
    context = get_context("spawn")
    ready, results = context.Queue(), context.Queue()
    with served(service()) as client, closing(Store(home() / "store.sqlite")) as store:
        process = None
        if viewers:
            process = context.Process(target=watch, args=(str(client.base_url).rstrip("/"), viewers, ready, results))
            process.start()
            ready.get(timeout=120)
        committed: dict[tuple[str, str], int] = {}
        before = time.process_time()
        for number in range(RUNS):
            run = "last" if number == RUNS - 1 else f"{number:024x}"
            info = begin(store, run, at_ns=BEGAN_NS + number, workflow=NAME)
            committed[run, "running"] = time.time_ns()
            time.sleep(PAUSE_S / 2)
            end(store, info, path="cache", usd=0.01)
            committed[run, "ended"] = time.time_ns()
            time.sleep(PAUSE_S / 2)
        arrived = results.get(timeout=120) if process else []
        took = time.process_time() - before
        if process:
            process.join()
    return took, [(at - committed[run, kind]) / 1e6 for run, kind, at in arrived if (run, kind) in committed]


def main() -> None:
    found = {}
    for viewers in (0, 1, VIEWERS):
        with tempfile.TemporaryDirectory() as folder:
            os.environ["SLUICEGATE_HOME"] = folder
            found[viewers] = measured(viewers)
    seconds = RUNS * PAUSE_S
    rows = [
        (
            f"{viewers}",
            f"{len(delays):,}",
            f"{100 * took / seconds:.1f} %",
            f"{median(delays):.0f}" if delays else "",
            f"{quantiles(delays, n=20)[-1]:.0f}" if delays else "",
            f"{max(delays):.0f}" if delays else "",
        )
        for viewers, (took, delays) in found.items()
    ]
    made = table(("viewers", "events", "of one processor", "ms behind, median", "p95", "most"), *rows)
    print(json.dumps(made, indent=1))
    if "--record" in sys.argv:
        record(
            "viewers",
            "Viewers of the list of runs",
            f"{2 * RUNS / seconds:.0f} changes of runs a second for {seconds:.0f} s, every viewer somebody else who "
            "may see all of them. The store is looked at four times a second, so up to 250 ms are waiting.",
            [made],
        )


if __name__ == "__main__":
    main()
