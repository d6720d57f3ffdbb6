"""Tools: schema from the signature, arguments checked, one effect per key, timeouts, retries."""

import asyncio
import threading
import time
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field

from sluicegate.errors import ConfigError
from sluicegate.nodes.kinds.call_tool import idempotency_key
from sluicegate.nodes.tools.registry import tools
from sluicegate.nodes.tools.tool import Tool, ToolContext, tool
from sluicegate.nodes.tools.tool_runner import ToolRunner
from sluicegate.state import ForEachItem

CALLS: list[str] = []


@tool("note", timeout_s=0.5)
def note(context: ToolContext, text: Annotated[str, Field(max_length=10)], count: int = 1) -> dict[str, Any]:
    """Write a note."""
    CALLS.append(context.key)
    return {"text": text * count}


@tool("sleepy", timeout_s=0.05)
def sleepy(context: ToolContext) -> None:
    """Takes too long."""
    time.sleep(0.3)


_failures = iter([True, False])


@tool("shaky", retries=1)
def shaky(context: ToolContext) -> str:
    """Fails once."""
    if next(_failures):
        raise OSError("no line")
    return "done"


def box(home: Path, *given: Tool, dry: bool = False) -> ToolRunner:
    home.mkdir(parents=True, exist_ok=True)
    return ToolRunner(home, allowed={one.name: one for one in given}, dry=dry)


def test_schema_comes_from_the_signature() -> None:
    schema = note.schema
    assert schema["required"] == ["text"]
    assert schema["properties"]["text"]["maxLength"] == 10
    assert schema["additionalProperties"] is False


async def test_a_key_has_one_effect_also_in_another_process(own_home: Path) -> None:
    CALLS.clear()
    first = await box(own_home, note).call("note", {"text": "a"}, key="k1", run="r")
    again = await box(own_home, note).call("note", {"text": "a"}, key="k1", run="r")
    assert (first.value, again.value) == ({"text": "a"}, {"text": "a"})
    assert (first.repeated, again.repeated) == (False, True)
    assert CALLS == ["k1"]


async def test_a_call_that_is_under_way_when_its_run_is_cut_short_is_remembered(own_home: Path) -> None:
    begun, goes_on = threading.Event(), threading.Event()

    @tool("ordering", timeout_s=60)
    def ordering(context: ToolContext) -> str:
        """Order something."""
        CALLS.append(context.key)
        begun.set()
        goes_on.wait()
        return "ordered"

    CALLS.clear()
    calling = asyncio.create_task(box(own_home, ordering).call("ordering", {}, key="k1", run="r"))
    await asyncio.to_thread(begun.wait)
    calling.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not calling.done(), "the run is free for others while its tool is at work"
    goes_on.set()
    with pytest.raises(asyncio.CancelledError):
        await calling
    again = await box(own_home, ordering).call("ordering", {}, key="k1", run="r")
    assert (again.value, again.repeated, CALLS) == ("ordered", True, ["k1"])


@pytest.mark.parametrize("arguments", [{}, {"text": "much too long"}, {"text": "a", "other": 1}, {"text": 5}])
async def test_arguments_that_do_not_fit_call_nothing(own_home: Path, arguments: dict[str, Any]) -> None:
    CALLS.clear()
    result = await box(own_home, note).call("note", arguments, key="k", run="r")
    assert result.status == "invalid"
    assert result.error
    assert CALLS == []


async def test_timeout_and_retry(own_home: Path) -> None:
    late = await box(own_home, sleepy).call("sleepy", {}, key="s", run="r")
    assert (late.status, late.error) == ("failed", "no answer within 0.05 s")
    assert (await box(own_home, shaky).call("shaky", {}, key="y", run="r")).value == "done"


async def test_dry_calls_nothing_with_effects(own_home: Path) -> None:
    CALLS.clear()
    result = await box(own_home, note, dry=True).call("note", {"text": "a"}, key="k", run="r")
    assert (result.status, CALLS) == ("done", [])


def test_unknown_tool_names_the_nearest(own_home: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'note'"):
        box(own_home, note).schema("notes")


async def test_ticket_desk_opens_one_ticket_per_key(own_home: Path) -> None:
    desk = box(own_home, *tools().values())
    arguments = {"title": "Broken mouse", "category": "hardware"}
    key = idempotency_key("run-1", "create_ticket", arguments)
    first = await desk.call("create_ticket", arguments, key=key, run="run-1")
    (own_home / "tools.sqlite").unlink()  # as if the crash came between the ticket and our memory of it
    for extra in own_home.glob("tools.sqlite-*"):
        extra.unlink()
    again = await box(own_home, *tools().values()).call("create_ticket", arguments, key=key, run="run-1")
    assert first.value == again.value
    found = await desk.call("find_tickets", {"words": "mouse"}, key="f", run="run-1")
    assert found.value["count"] == 1
    assert (await desk.call("find_tickets", {"words": "100%_"}, key="g", run="run-1")).value["count"] == 0


def test_the_key_is_the_business_action() -> None:
    one = idempotency_key("r", "t", {"a": 1, "b": 2})
    assert one == idempotency_key("r", "t", {"b": 2, "a": 1})
    assert (
        len({one, idempotency_key("r2", "t", {"a": 1, "b": 2}), idempotency_key("r", "t", {"a": 1, "b": 3})}) == 2 + 1
    )


def test_two_items_of_a_list_are_two_actions_and_one_of_them_again_is_the_same() -> None:
    first: ForEachItem = {"value": {"sku": "a"}, "index": 0, "node": "orders"}
    keys = [
        idempotency_key("r", "t", {"a": 1}, item)
        for item in (None, first, {**first}, {**first, "index": 1}, {**first, "node": "returns"})
    ]
    assert keys[1] == keys[2]
    assert len({*keys}) == 4
