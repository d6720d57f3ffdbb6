"""A service whose webhooks tell of a run that waits and of its decision, in processes that are killed at a named point.

``python -m tests.faults.herald FOLDER POINT …`` as `tests.faults.desk`; the receiver is in the process that outlives
both, and each of its lines says what it got.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from sluicegate import Limits
from sluicegate.graphs.runtime.intake import principal
from sluicegate.serving.webhooks.outbox import LEASE_S, Outbox
from sluicegate.serving.webhooks.worker import WebhookWorker
from sluicegate.storage.database import open_database, place
from sluicegate.storage.postgres import URL
from sluicegate.storage.schemas import WEBHOOKS
from tests.faults.desk import arm, in_a_process, schema
from tests.support import stand
from tests.support.hooks import Clock, Hooks, hooks_file
from tests.support.waiting import soon

ANN, LEAD = principal("ann", ["employee"]), principal("lea", ["helpdesk-lead"])


def told(kind: str) -> bool:
    """Whether an event of this type was written down, and every event delivered."""
    database = open_database(place(), WEBHOOKS)
    with database.reading() as execute:
        events = execute("SELECT 1 AS one FROM events WHERE type = ?", (kind,))
        left = execute("SELECT 1 AS one FROM deliveries")
    database.close()
    return bool(events) and not left


async def drive(file: Path, clock: Clock) -> dict[str, Any]:
    """Have the run wait and decide on it, or go on with that, each once it was told of."""
    Outbox().close()
    async with stand.service(limits=Limits(drain_s=0)) as service:
        worker = WebhookWorker(file, lambda: [service], now=clock)
        worker.start()
        outcome = await service.ask("access please", ANN, request_id="waits")
        if outcome.status == "waiting":
            await soon(lambda: told("approval.waiting"))
            outcome = await service.decide(outcome.run, "approve", LEAD)
        await soon(lambda: told("approval.decided"))
        worker.close()
        return {"status": outcome.status}


def main() -> None:
    folder, url = Path(sys.argv[1]), os.environ.get(URL, "")
    for number, point in enumerate(sys.argv[2:]):
        os.environ["SLUICEGATE_HOME"] = str(folder / str(number))
        if url:
            os.environ[URL] = in_a_process(lambda: schema(url))[1]
        with Hooks() as hooks:
            file = hooks_file(folder / f"hooks-{number}", hooks.url)
            later = Clock()
            # what the killed process had claimed is free by then
            later.ahead = LEASE_S + 1

            def doomed(point: str = point, file: Path = file) -> Any:
                arm(point)
                return asyncio.run(drive(file, Clock()))

            def again(file: Path = file, clock: Clock = later) -> Any:
                return asyncio.run(drive(file, clock))

            killed, _ = in_a_process(doomed)
            status, found = in_a_process(again)
        got = [[each.said["type"], each.id] for each in hooks.got]
        print(json.dumps({"point": point, "killed": killed, "status": status, "found": found, "got": got}), flush=True)


if __name__ == "__main__":
    main()
