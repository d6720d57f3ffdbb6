"""Many machines on one server: what carrying runs there costs, and how it grows.

    python benchmarks/machines.py [--only NAME …] [--record]

Servers and workers are processes of the command line with homes of their own on this machine, PostgreSQL
(`tests/faults/machines/database.py`, with its rows on this machine's disk) is another, and the models are a stand-in
that answers after a given time. All share this machine's cores, so ratios are of one run, in rounds that take turns.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.machines_site import Site, until
from tests.faults.machines.machine import Machine

ROUNDS = 3
CALLERS, CALLS = 8, 6
BURN_S, BURNT = 0.5, 24
SLEEP_S, SLEEPING, AT_ONCE = 2.0, 32, 4
ACCEPTS = 200
LEFT = 12
APPROVALS, WATCHED_S = 10_000, 30.0
WRITES, IDLE_S = 60, 10.0


def processor_s(pids: Iterable[int]) -> float:
    """Processor time of these processes, and of their children that are over."""
    ticks = 0
    for pid in pids:
        with suppress(OSError):
            parts = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += sum(map(int, parts[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def client(address: str) -> httpx.Client:
    return httpx.Client(
        base_url=address, headers={"x-user": "ann", "x-roles": "employee"}, trust_env=False, verify=False, timeout=120
    )


_numbers = iter(range(10**9))


def order(address: str, extra: str = "") -> tuple[str, float]:
    """The status of one more order, and its seconds."""
    number = next(_numbers)
    with client(address) as one:
        began = time.perf_counter()
        reply = one.post(
            "/v1/runs", json={"text": f"Please place order b{number} now{extra}", "request_id": f"b{number}"}
        )
        took = time.perf_counter() - began
    assert reply.status_code in (200, 202), reply.text
    return reply.json()["status"], took


def closed_loop(address: str) -> float:
    """Orders per second of `CALLERS` at a time, each of which waits for its answer."""

    def caller(_: int) -> None:
        for _ in range(CALLS):
            status, _ = order(address)
            assert status == "answered", status

    began = time.perf_counter()
    with ThreadPoolExecutor(CALLERS) as callers:
        list(callers.map(caller, range(CALLERS)))
    return CALLERS * CALLS / (time.perf_counter() - began)


# --- what is measured ---


def engines(site: Site) -> dict[str, Any]:
    """One machine's own engine on its files; the shared one where the server works itself; and with a worker."""
    with (
        site.server(shared=False) as (own, at_own),
        site.server() as (shared, at_shared),
    ):
        rates: dict[str, list[float]] = {"own": [], "shared": []}
        spent: dict[str, float] = {}
        for round_ in range(-1, ROUNDS):
            for name, machine, address in (("own", own, at_own), ("shared", shared, at_shared)):
                before = processor_s([machine.pid])
                rate = closed_loop(address)
                if round_ >= 0:
                    rates[name].append(rate)
                    spent[name] = spent.get(name, 0.0) + processor_s([machine.pid]) - before
    with site.server("--no-work") as (front, address), site.workers(1) as (worker,):
        rates["worker"] = []
        spent["worker"] = 0.0
        for round_ in range(-1, ROUNDS):
            before = processor_s([front.pid, worker.pid])
            rate = closed_loop(address)
            if round_ >= 0:
                rates["worker"].append(rate)
                spent["worker"] += processor_s([front.pid, worker.pid]) - before
    runs = ROUNDS * CALLERS * CALLS
    return {
        name: {"runs_s": round(median(found), 2), "ms_processor": round(spent[name] / runs * 1000, 1)}
        for name, found in rates.items()
    }


def drained(site: Site, address: str, machines: list[Machine], count: int, extra: str) -> float:
    """Seconds in which workers carry so many runs that are queued when they begin."""
    for machine in machines:
        machine.signal(signal.SIGSTOP)
    before = len(site.desk.counted.placed_at)
    with ThreadPoolExecutor(16) as callers:
        list(callers.map(lambda _: order(address, extra), range(count)))
    began = datetime.now(UTC)
    for machine in machines:
        machine.signal(signal.SIGCONT)
    until(lambda: len(site.desk.counted.placed_at) >= before + count)
    return (site.desk.counted.placed_at[before + count - 1] - began).total_seconds()


def scaling(site: Site, workers: int, count: int, extra: str, concurrency: int) -> dict[str, Any]:
    """So many workers beside one: queued runs, the same number."""
    took: dict[int, list[float]] = {1: [], workers: []}
    with site.server("--no-work", "--timeout", "0.1", "--running", "64") as (_, address):
        for _ in range(ROUNDS):
            for number in took:
                with site.workers(number, concurrency) as machines:
                    # as many as they have room for, so that each has loaded all that a run needs
                    drained(site, address, machines, number * concurrency, extra)
                    took[number].append(drained(site, address, machines, count, extra))
    ratio = median(one / many for one, many in zip(took[1], took[workers], strict=True))
    return {"one_s": round(median(took[1]), 2), "many_s": round(median(took[workers]), 2), "ratio": round(ratio, 2)}


