"""A workflow that asks its requester, over MCP: a client that can ask its user itself, and one that cannot."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp import Client
from mcp.types import ElicitRequestFormParams, ElicitResult

from sluicegate.graphs.runtime.factory import open_workflow
from tests.support import stand
from tests.support.asking import QUESTION, VAGUE, asking_desk
from tests.support.mcp_clients import over_http, words

pytestmark = pytest.mark.slow

BEN = {"x-user": "ben", "x-roles": "employee"}
ANSWER = "the laptop"


def version(source: Any) -> stand.OnFakes:
    opened = open_workflow(source)
    return stand.OnFakes(opened.workflow, opened.runner, opened.models, opened.tracer, opened.parts)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    desk = asking_desk(tmp_path / "desk", monkeypatch)
    with stand.served(stand.service(desk.file, open_version=version)) as client:
        yield client


async def vague(client: Client) -> Any:
    (tool, *_) = (await client.list_tools()).tools
    return await client.call_tool(tool.name, {"text": VAGUE})


def user(reply: ElicitResult, asked: list[str]) -> Any:
    async def elicited(_: Any, params: ElicitRequestFormParams) -> ElicitResult:
        asked.append(params.message)
        return reply

    return elicited


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_who_is_asked_answers_and_nobody_else(server: httpx.Client, mode: Any) -> None:
    async with over_http(server, mode=mode) as ann, over_http(server, BEN) as ben:
        waits = await vague(ann)
        run = waits.structured_content["run"]
        assert (waits.is_error, waits.structured_content["question"]["text"]) == (False, QUESTION)
        assert words(waits).startswith(QUESTION)
        assert f"answer_question with the run {run}" in words(waits)
        given = {"run": run, "text": ANSWER}
        assert "SG603" in words(await ben.call_tool("answer_question", given))
        done = await ann.call_tool("answer_question", given)
        assert (done.is_error, done.structured_content["status"]) == (False, "answered")
        assert done.structured_content["run"] == run
        assert "SG605" in words(await ann.call_tool("answer_question", given))


async def test_a_client_that_can_asks_its_user_itself(server: httpx.Client) -> None:
    asked = list[str]()
    reply = ElicitResult(action="accept", content={"text": ANSWER})
    async with over_http(server, elicitation_callback=user(reply, asked)) as ann:
        done = await vague(ann)
    assert asked == [QUESTION]
    assert (done.is_error, done.structured_content["status"]) == (False, "answered")


async def test_who_declines_leaves_the_question_open(server: httpx.Client) -> None:
    asked = list[str]()
    async with over_http(server, elicitation_callback=user(ElicitResult(action="decline"), asked)) as ann:
        waits = await vague(ann)
    assert asked == [QUESTION]
    assert (waits.is_error, waits.structured_content["status"]) == (False, "waiting")


async def test_a_reply_to_anothers_run_is_refused(server: httpx.Client) -> None:
    async with over_http(server) as ann, over_http(server, BEN) as ben:
        run = (await vague(ann)).structured_content["run"]
        (tool, *_) = (await ben.list_tools()).tools
        reply = {"question": ElicitResult(action="accept", content={"text": ANSWER})}
        theirs = await ben.call_tool(tool.name, {"text": VAGUE}, input_responses=reply, request_state=run)
        assert theirs.is_error
        assert "SG603" in words(theirs)
        assert "SG603" in words(await ben.call_tool(tool.name, {"text": VAGUE}, request_state=run))
        still = await ann.call_tool("get_run", {"run": run})
        assert still.structured_content["status"] == "waiting"
