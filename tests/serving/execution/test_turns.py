"""Who is next: as one list of what is due says, and never later than by the levels' difference."""

import asyncio
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluicegate.serving.execution.turns import LATER_S, Turns, due
from sluicegate.state import Priority

PRIORITIES = st.sampled_from([*LATER_S])


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Came:
    number: int
    priority: Priority
    at: float


class Line:
    """Turns with a clock of their own, and who has had one, in order."""

    def __init__(self, many: int) -> None:
        self.clock = Clock()
        self.turns = Turns(many, self.clock)
        self.served: list[Came] = []
        self.tasks: dict[int, asyncio.Task[None]] = {}
        self.inside: list[asyncio.Event] = []

    async def comes(self, priority: Priority) -> Came:
        one = Came(len(self.tasks), priority, self.clock.now)
        self.tasks[one.number] = asyncio.create_task(self._has_a_turn(one))
        await settled()
        return one

    async def _has_a_turn(self, one: Came) -> None:
        async with self.turns.at(one.priority):
            self.served.append(one)
            self.inside.append(leaves := asyncio.Event())
            await leaves.wait()

    async def one_leaves(self) -> None:
        self.inside.pop(0).set()
        await settled()

    async def all_leave(self) -> None:
        while self.inside:
            await self.one_leaves()


async def settled() -> None:
    for _ in range(4):
        await asyncio.sleep(0)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    many=st.integers(1, 3),
    steps=st.lists(
        st.tuples(st.sampled_from(["comes", "comes", "leaves", "goes away"]), PRIORITIES, st.floats(0, 400))
    ),
)
def test_who_waits_is_served_by_when_it_is_due(many: int, steps: list[tuple[str, Priority, float]]) -> None:
    async def lived() -> None:
        line, waiting = Line(many), list[Came]()
        for step, priority, passes in steps:
            line.clock.now += passes
            before, had_room = len(line.served), len(line.inside) < many
            if step == "comes":
                one = await line.comes(priority)
                waiting += [] if had_room else [one]
                assert line.served[before:] == ([one] if had_room else [])
            elif step == "leaves" and line.inside:
                await line.one_leaves()
                first = min(waiting, key=lambda one: (due(one.priority, one.at), one.number), default=None)
                assert line.served[before:] == ([first] if first else [])
                waiting = [one for one in waiting if one is not first]
            elif step == "goes away" and waiting:
                line.tasks[waiting.pop().number].cancel()
                await settled()
            assert len(line.inside) <= many
            assert not waiting or len(line.inside) == many
        await line.all_leave()
        assert {*waiting} <= {*line.served}
        assert not line.turns.locked()

    asyncio.run(lived())


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(waits=PRIORITIES, others=PRIORITIES, every=st.floats(1, 100))
def test_nothing_waits_for_ever_however_many_come(waits: Priority, others: Priority, every: float) -> None:
    """One turn, and somebody comes for each who leaves: the line never becomes shorter."""

    async def lived() -> None:
        line = Line(1)
        await line.comes("normal")
        one = await line.comes(waits)
        for _ in range(2 + int((LATER_S["low"] - LATER_S["high"]) / every)):
            line.clock.now += every
            await line.comes(others)
            await line.one_leaves()
        assert one in line.served
        overtook = line.served[1 : line.served.index(one)]
        assert all(other.at <= LATER_S[waits] - LATER_S[other.priority] for other in overtook)
        await line.all_leave()

    asyncio.run(lived())


async def test_a_turn_that_is_given_to_who_has_just_gone_away_goes_on_to_the_next() -> None:
    line = Line(1)
    await line.comes("normal")
    gone, other = await line.comes("high"), await line.comes("low")
    line.inside.pop(0).set()
    while len(line.turns._waiting) == 2:
        await asyncio.sleep(0)
    line.tasks[gone.number].cancel()
    await settled()
    assert line.served[1:] == [other]
    await line.all_leave()
    assert not line.turns.locked()
