"""Tools of MCP servers, named ``mcp.SERVER.TOOL`` in a config.

A config can only name a server; the command to start it, or its address, is in the operator's own file,
``mcp.json`` in the home folder or where `SLUICEGATE_MCP` points. A config from elsewhere therefore starts nothing that
the operator has not listed:

    {"mcpServers": {"desk": {"command": "python", "args": ["desk.py"], "read_only": ["find"], "timeout_s": 10}}}

A server is asked for its tools when a config that names it is opened. Each call is a connection of its own. The
idempotency key travels as ``_meta["sluicegate/idempotency-key"]`` and the run id as ``_meta["sluicegate/run"]``.
"""

import asyncio
import math
import os
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError, model_validator

from sluicegate.errors import ConfigError, Place, Problem, nearest
from sluicegate.extras import extra
from sluicegate.files import read_bounded
from sluicegate.home import distrust, home
from sluicegate.models.structured import misfit
from sluicegate.nodes.tools.registry import tools
from sluicegate.nodes.tools.tool import Tool, ToolContext

__all__ = ["McpServer", "available", "cause", "servers", "servers_file", "value_of"]

_PREFIX = "mcp."
_MOST = 1_000_000
"""Bytes of the operator's file."""
_LISTING_S = 30.0
"""Seconds a server may take to start and list its tools."""
_HINTS = ("read_only", "destructive", "idempotent", "open_world")
T = TypeVar("T")


class McpServer(BaseModel):
    """One server, as the operator lists it."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    command: str = ""
    """The program to start, which speaks MCP over its standard input and output."""
    args: list[str] = Field(default_factory=list)
    """Its arguments."""
    env: dict[str, str] = Field(default_factory=dict)
    """Its environment, besides the few variables that every program needs; this process's own is not passed on."""
    url: str = ""
    """Instead of a command: the address of a server over streamable HTTP."""
    timeout_s: float = Field(default=10.0, gt=0, le=600)
    """Seconds one call may take, connection included."""
    read_only: list[str] = Field(default_factory=list)
    """Tools that change nothing: a shadow run may call them, and a failed call is tried once more. Declared
    here by the operator; what a server declares itself is only a hint."""

    @model_validator(mode="after")
    def _one_of_both(self) -> "McpServer":
        if bool(self.command) == bool(self.url):
            raise ValueError("needs exactly one of `command` and `url`")
        return self


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    mcpServers: dict[str, McpServer]  # noqa: N815 - the key that MCP clients share


def servers_file() -> Path:
    """The operator's file; it need not exist."""
    configured = os.environ.get("SLUICEGATE_MCP")
    return Path(configured).expanduser() if configured else home() / "mcp.json"


def servers() -> Mapping[str, McpServer]:
    """The servers the operator has listed. Raises `ConfigError` SG117 when the file is broken, or could be another
    user's: it names programs to start."""
    file = servers_file()
    if not file.is_file():
        return {}
    place = Place(str(file), 1, 1)
    if why := distrust(file.stat()):
        raise ConfigError([Problem("SG117", f"not trusted: {why}", place, hint=f"chmod 600 {file}, or chown it")])
    try:
        return _File.model_validate_json(read_bounded(file, _MOST)).mcpServers
    except OSError as error:
        raise ConfigError([Problem("SG117", f"cannot read it: {error.strerror}", place)]) from error
    except ValidationError as error:
        raise ConfigError(
            [Problem("SG117", f"{'.'.join(map(str, one['loc']))}: {one['msg']}", place) for one in error.errors()]
        ) from error


def available(named: Iterable[str]) -> Mapping[str, Tool]:
    """Every registered tool, and all tools of the MCP servers that `named` mentions.

    Raises `ConfigError` SG117 when a server is not listed, does not start or does not answer.
    """
    wanted = dict.fromkeys(name.split(".")[1] for name in named if name.startswith(_PREFIX) and name.count(".") >= 2)
    if not wanted:
        return tools()
    listed = servers()
    found = dict(tools())
    for server in wanted:
        if server not in listed:
            raise ConfigError(
                [
                    Problem(
                        "SG117",
                        f"the MCP server {server!r} is not listed in {servers_file()}",
                        choices=tuple(listed),
                        suggestion=nearest(server, listed),
                        hint="Only the operator lists servers: add it there if you trust what it runs",
                    )
                ]
            )
        found |= _tools_of(server, listed[server])
    return found


