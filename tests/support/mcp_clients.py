"""The SDK's client of an MCP server, over standard input and output or over HTTP."""

import os
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client
from mcp.types import CallToolResult, ResourceLink, TextContent

from tests.support import ROOT

__all__ = ["links", "over_http", "over_stdio", "words"]

ANN = {"x-user": "ann", "x-roles": "employee"}


@asynccontextmanager
async def over_stdio(**options: Any) -> AsyncGenerator[Client]:
    """Of a process of its own that serves the workflow on fakes, as ann."""
    command = StdioServerParameters(
        command=sys.executable, args=["-m", "tests.support.mcp_stdio"], env=dict(os.environ), cwd=str(ROOT)
    )
    async with Client(command, **options) as client:
        yield client


@asynccontextmanager
async def over_http(server: httpx.Client, headers: Mapping[str, str] = ANN, **options: Any) -> AsyncGenerator[Client]:
    """Of the server that an HTTP client is of."""
    async with create_mcp_http_client(headers=dict(headers)) as http:
        transport = streamable_http_client(f"{server.base_url}/mcp".replace("//mcp", "/mcp"), http_client=http)
        async with Client(transport, **options) as client:
            yield client


def words(result: CallToolResult) -> str:
    """The texts of a result."""
    return "\n".join(each.text for each in result.content if isinstance(each, TextContent))


def links(result: CallToolResult) -> list[str]:
    """The addresses of the resources that a result links to."""
    return [each.uri for each in result.content if isinstance(each, ResourceLink)]
