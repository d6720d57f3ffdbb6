"""A conversation's turns are its person's runs, one at a time, none lost, and seen by nobody else."""

import asyncio
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sluicegate.errors import ConfigError, ConversationBusyError, NodeFailedError, RunError
from sluicegate.graphs.config.load import load
from sluicegate.graphs.conversations.turns import Conversations
from sluicegate.graphs.runtime.factory import Opened
from sluicegate.graphs.runtime.run import Runner
from sluicegate.graphs.session.checkpoint_reader import recorded
from sluicegate.graphs.session.session import Session
from sluicegate.home import home
from sluicegate.observe.tracing.reading.filters import RunFilter
from sluicegate.observe.tracing.storing.shared import open_store
from sluicegate.retention.erase import erase
from sluicegate.retention.prune import prune
from sluicegate.services import Completion, ModelRequest
from sluicegate.state import State
from sluicegate.storage.database import open_database, place
from sluicegate.storage.schemas import CONVERSATIONS
from tests.support.fakes import FakeModels
from tests.support.redacting import ANN, EVE, LEA, OWN, Desk


def questions(state: State) -> list[str]:
    return [turn["question"] for turn in state["conversation"]["turns"]]


def rows() -> list[dict[str, Any]]:
    with closing(open_database(place(), CONVERSATIONS)) as store, store.reading() as execute:
        return execute("SELECT person, conversation, number, run, open FROM turns ORDER BY person, number")


@pytest.mark.slow
async def test_a_turn_knows_what_its_person_asked_before_and_nobody_else_does(desk: Desk) -> None:
    opened = desk.opened()
    runner = opened.runner
    desk.says("At nine.")
    first = await runner.run("When does the gate open?", ANN, session="c")
    second = await runner.run("And on Sunday?", ANN, session="c")
    # the same name is another conversation of another person
    other = await runner.run("And now?", EVE, session="c")
    elsewhere = await runner.run("And there?", ANN, session="d")
    alone = await runner.run("And alone?", ANN)

    assert questions(first.state) == []
    assert questions(second.state) == ["When does the gate open?"]
    assert second.state["conversation"]["turn"] == 2
    assert (questions(other.state), questions(elsewhere.state)) == ([], [])
    assert "conversation" not in alone.state
    talks = runner.conversations
    assert talks
    assert [row.run for row in talks.turns("ann", "c")] == [first.run, second.run]
    assert {row.name: row.turns for row in talks.all("ann")} == {"c": 2, "d": 1}
    assert [row.name for row in talks.all("eve")] == ["c"]
    opened.tracer.close()
    with closing(open_store()) as traces:
        assert {row["session"] for row in traces.runs(RunFilter(session="c"))} == {"c"}
        assert len(traces.runs(RunFilter(session="c"))) == 3


@pytest.mark.slow
async def test_another_persons_conversation_and_none_are_refused_alike(desk: Desk) -> None:
    runner = desk.opened().runner
    desk.says("At nine.")
    await runner.run("When does the gate open?", ANN, session="secret-plan")
    assert runner.conversations

    def refusal(name: str) -> str:
        with pytest.raises(RunError, match="SG640") as raised:
            runner.conversations.turns("eve", name)  # type: ignore[union-attr]
        return str(raised.value).replace(name, "NAME")

    assert refusal("secret-plan") == refusal("never-held")


@pytest.mark.slow
async def test_only_answered_turns_within_the_window_are_referred_to(desk: Desk) -> None:
    runner = desk.opened().runner
    desk.says("")
    await runner.run("One is refused, as there is no answer", ANN, session="c")
    desk.says("Yes.")
    desk.router.label = "risky"
    waiting = await runner.run("Two waits", ANN, session="c")
    desk.router.label = "contact"
    third = await runner.run("Three", ANN, session="c")
    assert questions(third.state) == []
    await runner.decide(waiting.run, "approve", LEA)
    fourth = await runner.run("Four", ANN, session="c")
    assert questions(fourth.state) == ["Two waits", "Three"]
    # three back: the second has left the window
    assert questions((await runner.run("Five", ANN, session="c")).state) == ["Two waits", "Three", "Four"]
    assert questions((await runner.run("Six", ANN, session="c")).state) == ["Three", "Four", "Five"]


