"""`sluicegate worker`: a process that carries the runs which servers accept."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sluicegate.cli._support.console import notes
from sluicegate.cli._support.logs import LogFormat, log_to_stderr
from sluicegate.errors import NotFoundError, RunError, UnknownWorkflowError, nearest

if TYPE_CHECKING:
    from sluicegate.graphs.config.load import Workflow
    from sluicegate.serving.service import Service
    from sluicegate.storage.postgres import Server

__all__ = ["app"]

app = typer.Typer(help="Carry the runs of workflows that servers accept, from their queues.")


@app.command()
def worker(
    configs: Annotated[
        list[Path] | None,
        typer.Argument(help="Workflow files, or folders: every workflow below them. Without any: all of the server."),
    ] = None,
    queue: Annotated[list[str] | None, typer.Option(help="Only this workflow's queue (repeatable).")] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Concurrent runs.")] = 16,
    drain: Annotated[float, typer.Option(min=0, help="Seconds that runs may take to finish after SIGTERM.")] = 30,
    log_format: Annotated[LogFormat, typer.Option(help="Lines on standard error: text, or JSON.")] = LogFormat.TEXT,
    pinned: Annotated[
        bool, typer.Option("--pinned", help="Begin new runs of the files as they are now; follow no promotions.")
    ] = False,
) -> None:
    """Carry runs from the queues of the server that SLUICEGATE_DATABASE_URL names, until SIGTERM."""
    from sluicegate.serving.limits import Limits
    from sluicegate.serving.process.discovery import load_all
    from sluicegate.serving.service import Service
    from sluicegate.storage.postgres import URL, configured

    server = configured()
    if server is None:
        raise RunError("SG684", "a worker takes runs from a server that machines share", hint=f"Set {URL}")
    log_to_stderr(log_format)
    limits = Limits(running=concurrency, drain_s=drain)
    loaded = _chosen(load_all(configs) if configs else _all_of(server), queue or [])
    asyncio.run(_work([Service(each, limits=limits, follow=not pinned) for each in loaded]))
    sys.stdout.flush()
    sys.stderr.flush()
    # everything is closed and on disk; a tool hanging in a thread would keep the process alive
    os._exit(0)


def _all_of(server: "Server") -> "list[Workflow]":
    from sluicegate.graphs.config.load import load
    from sluicegate.graphs.runtime.versions import current
    from sluicegate.graphs.runtime.versions_postgres import SharedVersions

    found = [load(current(name)) for name in SharedVersions(server).names()]
    if not found:
        raise NotFoundError("no workflow has run on this server", hint="Name the files: sluicegate worker CONFIG")
    return found


def _chosen(loaded: "list[Workflow]", queues: list[str]) -> "list[Workflow]":
    names = [each.name for each in loaded]
    for queue in queues:
        if queue not in names:
            near = nearest(queue, names)
            hint = f"Did you mean {near!r}?" if near else f"A queue is named as its workflow: {', '.join(names)}"
            raise UnknownWorkflowError(f"no queue {queue!r}", hint=hint)
    return [each for each in loaded if not queues or each.name in queues]


async def _work(services: "list[Service]") -> None:
    from sluicegate.serving.workflows import Workflows

    ending = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ending.set)
    async with Workflows(services) as workflows:
        for service in workflows:
            serving = service.versions.serving.workflow
            notes().print(
                f"{service.name} (version {serving.version}, {serving.digest[:12]}) is carried here",
                markup=False,
                soft_wrap=True,
            )
        await ending.wait()
