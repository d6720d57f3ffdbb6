"""The requester is asked: what waits, who may answer, what becomes of the answer, and what it takes away."""

import asyncio
from contextlib import closing
from typing import Any

import pytest

from sluicegate.errors import ConversationBusyError, NotWaitingError, RunError
from sluicegate.graphs.runtime.intake import principal
from sluicegate.graphs.runtime.outcome import Outcome
from sluicegate.graphs.runtime.run import Runner
from sluicegate.graphs.runtime.waiting.approvals import Approvals
from sluicegate.graphs.session.checkpoint_reader import overdue, recorded
from sluicegate.home import home
from sluicegate.observe.tracing.storing.shared import open_store
from sluicegate.retention.erase import erase
from sluicegate.storage.database import open_database, place
from sluicegate.storage.schemas import APPROVALS
from tests.support.approving import later
from tests.support.asking import QUESTION, VAGUE, words
from tests.support.raw_bytes import readable
from tests.support.redacting import ANN, EVE, LEA, OWN, Desk

AFTER = ["ask", "classify", "gate", "recall", "facts", "answer", "check", "respond"]


def way(outcome: Outcome) -> list[str]:
    return [entry["node"] for entry in outcome.state["trail"]]


def steps(runner: Runner, run: str) -> list[Any]:
    return [each.values for each in runner.graph.get_state_history({"configurable": {"thread_id": run}})]


def verdicts() -> list[str]:
    with closing(open_database(place(), APPROVALS)) as store, store.reading() as execute:
        return [row["verdict"] for row in execute("SELECT verdict FROM decisions ORDER BY decided_at")]


@pytest.mark.slow
async def test_an_answer_is_added_to_the_request_which_is_classified_and_decided_anew(desk: Desk) -> None:
    runner = desk.opened().runner
    asked = await runner.run(VAGUE, ANN)
    assert asked.status == "waiting"
    assert asked.waiting
    assert (asked.waiting["waits_for"], asked.waiting["reason"]) == ("answer", QUESTION)
    assert asked.waiting["approvers"] == "user:ann"
    assert way(asked) == ["classify"]

    done = await runner.decide(asked.run, "answer", ANN, text=" the laptop\x07 ")
    assert done.status == "answered"
    assert way(done) == ["classify", *AFTER]
    request = done.state["request"]
    assert request["text"] == f"{VAGUE}\nthe laptop"
    assert request["cleaned"] == ["control-characters"]
    assert request["size"] == len(VAGUE) + len(" the laptop\x07 ")
    assert words(done.state) == [(QUESTION, "the laptop")]
    assert done.state["intent"]["label"] == "contact"
    [(_, (message,))] = desk.models.asked
    assert message.content.startswith(f"{VAGUE}\nthe laptop")


@pytest.mark.slow
async def test_what_was_concluded_from_the_earlier_words_is_gone(desk: Desk) -> None:
    text = desk.file.read_text(encoding="utf-8")
    # now it asks when there is a checked draft
    text = text.replace("go: ask}, {otherwise: gate}]", "go: gate}, {otherwise: gate}]")
    checked = '{when: "checks.failed", go: refuse}'
    assert checked in text
    text = text.replace(checked, f"{{when: \"intent.label == 'vague'\", go: ask}}\n      - {checked}")
    desk.file.write_text(text, encoding="utf-8")
    runner = desk.opened().runner
    asked = await runner.run(VAGUE, ANN)
    assert {"intent", "route", "policy", "cache", "answer", "checks"} <= asked.state.keys()
    done = await runner.decide(asked.run, "answer", ANN, text="the printer")
    assert done.status == "answered"
    [after] = [each for each in steps(runner, asked.run) if each.get("trail") and each["trail"][-1]["node"] == "ask"]
    assert not {"intent", "route", "policy", "cache", "answer", "checks", "tags", "approval"} & after.keys()
    # what happened stays
    assert after["documents"]
    assert after["trail"][:-1] == asked.state["trail"]
    # and a run that another process goes on with knows as little
    assert "answer" not in desk.opened().runner.graph.get_state(
        next(each.config for each in runner.graph.get_state_history({"configurable": {"thread_id": asked.run}})
             if each.values.get("trail") and each.values["trail"][-1]["node"] == "ask")
    ).values  # fmt: skip


@pytest.mark.slow
async def test_an_answer_may_be_asked_for_again_as_often_as_the_node_may_be_visited(desk: Desk) -> None:
    runner = desk.opened().runner
    asked = await runner.run(VAGUE, ANN)
    again = await runner.decide(asked.run, "answer", ANN, text="the big one")
    assert again.waiting
    done = await runner.decide(asked.run, "answer", ANN, text="no idea")
    # its visits are used up
    assert way(done) == ["classify", "ask", "classify", "ask", "classify", *AFTER[2:]]
    assert words(done.state) == [(QUESTION, "the big one"), (QUESTION, "no idea")]
    assert done.state["request"]["text"] == f"{VAGUE}\nthe big one\nno idea"


