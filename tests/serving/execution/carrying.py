"""A process of its own that carries the runs of the fakes' workflow, as `sluicegate worker` does; it notes every call
of a model in `calls` of the folder that it is given. A run with "poison" in its request ends the process, as soon as
four calls were made; what else it is given it accepts as ann's requests. Nobody waits longer for a person than the
seconds of `PATIENCE` in the environment."""

import asyncio
import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from sluicegate import Limits
from sluicegate.graphs.runtime.factory import Opened
from sluicegate.graphs.runtime.intake import principal
from sluicegate.nodes.kinds.human_interrupt import HumanInterrupt
from tests.support import flows, stand


class Noted(stand.Patient):
    """Notes each call before it is made: in the folder of all machines, since each has a home of its own."""

    def __init__(self, version: str, folder: Path) -> None:
        super().__init__(version)
        self._go, self._calls = folder / "go", folder / "calls"

    async def chat(self, request: Any) -> Any:
        with self._calls.open("a") as out:
            out.write(f"{os.getpid()}\n")
        if "poison" in request.messages[0].content:
            while len(self._calls.read_text().split()) < 4:
                await asyncio.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)
        return await super().chat(request)


def version_in(folder: Path) -> Any:
    def version(source: Any) -> Opened:
        opened = stand.version(source)
        models = Noted(opened.workflow.version, folder)
        opened.runner.services = replace(opened.runner.services, models=models)
        return opened

    return version


async def carry(ready: Connection, folder: Path, running: int, drain_s: float, texts: Sequence[str]) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    limits = Limits(running=running, drain_s=drain_s)
    async with stand.service(limits=limits, open_version=version_in(folder)) as service:
        ready.send("ready")
        for text in texts:
            await service.accept(text, principal("ann", ["employee"]), request_id=text)
        await ended.wait()


def main(ready: Connection, folder: str, running: int, drain_s: float, texts: Sequence[str]) -> None:
    if patience := os.environ.get("PATIENCE"):
        flows.SETTINGS["approve"] = HumanInterrupt(approvers="role:helpdesk-lead", timeout=float(patience))
    asyncio.run(carry(ready, Path(folder), running, drain_s, texts))
    os._exit(0)
