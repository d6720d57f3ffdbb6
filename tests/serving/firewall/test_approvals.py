"""Calls that a person has to approve: put to people as every run is, decided once, made once, as approved."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp.shared.exceptions import MCPError
from typer.testing import CliRunner

from sluicegate.cli import app
from sluicegate.serving.firewall.firewall import Firewall
from tests.support.firewalls import ANN, BOB, FIND, PAY, connected, firewall_at
from tests.support.mcp_upstream import Upstream

pytestmark = pytest.mark.slow

LARGE = {"to": "eve", "amount": 500}


@pytest.fixture
def desk(tmp_path: Path) -> Upstream:
    upstream = Upstream(tmp_path / "desk", FIND, PAY)
    upstream.does(pay={"paid": True, "receipt": "eve@example.org"})
    return upstream


@pytest.fixture
def opened(tmp_path: Path, desk: Upstream) -> Callable[..., Any]:
    @asynccontextmanager
    async def made(**keys: Any) -> AsyncGenerator[Any]:
        keys = {"results": {"guards": ["pii"]}, **keys}
        async with Firewall(await firewall_at(tmp_path / "wall", upstreams={"desk": desk}, **keys)) as firewall:
            yield firewall

    return made


async def approvals(*words: str, by: str = "lea", role: str = "lead") -> Any:
    """What the command prints as JSON; it runs in a thread, as in a process of its own."""
    who = ["--as", by, "--role", role] if words[0] != "list" else []
    ran = await asyncio.to_thread(CliRunner().invoke, app, ["approvals", *words, *who, "--json"])
    assert ran.exit_code == 0, ran.output
    return json.loads(ran.stdout)


async def waiting(client: Any, arguments: dict[str, Any] = LARGE, **how: Any) -> str:
    """The id of a call that waits."""
    answer = await client.call_tool("desk__pay", arguments, **how)
    assert (answer.is_error, answer.meta["sluicegate/status"]) == (False, "waiting"), answer
    assert "waits for the approval of role:lead" in answer.content[0].text
    return answer.meta["sluicegate/call"]


async def test_a_call_waits_is_approved_and_is_fetched_by_repeating_it(opened: Any, desk: Upstream) -> None:
    async with opened() as firewall, connected(firewall, ANN) as client:
        run = await waiting(client)
        assert run == await waiting(client), "an equal call is the same one while it waits"
        (listed,) = await approvals("list")
        assert (listed["run"], listed["principal"], listed["intent"]) == (run, "ann", "desk.pay")
        assert listed["proposal"]["arguments"] == LARGE
        assert desk.calls == []
        await approvals("approve", run)
        done = await client.call_tool("desk__pay", LARGE)
        assert done.structured_content == {"paid": True, "receipt": "<EMAIL_1>"}
        assert done.meta["sluicegate/call"] == run
        assert [each["arguments"] for each in desk.calls] == [LARGE]
        assert await waiting(client) != run, "once it was told, an equal call is another one"
    assert len(desk.calls) == 1


async def test_what_an_approver_changes_is_what_is_called(opened: Any, desk: Upstream) -> None:
    async with opened() as firewall, connected(firewall, ANN) as client:
        run = await waiting(client)
        words = ["approvals", "edit", run, "--as", "lea", "--role", "lead", "--set", 'amount="all"']
        unfit = await asyncio.to_thread(CliRunner().invoke, app, words)
        assert unfit.exit_code != 0
        assert desk.calls == []
        await approvals("edit", run, "--set", "amount=400")
        assert (await client.call_tool("sluicegate__outcome", {"call": run})).structured_content["paid"] is True
    assert [each["arguments"] for each in desk.calls] == [{"to": "eve", "amount": 400}]


async def test_policies_hold_for_what_an_approver_changes_too(opened: Any, desk: Upstream) -> None:
    async with opened() as firewall, connected(firewall, ANN) as client:
        run = await waiting(client)
        await approvals("edit", run, "--set", "amount=5000")
        answer = await client.call_tool("sluicegate__outcome", {"call": run})
        assert answer.is_error
    assert desk.calls == []


async def test_a_call_is_rejected_with_a_reason(opened: Any, desk: Upstream) -> None:
    async with opened() as firewall, connected(firewall, ANN) as client:
        run = await waiting(client)
        await approvals("reject", run, "--reason", "wrong account")
        answer = await client.call_tool("desk__pay", LARGE)
        assert answer.is_error
        assert answer.content[0].text.endswith("Wrong account.")
    assert desk.calls == []


async def test_nobody_fetches_or_decides_another_s_call(opened: Any, desk: Upstream) -> None:
    async with opened() as firewall:
        async with connected(firewall, ANN) as client:
            run = await waiting(client)
        async with connected(firewall, BOB) as client:
            answer = await client.call_tool("sluicegate__outcome", {"call": run})
            assert answer.content[0].text == f"You have no call {run!r}."
            with pytest.raises(MCPError, match="Unknown tool"):
                await client.call_tool("desk__pay", LARGE)
        own = ["approvals", "approve", run, "--as", "ann", "--role", "lead"]
        assert (await asyncio.to_thread(CliRunner().invoke, app, own)).exit_code != 0
    assert desk.calls == []


async def test_a_caller_may_be_held_until_somebody_decides(opened: Any, desk: Upstream) -> None:
    told: list[str] = []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        told.append(message or "")
        if len(told) == 1:
            (listed,) = await approvals("list")
            await approvals("approve", listed["run"])

    approval = {"approvers": "role:lead", "hold_s": 60}
    async with opened(approval=approval) as firewall, connected(firewall, ANN) as client:
        done = await client.call_tool("desk__pay", LARGE, progress_callback=progress)
        assert done.structured_content["paid"] is True
    assert "waits for the approval" in told[0]
    assert len(desk.calls) == 1


async def test_approved_calls_are_paid_like_all_others(opened: Any, desk: Upstream) -> None:
    tools = {"desk": {"tools": {"pay": {"usd": 0.02}}}}
    async with opened(servers=tools, budget={"per_day_usd": 0.02}) as firewall, connected(firewall, ANN) as client:
        run = await waiting(client)
        await approvals("approve", run)
        assert not (await client.call_tool("desk__pay", LARGE)).is_error
        over = await client.call_tool("desk__pay", {"to": "eve", "amount": 1})
        assert "per_day_usd: $0.020000 of $0.020000 used" in over.content[0].text
    assert len(desk.calls) == 1


async def test_every_call_of_a_tool_may_need_approval_and_without_approvers_is_refused(
    opened: Any, desk: Upstream
) -> None:
    tools = {"desk": {"tools": {"find": {"approval": True}, "pay": {}}}}
    async with opened(servers=tools) as firewall, connected(firewall, ANN) as client:
        answer = await client.call_tool("desk__find", {"words": "x"})
        assert answer.meta["sluicegate/status"] == "waiting"
    async with opened(approval=None) as firewall, connected(firewall, ANN) as client:
        answer = await client.call_tool("desk__pay", LARGE)
        assert "nobody is named who gives it" in answer.content[0].text
    assert desk.calls == []
