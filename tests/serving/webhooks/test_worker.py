"""What happens is announced once, whoever looks, and delivered by the worker of a service."""

import asyncio
import json
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from sluicegate import Service, principal
from sluicegate.errors import ConfigError
from sluicegate.home import home
from sluicegate.observe.incidents import Incidents
from sluicegate.policies.config import BudgetConfig
from sluicegate.policies.ledger.factory import open_ledger
from sluicegate.services import Reservation
from sluicegate.serving.links.rows import LinkRows
from sluicegate.serving.webhooks import announcing
from sluicegate.serving.webhooks.events import events_schema
from sluicegate.serving.webhooks.outbox import Delivery, Outbox
from sluicegate.serving.webhooks.worker import WebhookWorker
from tests.support.hooks import Clock, Hooks, hooks_file
from tests.support.raw_bytes import readable
from tests.support.stand import NoShadow
from tests.support.ticketing import REQUEST, WORKFLOW, ticket_desk
from tests.support.waiting import until

pytestmark = pytest.mark.slow

ANN, LEA = principal("ann", ["employee"]), principal("lea", ["lead"])
TICKET = {"title": "Printer on floor 2 is jammed"}


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    budget = "budget: {per_day_usd: 1.0, per_run_usd: 5.0}\nstart: classify"
    workflow = WORKFLOW.replace("start: classify", budget)
    file = ticket_desk(tmp_path / "desk", monkeypatch, extracted=TICKET, workflow=workflow)
    with Service(file, beside=NoShadow) as service:  # type: ignore[arg-type]
        yield service


@contextmanager
def working(desk: Service, file: Path, clock: Callable[[], float] | None = None) -> Generator[WebhookWorker]:
    worker = WebhookWorker(file, lambda: [desk], now=clock or Clock(), jitter=lambda: 1.0)
    worker.start()
    try:
        yield worker
    finally:
        worker.close()


def empty() -> bool:
    return not Outbox().deliveries()


def test_a_wait_and_its_decision_are_told_in_order_and_without_words(desk: Service, tmp_path: Path) -> None:
    with Hooks() as hooks, working(desk, hooks_file(tmp_path / "hooks", hooks.url)):
        run = desk.ask_now(REQUEST, ANN).run
        until(lambda: len(hooks.got) == 1)
        asyncio.run(desk.decide(run, "edit", LEA, arguments={"details": "Ask for Bob."}, reason="it is Bob's"))
        until(lambda: len(hooks.got) == 2 and empty())
    waiting, decided = (each.said for each in hooks.got)
    assert [waiting["type"], decided["type"]] == ["approval.waiting", "approval.decided"]
    for said in (waiting, decided):
        jsonschema.validate(said, events_schema())
        assert (said["version"], said["data"]["run"], said["data"]["workflow"]) == (1, run, "tickets")
        assert (said["data"]["requester"], said["data"]["texts"]) == (None, None)
    assert (waiting["data"]["approvers"], waiting["data"]["risk"]) == ("role:lead", "high")
    assert (decided["data"]["verdict"], decided["data"]["by"]) == ("edit", None)
    assert waiting["timestamp"] < decided["timestamp"]
    for each in hooks.got:
        for word in ("Printer", "jammed", "Bob", '"ann"', '"lea"'):
            assert word not in each.body.decode(), word


def test_masked_texts_and_names_come_where_the_operator_says_so(desk: Service, tmp_path: Path) -> None:
    with Hooks() as hooks:
        file = hooks_file(tmp_path / "hooks", hooks.url, texts="masked", people=True)
        with working(desk, file):
            run = desk.ask_now(f"{REQUEST}, mail me: ann@example.com", ANN).run
            asyncio.run(desk.decide(run, "reject", LEA, reason="call +49 30 1234567 first"))
            until(lambda: "approval.decided" in hooks.types)
    said = hooks.got[-1].said["data"]
    assert said["texts"]["request"].startswith(REQUEST)
    assert "ann@example.com" not in said["texts"]["request"]
    assert said["texts"]["reason"].startswith("call ")
    assert "1234567" not in said["texts"]["reason"]
    assert (said["requester"], said["by"]) == ("ann", "lea")


