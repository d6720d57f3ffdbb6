"""Tools of a real MCP server over standard input and output: listed by the operator only, checked, once per key."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from sluicegate.errors import ConfigError
from sluicegate.nodes.tools.mcp import available
from sluicegate.nodes.tools.tool import Tool
from sluicegate.nodes.tools.tool_runner import ToolRunner
from tests.support.mcp_servers import listed

pytestmark = pytest.mark.slow

SERVER = '''
import os, sys, threading, time
from typing import Any
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("desk")

@server.tool()
def close_ticket(number: int, context: Context, note: str = "") -> dict[str, Any]:
    """Close a ticket."""
    meta = context.request_context.meta or {}
    key = dict(meta).get("sluicegate/idempotency-key", "")
    with open(sys.argv[1], "a") as log:
        log.write(f"{number} {key}\\n")
    return {"closed": number, "key": key}

@server.tool()
def broken() -> str:
    """Fails."""
    raise ToolError("no line to the desk")

@server.tool()
def slow() -> str:
    """Takes long."""
    time.sleep(30)
    return "late"

@server.tool()
def linger() -> str:
    """Answers at once; its server does not end when it is told to."""
    threading.Thread(target=time.sleep, args=(60,)).start()
    return "done"

with open(sys.argv[1].replace(".log", ".pid"), "w") as file:
    file.write(str(os.getpid()))
server.run("stdio")
'''


@pytest.fixture
def log(tmp_path: Path, own_home: Path) -> Path:
    """The operator lists one server; it writes its calls to the file."""
    return listed("desk", SERVER, tmp_path / "calls.log", home=own_home)


async def test_a_tool_of_a_server_is_called_once_with_checked_arguments(log: Path, own_home: Path) -> None:
    found = available(["mcp.desk.close_ticket"])
    assert {"create_ticket", "mcp.desk.close_ticket", "mcp.desk.broken"} <= set(found)
    box = ToolRunner(own_home, allowed=found)
    schema = box.schema("mcp.desk.close_ticket")
    assert schema["required"] == ["number"]
    assert set(schema["properties"]) == {"number", "note"}

    wrong = await box.call("mcp.desk.close_ticket", {"number": "seven"}, key="k0", run="r")
    assert wrong.status == "invalid"
    assert "'seven' is not of type 'integer'" in wrong.error
    unknown = await box.call("mcp.desk.close_ticket", {"number": 7, "force": True}, key="k0", run="r")
    assert unknown.status == "invalid"
    assert not log.exists(), "arguments that do not fit never reach the server"

    done = await box.call("mcp.desk.close_ticket", {"number": 7}, key="k1", run="r")
    assert (done.status, done.error) == ("done", "")
    assert done.value == {"closed": 7, "key": "k1"}
    again = await box.call("mcp.desk.close_ticket", {"number": 7}, key="k1", run="r")
    assert (again.value, again.repeated) == (done.value, True)
    assert log.read_text() == "7 k1\n"

    failed = await box.call("mcp.desk.broken", {}, key="k2", run="r")
    assert failed.status == "failed"
    assert "no line to the desk" in failed.error


async def test_a_shadow_run_calls_only_what_the_operator_calls_read_only(log: Path, own_home: Path) -> None:
    box = ToolRunner(own_home, allowed=available(["mcp.desk.close_ticket"]), dry=True)
    assert (await box.call("mcp.desk.close_ticket", {"number": 7}, key="k", run="r")).value["id"] == "not-called"
    assert not log.exists()
    edit(own_home, read_only=["close_ticket"])
    box = ToolRunner(own_home, allowed=available(["mcp.desk.close_ticket"]), dry=True)
    assert (await box.call("mcp.desk.close_ticket", {"number": 7}, key="k", run="r")).value["closed"] == 7


async def test_a_server_that_hangs_is_given_up(log: Path, own_home: Path) -> None:
    edit(own_home, timeout_s=1.5)
    result = await ToolRunner(own_home, allowed=available(["mcp.desk.slow"])).call(
        "mcp.desk.slow", {}, key="k", run="r"
    )
    assert result.status == "failed"
    assert result.ms < 8000


async def test_a_server_that_is_slow_to_end_is_ended_though_the_time_is_up_meanwhile(log: Path, own_home: Path) -> None:
    edit(own_home, timeout_s=2.0)  # it answers long before, and is given two seconds to end
    result = await ToolRunner(own_home, allowed=available(["mcp.desk.linger"])).call(
        "mcp.desk.linger", {}, key="k", run="r"
    )
    assert result.ms < 8000
    with pytest.raises(ProcessLookupError):
        os.kill(int(log.with_suffix(".pid").read_text()), 0)


def test_a_config_cannot_name_a_server_the_operator_has_not_listed(log: Path) -> None:
    with pytest.raises(ConfigError, match="'dask' is not listed") as raised:
        available(["mcp.dask.close_ticket"])
    assert raised.value.problems[0].suggestion == "desk"


def test_without_a_name_nothing_is_started(own_home: Path) -> None:
    own_home.mkdir(parents=True, exist_ok=True)
    (own_home / "mcp.json").write_text("{broken")
    assert all(isinstance(one, Tool) for one in available(["create_ticket"]).values())
    with pytest.raises(ConfigError, match="JSON"):
        available(["mcp.desk.close_ticket"])


def test_an_entry_is_a_command_or_an_address(own_home: Path) -> None:
    own_home.mkdir(parents=True, exist_ok=True)
    (own_home / "mcp.json").write_text(json.dumps({"mcpServers": {"desk": {"args": ["x"]}}}))
    with pytest.raises(ConfigError, match="needs exactly one of `command` and `url`"):
        available(["mcp.desk.x"])
    (own_home / "mcp.json").write_text(json.dumps({"mcpServers": {"desk": {"command": "/nowhere/at-all"}}}))
    with pytest.raises(ConfigError, match="did not list its tools"):
        available(["mcp.desk.x"])


def edit(home: Path, **changes: Any) -> None:
    file = home / "mcp.json"
    said = json.loads(file.read_text())
    said["mcpServers"]["desk"] |= changes
    file.write_text(json.dumps(said))
