"""Conversations of a service: in Python and over HTTP, through a promotion and a rollback, and after a crash."""

import asyncio
import shutil
from pathlib import Path

import httpx
import pytest

from sluicegate import Service
from sluicegate.errors import ConversationBusyError, RunError
from sluicegate.evals.promotion import champions
from sluicegate.graphs.runtime.intake import principal
from sluicegate.graphs.runtime.loop_thread import elsewhere
from sluicegate.graphs.runtime.versions import kept
from tests.support import stand
from tests.support.promoting import promote
from tests.support.waiting import soon

pytestmark = pytest.mark.slow

ANN, BEN = principal("ann", ["employee"]), principal("ben", ["employee"])


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """A champion and a challenger that hold conversations."""
    folder = tmp_path / "flow"
    shutil.copytree(stand.WORKFLOW, folder)
    champion = folder / "workflow.yaml"
    champion.write_text(champion.read_text(encoding="utf-8") + "conversation: {turns: 4}\n", encoding="utf-8")
    return champion, folder / "challenger" / "workflow.yaml"


async def asked(service: Service, session: str = "c", text: str = "Who?") -> str:
    return (await service.ask(text, ANN, session=session)).text


async def test_a_conversation_keeps_its_version_through_a_promotion_and_loses_one_that_was_rolled_back(
    two: tuple[Path, Path],
) -> None:
    async with stand.service(two[0]) as service:
        assert await asked(service) == "Version 1 [1]."
        promote(*two)
        await soon(lambda: service.versions.promoted == 2)
        assert await asked(service) == "Version 1 [1]."
        assert await asked(service, "another") == "Version 2 [1]."
        # a request outside any conversation goes to what serves
        assert await asked(service, "") == "Version 2 [1]."
        champions.rollback(service.name, by="ops", reason="wrong")
        await soon(lambda: service.versions.promoted == 3)
        assert await asked(service, "another") == "Version 1 [1]."
        turns = await service.turns("another", ANN)
        assert [row.number for row, _ in turns] == [1, 2]


async def test_a_conversation_whose_version_is_gone_goes_on_with_the_one_that_serves(two: tuple[Path, Path]) -> None:
    async with stand.service(two[0]) as service:
        await asked(service)
        digest = service.versions.serving.workflow.digest
        promote(*two)
        await soon(lambda: service.versions.promoted == 2)
    shutil.rmtree(kept(digest).parent)
    async with stand.service(two[0]) as service:
        assert await asked(service) == "Version 2 [1]."
        assert len(await service.turns("c", ANN)) == 2


async def test_of_two_turns_at_once_the_second_is_refused_before_it_is_accepted(two: tuple[Path, Path]) -> None:
    async with stand.service(two[0]) as service:
        first = await service.accept("hold", ANN, session="c")
        with pytest.raises(ConversationBusyError):
            await service.ask("Who?", ANN, session="c", request_id="mine")
        assert (await service.ask("Who?", BEN, session="c")).status == "answered"
        stand.let_go()
        assert (await first.outcome()).status == "answered"
        # what was refused may be sent again under the same id, and then is one run however often
        one, other = [(await service.ask("Who?", ANN, session="c", request_id="mine")).run for _ in range(2)]
        assert one == other
        assert [row.run for row, _ in await service.turns("c", ANN)] == [first.run, one]


async def test_a_turn_that_a_killed_service_left_is_ended_by_the_next_one(
    two: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object, **__: object) -> None: ...

    with monkeypatch.context() as patched:
        # the first sweep of the service that is killed may come late, and end the turn itself
        patched.setattr(Service, "_every", never)
        service = stand.service(two[0])
        await service.open()
    async with service:
        runner = service.versions.serving.runner
        state = await runner.write_down(runner.opening("Who?", ANN, channel="api", session="c"))
        service.executor.recovery.accept(state["run"]["id"], service.name, state["run"]["digest"])
        with pytest.raises(ConversationBusyError):
            await service.ask("And now?", ANN, session="c")
    async with stand.service(two[0]) as service:
        run = state["run"]["id"]
        await elsewhere(service.executor.sweep.once())
        outcome, _ = await service.find(run, ANN)
        assert outcome
        assert outcome.status == "answered"
        second = await service.ask("And now?", ANN, session="c")
        assert [turn["run"] for turn in second.state["conversation"]["turns"]] == [run]


