"""The MCP server: lists the workflows as tools and runs them, each call as the person who makes it."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp.types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
)
from pydantic import ValidationError

from sluicegate import __version__
from sluicegate.errors import SluicegateError
from sluicegate.serving.http import messages
from sluicegate.serving.http.calls import begun
from sluicegate.serving.http.problems import of_error
from sluicegate.serving.mcp.messages import RunResult, WorkflowCallWithTables
from sluicegate.serving.mcp.tools import arguments_of, workflow_tool
from sluicegate.serving.service import Service
from sluicegate.state import Principal

__all__ = ["mcp_server"]

Context = Any
"""A call's context, as the SDK gives it."""


def mcp_server(services: Sequence[Service], asker_of: Callable[[Context], Principal]) -> Server[Any]:
    """A server of these workflows; `asker_of` says for whom a call is made."""

    async def list_tools(_: Context, __: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(tools=[workflow_tool(each.versions.serving.workflow) for each in services])

    async def call_tool(context: Context, call: CallToolRequestParams) -> CallToolResult:
        service = next((each for each in services if each.name == call.name), None)
        if service is None:
            raise MCPError(INVALID_PARAMS, f"Unknown tool: {call.name}")
        try:
            return await _ask(service, asker_of(context), call.arguments or {})
        except ValidationError as error:
            return _failed("; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:5]))
        except SluicegateError as error:
            problem = of_error(error)
            return _failed(" ".join(part for part in (f"{problem.code}: {problem.detail}.", problem.hint) if part))

    return Server("sluicegate", version=__version__, on_list_tools=list_tools, on_call_tool=call_tool)


async def _ask(service: Service, asker: Principal, arguments: dict[str, Any]) -> CallToolResult:
    asked = arguments_of(service.versions.serving.workflow).model_validate(arguments)
    tables = asked.attachments if isinstance(asked, WorkflowCallWithTables) else {}
    accepted = await service.accept(
        asked.text, asker, attachments=tables, session=asked.session, request_id=asked.request_id
    )
    try:
        async with asyncio.timeout(service.limits.timeout_s):
            outcome = await accepted.outcome()
    except TimeoutError:
        return _result(begun(service, accepted.run))
    return _result(messages.answered(outcome))


def _result(said: messages.Run) -> CallToolResult:
    result = RunResult.of(said)
    return CallToolResult(
        content=[TextContent(text=said.answer or said.reason or f"Run {said.run} is {said.status}.")],
        structured_content=result.model_dump(mode="json"),
    )


def _failed(text: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(text=text)], is_error=True)
