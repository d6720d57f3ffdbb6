"""The firewall as an MCP server: what its clients see in the place of the servers behind it."""

from collections.abc import Callable
from typing import Any

from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPError
from mcp.types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
    ToolAnnotations,
)

from sluicegate import __version__
from sluicegate.errors import SluicegateError
from sluicegate.serving.firewall.calls import CallResult
from sluicegate.serving.firewall.firewall import OUTCOME, Firewall
from sluicegate.serving.firewall.pins import Contract
from sluicegate.serving.http.problems import of_error
from sluicegate.state import Principal

__all__ = ["firewall_server", "serve_stdio"]

Context = Any
"""A call's context, as the SDK gives it."""

_KEY = "sluicegate/idempotency-key"
_MOST_OF_A_KEY = 200


def firewall_server(firewall: Firewall, person_of: Callable[[Context], Principal]) -> Server[Any]:
    """A server of the tools behind the firewall; `person_of` says for whom a call is made."""

    async def list_tools(context: Context, _: PaginatedRequestParams | None) -> ListToolsResult:
        offered = [_tool(name, one) for name, one in await firewall.offered(person_of(context))]
        return ListToolsResult(tools=[*offered, *([_OUTCOME] if firewall.file.config.approval else [])])

    async def call_tool(context: Context, call: CallToolRequestParams) -> CallToolResult:
        looks = 0

        async def waits(text: str) -> None:
            nonlocal looks
            looks += 1
            await context.session.report_progress(looks, message=text)

        try:
            key = str(dict(context.meta or {}).get(_KEY, ""))[:_MOST_OF_A_KEY]
            made = await firewall.call(person_of(context), call.name, call.arguments or {}, key=key, waits=waits)
        except SluicegateError as error:
            problem = of_error(error)
            text = " ".join(part for part in (f"{problem.code}: {problem.detail}.", problem.hint) if part)
            return CallToolResult(content=[TextContent(text=text)], is_error=True)
        if made is None:
            raise MCPError(INVALID_PARAMS, f"Unknown tool: {call.name}")
        return _said(made)

    name = firewall.file.config.firewall
    return Server(name, version=__version__, on_list_tools=list_tools, on_call_tool=call_tool)


async def serve_stdio(firewall: Firewall, person: Principal) -> None:
    """Serve one client, for one person, until it closes its end."""
    async with firewall, stdio_server() as (incoming, outgoing):
        server = firewall_server(firewall, lambda _: person)
        await server.run(incoming, outgoing, server.create_initialization_options())


_OUTCOME = Tool(
    name=OUTCOME,
    description="The outcome of a call that waited for a person's approval, by the id that was given for it.",
    input_schema={
        "type": "object",
        "properties": {"call": {"type": "string", "description": "the id of the call"}},
        "required": ["call"],
        "additionalProperties": False,
    },
    annotations=ToolAnnotations(read_only_hint=True),
)


def _tool(name: str, contract: Contract) -> Tool:
    """A tool as it was pinned. Of its results no schema is promised: a guard may have changed them."""
    return Tool.model_validate({**{k: v for k, v in contract.items() if k != "outputSchema"}, "name": name})


def _said(made: CallResult) -> CallToolResult:
    meta = {"sluicegate/status": made.status, **({"sluicegate/call": made.run} if made.run else {})}
    return CallToolResult(
        content=[TextContent(text=made.text)],
        structured_content=dict(made.structured) if made.structured is not None else None,
        is_error=made.status in ("refused", "failed"),
        _meta=meta,
    )