def cpu_bound(site: Site) -> dict[str, Any]:
    return scaling(site, 2, BURNT, f", burn {BURN_S}", 2)


def io_bound(site: Site) -> dict[str, Any]:
    site.desk.seconds = (SLEEP_S, SLEEP_S)
    try:
        return scaling(site, 4, SLEEPING, "", AT_ONCE)
    finally:
        site.desk.seconds = (0.0, 0.0)


def accepting(site: Site) -> dict[str, Any]:
    """Milliseconds until a run is durably accepted, by a service that leaves the work to others."""
    machine = site.machine()
    out = site.folder / "accepted.json"
    machine.call(_accept, str(site.flow), ACCEPTS, str(out))
    assert machine.join() == 0, machine.log.read_text()[-3000:]
    took = sorted(json.loads(out.read_text()))
    return {"p50_ms": round(median(took), 1), "p95_ms": round(took[int(len(took) * 0.95)], 1)}


def _accept(flow: str, count: int, out: str) -> None:
    from sluicegate import Limits, Service, principal

    async def accept() -> list[float]:
        took = list[float]()
        async with Service(flow, limits=Limits(waiting=10**6, per_principal=10**6), work=False) as service:
            asker = principal("ann", ["employee"])
            for number in range(-20, count):
                began = time.perf_counter()
                await service.accept(f"Please place order a{number + 20} now", asker, request_id=f"a{number}")
                if number >= 0:
                    took.append((time.perf_counter() - began) * 1000)
            Path(out).write_text(json.dumps(took))  # noqa: ASYNC240 - all is measured
            os._exit(0)

    asyncio.run(accept())


def takeover(site: Site) -> dict[str, Any]:
    """Seconds from `kill -9` of a worker until the last of its runs has ended on the other one."""
    site.desk.seconds = (3.0, 3.0)
    took = list[float]()
    try:
        for _ in range(ROUNDS):
            with (
                site.server("--no-work", "--timeout", "0.1", "--running", "64") as (_, address),
                site.workers(2, LEFT) as (one, other),
            ):
                other.signal(signal.SIGSTOP)
                before, asked = len(site.desk.counted.placed_at), len(site.desk.counted.model_times)
                with ThreadPoolExecutor(8) as callers:
                    list(callers.map(lambda _: order(address), range(LEFT)))
                # it has them all, and waits for the model
                until(lambda asked=asked: len(site.desk.counted.model_times) >= asked + LEFT)
                one.kill()
                killed = datetime.now(UTC)
                other.signal(signal.SIGCONT)
                until(lambda before=before: len(site.desk.counted.placed_at) >= before + LEFT)
                took.append((site.desk.counted.model_times[-1][0] - killed).total_seconds())
    finally:
        site.desk.seconds = (0.0, 0.0)
    return {"begun_again_s": round(median(took), 2), "worst_s": round(max(took), 2)}


def waiting(site: Site, approvals: int = APPROVALS) -> dict[str, Any]:
    """Processor time of a worker while so many runs wait for approval."""
    found: dict[str, Any] = {"runs": approvals}
    # made by a process that does nothing else
    for name, count in (("none", 0), ("many", approvals)):
        if count:
            machine = site.machine()
            machine.call(_wait, str(site.flow), count)
            assert machine.join() == 0, machine.log.read_text()[-3000:]
        with site.workers(1) as (worker,):
            time.sleep(15)
            before = processor_s([worker.pid])
            time.sleep(WATCHED_S)
            found[name] = round((processor_s([worker.pid]) - before) / WATCHED_S * 100, 2)
    return found


def _wait(flow: str, count: int) -> None:
    from sluicegate import Limits, Service, principal

    async def made() -> None:
        async with Service(flow, limits=Limits(running=8, waiting=10**6, per_principal=10**6)) as service:
            gate = asyncio.Semaphore(8)

            async def one(number: int) -> None:
                async with gate:
                    asker = principal(f"person-{number}", ["employee"])
                    outcome = await service.ask(f"Please place order w{number} now, ask first", asker)
                    assert outcome.status == "waiting", outcome.status

            for first in range(0, count, 500):
                await asyncio.gather(*map(one, range(first, min(first + 500, count))))
        os._exit(0)

    asyncio.run(made())


