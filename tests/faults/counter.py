"""A service with one run at work and two things that wait, in a process that is killed or stopped at a named point.

``python -m tests.faults.counter FOLDER POINT …`` imports once, and for each point forks a process that serves and ends
there, and then one that opens the service and sweeps until nothing is left to do; it prints one JSON line per point. A
point is as in `desk`, or the name of the signal that the process gets once everything is accepted. What was accepted,
and what a tool was called for, is noted in files, which no kill takes back. Runs are in a home for each point, or in a
schema for each of the database that `SLUICEGATE_DATABASE_URL` names.
"""

import asyncio
import json
import os
import signal
import sys
import threading
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from sluicegate import Limits, Service
from sluicegate.errors import NotFoundError
from sluicegate.graphs.runtime.factory import Opened
from sluicegate.graphs.runtime.intake import principal
from sluicegate.graphs.runtime.loop_thread import elsewhere
from sluicegate.home import home
from sluicegate.services import ToolResult
from sluicegate.serving.execution.embedded import EmbeddedExecutor
from sluicegate.serving.http.server import serve
from sluicegate.serving.workflows import Workflows
from sluicegate.storage.database import open_database, place
from sluicegate.storage.postgres import URL, Server
from sluicegate.storage.schemas import APPROVALS, RECOVERED
from tests.faults.desk import arm, in_a_process, schema
from tests.support import stand
from tests.support.fakes import FakeTools

ANN, LEAD = principal("ann", ["employee"]), principal("lea", ["helpdesk-lead"])
_LOOKS = 2_400
"""As often as it takes on a machine that other tests fill."""


class NotedTools(FakeTools):
    async def call(self, name: str, arguments: Mapping[str, Any], *, key: str, run: str) -> ToolResult:
        note("called", run)
        return await super().call(name, arguments, key=key, run=run)


def note(file: str, line: str) -> None:
    with (home() / file).open("a") as out:
        out.write(line + "\n")


def noted(file: str) -> list[str]:
    path = home() / file
    return path.read_text().split() if path.exists() else []


def version(source: Any) -> Opened:
    opened = stand.version(source)
    opened.runner.services = replace(opened.runner.services, tools=NotedTools())
    return opened


def counter(running: int) -> Service:
    return stand.service(limits=Limits(running=running, drain_s=0, grace_s=0), open_version=version)


async def drive(service: Service, point: str) -> None:
    """Have four pieces of work accepted: one waits for a person, one is at work, two wait for their turns."""
    waits = await service.ask("access please", ANN, request_id="waits", session="waits-talk")
    note("accepted", "waits")
    held = await service.accept("hold on", ANN, request_id="held", session="held-talk")
    note("accepted", "held")
    queued = await service.accept("How?", ANN, request_id="queued", session="queued-talk")
    note("accepted", "queued")
    decision = await service.accept_decision(waits.run, "approve", LEAD)
    note("accepted", "decision")
    if ":" in point:
        stand.let_go()
        for accepted in (held, queued, decision):
            await accepted.outcome()
    os.kill(os.getpid(), signal.SIGTERM if ":" in point else getattr(signal, point))


def doomed(point: str) -> None:
    """Serve, and be ended at `point`."""
    service = counter(running=1)
    if ":" in point:
        arm(point)

    def started(_: str) -> None:
        threading.Thread(target=lambda: asyncio.run(drive(service, point)), daemon=True).start()

    serve(Workflows([service]), stand.GATEWAY, host="127.0.0.1", port=0, started=started)


async def taken_up() -> dict[str, Any]:
    """What the next service makes of what it finds."""
    stand.let_go()
    accepted, found = noted("accepted"), dict[str, Any]()
    left: list[str] = []
    if not isinstance(place(), Server):
        with open_database(place(), RECOVERED).reading() as execute:
            left = [row["run"] for row in execute("SELECT run FROM accepted")]
    async with counter(running=4) as service:
        runs = {name: service.run_id(ANN, name) for name in ("waits", "held", "queued")}
        looks = 0
        while (carried := await promised(service)) and looks < _LOOKS:
            looks += 1
            await asyncio.sleep(0.05)
        for name, run in runs.items():
            if name not in accepted and run not in left:
                continue
            # what had not been written down was not accepted either
            with nullcontext() if name in accepted else suppress(NotFoundError):
                outcome, row = await service.find(run, ANN)
                found[name] = [outcome.status if outcome else "", row["status"], row["session"]]
        # a retry is the same run
        again = {name: (await service.ask(text, ANN, request_id=name)).run for name, text in RETRIED.items()}
    with open_database(place(), APPROVALS).reading() as execute:
        decisions = [row["applied"] for row in execute("SELECT applied FROM decisions")]
    return {
        "accepted": accepted,
        "carried": carried,
        "found": found,
        "same": again == {name: runs[name] for name in again},
        "called": noted("called"),
        "decisions": decisions,
    }


async def promised(service: Service) -> bool:
    """Whether something is left to carry, where it is taken up."""
    if isinstance(service.executor, EmbeddedExecutor):
        await elsewhere(service.executor.sweep.once())
        with open_database(place(), RECOVERED).reading() as execute:
            return bool(execute("SELECT run FROM accepted"))
    executor: Any = service.executor
    return bool(executor.engine.promised(executor.queue))


RETRIED = {"held": "hold on", "queued": "How?"}


def main() -> None:
    folder, url = Path(sys.argv[1]), os.environ.get(URL, "")
    for number, point in enumerate(sys.argv[2:]):
        os.environ["SLUICEGATE_HOME"] = str(folder / str(number))
        if url:
            os.environ[URL] = in_a_process(lambda: schema(url))[1]
        ended, _ = in_a_process(lambda point=point: doomed(point))
        status, found = in_a_process(lambda: asyncio.run(taken_up()))
        print(json.dumps({"point": point, "ended": ended, "status": status, "found": found}), flush=True)


if __name__ == "__main__":
    main()
