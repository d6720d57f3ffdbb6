"""What many machines decide together: how soon a switch made by one process is seen by another, what it costs to know,
and what cached answers cost on a server.

Two processes share a PostgreSQL server on this machine (`benchmarks/ledger.py` says how). A switch is timed from when
`off` has returned to the first check of the other process that stops; that process checks every 2 ms.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.ledger import server
from benchmarks.results import record, table
from sluicegate.policies.cache.cache import AnswerStore
from sluicegate.policies.kill_switch import KillSwitch
from sluicegate.services import Question
from sluicegate.storage.postgres import URL, configured

SWITCHES, CHECKS, ANSWERS, DIMENSIONS = 60, 100_000, 1000, 384
SEES = """
import sys, time
from sluicegate.policies.kill_switch import KillSwitch
switch = KillSwitch()
print("ready", flush=True)
for name in sys.stdin:
    while not switch.check(model=name.strip()):
        time.sleep(0.002)
    print(time.monotonic(), flush=True)
"""


def seen() -> list[float]:
    """Milliseconds from a switch to the check of another process that it stops, in order of size."""
    pause, took = random.Random(7), list[float]()
    with subprocess.Popen(
        [sys.executable, "-c", SEES], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as other:
        assert other.stdin
        assert other.stdout
        other.stdout.readline()
        switch = KillSwitch()
        for number in range(SWITCHES):
            other.stdin.write(f"m{number}\n")
            # at any moment between two readings
            time.sleep(0.3 + pause.random() * 0.2)
            switch.off(f"model:m{number}", reason="measured", by="op")
            done = time.monotonic()
            took.append(max(0.0, float(other.stdout.readline()) - done) * 1000)
    return sorted(took)


def check_us() -> float:
    switch = KillSwitch()
    switch.off("model:other", reason="measured", by="op")
    rounds = list[float]()
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(CHECKS // 5):
            switch.check(model="m", intent="i", workflow="w")
        rounds.append((time.perf_counter() - started) / (CHECKS // 5) * 1e6)
    return min(rounds)


def following() -> dict[str, float]:
    """What a process does for it while nothing changes."""
    found = configured()
    assert found
    KillSwitch().check(model="m")
    time.sleep(1)
    cpu, started = time.process_time(), time.monotonic()
    time.sleep(10)
    return {"cpu_percent": (time.process_time() - cpu) / (time.monotonic() - started) * 100}


def answers() -> dict[str, float]:
    """Milliseconds, the median of many."""
    rows = random.Random(1)
    store, other = AnswerStore(), AnswerStore()

    def asked(number: int) -> Question:
        vector = [rows.gauss(0, 1) for _ in range(DIMENSIONS)]
        length = sum(part * part for part in vector) ** 0.5
        return Question("space", f"question {number}", [part / length for part in vector])

    def keep(number: int) -> None:
        value = {"answer": {"text": "x" * 400}, "documents": []}
        other.put(f"k{number}", value, ttl_s=3600, saved_usd=0.01, question=asked(number))

    for number in range(ANSWERS):
        keep(number)
    question = asked(-1)
    took: dict[str, list[float]] = {"get": [], "put": [], "near": [], "near_after_one": [], "near_first": []}

    def timed(what: str, work: Any, *given: Any, **more: Any) -> None:
        started = time.perf_counter()
        work(*given, **more)
        took[what].append((time.perf_counter() - started) * 1000)

    for _ in range(5):
        timed("near_first", AnswerStore().near, question, similarity=0.9)
    store.near(question, similarity=0.9)
    for number in range(100):
        timed("get", store.get, f"k{number}")
        timed("near", store.near, question, similarity=0.9)
        timed("put", keep, ANSWERS + number)
        timed("near_after_one", store.near, question, similarity=0.9)
    return {what: statistics.median(each) for what, each in took.items()}


def measure() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, server() as url:
        found: dict[str, Any] = {}
        for where in ("home", "server"):
            os.environ["SLUICEGATE_HOME"] = str(Path(folder) / where)
            if where == "server":
                os.environ[URL] = url
            found[where] = {"seen_ms": seen(), "check_us": check_us(), "answers": answers()}
        found["following"] = following()
        return found


def told(found: dict[str, Any]) -> None:
    def cells(where: str) -> list[str]:
        took = found[where]["seen_ms"]
        points = (took[len(took) // 2], took[int(len(took) * 0.95)], took[-1])
        return [*(f"{point:.0f} ms" for point in points), f"{found[where]['check_us']:.1f} µs"]

    def kept(where: str) -> list[str]:
        took = found[where]["answers"]
        return [f"{took[what]:.2f} ms" for what in ("get", "put", "near", "near_after_one", "near_first")]

    places = (("one home", "home"), ("a server", "server"))
    record(
        "shared_state",
        "What machines decide together",
        f"""How soon a switch of one process stops the check of another, which checks every 2 ms ({SWITCHES} switches),
        and what a check costs; to follow a server takes a process {found["following"]["cpu_percent"]:.2f} % of a core.
        Below, cached answers: a look-up, a store, and a search among {ANSWERS} questions of {DIMENSIONS} numbers each:
        again, after another process has added one, and for the first time. The server is on the same machine.""",
        [
            table(
                ["shared by", "seen after (median)", "95 %", "longest", "one check"],
                *([name, *cells(where)] for name, where in places),
            ),
            table(
                ["shared by", "look-up", "store", "search", "search after one more", "first search"],
                *([name, *kept(where)] for name, where in places),
            ),
        ],
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--record", action="store_true")
    given = parser.parse_args()
    measured = measure()
    if given.record:
        told(measured)
    print(json.dumps(measured, indent=2))