def test_a_destination_gets_what_it_asks_for(desk: Service, tmp_path: Path) -> None:
    with Hooks() as hooks:
        other = {"url": f"{hooks.url}/other", "shape": "slack", "workflows": ["another"]}
        slack = {"url": f"{hooks.url}/slack", "shape": "slack", "events": ["approval.decided"]}
        file = hooks_file(tmp_path / "hooks", hooks.url)
        whole = json.loads(file.read_text())
        whole["destinations"] |= {"other": {**other, "workflows": ["tickets"], "events": ["budget.80"]}, "chat": slack}
        file.write_text(json.dumps(whole), encoding="utf-8")
        with working(desk, file):
            run = desk.ask_now(REQUEST, ANN).run
            asyncio.run(desk.decide(run, "reject", LEA))
            until(lambda: len(hooks.got) >= 2 and empty())
        whole["destinations"]["other"]["workflows"] = ["another"]
        file.write_text(json.dumps(whole), encoding="utf-8")
        with pytest.raises(ConfigError, match="no workflow 'another' is served"):
            WebhookWorker(file, lambda: [desk]).start()
    assert [each.path for each in hooks.got if each.path != "/"] == ["/slack"]
    slacked = next(each.said for each in hooks.got if each.path == "/slack")
    assert slacked["text"] == "A request to tickets: reject"


@pytest.mark.parametrize("shape", ["json", "slack", "teams"])
def test_a_link_comes_along_for_one_person_and_decides(desk: Service, tmp_path: Path, shape: str) -> None:
    link = {"for": {"id": "lea", "roles": ["lead"]}, "hours": 2}
    with Hooks((500, {}), (200, {})) as hooks:
        clock = Clock()
        file = hooks_file(tmp_path / "hooks", hooks.url, shape=shape, link=link, events=["approval.waiting"])
        with working(desk, file, clock) as worker:
            run = desk.ask_now(REQUEST, ANN).run
            until(lambda: len(hooks.got) == 1 and Outbox().deliveries()[0].failure)
            clock.ahead = 6
            worker.wake()
            until(lambda: len(hooks.got) == 2)
    first, second = (_url(each.said) for each in hooks.got)
    # the same at each attempt, and kept nowhere
    assert first == second
    assert first.startswith("https://desk.example.com/console/approve/")
    token = first.rpartition("/")[2]
    assert token.encode() not in b"".join(readable(path) for path in home().rglob("*") if path.is_file())
    (row,) = LinkRows().find(run)
    assert (row.made_by, row.person["id"]) == ("webhook ops", "lea")

    async def decide() -> str:
        return (await (await desk.links.decide(token, "approve")).outcome()).status

    assert asyncio.run(decide()) == "answered"


def _url(said: dict[str, Any]) -> str:
    if "data" in said:
        return said["data"]["link"]["url"]
    if "blocks" in said:
        return next(block for block in said["blocks"] if block["type"] == "actions")["elements"][0]["url"]
    return said["attachments"][0]["content"]["actions"][0]["url"]


def test_no_link_comes_along_for_who_may_not_decide(desk: Service, tmp_path: Path) -> None:
    link = {"for": {"id": "ann", "roles": ["lead"]}}
    with Hooks() as hooks:
        file = hooks_file(tmp_path / "hooks", hooks.url, link=link, events=["approval.waiting"])
        with working(desk, file):
            desk.ask_now(REQUEST, ANN)
            until(lambda: hooks.got)
    assert hooks.got[0].said["data"]["link"] is None
    assert LinkRows().find() == []