def _tools_of(name: str, server: McpServer) -> dict[str, Tool]:
    try:
        listed = _in_thread(_listing(server))
    except Exception as error:
        found = cause(error)
        what = f"the MCP server {name!r} did not list its tools: {type(found).__name__}: {found}"
        raise ConfigError([Problem("SG117", what, hint=f"Check its entry in {servers_file()}")]) from error
    return {f"{_PREFIX}{name}.{one.name}": _tool(name, server, one) for one in listed}


def _tool(name: str, server: McpServer, one: Any) -> Tool:
    def call(context: ToolContext, /, **arguments: Any) -> Any:
        meta = {"sluicegate/idempotency-key": context.key, "sluicegate/run": context.run}
        return asyncio.run(_call(server, one.name, arguments, meta))

    harmless = one.name in server.read_only
    return Tool(
        name=f"{_PREFIX}{name}.{one.name}",
        doc=one.description or "",
        function=call,
        arguments=_arguments(dict(one.input_schema)),
        # a little more than the call's own limit, which ends the server's process too
        timeout_s=server.timeout_s + 5,
        retries=1 if harmless else 0,
        effects=not harmless,
        results=_keys(getattr(one, "output_schema", None)),
        hints=_hints(one.annotations),
    )


def _hints(annotations: Any) -> dict[str, bool]:
    said = {name: getattr(annotations, f"{name}_hint", None) for name in _HINTS}
    return {name: value for name, value in said.items() if value is not None}


def _keys(schema: Any) -> tuple[str, ...] | None:
    """The keys of the results that fit a closed JSON Schema."""
    closed = isinstance(schema, dict) and cast("dict[str, Any]", schema).get("additionalProperties") is False
    return tuple(cast("dict[str, Any]", schema).get("properties", {})) if closed else None


def _arguments(schema: dict[str, Any]) -> type[BaseModel]:
    """A model that validates arguments by the server's JSON Schema; unknown names are refused."""
    strict = {"additionalProperties": False, **schema}

    class Arguments(RootModel[dict[str, Any]]):
        @model_validator(mode="after")
        def _fits(self) -> "Arguments":
            if wrong := misfit(self.root, strict):
                raise ValueError(wrong)
            return self

        @classmethod
        def model_json_schema(cls, *args: Any, **options: Any) -> dict[str, Any]:
            del args, options
            return strict

    return Arguments


async def _listing(server: McpServer) -> list[Any]:
    async with _connected(server, _LISTING_S) as (client, limit):
        listed = await client.list_tools()
        limit.deadline = math.inf
    return list(listed.tools)


async def _call(server: McpServer, name: str, arguments: dict[str, Any], meta: dict[str, Any]) -> Any:
    """The tool's structured result, or its text. Raises `RuntimeError` when the tool reports a failure."""
    async with _connected(server, server.timeout_s) as (client, limit):
        result: Any = await client.call_tool(name, arguments, meta=meta)
        limit.deadline = math.inf
    return value_of(result)


def value_of(result: Any) -> Any:
    """The structured result of a call, or its text. Raises `RuntimeError` when the tool reports a failure."""
    words = "\n".join(part.text for part in result.content if part.type == "text")
    if result.is_error:
        raise RuntimeError(words or "the tool failed without a message")
    return words if result.structured_content is None else result.structured_content


@asynccontextmanager
async def _connected(server: McpServer, seconds: float) -> AsyncGenerator[tuple[Any, Any]]:
    """A client, and the time limit on its use; lift it once there is a result. Raises `TimeoutError`.

    `asyncio.timeout` would not do: its cancellation breaks off the ending of a server that is slow to end, too, and
    leaves the process there.
    """
    import anyio

    with anyio.fail_after(seconds) as limit:
        async with _client(server) as client:
            yield client, limit


def _client(server: McpServer) -> Any:
    with extra("mcp", "an MCP tool", _missing):
        from mcp import Client, StdioServerParameters
    if server.url:
        return Client(server.url)
    return Client(StdioServerParameters(command=server.command, args=server.args, env=server.env or None))


def _missing(message: str, *, hint: str) -> ConfigError:
    return ConfigError([Problem("SG117", message, hint=hint)])


def _in_thread(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, also inside a running event loop, where configs are opened too."""
    outcome: list[T] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(asyncio.run(work))
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return outcome[0]


def cause(error: BaseException) -> BaseException:
    """The first real failure inside the groups that task groups raise."""
    inside: Any = error
    while isinstance(inside, BaseExceptionGroup):
        inside = cast("BaseException", inside.exceptions[0])
    return inside
