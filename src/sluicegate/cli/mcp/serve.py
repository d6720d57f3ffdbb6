"""`sluicegate mcp CONFIG…`: workflows as tools of an MCP server."""

import os
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from sluicegate.cli._support.callers import As, Oidc, Role, Tokens
from sluicegate.errors import RunError

__all__ = ["serve"]


def serve(
    configs: Annotated[list[Path], typer.Argument(help="Workflow files, or folders: every workflow below them.")],
    user: As = "",
    role: Role = None,
    http: Annotated[
        bool, typer.Option("--http", help="Serve over streamable HTTP, at /mcp, in place of standard input and output.")
    ] = False,
    host: Annotated[str, typer.Option(help="With --http: address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="With --http: port; 0 picks a free one.")] = 8080,
    tokens: Tokens = None,
    oidc: Oidc = None,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds after which a call is told that its run takes longer.")
    ] = 60,
    pinned: Annotated[bool, typer.Option("--pinned", help="Serve these files, regardless of promotions.")] = False,
) -> None:
    """Serve workflows as MCP tools: to the one client that starts this, or with --http, as `sluicegate serve` does, to
    many."""
    from sluicegate.extras import extra

    with extra("mcp", "an MCP server", partial(RunError, "SG624")):
        from sluicegate.serving.mcp.stdio import serve_stdio
    if http:
        from sluicegate.cli.serve import serve as serve_http

        serve_http(configs, host, port, tokens=tokens, oidc=oidc, user=user, role=role, timeout=timeout, pinned=pinned)
        return
    import asyncio

    from sluicegate.graphs.runtime.intake import principal
    from sluicegate.serving.limits import Limits
    from sluicegate.serving.process.discovery import load_all
    from sluicegate.serving.service import Service
    from sluicegate.serving.workflows import Workflows

    if not user or tokens or oidc:
        raise RunError(
            "SG619",
            "the one client that starts this is one user's",
            hint="Name the user: --as NAME --role ROLE; --tokens and --oidc go with --http",
        )
    limits = Limits(timeout_s=timeout)
    workflows = Workflows([Service(each, limits=limits, follow=not pinned) for each in load_all(configs)])
    asyncio.run(serve_stdio(workflows, principal(user, role or ["employee"])))
    # everything is closed and on disk; a tool hanging in a thread would keep the process alive
    os._exit(0)