@pytest.mark.parametrize(
    ("person", "code"),
    [
        (EVE, "SG610"),
        (LEA, "SG610"),
        (None, "SG610"),
        (principal("ann", []), "SG610"),
        (principal("ann", ["employee"], [], "public"), "SG610"),
    ],
)
async def test_only_the_requester_with_the_rights_of_the_run_may_answer(desk: Desk, person: Any, code: str) -> None:
    runner = desk.opened().runner
    asked = await runner.run(VAGUE, ANN)
    with pytest.raises(RunError, match=code):
        await runner.decide(asked.run, "answer", person, text="the laptop")
    assert verdicts() == []
    more = principal("ann", ["lead", "employee"], ["staff"], "restricted")
    assert (await runner.decide(asked.run, "answer", more, text="the laptop")).status == "answered"


@pytest.mark.parametrize("verdict", ["approve", "reject", "edit", "", "answers"])
async def test_a_question_takes_nothing_but_an_answer(desk: Desk, verdict: str) -> None:
    runner = desk.opened().runner
    asked = await runner.run(VAGUE, ANN)
    for person in (ANN, LEA):
        with pytest.raises(NotWaitingError, match="SG605"):
            await runner.decide(asked.run, verdict, person, text="the laptop")
    assert runner.waiting(asked.run)


async def test_an_approver_is_not_answered(desk: Desk) -> None:
    desk.file.write_text(desk.file.read_text(encoding="utf-8").replace("risk: low", "risk: high"), encoding="utf-8")
    runner = desk.opened().runner
    waiting = await runner.run("My laptop", ANN)
    assert waiting.waiting
    assert waiting.waiting["waits_for"] == "approval"
    with pytest.raises(NotWaitingError, match="waits for role:lead to decide"):
        await runner.decide(waiting.run, "answer", ANN, text="yes")


@pytest.mark.slow
@pytest.mark.parametrize(("text", "code"), [("", "SG601"), (" \x07\n", "SG601"), ("x" * 199_999, "SG602")])
async def test_what_is_no_answer_is_refused_and_may_be_sent_again(desk: Desk, text: str, code: str) -> None:
    runner = desk.opened().runner
    asked = await runner.run(VAGUE, ANN)
    with pytest.raises(RunError, match=code):
        await runner.decide(asked.run, "answer", ANN, text=text)
    assert (await runner.decide(asked.run, "answer", ANN, text="the laptop")).status == "answered"


@pytest.mark.slow
async def test_of_many_answers_at_once_one_is_taken_and_the_others_are_told(desk: Desk) -> None:
    runners = [desk.opened().runner for _ in range(5)]
    asked = await runners[0].run(VAGUE, ANN)
    done = await asyncio.gather(
        *(each.decide(asked.run, "answer", ANN, text=f"laptop {n}") for n, each in enumerate(runners)),
        return_exceptions=True,
    )
    [taken] = [each for each in done if isinstance(each, Outcome)]
    refused = [each for each in done if not isinstance(each, Outcome)]
    assert {type(each) for each in refused} == {NotWaitingError}
    assert len(words(taken.state)) == len(verdicts()) == 1
    assert way(taken) == ["classify", *AFTER]


