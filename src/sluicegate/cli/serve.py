"""`sluicegate serve`: workflows over HTTP."""

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sluicegate.cli._support.callers import As, Oidc, Role, Tokens, TrustGroups, TrustHeader, TrustRoles, callers_of
from sluicegate.cli._support.console import notes
from sluicegate.errors import RunError

if TYPE_CHECKING:
    from sluicegate.graphs.config.load import Workflow

__all__ = ["app"]

app = typer.Typer(help="Serve workflows over HTTP.")


@app.command()
def serve(
    configs: Annotated[list[Path], typer.Argument(help="Workflow files, or folders: every workflow below them.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 picks a free one.")] = 8080,
    tls_certificate: Annotated[
        Path | None, typer.Option(help="Serve over TLS, with the certificate chain in this PEM file.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM file of its key.")] = None,
    tokens: Tokens = None,
    oidc: Oidc = None,
    trust_header: TrustHeader = "",
    trust_roles: TrustRoles = "",
    trust_groups: TrustGroups = "",
    user: As = "",
    role: Role = None,
    running: Annotated[int, typer.Option(min=1, help="Concurrent runs.")] = 16,
    waiting: Annotated[int, typer.Option(min=0, help="Queued requests; further ones are rejected.")] = 64,
    each: Annotated[int, typer.Option("--per-principal", min=1, help="Concurrent requests per user.")] = 8,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds after which a caller gets 202 while the run continues.")
    ] = 60,
    grace: Annotated[
        float, typer.Option(min=0, help="Seconds between SIGTERM, when /readyz turns 503, and the end of the port.")
    ] = 5,
    drain: Annotated[float, typer.Option(min=0, help="Seconds that runs may then take to finish.")] = 30,
    body: Annotated[
        int, typer.Option("--body-bytes", min=1000, help="Maximum size of a request body in bytes.")
    ] = 1_000_000,
    no_reload: Annotated[
        bool, typer.Option("--no-reload", help="Follow promotions, but no edits of the files.")
    ] = False,
    pinned: Annotated[
        bool, typer.Option("--pinned", help="Serve the files as they are now; follow neither promotions nor edits.")
    ] = False,
) -> None:
    """Serve workflows until SIGTERM. Promoted versions serve; promotions and edits take effect without a restart."""
    from sluicegate.serving.http.server import Certificate
    from sluicegate.serving.http.server import serve as serve_it
    from sluicegate.serving.limits import Limits
    from sluicegate.serving.process.discovery import load_all
    from sluicegate.serving.process.reload import Reload
    from sluicegate.serving.service import Service
    from sluicegate.serving.workflows import Workflows

    if (tls_certificate is None) != (tls_key is None):
        raise RunError("SG624", "TLS needs a certificate and its key", hint="Give --tls-certificate and --tls-key")
    certificate = Certificate(tls_certificate, tls_key) if tls_certificate and tls_key else None
    callers = callers_of(host, tokens, trust_header, trust_roles, trust_groups, user, role, oidc=oidc)
    limits = Limits(running, waiting, each, timeout, body, grace, drain)
    _log()

    def served(workflow: "Workflow") -> Service:
        return Service(workflow, limits=limits, follow=not pinned)

    workflows = Workflows([served(each) for each in load_all(configs)])
    reload = None if pinned or no_reload else Reload(workflows, configs, served)

    def started(address: str) -> None:
        for service in workflows:
            serving, promoted = service.versions.serving.workflow, service.versions.promoted
            which = f"version {serving.version}, {serving.digest[:12]}"
            which += f", promotion {promoted}" if promoted else ""
            notes().print(f"{service.name} ({which}) is served at {address}", markup=False, soft_wrap=True)

    serve_it(workflows, callers, host=host, port=port, certificate=certificate, reload=reload, started=started)
    sys.stdout.flush()
    sys.stderr.flush()
    # everything is closed and on disk; a tool hanging in a thread would keep the process alive
    os._exit(0)


class _News(logging.Filter):
    """Passes each warning once a minute, so that a fallback model does not fill the log."""

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
    """Log to standard error: the access log as JSON, the rest as text."""
    handler = logging.StreamHandler()
    handler.addFilter(_News())
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    for name in ("sluicegate", "uvicorn.error"):
        log = logging.getLogger(name)
        log.handlers, log.propagate = [handler], False
        log.setLevel(logging.INFO if name == "sluicegate" else logging.WARNING)
