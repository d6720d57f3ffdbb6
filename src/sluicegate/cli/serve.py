"""`sluicegate serve`: workflows over HTTP."""

import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from sluicegate.cli._support.callers import As, Oidc, Role, Tokens, TrustGroups, TrustHeader, TrustRoles, callers_of
from sluicegate.cli._support.console import fail, notes
from sluicegate.cli._support.logs import LogFormat, log_to_stderr
from sluicegate.errors import RunError, SluicegateError

if TYPE_CHECKING:
    from sluicegate.graphs.config.load import Workflow
    from sluicegate.serving.http.callers import Callers
    from sluicegate.serving.http.server import Certificate
    from sluicegate.serving.limits import Limits

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
    webhooks: Annotated[Path | None, typer.Option(help="File of the webhooks that events are sent to.")] = None,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes on this port, each with models and bounds of its own.")
    ] = 1,
    log_format: Annotated[LogFormat, typer.Option(help="Lines on standard error: text, or JSON.")] = LogFormat.TEXT,
    no_reload: Annotated[
        bool, typer.Option("--no-reload", help="Follow promotions, but no edits of the files.")
    ] = False,
    no_work: Annotated[
        bool, typer.Option("--no-work", help="Accept runs, and leave them to `sluicegate worker` on the shared server.")
    ] = False,
    pinned: Annotated[
        bool, typer.Option("--pinned", help="Serve the files as they are now; follow neither promotions nor edits.")
    ] = False,
) -> None:
    """Serve workflows until SIGTERM. Promoted versions serve; promotions and edits take effect without a restart."""
    from sluicegate.serving.http.server import Certificate, bound
    from sluicegate.serving.limits import Limits
    from sluicegate.serving.process.discovery import load_all
    from sluicegate.serving.process.workers import supervise
    from sluicegate.serving.webhooks.config import read_webhooks
    from sluicegate.storage.postgres import URL, configured

    if (tls_certificate is None) != (tls_key is None):
        raise RunError("SG624", "TLS needs a certificate and its key", hint="Give --tls-certificate and --tls-key")
    if no_work and configured() is None:
        raise RunError("SG684", "--no-work needs a server that workers share", hint=f"Set {URL}")
    certificate = Certificate(tls_certificate, tls_key) if tls_certificate and tls_key else None
    callers = partial(callers_of, host, tokens, trust_header, trust_roles, trust_groups, user, role, oidc=oidc)
    if webhooks:
        # what is wrong with it is told before anything is opened, but for workflows that are not served
        read_webhooks(webhooks)
    limits = Limits(running, waiting, each, timeout, body, grace, drain)
    server = _Server(
        configs, host, port, certificate, callers, limits, log_format,
        follow=not pinned, reload=not no_reload, work=not no_work, webhooks=webhooks,
    )  # fmt: skip
    log_to_stderr(log_format)
    if workers == 1:
        server.run()
    # before anything is started that would say the same
    callers()
    load_all(configs)
    with bound(host, port) as listening:
        listening.listen()
        status = supervise(partial(_worker, server), listening, workers, started=_say)
    raise typer.Exit(status)


@dataclass(frozen=True)
class _Server:
    """The options, as each worker gets them."""

    configs: list[Path]
    host: str
    port: int
    certificate: "Certificate | None"
    callers: "Callable[[], Callers]"
    limits: "Limits"
    log: LogFormat
    follow: bool
    reload: bool
    work: bool
    webhooks: Path | None

    def run(self, listening: socket.socket | None = None, say: Callable[[str], None] | None = None) -> NoReturn:
        """Serve to the end, which is the end of the process."""
        from sluicegate.serving.http.server import serve as serve_it
        from sluicegate.serving.process.discovery import load_all
        from sluicegate.serving.process.reload import Reload
        from sluicegate.serving.service import Service
        from sluicegate.serving.webhooks.worker import WebhookWorker
        from sluicegate.serving.workflows import Workflows

        def served(workflow: "Workflow") -> Service:
            return Service(workflow, limits=self.limits, follow=self.follow, work=self.work)

        callers = self.callers()
        workflows = Workflows([served(each) for each in load_all(self.configs)])
        reload = Reload(workflows, self.configs, served) if self.follow and self.reload else None

        def started(address: str) -> None:
            lines = list[str]()
            for service in workflows:
                serving, promoted = service.versions.serving.workflow, service.versions.promoted
                which = f"version {serving.version}, {serving.digest[:12]}"
                which += f", promotion {promoted}" if promoted else ""
                lines.append(f"{service.name} ({which}) is served at {address}")
            (say or _say)("\n".join(lines))

        serve_it(
            workflows,
            callers,
            host=self.host,
            port=self.port,
            listening=listening,
            certificate=self.certificate,
            reload=reload,
            webhooks=WebhookWorker(self.webhooks, lambda: workflows) if self.webhooks else None,
            started=started,
        )
        sys.stdout.flush()
        sys.stderr.flush()
        # everything is closed and on disk; a tool hanging in a thread would keep the process alive
        os._exit(0)


def _say(text: str) -> None:
    notes().print(text, markup=False, soft_wrap=True)


def _worker(server: _Server, listening: socket.socket, ready: Callable[[str], None]) -> None:
    """In a process of its own."""
    log_to_stderr(server.log)
    try:
        server.run(listening, ready)
    except SluicegateError as error:
        sys.exit(fail(error, as_json=False))
