"""How long the console's pages take in a home with 10,000 runs.

    python benchmarks/console.py [--record]

One server on the loopback address, one viewer who may decide and sees every run, one page after another on a kept
connection: those of the navigation, the decision on a run that waits and the run itself. Every round fetches each page
once, in an order that changes.
"""

import json
import os
import re
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from statistics import median, quantiles

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.results import record, table
from sluicegate.home import home
from sluicegate.observe.tracing.store import Store
from tests.support.console import Desk, ask
from tests.support.recorded_runs import many
from tests.support.stand import served, service

RUNS, WAITING, ROUNDS = 10_000, 200, 40
VIEWER = {"x-user": "lea", "x-roles": "helpdesk-lead,operator"}
BOUND_MS = 100


def filled(client: httpx.Client) -> str:
    """Let runs wait, and have recorded the rest; gives one that waits."""
    run = [ask(client, f"How do I reset {number}?", f"user-{number % 50}") for number in range(WAITING)][-1]
    name = client.get("/readyz").json()["workflows"][0]["workflow"]
    with closing(Store(home() / "store.sqlite")) as store:
        many(store, RUNS - WAITING, users=[f"user-{number}" for number in range(50)])
    with closing(sqlite3.connect(home() / "store.sqlite")) as connection, connection:
        connection.execute("UPDATE runs SET workflow = ?, confidence = coalesce(confidence, 0.9)", (name,))
    return run


def pages(client: httpx.Client, run: str) -> dict[str, str]:
    """Addresses by what stands for them."""
    first = client.get("/console", headers=VIEWER)
    assert first.status_code == 200, first.text
    (navigation,) = re.findall(r"<nav .*?</nav>", first.text, re.DOTALL)
    found = {path: path for path in re.findall(r'href="([^"]+)"', navigation)}
    return {
        **found,
        "/console/approvals/{id}": f"/console/approvals/{run}",
        "/console/runs/{id}": f"/console/runs/{run}",
    }


def measured() -> dict[str, list[float]]:
    with served(service(open_version=Desk())) as client:
        addresses = pages(client, filled(client))
        # where there is one workflow, its page stands for the list of all
        known = {
            name: client.get(path, headers=VIEWER, follow_redirects=True).url.path for name, path in addresses.items()
        }
        took: dict[str, list[float]] = {name: [] for name in known}
        for number in range(-2, ROUNDS):
            names = [*known]
            first = number % len(names)
            for name in names[first:] + names[:first]:
                started = time.perf_counter()
                response = client.get(known[name], headers=VIEWER)
                if number >= 0:
                    took[name].append((time.perf_counter() - started) * 1000)
                assert response.status_code == 200, response.text
    return took


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SLUICEGATE_HOME"] = folder
        took = measured()
    rows = [
        (f"`{name}`", f"{quantiles(each, n=10)[0]:.1f}", f"{median(each):.1f}", f"{quantiles(each, n=20)[-1]:.1f}")
        for name, each in took.items()
    ]
    made = table(("page", "ms, first decile", "ms, median", "ms, p95"), *rows)
    print(json.dumps(made, indent=1))
    if "--record" in sys.argv:
        record(
            "console",
            "The console's pages",
            f"Each page {ROUNDS} times, in a home with {RUNS:,} runs of which {WAITING} wait. The goal is less than "
            f"{BOUND_MS} ms; other work on the machine only adds to times.",
            [made],
        )


if __name__ == "__main__":
    main()
