"""An MCP server over standard input and output: the process of one client, for one person."""

from collections.abc import Sequence
from contextlib import AsyncExitStack

from mcp.server.stdio import stdio_server

from sluicegate.serving.mcp.server import mcp_server
from sluicegate.serving.service import Service
from sluicegate.state import Principal

__all__ = ["serve_stdio"]


async def serve_stdio(services: Sequence[Service], person: Principal) -> None:
    """Serve until the client closes its end; accepted runs are then brought to their end, for `drain_s` at most."""
    async with AsyncExitStack() as opened:
        for each in services:
            await opened.enter_async_context(each)
        server = mcp_server(services, lambda _: person)
        async with stdio_server() as (incoming, outgoing):
            await server.run(incoming, outgoing, server.create_initialization_options())
