"""The MCP server as a process of its own, over standard input and output."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp import MCPError

from sluicegate.graphs.runtime.intake import principal
from sluicegate.serving.reading import recorded_state
from sluicegate.serving.service import run_id
from tests.support.mcp_clients import over_stdio, words
from tests.support.mcp_stdio import serve_pipes
from tests.support.processes import Started
from tests.support.stand import let_go
from tests.support.waiting import until

pytestmark = pytest.mark.slow

NAME = "shadow-evaluation"
RUN = run_id(NAME, principal("ann", ["employee"]), "r")


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_sdks_client_lists_calls_and_follows(mode: Any) -> None:
    steps: list[str | None] = []

    async def on_progress(done: float, total: float | None, message: str | None) -> None:
        steps.append(message)

    async with over_stdio(mode=mode) as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        result = await client.call_tool(tools[0], {"text": "How do I reset it?"}, progress_callback=on_progress)
        uri = result.structured_content["citations"][0]["uri"]
        source = await client.read_resource(uri)
        with pytest.raises(MCPError, match="Unknown tool"):
            await client.call_tool("nothing", {})
    assert tools == [NAME, "get_run"]
    assert (result.is_error, words(result)) == (False, "Version 1 [1].")
    assert [each.text for each in source.contents] == ["Reset it in the portal."]
    assert steps == ["classify", "gate", "recall", "facts", "answer", "check", "respond"]


class Frames:
    """A client that says what it likes, to a server in a process of its own."""

    def __init__(self, folder: Path) -> None:
        pipes = [str(folder / name) for name in ("in", "out")]
        for pipe in pipes:
            os.mkfifo(pipe)
        self.process = Started(folder / "server", os.environ, serve_pipes, *pipes).process
        self.to, self.of = open(pipes[0], "wb"), open(pipes[1], "rb")  # noqa: SIM115, PTH123
        hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        self.ask(0, "initialize", hello)
        assert self.said()["id"] == 0
        self.say(json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}).encode())

    def say(self, frame: bytes) -> None:
        self.to.write(frame + b"\n")
        self.to.flush()

    def ask(self, number: int, method: str, params: dict[str, Any]) -> None:
        self.say(json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}).encode())

    def hold(self) -> None:
        """Ask what is not answered before it is let go."""
        self.ask(1, "tools/call", {"name": NAME, "arguments": {"text": "hold on", "request_id": "r"}})
        until(lambda: recorded_state(RUN))

    def said(self) -> Any:
        return json.loads(self.of.readline())

    def left(self) -> int | None:
        self.process.join()
        return self.process.exitcode


@pytest.fixture
def frames(tmp_path: Path) -> Iterator[Frames]:
    found = Frames(tmp_path)
    yield found
    for pipe in (found.to, found.of):
        pipe.close()
    found.process.kill()
    found.process.join()


def test_frames_that_are_none_are_answered_and_the_next_is_read(frames: Frames) -> None:
    for frame, code in (
        (b"{", -32700),
        (b"\xff\xfe", -32700),
        (b"[" * 10_000, -32700),
        (b"[]", -32600),
        (b'{"id": 1}', -32600),
        (b"x" * 3_000_000, -32600),
    ):
        frames.say(frame)
        said = frames.said()
        assert (said["id"], said["error"]["code"]) == (None, code)
    frames.say(b"")
    frames.ask(1, "tools/run", {})
    assert frames.said()["error"]["code"] == -32601
    frames.ask(2, "tools/list", {})
    assert frames.said()["result"]["tools"][0]["name"] == NAME


def test_at_sigterm_calls_in_progress_are_answered(frames: Frames) -> None:
    frames.hold()
    frames.process.terminate()
    let_go()
    said = frames.said()
    assert (said["id"], said["result"]["structuredContent"]["status"]) == (1, "answered")
    # its client has not closed its end
    assert frames.left() == 0


def test_who_says_no_more_is_answered_first(frames: Frames) -> None:
    frames.hold()
    frames.to.close()
    let_go()
    assert frames.said()["result"]["structuredContent"]["status"] == "answered"
    assert frames.left() == 0


def test_a_client_that_dies_takes_no_run_with_it(frames: Frames) -> None:
    frames.hold()
    frames.to.close()
    frames.of.close()
    let_go()
    assert frames.left() == 0
    assert recorded_state(RUN)["run"]["status"] == "answered"  # type: ignore[index]


def test_who_cancels_a_call_is_not_answered_and_its_run_goes_on(frames: Frames) -> None:
    frames.hold()
    frames.say(json.dumps({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}).encode())
    frames.ask(2, "tools/call", {"name": "get_run", "arguments": {"run": RUN}})
    said = frames.said()
    assert (said["id"], said["result"]["structuredContent"]["status"]) == (2, "running")
    let_go()
    frames.to.close()
    assert frames.left() == 0
    assert recorded_state(RUN)["run"]["status"] == "answered"  # type: ignore[index]
