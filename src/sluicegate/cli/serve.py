"""`sluicegate serve`: a workflow over HTTP."""

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sluicegate.cli._support.console import notes
from sluicegate.errors import RunError

if TYPE_CHECKING:
    from sluicegate.serving.http.callers import Callers

__all__ = ["app"]

app = typer.Typer(help="Serve a workflow over HTTP.")


@app.command()
def serve(
    config: Annotated[Path, typer.Argument(help="The workflow's file.")],
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8080,
    tokens: Annotated[
        Path | None, typer.Option(help="File of those who may call, made by `sluicegate token add`.")
    ] = None,
    trust_header: Annotated[
        str, typer.Option(help="Believe this header to say who calls. Only behind a gateway that sets it.")
    ] = "",
    trust_roles: Annotated[str, typer.Option(help="The gateway's header of their roles, divided by commas.")] = "",
    trust_groups: Annotated[str, typer.Option(help="The gateway's header of their groups, divided by commas.")] = "",
    user: Annotated[str, typer.Option("--as", help="Everybody is this person; only on the loopback address.")] = "",
    role: Annotated[list[str] | None, typer.Option(help="A role of that person; may be repeated.")] = None,
    running: Annotated[int, typer.Option(min=1, help="Runs at work at a time.")] = 16,
    waiting: Annotated[int, typer.Option(min=0, help="Requests that may queue; more are turned away.")] = 64,
    each: Annotated[int, typer.Option("--per-principal", min=1, help="Requests of one person at a time.")] = 8,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds until a caller is told that the run goes on.")] = 60,
    drain: Annotated[float, typer.Option(min=0, help="Seconds that runs have to finish on SIGTERM.")] = 30,
    body: Annotated[int, typer.Option("--body-bytes", min=1000, help="The largest body of a call.")] = 1_000_000,
    pinned: Annotated[bool, typer.Option("--pinned", help="Serve this file, whatever version was promoted.")] = False,
) -> None:
    """Serve a workflow until SIGTERM. What was promoted serves, and promotions are followed without a restart."""
    from sluicegate.serving.http.server import serve as serve_it
    from sluicegate.serving.limits import Limits
    from sluicegate.serving.service import Service

    callers = _callers(host, tokens, trust_header, trust_roles, trust_groups, user, role)
    limits = Limits(running, waiting, each, timeout, body, drain)
    _log()
    service = Service(config, limits=limits, follow=not pinned)

    def started(address: str) -> None:
        serving, promoted = service.versions.serving.workflow, service.versions.promoted
        which = f"version {serving.version}, {serving.digest[:12]}" + (f", promotion {promoted}" if promoted else "")
        notes().print(f"{service.name} ({which}) is served at {address}", markup=False, soft_wrap=True)

    serve_it(service, callers, host=host, port=port, started=started)
    sys.stdout.flush()
    sys.stderr.flush()
    # all is closed and on the disk; a tool that hangs on a thread would keep the process for ever
    os._exit(0)


def _callers(
    host: str, tokens: Path | None, header: str, roles: str, groups: str, user: str, role: list[str] | None
) -> "Callers":
    from sluicegate.graphs.runtime.intake import principal
    from sluicegate.serving.http.callers import Fixed, TokenFile, TrustedHeader

    if sum((tokens is not None, bool(header), bool(user))) != 1:
        raise RunError(
            "SG619",
            "who may call is to be said in one way",
            hint="--tokens FILE, --trust-header NAME behind a gateway, or --as NAME on your own machine",
        )
    if tokens:
        file = TokenFile(tokens)
        file.tokens()
        return file
    if header:
        return TrustedHeader(header, roles, groups)
    if host not in ("127.0.0.1", "::1", "localhost"):
        raise RunError("SG619", f"--as would let everybody who reaches {host} be {user}", hint="Use --tokens FILE")
    return Fixed(principal(user, role or ["employee"]))


class _News(logging.Filter):
    """Says a warning once a minute: that a stand-in answers is news for a request, not for every one."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno != logging.WARNING:
            return True
        text = record.getMessage()
        if record.created - self._said.get(text, 0.0) < 60:
            return False
        self._said = {known: at for known, at in self._said.items() if record.created - at < 60} | {
            text: record.created
        }
        return True


def _log() -> None:
    """Lines on standard error: the access log as JSON, the rest in words."""
    handler = logging.StreamHandler()
    handler.addFilter(_News())
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    for name in ("sluicegate", "uvicorn.error"):
        log = logging.getLogger(name)
        log.handlers, log.propagate = [handler], False
        log.setLevel(logging.INFO if name == "sluicegate" else logging.WARNING)