async def test_conversations_are_their_persons_alone(two: tuple[Path, Path]) -> None:
    async with stand.service(two[0]) as service:
        await asked(service)
        await asked(service, "later")
        assert [row.name for row in await service.conversations(ANN)] == ["later", "c"]
        assert await service.conversations(BEN) == []
        with pytest.raises(RunError, match="SG640"):
            await service.turns("c", BEN)
    async with stand.service() as without:
        assert await without.conversations(ANN) == []
        with pytest.raises(RunError, match="SG640"):
            await without.turns("c", ANN)


def test_over_http(two: tuple[Path, Path]) -> None:
    with stand.served(stand.service(two[0])) as client:
        first = client.post("/v1/runs", json={"text": "How do I reset it?", "session": "c"}).json()
        second = client.post("/v1/runs", json={"text": "And my PIN?", "session": "c"}).json()
        (listed,) = client.get("/v1/conversations").json()["conversations"]
        assert (listed["session"], listed["turns"]) == ("c", 2)
        said = client.get("/v1/turns", params={"session": "c"}).json()
        assert said["session"] == "c"
        assert [turn["question"] for turn in said["turns"]] == ["How do I reset it?", "And my PIN?"]
        assert [turn["result"]["run"] for turn in said["turns"]] == [first["run"], second["run"]]
        assert said["turns"][0]["result"]["answer"] == first["answer"]

        ben = {"x-user": "ben"}
        assert client.get("/v1/conversations", headers=ben).json() == {"conversations": []}
        theirs, nobodys = (client.get("/v1/turns", params={"session": name}, headers=ben) for name in ("c", "d"))
        assert (theirs.status_code, theirs.json()["code"]) == (404, "SG640")
        assert theirs.text == nobodys.text.replace("'d'", "'c'")
        assert client.get("/v1/turns").status_code == 422


def test_two_turns_at_once_over_http(two: tuple[Path, Path]) -> None:
    with stand.served(stand.service(two[0])) as client:
        stream = {"text": "hold", "session": "c", "stream": True}
        with client.stream("POST", "/v1/runs", json=stream) as answering:
            events = answering.iter_lines()
            assert next(events) == "event: run"
            second = client.post("/v1/runs", json={"text": "Who?", "session": "c"})
            assert (second.status_code, second.json()["code"]) == (409, "SG641")
            stand.let_go()
            assert any(line == "event: result" for line in events)
        assert client.post("/v1/runs", json={"text": "Who?", "session": "c"}).status_code == 200


def test_the_api_describes_it(two: tuple[Path, Path]) -> None:
    with stand.served(stand.service(two[0])) as client:
        parameters = client.get("/openapi.json").json()["paths"]["/v1/turns"]["get"]["parameters"]
        told = [(each["name"], each["in"], each["required"]) for each in parameters]
        assert told == [("session", "query", True), ("workflow", "query", False)]
        page: httpx.Response = client.get("/openapi.json")
        (limit, after, _) = page.json()["paths"]["/v1/approvals"]["get"]["parameters"]
        assert not limit["required"]
        assert not after["required"]


async def test_many_people_talk_at_a_time(two: tuple[Path, Path]) -> None:
    people = [principal(f"person-{number}", ["employee"]) for number in range(5)]

    async def talk(number: int) -> list[int]:
        turns = [
            (await service.ask(f"Question {turn}?", people[number], session="c")).state["conversation"]["turn"]
            for turn in range(3)
        ]
        (row,) = await service.conversations(people[number])
        assert row.turns == 3
        return turns

    async with stand.service(two[0]) as service:
        assert await asyncio.gather(*map(talk, range(5))) == [[1, 2, 3]] * 5
