"""A server of MCP over HTTP that is told to end: calls in progress are answered, in either era of the protocol."""

import json
import os
import signal
import threading

import httpx
import pytest

from sluicegate import Limits
from sluicegate.graphs.runtime.intake import principal
from sluicegate.serving.reading import recorded_state
from sluicegate.serving.service import run_id
from tests.support.processes import PROCESSES
from tests.support.stand import let_go, serve_alone
from tests.support.waiting import until

pytestmark = pytest.mark.slow

NAME = "shadow-evaluation"
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "progressToken": "p",
}


def test_sigterm_lets_calls_in_progress_be_answered() -> None:
    mine, its = PROCESSES.Pipe()
    limits = Limits(drain_s=60, grace_s=0)
    process = PROCESSES.Process(target=serve_alone, args=(os.environ["SLUICEGATE_HOME"], limits, its.send))
    process.start()
    address = mine.recv()
    said: dict[str, str] = {}

    def call(version: str) -> None:
        arguments = {"text": "hold on", "request_id": version}
        frame = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
        headers = {
            "accept": "application/json, text/event-stream", "mcp-protocol-version": version,
            "mcp-method": "tools/call", "mcp-name": NAME, "x-user": "ann", "x-roles": "employee",
        }  # fmt: skip
        frame["params"] = {"name": NAME, "arguments": arguments, "_meta": META}  # type: ignore[assignment]
        said[version] = httpx.post(f"{address}/mcp", json=frame, headers=headers, timeout=200).text

    versions = ("2025-11-25", "2026-07-28")
    calling = [threading.Thread(target=call, args=(version,)) for version in versions]
    for thread in calling:
        thread.start()
    ann = principal("ann", ["employee"])
    for version in versions:
        until(lambda version=version: recorded_state(run_id(NAME, ann, version)))  # type: ignore[misc]
    assert process.pid
    os.kill(process.pid, signal.SIGTERM)

    def turned_away() -> bool:
        try:
            httpx.get(f"{address}/healthz")
        except httpx.ConnectError:
            return True
        except httpx.TransportError:
            pass
        return False

    until(turned_away)
    let_go()
    for thread in calling:
        thread.join()
    for version in versions:
        last = said[version].strip().splitlines()[-1].removeprefix("data: ")
        assert json.loads(last)["result"]["structuredContent"]["status"] == "answered", said[version]
    process.join()
    assert process.exitcode == 0
