"""What asks and waits, stepped through, replayed and in a shadow."""

from pathlib import Path

import pytest

from sluicegate.errors import ConversationBusyError, NotWaitingError, RunError
from sluicegate.graphs.runtime.waiting.again import run_again
from sluicegate.graphs.session.replay import open_for_replay, replay
from sluicegate.graphs.session.session import Session
from tests.support.asking import QUESTION, VAGUE, asking_desk, words
from tests.support.redacting import ANN, Desk

pytestmark = pytest.mark.slow


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return asking_desk(tmp_path / "desk", monkeypatch)


def timed(desk: Desk) -> None:
    text = desk.file.read_text(encoding="utf-8").replace("{otherwise: recall}", "{otherwise: later}")
    text = text.replace("\n  recall:", "\n  later: {kind: wait, for: 10m, then: recall}\n  recall:", 1)
    desk.file.write_text(text, encoding="utf-8")


def test_a_question_is_answered_in_a_session(desk: Desk) -> None:
    session = Session.start(desk.file, VAGUE, as_="ann")
    session.step()
    step = session.step()
    assert QUESTION in repr(step)
    assert (session.status, session.node) == ("waiting", "ask")
    assert QUESTION in session._repr_html_()
    assert "answer(TEXT, as_=…)" in session._repr_html_()
    with pytest.raises(RunError, match=r"answer\(TEXT, as_=…\)"):
        session.step()
    with pytest.raises(NotWaitingError):
        session.approve(as_="lea", role="lead")
    with pytest.raises(RunError, match="SG610"):
        session.answer("the laptop", as_="eve")
    step = session.answer("the laptop", as_="ann")
    assert session.node == "classify"
    assert {change.field.partition(".")[0] for change in step.changes} >= {"intent", "replies"}
    assert "intent" not in session.state
    session.run()
    assert session.status == "answered"
    # back to before the answer: what it took away is there again, and what it brought is not
    session.rewind("ask")
    assert session.state["intent"]["label"] == "vague"
    assert not session.state.get("replies")
    session.run()
    session.answer("the printer", as_="ann")
    session.run()
    assert words(session.state) == [(QUESTION, "the printer")]
    assert session.state["request"]["text"] == f"{VAGUE}\nthe printer"


def test_a_session_does_not_take_a_turn_past_a_question(desk: Desk) -> None:
    asking = Session.start(desk.file, VAGUE, as_="ann", conversation="c")
    asking.run()
    with pytest.raises(ConversationBusyError, match="asks a question") as refused:
        Session.start(desk.file, "How long is it?", as_="ann", conversation="c")
    assert asking.run_id in str(refused.value.hint)
    # another person's of that name, and one that only looks
    for other in ({"as_": "eve"}, {"as_": "ann", "dry": True}):
        assert Session.start(desk.file, "the laptop", conversation="c", **other).run_id != asking.run_id
    asking.answer("the laptop", as_="ann")
    asking.run()
    assert Session.start(desk.file, "the printer", as_="ann", conversation="c").run_id != asking.run_id


def test_a_copy_of_a_run_knows_no_more_than_the_run(desk: Desk) -> None:
    session = Session.start(desk.file, VAGUE, as_="ann")
    session.run()
    session.answer("the laptop", as_="ann")
    fork = session.fork()
    assert "intent" not in fork.state
    assert words(fork.state) == [(QUESTION, "the laptop")]
    assert fork.run().status == "answered"


async def test_a_question_of_production_is_answered_on_a_copy(desk: Desk) -> None:
    runner = desk.opened().runner
    asked = await runner.run(VAGUE, ANN)
    session = Session.open(asked.run)
    await session.aanswer("the laptop", as_=ANN)
    assert session.run_id != asked.run
    assert (await session.arun()).status == "answered"
    assert runner.asks(asked.run)


async def test_a_replay_gives_the_recorded_answers_again(desk: Desk) -> None:
    runner = desk.opened().runner
    asked = await runner.run(VAGUE, ANN)
    await runner.decide(asked.run, "answer", ANN, text="the laptop")
    timed(desk)
    [change] = await replay([asked.run], open_for_replay(desk.file))
    assert not [each.field for each in change.differences if each.field not in ("workflow", "path", "way")]
    again = open_for_replay(desk.file).runner.last_state(change.replayed)
    assert again
    assert words(again) == [(QUESTION, "the laptop")]
    # it asked, was answered, and did not wait for the timer
    assert [entry["node"] for entry in again["trail"]][:5] == ["classify", "ask", "classify", "gate", "later"]
    assert again["run"]["status"] == "answered"


async def test_a_question_that_was_not_asked_before_stays_open(desk: Desk) -> None:
    runner = desk.opened().runner
    done = await runner.run("My laptop does not start", ANN)
    text = desk.file.read_text(encoding="utf-8").replace("== 'vague'", "== 'contact'")
    desk.file.write_text(text, encoding="utf-8")
    shadow = open_for_replay(desk.file).runner
    assert (await run_again(shadow, done.state)).status == "waiting"
