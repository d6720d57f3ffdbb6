"""Priorities of requests: by role, kept with the run, and the same order on every executor."""

import json
from pathlib import Path
from typing import Any

import openai
import pytest
from typer.testing import CliRunner

from sluicegate import Limits, Service
from sluicegate.cli import run as run_command
from sluicegate.errors import RunError
from sluicegate.graphs.runtime.intake import principal
from sluicegate.serving.execution.turns import LATER_S
from sluicegate.serving.in_progress import Accepted
from sluicegate.storage.postgres import URL
from tests.support import stand
from tests.support.mcp_clients import over_http, words
from tests.support.openai_clients import sdk
from tests.support.redacting import WORKFLOW, Desk
from tests.support.waiting import soon

ANN, BOT, OPS = principal("ann", ["employee"]), principal("bot", ["agent"]), principal("ops", ["operator", "agent"])
LEAD = principal("lea", ["helpdesk-lead"])
PRIORITIES = "limits: {priorities: {agent: low, operator: high}}\n"


def desk(folder: Path, limits: str = PRIORITIES, **options: Any) -> Service:
    """A service with one turn."""
    file = stand.written(folder / "workflow.yaml", text=stand.TEXT + limits)
    return stand.service(file, **{"limits": Limits(running=1, drain_s=0), **options})


def models(service: Service) -> Any:
    return service.versions.serving.runner.services.models


async def held(service: Service) -> Accepted:
    """A run that has the turn until `stand.let_go`."""
    accepted = await service.accept("hold on", ANN)
    await soon(lambda: models(service).at_once)
    return accepted


async def order(service: Service, *waiting: Accepted) -> list[str]:
    """Their requests, in the order in which they are carried from now on."""
    before = len(models(service).asked)
    stand.let_go()
    outcomes = [await one.outcome() for one in waiting]
    assert {outcome.status for outcome in outcomes} == {"answered"}
    texts = [messages[0].content for _, messages in models(service).asked[before:]]
    return [next(word for word in text.split() if word.endswith("?")) for text in texts if "?" in text]


@pytest.mark.slow
async def test_who_waits_is_carried_by_the_level_of_their_role_and_then_by_arrival(
    each_place: str, tmp_path: Path
) -> None:
    async with desk(tmp_path) as service:
        await held(service)
        asked = (("Low?", BOT, ""), ("First?", ANN, ""), ("Lower?", OPS, "low"), ("High?", OPS, ""), ("Next?", ANN, ""))
        waiting = [await service.accept(text, who, priority=level) for text, who, level in asked]
        assert await order(service, *waiting) == ["High?", "First?", "Next?", "Low?", "Lower?"]


