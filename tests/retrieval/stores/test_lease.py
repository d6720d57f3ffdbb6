"""One ingest at a time: who waits, who is refused, and who takes over from whom."""

import time
from typing import Any

import pytest

from sluicegate.errors import LockedError, RetrievalError
from sluicegate.retrieval.stores import lease as leases
from sluicegate.retrieval.stores.lease import held
from sluicegate.retrieval.stores.objects import Objects, open_objects
from tests.support.waiting import until


@pytest.fixture
def objects(store: str) -> Objects:
    return open_objects(f"{store}/lease")


def taken(objects: Objects, machine: str, **options: Any) -> Any:
    settings: dict[str, Any] = {"index": "kb", "above": lambda: 0, "expires_s": 2.0, **options}
    return held(objects, machine=machine, **settings)


def killed(objects: Objects, machine: str) -> int:
    """The token of a holder that renews nothing and gives nothing back."""
    return leases._acquired(objects, machine, "kb", lambda: 0, 2.0, 0.1, _never)[0].token  # pyright: ignore[reportPrivateUsage]


def _never(_seconds: float) -> None:
    pytest.fail("there is nothing to wait for")


def test_one_after_the_other_with_higher_tokens(objects: Objects) -> None:
    for token in (1, 2, 3):
        with taken(objects, f"machine {token}") as lease:
            assert lease.token == token
            assert not lease.lost.is_set()
    objects.delete(["lease"])
    with taken(objects, "machine", above=lambda: 40) as lease:
        assert lease.token == 41, "the pointer remembers what a deleted lease does not"


def test_a_second_one_is_refused_while_the_first_renews(objects: Objects) -> None:
    pauses: list[float] = []

    def wait(seconds: float) -> None:
        pauses.append(seconds)
        time.sleep(0.05)

    with taken(objects, "one", expires_s=1.0) as first:
        # the clocks of stores count seconds
        refused = taken(objects, "two", expires_s=30.0, patience_s=0.1, pause=wait)
        with pytest.raises(LockedError, match=r"another ingest of index 'kb' is running: on .*, process \d+, since 20"):
            refused.__enter__()
        assert not first.lost.is_set()
    assert pauses
    with taken(objects, "two") as second:
        assert second.token == first.token + 1


def test_a_killed_holder_of_the_same_machine_is_followed_at_once(objects: Objects) -> None:
    before = killed(objects, "one")

    with taken(objects, "one", pause=_never) as lease:
        assert lease.token == before + 1


@pytest.mark.slow
def test_a_killed_holder_of_another_machine_is_followed_when_its_lease_has_run_out(objects: Objects) -> None:
    before = killed(objects, "one")
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        time.sleep(0.1)

    with taken(objects, "two", expires_s=1.0, patience_s=0.0, pause=wait) as lease:
        assert lease.token == before + 1
    assert waited


def test_a_holder_notices_that_it_was_taken_over(objects: Objects) -> None:
    with taken(objects, "one", expires_s=0.3) as slow, taken(objects, "one", expires_s=3_600.0) as fast:
        until(slow.lost.is_set)
        assert fast.token == slow.token + 1
    with taken(objects, "two", pause=_never) as third:
        assert third.token == fast.token + 1, "the slow one gave nothing back that was not its own"


@pytest.mark.slow
def test_a_holder_gives_up_when_the_store_is_away_for_longer_than_its_lease(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    with taken(objects, "one", expires_s=0.3) as lease:

        def away(*_given: object) -> None:
            raise RetrievalError("SG700", "away")

        monkeypatch.setattr(type(objects), "put", away)
        until(lease.lost.is_set)