def test_what_happened_while_nobody_looked_is_told_and_what_is_older_than_a_day_is_not(
    desk: Service, tmp_path: Path
) -> None:
    first, second = desk.ask_now(REQUEST, ANN).run, desk.ask_now(REQUEST, ANN).run
    asyncio.run(desk.decide(first, "reject", LEA))
    with Hooks() as hooks:
        file = hooks_file(tmp_path / "hooks", hooks.url)
        late = Clock()
        late.ahead = 90_000
        with working(desk, file, late):
            until(lambda: hooks.got and empty())
        with working(desk, file):
            third = desk.ask_now(REQUEST, ANN).run
            until(lambda: len(hooks.got) == 2 and empty())
    assert [(each.said["type"], each.said["data"]["run"]) for each in hooks.got] == [
        ("approval.waiting", second), ("approval.waiting", third)
    ]  # fmt: skip


def test_several_workers_tell_of_each_thing_once(desk: Service, tmp_path: Path) -> None:
    with Hooks() as hooks:
        file = hooks_file(tmp_path / "hooks", hooks.url, events=["approval.waiting", "approval.decided"])
        with working(desk, file), working(desk, file), working(desk, file):
            runs = [desk.ask_now(REQUEST, ANN).run for _ in range(6)]
            for run in runs:
                asyncio.run(desk.decide(run, "reject", LEA))
            until(lambda: len(hooks.got) >= 6 and hooks.types.count("approval.decided") == 6 and empty())
    ids = [each.id for each in hooks.got]
    assert len(ids) == len({*ids})
    for run in runs:
        its = [each.said["type"] for each in hooks.got if each.said["data"]["run"] == run]
        assert its[-1] == "approval.decided"


def test_what_fails_is_tried_again_after_growing_pauses_and_dead_after_a_day(desk: Service, tmp_path: Path) -> None:
    clock, pauses = Clock(), list[float]()
    with Hooks((503, {})) as hooks:
        file = hooks_file(tmp_path / "hooks", hooks.url, events=["approval.waiting"])
        with working(desk, file, clock) as worker:
            desk.ask_now(REQUEST, ANN)
            until(lambda: hooks.got)
            while True:
                count = len(hooks.got)
                (one,) = until(lambda count=count: _tried(count, clock()))
                if one.state == "dead":
                    break
                pauses.append(round(one.due - clock(), -1))
                clock.ahead += one.due - clock() + 1
                worker.wake()
                until(lambda count=count: len(hooks.got) > count)
            assert worker.attempts["ops", "failed"] == len(hooks.got)
            assert worker.counts() == {("ops", "waiting"): 0, ("ops", "dead"): 1}
    assert pauses[:7] == [0.0, 20.0, 80.0, 320.0, 1280.0, 5120.0, 10800.0]
    assert len({each.id for each in hooks.got}) == 1
    stamps = [int(each.headers["webhook-timestamp"]) for each in hooks.got]
    assert stamps == sorted({*stamps})


def _tried(times: int, now: float) -> list[Delivery]:
    """The delivery once so many attempts are noted."""
    return [one for one in Outbox().deliveries() if one.attempts == times and (one.state == "dead" or one.due > now)]


def test_a_receiver_that_asks_for_time_gets_it_and_one_that_is_gone_is_left_alone(
    desk: Service, tmp_path: Path
) -> None:
    clock = Clock()
    with Hooks((429, {"retry-after": "600"}), (410, {})) as hooks:
        file = hooks_file(tmp_path / "hooks", hooks.url, events=["approval.waiting"])
        with working(desk, file, clock) as worker:
            desk.ask_now(REQUEST, ANN)
            (one,) = until(lambda: [one for one in Outbox().deliveries() if one.failure])
            assert 590 < one.due - clock() <= 600
            clock.ahead = 601
            worker.wake()
            until(lambda: Outbox().off())
            desk.ask_now(REQUEST, ANN)
            until(lambda: Outbox().counts() == {("ops", "dead"): 2})
            assert len(hooks.got) == 2


