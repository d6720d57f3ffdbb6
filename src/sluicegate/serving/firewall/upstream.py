"""The connections to the servers behind a firewall: one to each server for each person, so that no state of a server's
is shared by two.

What a server asks its client for (sampling, elicitation, roots) is refused by the protocol's client, which is given
nothing to answer it with.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from sluicegate.nodes.tools.mcp import McpServer, cause, value_of
from sluicegate.serving.firewall.pins import Contract, contract_of
from sluicegate.serving.firewall.stdio import bounded_stdio

__all__ = ["Upstream", "Upstreams"]

_START_S = 30.0
"""Seconds a server may take to start and list its tools."""
_ASKED_S = 2.0
"""Seconds in which a server must answer a ping after a call that took too long; else it is ended."""
_PAGES = 100
_KEPT = 32
"""Connections that are kept open; the one that was used least lately is closed for the next."""
_FRESH_S = 30.0
"""Seconds for which what a server said of its tools is taken as what it offers."""


class Upstream:
    """One server, connected to when it is needed and again after it has gone."""

    def __init__(self, name: str, server: McpServer, *, most: int) -> None:
        """`most` is the most bytes of one message."""
        self.name, self._server, self._most = name, server, most
        self._opening = asyncio.Lock()
        self._client: Any = None
        self._task: asyncio.Task[None] | None = None
        self._leave, self._ended = asyncio.Event(), asyncio.Event()
        self._listed: dict[str, Contract] = {}
        self._listed_at = 0.0
        self.in_use = 0
        self.told: set[tuple[str, str]] = set()
        """What was found amiss in its tools and reported."""

    async def tools(self) -> Mapping[str, Contract]:
        """What it offers now, by name; asked again when it said that this has changed, and now and then. Raises
        `ConnectionError`."""
        client = await self._connected()
        if not self._listed_at or time.monotonic() - self._listed_at > _FRESH_S:
            listed, cursor = dict[str, Contract](), None
            self._listed_at = time.monotonic()
            try:
                async with asyncio.timeout(_START_S):
                    for _ in range(_PAGES):
                        page = await client.list_tools(cursor=cursor, cache_mode="bypass")
                        for tool in page.tools:
                            # of two with one name the first counts, and then it is another than the pinned one
                            contract = contract_of(tool)
                            listed[tool.name] = {"name": tool.name} if tool.name in listed else contract
                        cursor = page.next_cursor
                        if not cursor:
                            break
            except Exception as error:
                await self.close()
                raise self._unreachable("did not list its tools", error) from error
            self._listed = listed
        return self._listed

    async def call(self, tool: str, arguments: Mapping[str, Any], meta: Mapping[str, Any]) -> Any:
        """The tool's structured result, or its text. Raises `ConnectionError` when it was certainly not called,
        `TimeoutError`, and `RuntimeError` when the tool failed or the connection broke."""
        client = await self._connected()
        self.in_use += 1
        try:
            async with asyncio.timeout(self._server.timeout_s):
                result = await client.call_tool(tool, dict(arguments), meta=dict(meta))
        except TimeoutError as error:
            await self._end_if_silent(client)
            raise TimeoutError(f"no answer within {self._server.timeout_s:g} s") from error
        except Exception as error:
            if self._server.url:
                await self._end_if_silent(client)
            raise RuntimeError(f"{type(cause(error)).__name__}: {cause(error)}") from error
        finally:
            self.in_use -= 1
        return value_of(result)

    async def close(self) -> None:
        task, self._client, self._task = self._task, None, None
        self._leave.set()
        if task:
            await asyncio.wait((task,))

    async def _connected(self) -> Any:
        async with self._opening:
            if self._client is not None and self._task and not (self._task.done() or self._ended.is_set()):
                return self._client
            await self.close()
            self._leave, self._ended, self._listed_at = asyncio.Event(), asyncio.Event(), 0.0
            ready: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            self._task = asyncio.create_task(self._hold(ready, self._leave, self._ended))
            try:
                async with asyncio.timeout(_START_S):
                    self._client = await ready
            except Exception as error:
                self._task.cancel()
                raise self._unreachable("did not start", error) from error
            return self._client

    async def _hold(self, ready: "asyncio.Future[Any]", leave: asyncio.Event, ended: asyncio.Event) -> None:
        """A connection is opened and closed by one task, as its cancel scopes want it."""
        from mcp import Client

        target: Any = self._server.url or bounded_stdio(self._server, self._most, ended)
        try:
            async with Client(target, message_handler=self._told, cache=None) as client:
                ready.set_result(client)
                waits = [asyncio.create_task(one.wait()) for one in (leave, ended)]
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                for one in waits:
                    one.cancel()
        except Exception as error:
            if not ready.done():
                ready.set_exception(error)

    async def _told(self, message: Any) -> None:
        if getattr(message, "method", "") == "notifications/tools/list_changed":
            self._listed_at = 0.0

    async def _end_if_silent(self, client: Any) -> None:
        try:
            async with asyncio.timeout(_ASKED_S):
                await client.session.send_ping()
        except Exception:
            await self.close()

    def _unreachable(self, what: str, error: Exception) -> ConnectionError:
        found = cause(error)
        return ConnectionError(f"the MCP server {self.name!r} {what}: {type(found).__name__}: {found}")


class Upstreams:
    """The upstream servers of a firewall, by server and person."""

    def __init__(self, servers: Mapping[str, McpServer], *, most: int) -> None:
        self._servers, self._most = servers, most
        self._open: OrderedDict[tuple[str, str], Upstream] = OrderedDict()

    async def of(self, server: str, person: str) -> Upstream:
        key = server, person
        if key not in self._open:
            self._open[key] = Upstream(server, self._servers[server], most=self._most)
        self._open.move_to_end(key)
        idle = [one for one, upstream in self._open.items() if one != key and not upstream.in_use]
        for one in idle[: max(0, len(self._open) - _KEPT)]:
            await self._open.pop(one).close()
        return self._open[key]

    async def close(self) -> None:
        await asyncio.gather(*(one.close() for one in self._open.values()))
        self._open.clear()
