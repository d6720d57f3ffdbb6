"""`sluicegate mcp CONFIG…`: workflows as tools of an MCP server."""

import os
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from sluicegate.errors import RunError

__all__ = ["serve"]


def serve(
    configs: Annotated[list[Path], typer.Argument(help="The workflows' files.")],
    user: Annotated[str, typer.Option("--as", help="The user for whom the client calls.")],
    role: Annotated[list[str] | None, typer.Option(help="Role of that user (repeatable).")] = None,
) -> None:
    """Serve workflows as MCP tools over standard input and output, until the client closes its end."""
    import asyncio

    from sluicegate.extras import extra
    from sluicegate.graphs.runtime.intake import principal
    from sluicegate.serving.service import Service

    with extra("mcp", "an MCP server", partial(RunError, "SG624")):
        from sluicegate.serving.mcp.stdio import serve_stdio
    asyncio.run(serve_stdio([Service(each) for each in configs], principal(user, role or ["employee"])))
    sys.stdout.flush()
    # everything is closed and on disk; a tool hanging in a thread would keep the process alive
    os._exit(0)
