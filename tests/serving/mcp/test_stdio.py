"""The MCP server as a process of its own, driven by the SDK's client over standard input and output."""

import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from jsonschema import Draft202012Validator
from mcp import Client, StdioServerParameters

from tests.support import ROOT

pytestmark = pytest.mark.slow


@asynccontextmanager
async def connected() -> AsyncGenerator[Client]:
    command = StdioServerParameters(
        command=sys.executable, args=["-m", "tests.support.mcp_stdio"], env=dict(os.environ), cwd=str(ROOT)
    )
    async with Client(command) as client:
        yield client


async def test_a_workflow_is_a_tool_with_an_answer_that_fits_its_schema() -> None:
    async with connected() as client:
        (tool,) = (await client.list_tools()).tools
        result = await client.call_tool(tool.name, {"text": "How do I reset it?"})
    assert tool.input_schema["additionalProperties"] is False
    assert not result.is_error
    Draft202012Validator(tool.output_schema or {}).validate(result.structured_content)
    assert result.structured_content["answer"] == result.content[0].text == "Version 1 [1]."