@pytest.mark.slow
async def test_what_has_waited_long_enough_comes_first_all_the_same(
    each_place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with desk(tmp_path) as service:
        await held(service)
        with monkeypatch.context() as earlier:
            # as if it had come earlier by as much, and a few seconds
            earlier.setitem(LATER_S, "low", -5.0)  # type: ignore[arg-type]
            low = await service.accept("Low?", BOT)
        high = await service.accept("High?", OPS)
        assert await order(service, high, low) == ["Low?", "High?"]


@pytest.mark.slow
async def test_what_follows_a_decision_has_the_level_of_the_run(each_place: str, tmp_path: Path) -> None:
    async with desk(tmp_path, limits=PRIORITIES) as service:
        low, high = [await service.ask("access please", who) for who in (BOT, OPS)]
        assert [each.state["run"].get("priority") for each in (low, high)] == ["low", "high"]
        assert low.waiting
        assert high.waiting
        await held(service)
        segments: list[str] = []
        carry = service._accepting.carrier._go_on
        take_up = service._accepting.carrier._take_up

        async def noted(segment: Any, go_on: Any) -> Any:
            segments.append(segment.run)
            return await go_on(segment)

        service._accepting.carrier._go_on = lambda segment: noted(segment, carry)  # type: ignore[method-assign]
        service._accepting.carrier._take_up = lambda segment: noted(segment, take_up)  # type: ignore[method-assign]
        waiting = [await service.accept_decision(run.run, "approve", LEAD) for run in (low, high)]
        stand.let_go()
        done = [await one.outcome() for one in waiting]
        assert {each.status for each in done} == {"answered"}
        assert segments == [high.run, low.run]


async def test_a_request_may_ask_for_less_than_its_own_and_for_no_more(tmp_path: Path) -> None:
    limits = "limits: {priorities: {agent: low}, principals: {default: 1 per day}}\n"
    async with desk(tmp_path, limits) as service:
        with pytest.raises(RunError, match="ann may not ask with priority high") as above:
            await service.ask("How?", ANN, priority="high")
        assert (above.value.code, above.value.hint) == ("SG735", "Ask with low or normal")
        with pytest.raises(RunError, match="'urgent' is no priority") as unknown:
            await service.ask("How?", ANN, priority="urgent")
        assert (unknown.value.code, unknown.value.hint) == ("SG736", "Write one of: low, normal, high")
        # neither has used up their rate
        outcome = await service.ask("How?", ANN, priority="low")
        assert outcome.state["run"].get("priority") == "low"
        with pytest.raises(RunError, match="bot may not"):
            await service.ask("How?", BOT, priority="normal")


@pytest.mark.slow
async def test_who_comes_while_there_is_room_gives_way_to_what_was_due_in_the_queue(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(URL, postgres)
    async with desk(tmp_path, work=False) as service:
        executor: Any = service.executor
        engine, queue = executor.engine, executor.queue
        assert not engine.is_behind(queue, "low"), "nothing is there"
        await service.accept("How?", ANN)
        await soon(lambda: engine.is_behind(queue, "low"))
        assert not engine.is_behind(queue, "normal"), "it has only just come"
        assert not engine.is_behind(queue, "high")


@pytest.mark.slow
async def test_every_face_takes_it_and_says_what_is_above(tmp_path: Path) -> None:
    service = desk(tmp_path)
    with stand.served(service) as client, sdk(client) as ai:
        done = client.post("/v1/runs", json={"text": "How?", "priority": "low"}).json()
        refused = client.post("/v1/runs", json={"text": "How?", "priority": "high"})
        assert (refused.status_code, refused.json()["code"]) == (403, "SG735")
        assert client.post("/v1/runs", json={"text": "How?", "priority": "urgent"}).status_code == 422
        call: Any = {"model": service.name, "messages": [{"role": "user", "content": "How?"}]}
        low = ai.chat.completions.create(**call, extra_body={"sluicegate": {"priority": "low"}})
        with pytest.raises(openai.PermissionDeniedError, match="may not ask with priority high"):
            ai.chat.completions.create(**call, extra_body={"sluicegate": {"priority": "high"}})
        async with over_http(client) as tools:
            (tool, *_) = (await tools.list_tools()).tools
            result = await tools.call_tool(tool.name, {"text": "How?"}, meta={"sluicegate/priority": "high"})
            assert result.is_error
            assert "SG735: ann may not ask with priority high. Ask with low or normal" in words(result)
        for run in (done["run"], low.id.removeprefix("chatcmpl-")):
            found, _ = await service.find(run, ANN)
            assert found
            assert found.state["run"].get("priority") == "low"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*will be removed in Click:DeprecationWarning")
def test_the_command_line_takes_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Desk(tmp_path / "desk", monkeypatch)
    made.file.write_text(WORKFLOW + PRIORITIES, encoding="utf-8")
    made.says("At nine.")
    asked = [str(made.file), "When?", "--role", "employee", "--json"]
    done = CliRunner().invoke(run_command.app, [*asked, "--priority", "low"])
    assert json.loads(done.output)["status"] == "answered", done.output
    refused = CliRunner().invoke(run_command.app, [*asked, "--priority", "high"])
    assert isinstance(refused.exception, RunError)
    assert refused.exception.code == "SG735"
