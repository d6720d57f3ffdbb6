"""The command itself, with the real client: the shipped example, what survives kill -9, and callers over HTTP."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from typer.testing import CliRunner

from sluicegate.cli import app
from sluicegate.home import home
from sluicegate.observe.audit.verify import verify
from sluicegate.policies.ledger.factory import open_ledger
from tests.support import ROOT
from tests.support.firewalls import FIND, PAY, firewall_at
from tests.support.mcp_upstream import Upstream

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-m", "sluicegate", "mcp", "proxy"]


def behind(config: Path, *, person: str = "ann", role: str = "clerk", **environment: str) -> StdioServerParameters:
    """What a client's config has in the place of the server's own command."""
    command, *arguments = [*COMMAND, str(config), "--as", person, "--role", role]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {"SLUICEGATE_HOME": str(home()), "PATH": path, **environment}
    return StdioServerParameters(command=command, args=arguments, env=env, cwd=ROOT)


async def test_the_example_stands_before_a_real_server(own_home: Path) -> None:
    config = ROOT / "configs" / "firewall" / "firewall.yaml"
    server = behind(config, role="agent", SLUICEGATE_MCP=str(config.with_name("mcp.json")))
    async with Client(server) as client:
        offered = {each.name: each for each in (await client.list_tools()).tools}
        assert [*offered] == ["desk__find", "desk__open_ticket", "desk__close_category", "sluicegate__outcome"]
        hints = offered["desk__find"].annotations
        assert hints
        assert hints.read_only_hint
        found = await client.call_tool("desk__find", {"words": "printer"})
        assert found.structured_content["tickets"][0]["from"] == "<EMAIL_1>"
        opened = await client.call_tool("desk__open_ticket", {"title": "Scanner is off", "category": "hardware"})
        assert opened.structured_content == {"opened": "Scanner is off", "open": 2}
        assert (await client.call_tool("desk__close_category", {"category": "access"})).is_error
    assert not verify(own_home / "audit").findings


async def test_kill_9_makes_no_call_twice_and_loses_neither_money_nor_approval(tmp_path: Path, own_home: Path) -> None:
    desk = Upstream(tmp_path / "desk", FIND, PAY)
    tools = {"desk": {"tools": {"find": {}, "pay": {"usd": 0.01}}}}
    config = await firewall_at(tmp_path / "wall", upstreams={"desk": desk}, servers=tools)
    call, key = {"to": "eve", "amount": 5}, {"sluicegate/idempotency-key": "order 7"}
    desk.does(pay="is silent")
    async with killed(behind(config)) as (client, process):
        waits = await client.call_tool("desk__pay", {"to": "eve", "amount": 500})
        run = waits.meta["sluicegate/call"]
        under_way = asyncio.create_task(client.call_tool("desk__pay", call, meta=key))
        while not desk.calls:
            await asyncio.sleep(0.01)
        os.kill(process, signal.SIGKILL)  # the server has the call, and its answer is nowhere
        await asyncio.gather(under_way, return_exceptions=True)
    desk.does(pay={"paid": True})
    approved = ["approvals", "approve", run, "--as", "lea", "--role", "lead"]
    assert (await asyncio.to_thread(CliRunner().invoke, app, approved)).exit_code == 0
    async with Client(behind(config)) as again:
        client: Any = again
        for _ in range(2):
            assert (await client.call_tool("desk__pay", call, meta=key)).structured_content == {"paid": True}
        done = await client.call_tool("desk__pay", {"to": "eve", "amount": 500})
        assert (done.structured_content, done.meta["sluicegate/call"]) == ({"paid": True}, run)
    keys = [each["_meta"]["sluicegate/idempotency-key"] for each in desk.calls if each["arguments"] == call]
    assert len(keys) == 2, "what was cut off is called again, and what was answered is not"
    assert len(set(keys)) == 1, "and the server can tell that it is the same action"
    assert [each["arguments"]["amount"] for each in desk.calls].count(500) == 1
    ledger = open_ledger()
    (row,) = ledger.spending()
    ledger.close()
    assert (row["calls"], row["usd"], row["held_usd"]) == (2, 0.02, 0.0)
    assert not verify(own_home / "audit").findings


async def test_over_http_each_call_is_made_for_the_person_of_its_token(tmp_path: Path, own_home: Path) -> None:
    desk = Upstream(tmp_path / "desk", FIND, PAY)
    config = await firewall_at(tmp_path / "wall", upstreams={"desk": desk})
    tokens = {person: await asyncio.to_thread(token, tmp_path, person, role) for person, role in PEOPLE.items()}
    async with serving(config, tmp_path / "tokens.json") as address:
        listed = {person: await names(address, secret) for person, secret in tokens.items()}
        assert listed == {
            "ann": ["desk__find", "desk__pay", "sluicegate__outcome"],
            "bob": ["desk__find", "sluicegate__outcome"],
        }
        ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        async with httpx.AsyncClient() as http:
            assert (await http.post(address, json=ping)).status_code == 401
            assert (await http.post(address, json=ping, headers={"authorization": "Bearer sg_no"})).status_code == 401
            page = {"authorization": f"Bearer {tokens['ann']}", "origin": "https://evil.example"}
            assert (await http.post(address, json=ping, headers=page)).status_code == 403


PEOPLE = {"ann": "clerk", "bob": "guest"}


def token(folder: Path, person: str, role: str) -> str:
    words = ["token", "add", person, "--as", person, "--role", role, "--tokens", str(folder / "tokens.json"), "--json"]
    made = CliRunner().invoke(app, words)
    assert made.exit_code == 0, made.output
    return json.loads(made.stdout)["token"]


async def names(address: str, secret: str) -> list[str]:
    async with (
        create_mcp_http_client({"authorization": f"Bearer {secret}"}) as http,
        Client(streamable_http_client(address, http_client=http)) as client,
    ):
        return [each.name for each in (await client.list_tools()).tools]


@asynccontextmanager
async def serving(config: Path, tokens: Path) -> AsyncGenerator[str]:
    """The command over HTTP, in a process of its own; its address."""
    words = [*COMMAND, str(config), "--http", "--port", "0", "--tokens", str(tokens)]
    process = await asyncio.create_subprocess_exec(*words, stderr=asyncio.subprocess.PIPE, cwd=ROOT)
    try:
        assert process.stderr
        line = (await process.stderr.readline()).decode()
        assert " MCP at " in line, line
        yield line.strip().rpartition(" ")[2]
    finally:
        process.terminate()
        await process.communicate()


@asynccontextmanager
async def killed(server: StdioServerParameters) -> AsyncGenerator[tuple[Any, int]]:
    """A client and the process behind it, which the block kills."""
    before = children()
    try:
        async with Client(server) as client:
            (process,) = children() - before
            yield client, process
    except* Exception as broken:
        if any(isinstance(one, AssertionError) for one in broken.exceptions):
            raise


def children() -> set[int]:
    return {int(one) for one in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()}
