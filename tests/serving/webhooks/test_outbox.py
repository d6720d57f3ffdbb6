"""The outbox: each event once, claimed by one at a time, in the order of its run, within its bounds."""

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from sluicegate.errors import RunError
from sluicegate.serving.webhooks import outbox as rooms
from sluicegate.serving.webhooks.outbox import LEASE_S, WITHIN_S, Announcement, Outbox
from tests.support.hooks import Clock


def event(key: str, run: str = "") -> Announcement:
    return Announcement("approval.waiting", (key,), "desk", run, "2026-11-27T12:00:00+00:00", {"run": run})


@pytest.fixture
def clock(each_place: str) -> Clock:
    """The clock of an outbox in a home, and of one on a server."""
    return Clock()


@pytest.fixture
def outbox(clock: Clock) -> Iterator[Outbox]:
    with closing(Outbox(now=clock)) as made:
        yield made


def test_an_event_is_there_once(outbox: Outbox) -> None:
    assert outbox.add(event("a"), ["ops", "chat"])
    assert not outbox.add(event("a"), ["ops", "chat"])
    assert [(one.destination, one.event) for one in outbox.deliveries()] == [
        ("chat", event("a").id), ("ops", event("a").id)
    ]  # fmt: skip
    (claimed,) = outbox.claim("ops", "me", 5)
    outbox.done(claimed)
    # delivered is not forgotten
    assert not outbox.add(event("a"), ["ops"])
    assert outbox.counts() == {("chat", "waiting"): 1}


def test_a_claim_ends_with_its_delivery_or_its_lease(outbox: Outbox, clock: Clock) -> None:
    outbox.add(event("a"), ["ops"])
    assert [one.attempts for one in outbox.claim("ops", "one", 5)] == [1]
    assert outbox.claim("ops", "two", 5) == []
    clock.ahead = LEASE_S + 1
    assert [one.attempts for one in outbox.claim("ops", "two", 5)] == [2]
    outbox.release("two")
    (again,) = outbox.claim("ops", "three", 5)
    assert again.attempts == 2


def test_of_many_that_claim_at_a_time_each_gets_its_own(outbox: Outbox, clock: Clock) -> None:
    keys = [str(number) for number in range(40)]
    for key in keys:
        outbox.add(event(key), ["ops"])
    got: list[str] = []

    def take() -> None:
        with closing(Outbox(now=clock)) as mine:
            while taken := mine.claim("ops", threading.current_thread().name, 3):
                got.extend(one.event for one in taken)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == sorted(event(key).id for key in keys)


def test_those_of_one_run_go_one_after_the_other(outbox: Outbox, clock: Clock) -> None:
    for key, run in (("1", "r"), ("2", "r"), ("3", "s"), ("4", "r")):
        outbox.add(event(key, run), ["ops"])
    first = outbox.claim("ops", "me", 9)
    assert [one.event for one in first] == [event("1", "r").id, event("3", "s").id]
    outbox.failed(first[0], "HTTP 500", pause_s=100)
    assert outbox.claim("ops", "me", 9) == []
    clock.ahead = 101
    (again,) = [one for one in outbox.claim("ops", "me", 9) if one.run == "r"]
    assert (again.event, again.attempts, again.failure) == (first[0].event, 2, "HTTP 500")
    outbox.done(again)
    assert [one.event for one in outbox.claim("ops", "me", 9)] == [event("2", "r").id]


def test_what_fails_for_a_day_is_dead_and_may_be_retried_or_dropped(outbox: Outbox, clock: Clock) -> None:
    outbox.add(event("a"), ["ops"])
    (claimed,) = outbox.claim("ops", "me", 1)
    outbox.failed(claimed, "HTTP 500", pause_s=WITHIN_S - 10)
    assert outbox.counts() == {("ops", "waiting"): 1}
    clock.ahead = WITHIN_S - 5
    (claimed,) = outbox.claim("ops", "me", 1)
    outbox.failed(claimed, "HTTP 503", pause_s=10)
    assert outbox.counts() == {("ops", "dead"): 1}
    assert outbox.next_due("ops") is None
    assert outbox.retry("ops") == 1
    (claimed,) = outbox.claim("ops", "me", 1)
    outbox.failed(claimed, "HTTP 503", pause_s=10)
    assert outbox.counts() == {("ops", "waiting"): 1}, "a day begins anew"
    assert outbox.drop(claimed.event) == 1
    assert outbox.deliveries() == []
    for gone in (outbox.retry, outbox.drop):
        with pytest.raises(RunError, match="SG603"):
            gone("ops")


def test_a_destination_that_is_off_gets_nothing_until_it_is_retried(outbox: Outbox) -> None:
    outbox.add(event("a"), ["ops"])
    outbox.switch_off("ops", "HTTP 410")
    outbox.add(event("b"), ["ops", "chat"])
    assert outbox.off() == {"ops": "HTTP 410"}
    assert outbox.counts() == {("ops", "dead"): 2, ("chat", "waiting"): 1}
    assert outbox.retry("ops") == 2
    assert outbox.off() == {}
    assert len(outbox.claim("ops", "me", 9)) == 2


def test_what_waits_and_what_is_dead_is_bounded(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "MOST", 3)
    for key in range(8):
        outbox.add(event(str(key)), ["ops"])
    assert outbox.counts() == {("ops", "waiting"): 3, ("ops", "dead"): 3}
    dead = [one for one in outbox.deliveries() if one.state == "dead"]
    assert {one.event for one in dead} == {event(str(key)).id for key in (5, 6, 7)}
    assert {one.failure for one in dead} == {"too many deliveries wait for it"}
