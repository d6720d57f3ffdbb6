"""Servers that die, hang, flood, talk garbage, lie and ask: the caller is told, and the next call is served."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sluicegate.policies.ledger.factory import open_ledger
from sluicegate.serving.firewall.firewall import Firewall
from tests.support.firewalls import ANN, FIND, PAY, connected, firewall_at
from tests.support.mcp_upstream import Upstream

pytestmark = pytest.mark.slow

PRICED = {"desk": {"tools": {"find": {"risk": "low", "usd": 0.01}, "pay": {}}}}


@pytest.fixture
def desk(tmp_path: Path) -> Upstream:
    return Upstream(tmp_path / "desk", FIND, PAY)


@asynccontextmanager
async def client_of(folder: Path, desk: Upstream, **keys: Any) -> AsyncGenerator[tuple[Any, Any]]:
    file = await firewall_at(folder / "wall", upstreams={"desk": desk}, servers=PRICED, **keys)
    async with Firewall(file) as firewall, connected(firewall, ANN) as client:
        yield firewall, client


def spent() -> float:
    ledger = open_ledger()
    try:
        return sum(row["usd"] for row in ledger.spending())
    finally:
        ledger.close()


@pytest.mark.parametrize(
    ("misdeed", "why"),
    [
        ("dies", "Connection closed"),
        ("hangs", "no answer within 3 s"),
        ("is silent", "no answer within 3 s"),
        ("floods", "Connection closed"),
    ],
)
async def test_a_server_that_gives_no_answer_fails_the_call_and_not_the_next(
    tmp_path: Path, desk: Upstream, misdeed: str, why: str
) -> None:
    desk.does(find=misdeed)
    async with client_of(tmp_path, desk, results={"guards": ["secrets"], "max_bytes": 10_000}) as (_, client):
        answer = await client.call_tool("desk__find", {"words": "x"})
        assert answer.is_error
        assert why in answer.content[0].text
        desk.does(find={"well": True})
        assert (await client.call_tool("desk__find", {"words": "x"})).structured_content == {"well": True}
    assert len(desk.calls) == 2, "no call is repeated by itself"
    assert spent() == pytest.approx(0.02), "what may have been done is paid for"


@pytest.mark.parametrize(
    ("misdeed", "result"), [("talks garbage", {"after": "garbage"}), ("lies about ids", {"of": "this call"})]
)
async def test_what_is_no_answer_to_the_call_is_not_taken_for_one(
    tmp_path: Path, desk: Upstream, misdeed: str, result: dict[str, str]
) -> None:
    desk.does(find=misdeed)
    async with client_of(tmp_path, desk) as (_, client):
        assert (await client.call_tool("desk__find", {"words": "x"})).structured_content == result


async def test_a_server_s_own_questions_are_refused(tmp_path: Path, desk: Upstream) -> None:
    desk.does(find="asks the client")
    async with client_of(tmp_path, desk) as (_, client):
        answer = (await client.call_tool("desk__find", {"words": "x"})).structured_content["answer"]
        assert answer["id"] == 900
        assert "error" in answer
        assert "result" not in answer


async def test_a_call_that_was_not_made_costs_nothing(tmp_path: Path, desk: Upstream) -> None:
    async with client_of(tmp_path, desk) as (firewall, client):
        assert not (await client.call_tool("desk__find", {"words": "x"})).is_error
        upstream = await firewall._upstreams.of("desk", "ann")
        await upstream.close()
        upstream._server = upstream._server.model_copy(update={"command": "/nowhere"})
        answer = await client.call_tool("desk__find", {"words": "x"})
        assert "Nothing was called" in answer.content[0].text
    assert spent() == pytest.approx(0.01)