def writes(site: Site) -> dict[str, Any]:
    """What a run leaves and writes on the server, and the connections of idle processes."""
    sums = (
        "SELECT xact_commit AS commits, tup_inserted AS inserted, tup_updated AS updated, tup_deleted AS deleted,"
        " pg_current_wal_lsn() - '0/0' AS wal, pg_database_size(datname) AS size FROM pg_stat_database"
        " WHERE datname = current_database()"
    )
    with site.server("--no-work", "--timeout", "30") as (_, address), site.workers(1):
        for _ in range(8):
            order(address)
        connections = site.query("SELECT count(*) AS n FROM pg_stat_activity WHERE client_addr IS NOT NULL")["n"] - 1
        # so that none of it is the first page after a checkpoint, which is written whole
        site.query("CHECKPOINT")
        for _ in range(8):
            order(address)
        time.sleep(2)
        before, idle_began = site.query(sums), time.monotonic()
        time.sleep(IDLE_S)
        began = time.monotonic()
        idle, idle_s = site.query(sums), began - idle_began
        for _ in range(WRITES):
            status, _ = order(address)
            assert status == "answered"
        time.sleep(1)
        seconds = time.monotonic() - began
        after = site.query(sums)
    polls = float(idle["commits"] - before["commits"]) / idle_s
    found = {name: round(float(after[name] - idle[name]) / WRITES, 1) for name in before}
    return {
        **found,
        # what is looked for again and again is no part of a run
        "commits": round(found["commits"] - polls * seconds / WRITES, 1),
        "idle commits/s": round(polls, 1),
        "connections": connections,
    }


MEASURED: dict[str, Callable[[Site], dict[str, Any]]] = {
    "engines": engines, "cpu": cpu_bound, "io": io_bound, "accept": accepting, "takeover": takeover,
    "writes": writes, "waiting": waiting,
}  # fmt: skip


def tables(found: dict[str, dict[str, Any]]) -> list[Any]:
    from benchmarks.results import table

    made = list[Any]()
    if one := found.get("engines"):
        base = one["own"]
        names = {
            "own": "own engine, runs in the home", "shared": "shared server, the machine works itself",
            "worker": "shared server, one server and one worker",
        }  # fmt: skip
        made.append(
            table(
                ("one machine", "runs/s", "of own", "ms of processor a run", "of own"),
                *(
                    (
                        names[name], each["runs_s"], round(each["runs_s"] / base["runs_s"], 2), each["ms_processor"],
                        round(each["ms_processor"] / base["ms_processor"], 2),
                    )
                    for name, each in one.items()
                ),
            )
        )  # fmt: skip
    goals = list[tuple[str, str, str]]()
    if one := found.get("cpu"):
        goals.append((f"2 workers beside 1, {BURN_S:g} s of processor a run", f"{one['ratio']} times", "1.8"))
    if one := found.get("io"):
        goals.append((f"4 workers beside 1, models that take {SLEEP_S:g} s", f"{one['ratio']} times", "3.5"))
    if one := found.get("accept"):
        goals.append(("a request durably accepted, p50 (p95)", f"{one['p50_ms']} ms ({one['p95_ms']} ms)", "10 ms"))
    if one := found.get("takeover"):
        goals.append(
            (f"all {LEFT} runs of a killed worker at work again, median (worst)",
             f"{one['begun_again_s']} s ({one['worst_s']} s)", "10 s")
        )  # fmt: skip
    if one := found.get("waiting"):
        added = max(0.0, round(one["many"] - one["none"], 2))
        what = f"{one['runs']:,} runs that wait for approval add to the processor time of an idle worker"
        goals.append((f"{what}, which takes {one['none']} %", f"{added} %", "1 %"))
    if goals:
        made.append(table(("what", "measured", "goal"), *goals))
    if one := found.get("writes"):
        about = {
            "commits": "transactions", "inserted": "rows inserted", "updated": "rows updated",
            "deleted": "rows deleted",
        }  # fmt: skip
        rows = [(text, one[name]) for name, text in about.items()]
        rows += [
            ("write-ahead log", f"{one['wal'] / 1000:.1f} KB"),
            ("database grows by", f"{one['size'] / 1000:.1f} KB"),
        ]
        rows += [
            ("transactions a second while nothing happens", one["idle commits/s"]),
            ("connections of one server and one worker", one["connections"]),
        ]
        made.append(table(("PostgreSQL, a run of five nodes with a call of a model and of a tool", ""), *rows))
    return made


ABOUT = f"""
Servers and workers of the command line on one PostgreSQL, with its rows on this machine's disk, and models of a
stand-in that answers at once or after a given time; everything is on the same cores, the callers too. Runs of five
nodes: policy, an extraction, a call of a tool, output check. Medians of {ROUNDS} rounds that take turns. Where workers
are compared, they find the same number of runs in the queue, and each has carried some before.
"""


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--only", nargs="*", choices=MEASURED, default=[*MEASURED])
    options.add_argument("--approvals", type=int, default=APPROVALS)
    options.add_argument("--record", action="store_true")
    given = options.parse_args()
    MEASURED["waiting"] = partial(waiting, approvals=given.approvals)
    found: dict[str, dict[str, Any]] = {}
    for name in given.only:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            Path(folder).chmod(0o711)
            site = Site(Path(folder))
            try:
                found[name] = MEASURED[name](site)
            finally:
                site.close()
        print(name, json.dumps(found[name]), flush=True)
        if given.record:
            from benchmarks.results import record

            record("machines", "Many machines", ABOUT, tables(found))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
