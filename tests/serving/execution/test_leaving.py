"""A process that leaves while what it carries comes to its end: the row is neither done nor failed."""

from collections.abc import Coroutine
from concurrent.futures import CancelledError
from typing import Any

import pytest

from sluicegate.serving.execution import engine


class Leaving:
    """An engine with one member that carries everything."""

    def __init__(self) -> None:
        self.carried = set[str]()

    def member(self, queue: str) -> "Leaving":
        assert queue == "desk"
        return self

    async def carry(self) -> dict[str, str]:
        return {}


def leaves(work: Coroutine[Any, Any, dict[str, str]]) -> dict[str, str]:
    work.close()
    engine._engine = None
    raise CancelledError


def disconnected(*_: Any, **__: Any) -> None:
    raise RuntimeError("no DBOS was created")


def test_a_row_that_is_cancelled_as_the_last_service_leaves_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    leaving = Leaving()
    monkeypatch.setattr(engine, "_engine", leaving)
    monkeypatch.setattr(engine, "wait_for", leaves)
    monkeypatch.setattr(engine.DBOS, "resume_workflow", disconnected)
    # anything else would be written down as the end of the run
    with pytest.raises(engine._PutBack):
        engine._by_member("desk", "desk:run", lambda _: leaving.carry())
    assert leaving.carried == set()
