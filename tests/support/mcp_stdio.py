"""`python -m tests.support.mcp_stdio`: an MCP server of the workflow on fakes, over standard input and output, as ann.

It prints something that is not for the client.
"""

import asyncio
import os

from sluicegate import Limits, principal
from sluicegate.serving.mcp.stdio import serve_stdio
from sluicegate.serving.workflows import Workflows
from tests.support.stand import service

__all__ = ["serve_pipes"]


async def _serve() -> None:
    asyncio.get_running_loop().call_soon(print, "noise")
    await serve_stdio(Workflows([service(limits=Limits(drain_s=60))]), principal("ann", ["employee"]))


def serve_pipes(incoming: str, outgoing: str) -> None:
    """The same in a process that was forked, over two named pipes."""
    os.dup2(os.open(incoming, os.O_RDONLY), 0)
    os.dup2(os.open(outgoing, os.O_WRONLY), 1)
    asyncio.run(_serve())
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(_serve())
    os._exit(0)