def test_a_receiver_that_hangs_holds_up_neither_runs_nor_others(desk: Service, tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent, Hooks() as hooks:
        file = hooks_file(tmp_path / "hooks", hooks.url, events=["approval.waiting"])
        whole = json.loads(file.read_text())
        hangs = {**whole["destinations"]["ops"], "url": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        whole["destinations"]["hangs"] = hangs
        file.write_text(json.dumps(whole), encoding="utf-8")
        with working(desk, file):
            runs = [desk.ask_now(REQUEST, ANN).run for _ in range(6)]
            # all are answered while the first attempts at the other one are still open
            until(lambda: len(hooks.got) == 6)
            until(lambda: {one.destination for one in Outbox().deliveries()} == {"hangs"})
            # nobody waits for those on their way to it
            silent.close()
    assert {each.said["data"]["run"] for each in hooks.got} == {*runs}


def test_a_budget_is_told_of_once_at_80_and_once_at_100_percent(
    desk: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcing, "_BUDGETS_S", 0.0)
    ledger = open_ledger(BudgetConfig(per_day_usd=1.0, per_run_usd=0.9))

    async def spend(usd: float, run: str) -> bool:
        asked = {"principal": "ann", "intent": "repair", "workflow": "tickets", "model": "m", "tokens": 1}
        got = await ledger.reserve(run=run, usd=usd, **asked)  # type: ignore[arg-type]
        if isinstance(got, Reservation):
            await ledger.settle(got, usd=usd, tokens=1)
        return isinstance(got, Reservation)

    with Hooks() as hooks:
        file = hooks_file(tmp_path / "hooks", hooks.url, events=["budget.80", "budget.100"])
        with working(desk, file) as worker, working(desk, file):
            assert asyncio.run(spend(0.79, "one"))
            # a run's own cap says nothing of the workflow's
            assert not asyncio.run(spend(0.2, "one"))
            assert asyncio.run(spend(0.02, "two"))
            until(lambda: len(hooks.got) == 1)
            # there is no room for this one, and that is what being used up means
            assert not asyncio.run(spend(0.5, "three"))
            assert not asyncio.run(spend(0.5, "three"))
            until(lambda: len(hooks.got) == 2 and empty())
            for _ in range(3):
                worker.wake()
        # nor after a restart
        with working(desk, file):
            desk.ask_now(REQUEST, ANN)
    assert hooks.types == ["budget.80", "budget.100"]
    for each, percent in zip(hooks.got, (80, 100), strict=True):
        jsonschema.validate(each.said, events_schema())
        data = each.said["data"]
        assert (data["cap"], data["percent"], data["limit"], data["of"]) == ("per_day_usd", percent, 1.0, "")


def test_an_incident_is_told_of_when_it_opens(desk: Service, tmp_path: Path) -> None:
    with Hooks() as hooks:
        file = hooks_file(tmp_path / "hooks", hooks.url, events=["incident.opened"])
        with working(desk, file):
            incidents = Incidents()
            for system in ("tickets", "another workflow", "audit log"):
                for _ in range(2):
                    incidents.record("tampering", system=system, source="audit", description="a record was changed")
            until(lambda: len(hooks.got) == 2 and empty())
    assert {each.said["data"]["system"] for each in hooks.got} == {"tickets", "audit log"}
    for each in hooks.got:
        jsonschema.validate(each.said, events_schema())


def test_words_of_a_request_are_no_markup_of_a_chat(desk: Service, tmp_path: Path) -> None:
    hostile = "<!channel> <https://evil.example|click> [x](https://evil.example) *b* & @all, please open a ticket"
    with Hooks() as hooks:
        file = hooks_file(tmp_path / "hooks", hooks.url, texts="masked", events=["approval.waiting"], shape="slack")
        whole = json.loads(file.read_text())
        whole["destinations"]["cards"] = {**whole["destinations"]["ops"], "shape": "teams", "url": f"{hooks.url}/cards"}
        file.write_text(json.dumps(whole), encoding="utf-8")
        with working(desk, file):
            desk.ask_now(hostile, ANN)
            until(lambda: len(hooks.got) == 2)
    by_path = {each.path: each.body.decode() for each in hooks.got}
    assert "<!channel>" not in by_path["/"]
    assert "&lt;!channel&gt;" in by_path["/"]
    assert "](https" not in by_path["/cards"]
