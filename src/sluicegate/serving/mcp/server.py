"""The MCP server: workflows as tools, and the sources of their answers as resources.

It keeps nothing of a client. Whatever it lists, reads or runs is asked of the same `Workflows` as over HTTP, and so of
the same policies.
"""

from collections.abc import Callable
from typing import Any

from mcp.server.context import CallNext, HandlerResult
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp.types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    InputRequiredResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ListToolsResult,
    PaginatedRequestParams,
    ReadResourceRequestParams,
    ReadResourceResult,
)
from pydantic import ValidationError

from sluicegate import __version__
from sluicegate.errors import SluicegateError
from sluicegate.serving.http.problems import of_error
from sluicegate.serving.mcp import resources
from sluicegate.serving.mcp.calls import CalledTool, Context, unexpected
from sluicegate.serving.mcp.tools import tools_of
from sluicegate.serving.workflows import Workflows
from sluicegate.state import Principal

__all__ = ["mcp_server"]

_INSTRUCTIONS = """\
Each workflow is a tool. A result's `status` says what became of the request: `answered` and `refused` are final, and \
a refusal is an answer to pass on. `waiting` with an `approval` is for a person: get_run says later what became of it. \
`waiting` with a `question` asks the requester. Send a `request_id` of your own so that a retry is not a second run."""


def mcp_server(workflows: Workflows, asker_of: Callable[[Context], Principal]) -> Server[Any]:
    """A server of these workflows; `asker_of` says for whom a call is made."""

    async def list_tools(_: Context, __: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(tools=tools_of([service.versions.serving.workflow for service in workflows]))

    async def call_tool(context: Context, call: CallToolRequestParams) -> CallToolResult | InputRequiredResult:
        return await CalledTool(workflows, context, call, asker_of(context)).result()

    async def list_resources(_: Context, __: PaginatedRequestParams | None) -> ListResourcesResult:
        # what may be read follows from the answers that one has had
        return ListResourcesResult(resources=[])

    async def list_templates(_: Context, __: PaginatedRequestParams | None) -> ListResourceTemplatesResult:
        return ListResourceTemplatesResult(resource_templates=[resources.TEMPLATE])

    async def read_resource(context: Context, wanted: ReadResourceRequestParams) -> ReadResourceResult:
        try:
            found = await resources.read(wanted.uri, workflows, asker_of(context))
        except SluicegateError as error:
            problem = of_error(error)
            raise MCPError(INVALID_PARAMS, problem.detail, {"uri": wanted.uri, "code": problem.code}) from None
        if found is None:
            raise MCPError(INVALID_PARAMS, "no such resource", {"uri": wanted.uri})
        return found

    server = Server[Any](
        "sluicegate",
        version=__version__,
        title="Sluicegate",
        instructions=_INSTRUCTIONS,
        # no argument travels in a header too, so that no call need list all tools to compare the two
        get_tool_input_schema=lambda _: None,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=read_resource,
    )
    server.middleware.append(_without_words)
    return server


async def _without_words(ctx: Context, call_next: CallNext) -> HandlerResult:
    """What nobody expected is told, and logged, without its words: the SDK would send them."""
    try:
        return await call_next(ctx)
    except (MCPError, ValidationError):
        raise
    except Exception as error:
        unexpected(error)
        raise MCPError(INTERNAL_ERROR, "Internal error") from None
