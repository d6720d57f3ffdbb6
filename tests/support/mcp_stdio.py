"""`python -m tests.support.mcp_stdio`: an MCP server of the workflow on fakes, over standard input and output, as ann.

The stand's home is the one of `SLUICEGATE_HOME`.
"""

import asyncio
import os

from sluicegate import Limits, principal
from sluicegate.serving.mcp.stdio import serve_stdio
from tests.support.stand import service

if __name__ == "__main__":
    limits = Limits(timeout_s=float(os.environ.get("TIMEOUT_S", "60")), drain_s=20)
    asyncio.run(serve_stdio([service(limits=limits)], principal("ann", ["employee"])))
    os._exit(0)