@pytest.mark.slow
async def test_a_question_that_nobody_answers_ends_where_the_workflow_says(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = desk.opened()
    asked = await opened.runner.run(VAGUE, ANN)
    assert overdue("desk", opened.runner.services.now()) == []
    later(monkeypatch, 2.1)
    late = desk.opened().runner
    [run] = overdue("desk", late.services.now())
    assert run["id"] == asked.run
    done = await late.expire(asked.run)
    assert (done.status, way(done)) == ("refused", ["classify", "ask", "refuse"])
    assert done.state["failure"] == {
        "node": "ask", "cause": "timeout", "code": "SG637", "reason": "ask was not answered in time",
    }  # fmt: skip
    # nothing was added, so nothing is taken away
    assert done.state["intent"]["label"] == "vague"
    assert "replies" not in done.state


@pytest.mark.slow
async def test_an_answer_that_comes_too_late_is_refused_and_the_run_goes_on_without_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = await desk.opened().runner.run(VAGUE, ANN)
    later(monkeypatch, 2.1)
    late = desk.opened().runner
    for _ in range(2):
        with pytest.raises(NotWaitingError, match="SG605"):
            await late.decide(asked.run, "answer", ANN, text="the laptop")
    assert recorded(asked.run)["run"]["status"] == "refused"
    assert "laptop" not in str(verdicts())


@pytest.mark.slow
async def test_an_answer_in_time_counts_although_its_process_was_killed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = desk.opened().runner
    asked = await first.run(VAGUE, ANN)
    await first.record(asked.run, "answer", ANN, text="the laptop")
    later(monkeypatch, 2.1)
    assert (await desk.opened().runner.expire(asked.run)).status == "answered"


@pytest.mark.slow
async def test_words_of_an_answer_are_guarded_and_redacted_as_those_of_a_request(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = desk.opened()
    asked = await opened.runner.run(VAGUE, ANN)
    done = await opened.runner.decide(asked.run, "answer", ANN, text=f"the laptop of {OWN}")
    assert done.state["request"]["text"] == f"{VAGUE}\nthe laptop of <EMAIL_1>"
    assert words(recorded(asked.run)) == [(QUESTION, "the laptop of <EMAIL_1>")]
    assert OWN not in str(steps(opened.runner, asked.run))
    assert OWN not in str(verdicts())
    opened.tracer.close()
    with closing(open_store()) as traces:
        assert OWN not in str(traces.spans(asked.run))
        assert QUESTION in str(traces.spans(asked.run))


async def test_an_answer_is_kept_with_the_decision_only_until_its_run_has_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = desk.opened().runner
    asked = await runner.run(VAGUE, ANN)
    with monkeypatch.context() as killed:
        killed.setattr(Approvals, "applied", lambda *_: None)
        await runner.decide(asked.run, "answer", ANN, text="the laptop")
    assert "the laptop" in str(verdicts())
    await runner.resume(asked.run)
    assert "the laptop" not in str(verdicts())


@pytest.mark.slow
async def test_an_erased_persons_answers_are_gone(desk: Desk) -> None:
    opened = desk.opened()
    asked = await opened.runner.run(VAGUE, ANN)
    await opened.runner.record(asked.run, "answer", ANN, text="the laptop of my aunt")
    opened.tracer.close()
    await erase("ann", by="lea")
    assert verdicts() == []
    if isinstance(place(), type(home())):
        assert not [file for file in home().rglob("*.sqlite") if b"my aunt" in readable(file)]


@pytest.mark.slow
async def test_the_next_turn_of_a_conversation_is_the_answer(desk: Desk) -> None:
    runner = desk.opened().runner
    asked = await runner.run(VAGUE, ANN, session="c")
    elsewhere = await runner.run("The printer hums", ANN, session="d")
    other = await runner.run("The printer hums", EVE, session="c")
    assert {elsewhere.status, other.status} == {"answered"}
    done = await runner.run("the laptop", ANN, session="c")
    assert (done.run, done.status) == (asked.run, "answered")
    assert runner.conversations
    assert [row.run for row in runner.conversations.turns("ann", "c")] == [asked.run]
    following = await runner.run("And the printer?", ANN, session="c")
    assert [turn["question"] for turn in following.state["conversation"]["turns"]] == [f"{VAGUE}\nthe laptop"]


@pytest.mark.slow
async def test_while_an_answer_is_worked_on_no_turn_is_taken(desk: Desk) -> None:
    one, other = desk.opened().runner, desk.opened().runner
    asked = await one.run(VAGUE, ANN, session="c")
    refused = list[Exception]()

    class Meanwhile(type(desk.models)):  # type: ignore[misc]
        async def chat(self, request: Any) -> Any:
            with pytest.raises(RunError) as raised:
                await other.run("And the printer?", ANN, session="c")
            refused.append(raised.value)
            return await super().chat(request)

    desk.models.__class__ = Meanwhile
    assert (await one.run("the laptop", ANN, session="c")).run == asked.run
    assert [type(each) for each in refused] == [ConversationBusyError]


@pytest.mark.slow
async def test_of_two_next_turns_at_once_one_is_the_answer(desk: Desk) -> None:
    runners = [desk.opened().runner for _ in range(4)]
    asked = await runners[0].run(VAGUE, ANN, session="c")
    done = await asyncio.gather(
        *(each.run(f"laptop {n}", ANN, session="c") for n, each in enumerate(runners)), return_exceptions=True
    )
    answered = [each for each in done if isinstance(each, Outcome)]
    assert asked.run in {each.run for each in answered}
    assert len(words(recorded(asked.run))) == 1
    refused = {type(each) for each in done if not isinstance(each, Outcome)}
    assert refused <= {NotWaitingError, ConversationBusyError}


@pytest.mark.slow
async def test_a_late_answer_in_a_conversation_is_refused_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = await desk.opened().runner.run(VAGUE, ANN, session="c")
    later(monkeypatch, 2.1)
    runner = desk.opened().runner
    with pytest.raises(NotWaitingError, match="Send what you have to say as a new request"):
        await runner.run("the laptop", ANN, session="c")
    done = await runner.run("My laptop does not start", ANN, session="c")
    assert (done.status, done.run != asked.run) == ("answered", True)
