"""`sluicegate worker`: a process that carries the runs which servers accept."""

import asyncio
import os
import signal
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sluicegate.cli._support.callers import Oidc, Tokens, callers_of
from sluicegate.cli._support.console import notes
from sluicegate.cli._support.logs import LogFormat, log_to_stderr
from sluicegate.errors import NotFoundError, RunError, UnknownWorkflowError, nearest

if TYPE_CHECKING:
    from sluicegate.graphs.config.load import Workflow
    from sluicegate.serving.http.callers import Callers
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
    host: Annotated[str, typer.Option(help="Address of the port for probes and metrics.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Answer /healthz, /readyz and /metrics here; 0 picks one.")
    ] = None,
    tokens: Tokens = None,
    oidc: Oidc = None,
) -> None:
    """Carry runs from the queues of the server that SLUICEGATE_DATABASE_URL names, until SIGTERM."""
    from sluicegate.serving.http.watching.port import NobodyCalls
    from sluicegate.serving.limits import Limits
    from sluicegate.serving.process.discovery import load_all
    from sluicegate.serving.service import Service
    from sluicegate.storage.postgres import URL, configured

    server = configured()
    if server is None:
        raise RunError("SG684", "a worker takes runs from a server that machines share", hint=f"Set {URL}")
    if port is None and (tokens or oidc):
        raise RunError("SG619", "--tokens and --oidc say who may read the metrics", hint="Give --port too")
    callers = callers_of(host, tokens, "", "", "", "", None, oidc=oidc) if tokens or oidc else NobodyCalls()
    log_to_stderr(log_format)
    limits = Limits(running=concurrency, drain_s=drain)
    loaded = _chosen(load_all(configs) if configs else _all_of(server), queue or [])
    services = [Service(each, limits=limits, follow=not pinned) for each in loaded]
    asyncio.run(_work(services, None if port is None else _Port(host, port, callers)))
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


@dataclass(frozen=True, slots=True)
class _Port:
    host: str
    port: int
    callers: "Callers"


async def _work(services: "list[Service]", port: _Port | None) -> None:
    from sluicegate.serving.http.watching.port import watching
    from sluicegate.serving.workflows import Workflows

    ending = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ending.set)
    async with AsyncExitStack() as open_ones:
        workflows = await open_ones.enter_async_context(Workflows(services))
        address = port and await open_ones.enter_async_context(
            watching(workflows, port.callers, host=port.host, port=port.port)
        )
        for service in workflows:
            serving = service.versions.serving.workflow
            _say(f"{service.name} (version {serving.version}, {serving.digest[:12]}) is carried here")
        if address:
            _say(f"this worker is watched at {address}")
        await ending.wait()
        workflows.withdraw()
        await workflows.close()


def _say(text: str) -> None:
    notes().print(text, markup=False, soft_wrap=True)
