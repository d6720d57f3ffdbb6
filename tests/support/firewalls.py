"""Firewalls of a test's own: two clerks' tools behind one, and the policies that say who may call them."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mcp import Client

from sluicegate.home import home
from sluicegate.nodes.tools.mcp import servers
from sluicegate.serving.firewall.config import read_firewall
from sluicegate.serving.firewall.firewall import Firewall
from sluicegate.serving.firewall.pins import write_pins
from sluicegate.serving.firewall.server import firewall_server
from sluicegate.serving.firewall.upstream import Upstreams
from sluicegate.state import Principal
from tests.support.mcp_upstream import Upstream, tool

__all__ = ["ANN", "BOB", "FIND", "LEA", "PAY", "POLICIES", "connected", "firewall_at", "pinned"]

ANN: Principal = {"id": "ann", "roles": ["clerk"], "groups": [], "clearance": "internal"}
BOB: Principal = {"id": "bob", "roles": ["guest"], "groups": [], "clearance": "internal"}
LEA: Principal = {"id": "lea", "roles": ["lead"], "groups": [], "clearance": "internal"}

FIND = tool("find", "Find tickets.", read_only=True, words="string")
PAY = tool("pay", "Pay an amount.", to="string", amount="number")

POLICIES = """
@id("desk.read")
@reason("everybody may look")
permit (principal, action == Action::"call_tool", resource) when { resource has read_only && resource.read_only };

@id("desk.pay")
@reason("clerks may pay up to 1000")
permit (principal in Role::"clerk", action == Action::"call_tool", resource == Tool::"mcp.desk.pay")
when {
  context has arguments && context.arguments.numbers.hasTag("amount") &&
  context.arguments.numbers.getTag("amount").lessThanOrEqual(decimal("1000.0"))
};

@id("desk.never-mallory")
@reason("nobody pays Mallory")
forbid (principal, action == Action::"call_tool", resource)
when { context has arguments && context.arguments.hasTag("to") && context.arguments.getTag("to") == "mallory" };

@id("desk.large")
@reason("above 100 somebody else approves")
forbid (principal, action == Action::"call_unattended", resource == Tool::"mcp.desk.pay")
when {
  context has arguments && context.arguments.numbers.hasTag("amount") &&
  context.arguments.numbers.getTag("amount").greaterThan(decimal("100.0"))
};
"""


async def firewall_at(folder: Path, *, upstreams: dict[str, Upstream], policies: str = POLICIES, **keys: Any) -> Path:
    """Write a firewall of these servers with what they offer now pinned; its file."""
    home().mkdir(parents=True, exist_ok=True)
    (home() / "mcp.json").write_text(json.dumps({"mcpServers": {n: one.entry for n, one in upstreams.items()}}))
    (folder / "policies").mkdir(parents=True, exist_ok=True)
    (folder / "policies" / "desk.cedar").write_text(policies)
    tools = {
        name: {"tools": {each["name"]: {"risk": "low"} for each in json.loads((one.folder / "tools.json").read_text())}}
        for name, one in upstreams.items()
    }
    data = {
        "firewall": "desk-firewall",
        "version": "1",
        "purpose": "What agents may do at the desk.",
        "servers": tools,
        "approval": {"approvers": "role:lead", "timeout": "1h"},
        **keys,
    }
    file = folder / "firewall.yaml"
    file.write_text(json.dumps(data, indent=1))
    await pinned(file)
    return file


async def pinned(file: Path) -> None:
    """Pin what the servers of a firewall offer now."""
    read, listed = read_firewall(file, pinned=False), servers()
    upstreams = Upstreams({name: listed[name] for name in read.config.servers}, most=1_000_000)
    offered = {name: (await (await upstreams.of(name, "")).tools()).values() for name in read.config.servers}
    await upstreams.close()
    write_pins(read.pins_file, offered)


@asynccontextmanager
async def connected(firewall: Firewall, person: Principal) -> AsyncGenerator[Any]:
    """A real client of the firewall, in this process."""
    async with Client(firewall_server(firewall, lambda _: person)) as client:
        yield client
