"""Questions to the requester, and timers, of a service: in Python, over HTTP and in a conversation."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from sluicegate import Service
from sluicegate.errors import NotFoundError, NotWaitingError, RunError
from sluicegate.graphs.runtime.factory import open_workflow
from tests.support import stand
from tests.support.approving import later
from tests.support.asking import QUESTION, VAGUE, asking_desk, words
from tests.support.redacting import ANN, EVE, LEA, Desk

pytestmark = pytest.mark.slow

ANSWER = "the laptop"


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return asking_desk(tmp_path / "desk", monkeypatch)


def version(source: Any) -> stand.OnFakes:
    opened = open_workflow(source)
    return stand.OnFakes(opened.workflow, opened.runner, opened.models, opened.tracer, opened.parts)


def service(desk: Desk) -> Service:
    return stand.service(desk.file, open_version=version)


async def test_the_requester_answers_and_nobody_else_learns_of_it(desk: Desk) -> None:
    async with service(desk) as served:
        asked = await served.ask(VAGUE, ANN)
        assert asked.status == "waiting"
        for other in (EVE, LEA):
            with pytest.raises(NotFoundError):
                await served.answer(asked.run, ANSWER, other)
            assert await served.approvals(other) == []
        # a question is no approval
        assert await served.approvals(ANN) == []
        with pytest.raises(NotWaitingError):
            await served.approval(asked.run, ANN)
        with pytest.raises(NotWaitingError):
            await served.decide(asked.run, "approve", ANN)
        with pytest.raises(RunError, match="SG601"):
            await served.answer(asked.run, " ", ANN)
        done = await served.answer(asked.run, ANSWER, ANN)
        assert (done.status, words(done.state)) == ("answered", [(QUESTION, ANSWER)])
        with pytest.raises(NotWaitingError):
            await served.answer(asked.run, ANSWER, ANN)


async def test_of_two_answers_at_once_one_is_taken(desk: Desk) -> None:
    async with service(desk) as served:
        asked = await served.ask(VAGUE, ANN)
        answers = (served.answer(asked.run, f"laptop {n}", ANN) for n in range(2))
        done = await asyncio.gather(*answers, return_exceptions=True)
        assert sorted(type(each).__name__ for each in done) == ["NotWaitingError", "Outcome"]


async def test_the_next_turn_answers_and_is_the_same_however_often_it_is_sent(desk: Desk) -> None:
    steps: list[Any] = []
    async with service(desk) as served:
        asked = await served.ask(VAGUE, ANN, session="c", request_id="first")
        other = await served.ask(VAGUE, EVE, session="c")
        done = await served.ask(ANSWER, ANN, session="c", request_id="second", on_step=steps.append)
        assert (done.run, done.status) == (asked.run, "answered")
        assert steps
        for request, text in (("second", ANSWER), ("first", VAGUE)):
            again = await served.ask(text, ANN, session="c", request_id=request)
            assert (again.run, again.status) == (asked.run, "answered")
        assert len(await served.turns("c", ANN)) == 1
        assert other.run != asked.run
        assert (await served.find(other.run, EVE))[0].status == "waiting"  # type: ignore[union-attr]
        following = await served.ask("And the printer?", ANN, session="c", request_id="third")
        assert following.run != asked.run


async def test_a_question_and_a_timer_that_are_due_go_on_by_themselves(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = desk.file.read_text(encoding="utf-8").replace("{otherwise: recall}", "{otherwise: later}")
    text = text.replace("\n  recall:", "\n  later: {kind: wait, for: 10m, then: recall}\n  recall:", 1)
    desk.file.write_text(text, encoding="utf-8")
    async with service(desk) as served:
        asked = await served.ask(VAGUE, ANN)
        timed = await served.ask("My laptop does not start", ANN)
        assert {asked.status, timed.status} == {"waiting"}
    later(monkeypatch, 2.1)

    async with service(desk) as served:

        async def statuses() -> list[str]:
            return [(await served.find(run.run, ANN))[0].status for run in (asked, timed)]  # type: ignore[union-attr]

        async with asyncio.timeout(60):
            while await statuses() != ["refused", "answered"]:
                await asyncio.sleep(0.05)


def test_over_http_the_question_is_in_the_run_and_its_answer_goes_to_it(desk: Desk) -> None:
    with stand.served(service(desk)) as client:
        asked = client.post("/v1/runs", json={"text": VAGUE})
        assert asked.status_code == 202
        said = asked.json()
        assert (said["status"], said["approval"], said["question"]["text"]) == ("waiting", None, QUESTION)
        answer = f"/v1/runs/{said['run']}/answer"

        def sent(body: dict[str, Any], **headers: str) -> httpx.Response:
            return client.post(answer, json=body, headers=headers)

        stranger = sent({"text": ANSWER}, **{"x-user": "eve"})
        assert (stranger.status_code, stranger.json()["code"]) == (404, "SG603")
        assert sent({"text": ""}).status_code == 422
        assert sent({"text": "\x07"}).status_code == 422
        fewer = sent({"text": ANSWER}, **{"x-roles": "guest"})
        assert (fewer.status_code, fewer.json()["code"]) == (403, "SG610")
        done = sent({"text": ANSWER})
        assert (done.status_code, done.json()["status"], done.json()["question"]) == (200, "answered", None)
        again = sent({"text": ANSWER})
        assert (again.status_code, again.json()["code"]) == (409, "SG605")

        first = client.post("/v1/runs", json={"text": VAGUE, "session": "c"}).json()
        second = client.post("/v1/runs", json={"text": ANSWER, "session": "c"}).json()
        assert (second["run"], second["status"]) == (first["run"], "answered")
