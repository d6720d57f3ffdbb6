"""The tool service: validates arguments, calls a tool under its timeout, remembers the result of each key.

A function runs in a thread, a coroutine on the event loop. A call is remembered by its idempotency key before its
result is used, so a step that runs again after a crash, here or on another machine that shares the memory, gets the
first result back. Between a tool's effect and this record, only the tool's own use of the key prevents a repetition.
"""

import asyncio
import inspect
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sluicegate.errors import ConfigError, Problem, nearest
from sluicegate.nodes.tools.registry import tools
from sluicegate.nodes.tools.tool import Tool, ToolContext
from sluicegate.plain_data import plain
from sluicegate.services import ToolResult
from sluicegate.storage.database import Place, open_database
from sluicegate.storage.schemas import TOOL_CALLS

__all__ = ["ToolRunner"]


class ToolRunner:
    """Implements `services.Tools` over the registered tools."""

    def __init__(
        self,
        home: Path,
        *,
        allowed: Mapping[str, Tool] | None = None,
        dry: bool = False,
        memory: Place | None = None,
    ) -> None:
        """`dry` simulates tools with effects, for shadow runs and replays. `memory` is where
        calls are remembered, by default `home`."""
        self._home = home
        self._tools = tools() if allowed is None else allowed
        self._dry = dry
        self._calls = open_database(memory or home, TOOL_CALLS)
        self.close = self._calls.close

    def schema(self, name: str) -> dict[str, Any]:
        """Raises `ConfigError` SG117 for an unknown tool."""
        return self._tool(name).schema

    async def call(self, name: str, arguments: Mapping[str, Any], *, key: str, run: str) -> ToolResult:
        found = self._tool(name)
        known = await self._calls.call(self._remembered, key, run)
        if known:
            return ToolResult("done", json.loads(known[0]["result"]), ms=known[0]["ms"], repeated=True)
        try:
            checked = found.arguments.model_validate(dict(arguments))
        except ValidationError as error:
            return ToolResult("invalid", error=_explained(error))
        if self._dry and found.effects:
            return ToolResult("done", {"id": "not-called", **checked.model_dump(mode="json")})
        trying = asyncio.ensure_future(self._try(found, checked.model_dump(), key, run))
        try:
            return await asyncio.shield(trying)
        except asyncio.CancelledError:
            # its thread goes on: whoever resumes the run must find its result, and not call it at the same time
            await asyncio.wait((trying,))
            raise

    async def _try(self, found: Tool, arguments: dict[str, Any], key: str, run: str) -> ToolResult:
        context, started = ToolContext(self._home, run, key), time.perf_counter()
        error, cause = "", "error"
        for _ in range(found.retries + 1):
            try:
                async with asyncio.timeout(found.timeout_s):
                    value = await _made(found.function, context, arguments)
            except TimeoutError as late:
                error, cause = str(late) or f"no answer within {found.timeout_s:g} s", "timeout"
            except Exception as failure:
                error = f"{type(failure).__name__}: {failure}"
                cause = "unavailable" if isinstance(failure, ConnectionError) else "error"
            else:
                ms = (time.perf_counter() - started) * 1000
                await self._calls.call(
                    self._remember, (key, found.name, run, json.dumps(plain(value)[0], ensure_ascii=False), ms)
                )
                return ToolResult("done", value, ms=ms)
        return ToolResult("failed", error=error, cause=cause, ms=(time.perf_counter() - started) * 1000)

    def _remembered(self, key: str, run: str) -> list[dict[str, Any]]:
        with self._calls.reading(run) as execute:
            return execute("SELECT result, ms FROM tool_calls WHERE key = ?", (key,))

    def _remember(self, row: tuple[str, str, str, str, float]) -> None:
        with self._calls.writing(row[2]) as execute:
            execute("INSERT INTO tool_calls VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", row)

    def _tool(self, name: str) -> Tool:
        try:
            return self._tools[name]
        except KeyError:
            problem = Problem(
                "SG117", f"unknown tool {name!r}", choices=tuple(self._tools), suggestion=nearest(name, self._tools)
            )
            raise ConfigError([problem]) from None


async def _made(function: Callable[..., Any], context: ToolContext, arguments: Mapping[str, Any]) -> Any:
    if inspect.iscoroutinefunction(function):
        return await function(context, **arguments)
    return await asyncio.to_thread(function, context, **arguments)


def _explained(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
