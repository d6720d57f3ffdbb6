"""A firewall, open: which tools it offers to whom, and the calls of them."""

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sluicegate.graphs.config.load import Workflow
from sluicegate.graphs.runtime.factory import open_workflow
from sluicegate.home import home
from sluicegate.nodes.tools.mcp import servers
from sluicegate.nodes.tools.tool import Tool, ToolContext
from sluicegate.nodes.tools.tool_runner import ToolRunner
from sluicegate.policies.cedar.engine import CedarEngine
from sluicegate.policies.cedar.whatever import whatever_the_arguments
from sluicegate.policies.kill_switch import KillSwitch
from sluicegate.services import Services
from sluicegate.serving.firewall.calls import PERSON, CallResult, Calls
from sluicegate.serving.firewall.config import FirewallFile, read_firewall
from sluicegate.serving.firewall.deliveries import Deliveries
from sluicegate.serving.firewall.pins import Contract, faults
from sluicegate.serving.firewall.upstream import Upstreams
from sluicegate.serving.firewall.workflow import load_workflow, tool_name
from sluicegate.state import Principal
from sluicegate.storage.database import place

__all__ = ["OUTCOME", "Firewall"]

OUTCOME = "sluicegate__outcome"
"""The tool that gives the outcome of a call that waited for approval."""
_LOOK_S = 0.5
"""Seconds between two looks at a call that is held until somebody has decided."""

log = logging.getLogger(__name__)


class Firewall:
    """Use as an async context manager. Raises `ConfigError` and `PolicyError` where it may not start."""

    def __init__(self, path: Path) -> None:
        self.file: FirewallFile = read_firewall(path)
        self._workflow: Workflow = load_workflow(self.file)
        self._parts = ExitStack()
        listed = servers()
        results = self.file.config.results.max_bytes
        self._upstreams = Upstreams(
            # a character may take six in JSON, and a result may be there twice, as text and as data
            {name: listed[name] for name in self.file.config.servers},
            most=12 * results + 65_536,
        )

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._open)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._upstreams.close()
        await asyncio.to_thread(self._parts.close)

    def _open(self) -> None:
        kept = list[Services]()

        def change(services: Services) -> Services:
            live = {name: dataclasses.replace(tool, function=self._calling(name)) for name, tool in self._tools()}
            runner = ToolRunner(home(), memory=place(), allowed=live)
            self._parts.callback(runner.close)
            kept.append(dataclasses.replace(services, tools=runner))
            return kept[-1]

        opened = open_workflow(self._workflow, change=change)
        self._parts.callback(opened.close)
        deliveries = Deliveries()
        self._parts.callback(deliveries.close)
        self._calls = Calls(self.file, opened, kept[0], deliveries)
        resolved = self._workflow.resolved
        loosened = [*whatever_the_arguments(resolved.policies)]
        self._whatever = CedarEngine(loosened, schema=resolved.schema, switch=KillSwitch())

    def _tools(self) -> list[tuple[str, Tool]]:
        return [(name, self._workflow.resolved.tools[name]) for name in self._workflow.tools]

    def _calling(self, name: str) -> Callable[..., Any]:
        _, server, tool = name.split(".", 2)

        async def call(context: ToolContext, /, **arguments: Any) -> Any:
            person = PERSON.get()
            assert person is not None
            upstream = await self._upstreams.of(server, person["id"])
            meta = {"sluicegate/idempotency-key": context.key, "sluicegate/run": context.run}
            return await upstream.call(tool, arguments, meta)

        return call

    async def offered(self, person: Principal) -> list[tuple[str, Contract]]:
        """The tools that policy may let this person call, each under the name that it is offered by."""
        found = list[tuple[str, Contract]]()
        for server in self.file.config.servers:
            try:
                sound = await self._sound(server, person)
            except ConnectionError as error:
                log.warning("%s", error)
                continue
            for tool, contract in sound.items():
                if self._calls.may_call(person, server, tool, self._whatever):
                    found.append((offered_name(server, tool), contract))
        return found

    async def call(
        self,
        person: Principal,
        name: str,
        arguments: Mapping[str, Any],
        *,
        key: str = "",
        waits: Callable[[str], Awaitable[None]] | None = None,
    ) -> CallResult | None:
        """Call a tool by its offered name; None where they are offered no such tool, or the firewall has none.

        `waits` is told, now and then, while the call is held for a decision. Raises `SluicegateError` where a record
        cannot be written.
        """
        if name == OUTCOME:
            run = str(arguments.get("call", ""))
            known = run and await self._calls.owner(run) == person["id"]
            return await self._held(person, run, waits) if known else CallResult("failed", f"You have no call {run!r}.")
        server, _, tool = name.partition("__")
        if tool not in self.file.offered.get(server, {}):
            return None
        if not self._calls.may_call(person, server, tool, self._whatever):
            return None
        try:
            sound = await self._sound(server, person)
        except ConnectionError as error:
            return CallResult("failed", f"{error}. Nothing was called.")
        if tool not in sound:
            return None
        result = await self._calls.make(person, server, tool, arguments, key=key)
        return await self._held(person, result.run, waits) if result.status == "waiting" else result

    async def _held(self, person: Principal, run: str, waits: Callable[[str], Awaitable[None]] | None) -> CallResult:
        PERSON.set(person)
        approval = self.file.config.approval
        looks = round((approval.hold_s if approval else 0) / _LOOK_S)
        for _ in range(looks):
            result = await self._calls.outcome(run)
            if result.status != "waiting":
                return result
            if waits:
                await waits(result.text)
            await asyncio.sleep(_LOOK_S)
        return await self._calls.outcome(run)

    async def _sound(self, server: str, person: Principal) -> dict[str, Contract]:
        """The pinned tools of a server that it offers unchanged; the others are incidents. Raises `ConnectionError`."""
        upstream = await self._upstreams.of(server, person["id"])
        now, pinned = await upstream.tools(), self.file.pins.get(server, {})
        for tool, what in faults(pinned, now):
            if (tool, what) not in upstream.told:
                upstream.told.add((tool, what))
                log.warning("the tool %r of the MCP server %r %s", tool, server, what)
                await asyncio.to_thread(self._calls.changed, server, tool, f"the tool {what}")
        offered = self.file.offered[server]
        return {
            tool: one
            for tool, one in offered.items()
            if now.get(tool) == one and tool_name(server, tool) in self._workflow.tools
        }


def offered_name(server: str, tool: str) -> str:
    """No name of one server can be that of another's: a server's has no ``__``."""
    return f"{server}__{tool}"