async def test_what_was_redacted_in_a_turn_is_redacted_for_the_next(desk: Desk) -> None:
    runner = desk.opened().runner
    desk.says("Done.")
    await runner.run(f"Write to {OWN}", ANN, session="c")
    second = await runner.run("Did you?", ANN, session="c")
    assert questions(second.state) == ["Write to <EMAIL>"]
    assert OWN not in str(recorded(second.run))


class Slow(FakeModels):
    """Answers when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()

    async def chat(self, request: ModelRequest) -> Completion:
        self.begun.set()
        await self.go_on.wait()
        return await super().chat(request)


@pytest.mark.slow
async def test_of_two_turns_at_once_the_second_is_refused_and_nothing_is_lost(desk: Desk) -> None:
    desk.models = models = Slow()
    desk.says("At nine.")
    one, other = desk.opened().runner, desk.opened().runner
    first = asyncio.create_task(one.run("When does the gate open?", ANN, session="c"))
    await models.begun.wait()
    for runner in (one, other):
        with pytest.raises(ConversationBusyError, match="SG641"):
            await runner.run("And on Sunday?", ANN, session="c")
    # it is this conversation that is busy, not the person
    models.go_on.set()
    assert (await one.run("And there?", ANN, session="d")).status == "answered"
    assert (await first).status == "answered"
    again = await other.run("And on Sunday?", ANN, session="c")
    assert questions(again.state) == ["When does the gate open?"]
    assert [(row["conversation"], row["number"], row["open"]) for row in rows()] == [
        ("c", 1, 0), ("d", 1, 0), ("c", 2, 0)
    ]  # fmt: skip


@pytest.mark.slow
async def test_of_many_first_turns_at_once_one_is_taken(desk: Desk) -> None:
    runners = [desk.opened().runner for _ in range(6)]
    desk.says("At nine.")
    done = await asyncio.gather(
        *(runner.run(f"Question {n}?", ANN, session="c") for n, runner in enumerate(runners)), return_exceptions=True
    )
    answered = [each for each in done if not isinstance(each, BaseException)]
    refused = [each for each in done if isinstance(each, BaseException)]
    assert answered
    assert all(isinstance(each, ConversationBusyError) for each in refused)
    taken = [row["run"] for row in rows()]
    assert sorted(taken) == sorted(each.run for each in answered)
    # each later one knew the earlier ones
    for each in answered:
        assert len(questions(each.state)) == each.state["conversation"]["turn"] - 1


@pytest.mark.slow
async def test_a_failed_turn_frees_the_conversation_and_is_not_referred_to(desk: Desk) -> None:
    runner = desk.opened().runner
    desk.says("At nine.")

    class Broken(FakeModels):
        async def chat(self, request: ModelRequest) -> Completion:
            raise ZeroDivisionError

    failing = desk.opened(change=lambda services: replace(services, models=Broken())).runner
    with pytest.raises(NodeFailedError):
        await failing.run("When?", ANN, session="c")
    second = await runner.run("And on Sunday?", ANN, session="c")
    assert (second.state["conversation"]["turn"], questions(second.state)) == (2, [])


@pytest.mark.slow
async def test_a_turn_that_was_cut_short_is_resumed_before_the_next_is_taken(desk: Desk) -> None:
    desk.models = models = Slow()
    desk.says("At nine.")
    runner = desk.opened().runner
    first = asyncio.create_task(runner.run("When does the gate open?", ANN, session="c", run="first"))
    await models.begun.wait()
    # as a closing service does; a killed process leaves the same
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    models.go_on.set()
    other = desk.opened().runner
    with pytest.raises(ConversationBusyError, match="--run first"):
        await other.run("And on Sunday?", ANN, session="c")
    assert (await other.resume("first")).status == "answered"
    assert questions((await other.run("And on Sunday?", ANN, session="c")).state) == ["When does the gate open?"]


async def test_a_turn_that_was_killed_before_it_was_written_down_makes_room(desk: Desk) -> None:
    runner = desk.opened().runner
    assert runner.conversations
    desk.says("At nine.")
    lost = runner.opening("Nobody was told of this", ANN, session="c")
    runner.conversations.take_turn(lost, runner)
    outcome = await runner.run("When?", ANN, session="c")
    assert outcome.state["conversation"]["turn"] == 1
    assert [row["run"] for row in rows()] == [outcome.run]


async def test_a_turn_that_was_killed_after_its_end_is_over(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = desk.opened().runner
    desk.says("At nine.")
    with monkeypatch.context() as killed:
        killed.setattr(Conversations, "over", lambda *_: None)
        await runner.run("When does the gate open?", ANN, session="c")
    assert rows()[0]["open"] == 1
    assert questions((await runner.run("And then?", ANN, session="c")).state) == ["When does the gate open?"]


def later(opened: Opened, days: float) -> Opened:
    """The same, so many days from now."""

    def now() -> datetime:
        return datetime.now(UTC) + timedelta(days=days)

    talks = opened.workflow.config.conversation
    assert talks
    opened.runner.conversations = Conversations(place(), opened.workflow.name, talks, now=now)
    return opened


@pytest.mark.slow
async def test_a_conversation_ends_when_nobody_has_said_anything_for_long(desk: Desk) -> None:
    opened = desk.opened()
    desk.says("At nine.")
    await opened.runner.run("When does the gate open?", ANN, session="c")
    await later(opened, 29).runner.run("And then?", ANN, session="c")
    third = await later(opened, 58).runner.run("And now?", ANN, session="c")
    assert third.state["conversation"]["turn"] == 3
    anew = await later(opened, 89).runner.run("Hello again", ANN, session="c")
    assert anew.state["conversation"] == {"turn": 1, "turns": []}
    assert [row["run"] for row in rows()] == [anew.run]


@pytest.mark.slow
async def test_what_is_over_is_pruned_and_what_lasts_is_not(desk: Desk) -> None:
    opened = desk.opened()
    desk.says("At nine.")
    await opened.runner.run("Old", ANN, session="old")
    await opened.runner.run("Lasting", ANN, session="lasting")
    await later(opened, 20).runner.run("Lasting", ANN, session="lasting")

    def in_days(days: float) -> Callable[[], float]:
        return lambda: datetime.now(UTC).timestamp() + days * 86_400

    assert prune(opened.workflow.config, now=in_days(29)).turns == 0
    assert prune(opened.workflow.config, now=in_days(31)).turns == 1
    assert [row["conversation"] for row in rows()] == ["lasting", "lasting"]
    other = opened.workflow.config.model_copy(update={"workflow": "other"})
    assert prune(other, now=in_days(99)).turns == 0
    without = opened.workflow.config.model_copy(update={"conversation": None})
    assert prune(without, now=in_days(21)).turns == 2


async def test_a_turn_whose_run_was_pruned_is_no_longer_referred_to(desk: Desk) -> None:
    opened = desk.opened()
    desk.says("At nine.")
    first = await opened.runner.run("When does the gate open?", ANN, session="c")
    opened.runner.graph.checkpointer.delete_thread(first.run)  # type: ignore[union-attr]
    second = await opened.runner.run("And then?", ANN, session="c")
    assert (second.state["conversation"]["turn"], questions(second.state)) == (2, [])


@pytest.mark.slow
async def test_an_erased_person_has_no_conversations(desk: Desk) -> None:
    opened = desk.opened()
    desk.says("At nine.")
    await opened.runner.run("When?", ANN, session="anns")
    await opened.runner.run("When?", EVE, session="eves")
    opened.tracer.close()
    assert (await erase("ann", by="lea")).removed["turns of conversations"] == 1
    assert [row["person"] for row in rows()] == ["eve"]
    if isinstance(place(), type(home())):
        assert b"anns" not in (home() / "conversations.sqlite").read_bytes()


@pytest.mark.slow
async def test_a_dry_run_refers_to_turns_and_takes_none(desk: Desk) -> None:
    runner: Runner = desk.opened().runner
    desk.says("At nine.")
    await runner.run("When does the gate open?", ANN, session="c")
    dry = Session.start(desk.file, "And on Sunday?", as_="ann", conversation="c", dry=True)
    assert dry.state["conversation"]["turns"][0]["question"] == "When does the gate open?"
    assert len(rows()) == 1
    stepped = Session.start(desk.file, "And on Sunday?", as_="ann", conversation="c")
    assert stepped.state["conversation"]["turn"] == 2
    stepped.run()
    assert [row["run"] for row in rows()][1] == stepped.run_id


async def test_a_workflow_without_conversations_only_names_the_trace(desk: Desk) -> None:
    desk.file.write_text(desk.file.read_text(encoding="utf-8").replace("conversation:", "# conversation:"))
    runner = desk.opened().runner
    desk.says("At nine.")
    outcome = await runner.run("When?", ANN, session="c")
    assert "conversation" not in outcome.state
    assert outcome.state["run"]["conversation"] == "c"


def test_the_block_is_checked(desk: Desk) -> None:
    assert load(desk.file).config.conversation
    text = desk.file.read_text(encoding="utf-8")
    for wrong in ("{turns: 0}", "{ttl: 0s}", "{ttl: soon}", "{turn: 8}"):
        desk.file.write_text(text.replace("{turns: 3, ttl: 30d}", wrong), encoding="utf-8")
        with pytest.raises(ConfigError, match=r"SG10[57]"):
            load(desk.file)


@pytest.mark.slow
async def test_a_condensed_question_is_redacted_wherever_it_was_written(desk: Desk) -> None:
    text = desk.file.read_text(encoding="utf-8").replace("start: classify", "start: condense")
    desk.file.write_text(text.replace("nodes:", "nodes:\n  condense: {kind: condense, then: classify}", 1), "utf-8")
    opened = desk.opened()
    desk.says("Ann has them.")
    await opened.runner.run("Who has the keys?", ANN, session="c")
    second = await opened.runner.run(f"And {OWN}?", ANN, session="c")
    assert second.state["request"]["text"] == "And <EMAIL_1>?"
    assert second.state["request"]["standalone"] == "Who has the keys? And <EMAIL_1>?"  # type: ignore[typeddict-item]
    assert second.state["trail"][0]["node"] == "condense"
    steps = [*opened.runner.graph.get_state_history({"configurable": {"thread_id": second.run}})]
    assert len(steps) > 5
    assert OWN not in str([step.values for step in steps])
    opened.tracer.close()
    with closing(open_store()) as traces:
        assert OWN not in str(traces.spans(second.run))
    # what it says is what the next turn is read with
    third = await opened.runner.run("And now?", ANN, session="c")
    assert third.state["request"]["standalone"] == "Who has the keys? And <EMAIL>? And now?"  # type: ignore[typeddict-item]
    assert third.state["request"]["cleaned"] == ["redacted"]


def test_a_guarantee_on_how_a_request_came_is_proved_through_condense(desk: Desk) -> None:
    text = desk.file.read_text(encoding="utf-8").replace("start: classify", "start: condense")
    text = text.replace("nodes:", "nodes:\n  condense: {kind: condense, then: classify}", 1)
    text += "guarantees: [{no: respond, without: output-check, when: \"request.channel == 'api'\"}]\n"
    desk.file.write_text(text.replace("cache.hit && ", "false && cache.hit && "), encoding="utf-8")
    assert "condenses" in load(desk.file).flow.nodes["condense"].effects


# --- a conversation that parts from another one ---


@pytest.mark.slow
async def test_what_follows_a_turn_parts_from_what_has_followed_it_already(desk: Desk) -> None:
    runner = desk.opened().runner
    desk.says("At nine.")
    talks = runner.conversations
    assert talks
    first = await runner.run("When does the gate open?", ANN, session="c")
    talks.note(first.run, "known")
    # nothing has followed: it is the conversation itself
    assert talks.after("ann", "run", first.run) == talks.after("ann", "history", "known") == "c"
    await runner.run("And on Sunday?", ANN, session="c")
    parted = talks.after("ann", "history", "known")
    assert parted != "c"
    # it does so once, until that one is followed, too
    assert talks.after("ann", "run", first.run) == parted
    other = await runner.run("And on Monday?", ANN, session=parted)
    assert questions(other.state) == ["When does the gate open?"]
    assert [row.run for row in talks.turns("ann", parted)] == [first.run, other.run]
    assert len(talks.turns("ann", "c")) == 2
    for who, value in (("ann", "unknown"), ("eve", "known")):
        assert talks.after(who, "history", value) == ""


@pytest.mark.slow
async def test_a_conversation_that_is_over_takes_nothing_from_those_that_parted_from_it(desk: Desk) -> None:
    opened = desk.opened()
    desk.says("At nine.")
    assert opened.runner.conversations
    first = await opened.runner.run("When does the gate open?", ANN, session="c")
    await opened.runner.run("And on Sunday?", ANN, session="c")
    parted = opened.runner.conversations.after("ann", "run", first.run)
    await later(opened, 20).runner.run("And on Monday?", ANN, session=parted)
    # the one it parted from is over, and begins anew
    await later(opened, 40).runner.run("Hello again", ANN, session="c")
    last = await later(opened, 40).runner.run("And now?", ANN, session=parted)
    assert questions(last.state) == ["When does the gate open?", "And on Monday?"]
    assert opened.runner.conversations.after("ann", "run", first.run) == "", "too long ago"
