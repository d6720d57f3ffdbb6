"""Rates: what passes is what a token bucket lets pass, exactly, however many processes ask."""

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluicegate.policies.rates.limiter import RateLimiter
from sluicegate.policies.rates.rate import MAX_WAIT_S, Rate
from sluicegate.storage.database import Place, place
from sluicegate.storage.postgres import server

NOON = 1_795_000_000
SECOND = 1_000_000


class Clock:
    def __init__(self) -> None:
        self.micros = NOON * SECOND

    def __call__(self) -> float:
        return self.micros / SECOND


class Bucket:
    """A token bucket, by its definition: refilled continuously, in exact fractions."""

    def __init__(self, rate: Rate, at: int) -> None:
        self._rate, self._tokens, self._at = rate, Fraction(rate.burst), at

    def _fill(self, at: int) -> None:
        self._tokens = min(Fraction(self._rate.burst), self._tokens + Fraction(at - self._at, self._rate.interval))
        self._at = at

    def wait(self, at: int) -> Fraction:
        """Microseconds until there is a token for who comes now."""
        self._fill(at)
        return max(Fraction(0), (1 - self._tokens) * self._rate.interval)

    def take(self) -> None:
        # what is booked ahead is owed
        self._tokens -= 1


@pytest.fixture
def where(each_place: str) -> Place:
    return place()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limiter(where: Place, clock: Clock) -> Iterator[RateLimiter]:
    made = RateLimiter(where, now=clock)
    yield made
    made.close()


def test_a_rate_as_it_is_written() -> None:
    assert (Rate.of("60 per minute").interval, Rate.of("60 per minute").burst) == (SECOND, 60)
    assert (Rate.of("7 per second, 2 at once").interval, Rate.of("7 per second, 2 at once").burst) == (142_858, 2)
    for wrong in ("60", "0 per minute", "60 per fortnight", "60 per minute, 0 at once", " 60 per minute"):
        with pytest.raises(ValueError, match="is no rate"):
            Rate.of(wrong)


def written(count: int, unit: str, burst: int) -> Rate:
    return Rate.of(f"{count} per {unit}" + (f", {burst} at once" if burst else ""))


RATES = st.builds(
    written,
    st.sampled_from([1, 2, 5, 7, 60, 1000]),
    st.sampled_from(["second", "minute", "hour"]),
    st.integers(0, 4),
)
PAUSES = st.lists(st.integers(0, 90 * SECOND) | st.integers(0, 2000) | st.just(0), max_size=40)


@pytest.mark.slow
@given(RATES, PAUSES)
@settings(max_examples=60, deadline=None)
def test_people_are_let_in_as_by_a_token_bucket(rate: Rate, pauses: Sequence[int]) -> None:
    clock = Clock()
    bucket = Bucket(rate, clock.micros)
    with tempfile.TemporaryDirectory() as folder:
        limiter = RateLimiter(Path(folder), now=clock)
        for pause in pauses:
            clock.micros += pause
            turn = asyncio.run(limiter.book_person("ann", "desk", rate))
            wait = bucket.wait(clock.micros)
            assert turn.booked is (wait == 0)
            assert turn.wait_s == pytest.approx(float(wait) / SECOND, abs=1e-6)
            if turn.booked:
                bucket.take()
        limiter.close()


@pytest.mark.slow
@given(RATES, PAUSES, st.sampled_from([0.0, 1.5, 60.0, MAX_WAIT_S]))
@settings(max_examples=60, deadline=None)
def test_calls_wait_as_long_as_a_token_bucket_makes_them(rate: Rate, pauses: Sequence[int], patience: float) -> None:
    clock, starts = Clock(), list[int]()
    bucket = Bucket(rate, clock.micros)
    with tempfile.TemporaryDirectory() as folder:
        limiter = RateLimiter(Path(folder), now=clock)
        for pause in pauses:
            clock.micros += pause
            turn = asyncio.run(limiter.book_model("openai:gpt-5-mini", rate, patience_s=patience))
            wait = bucket.wait(clock.micros)
            assert turn.wait_s == pytest.approx(float(wait) / SECOND, abs=1e-6)
            assert turn.booked is (wait <= patience * SECOND)
            if turn.booked:
                bucket.take()
                starts.append(clock.micros + round(turn.wait_s * SECOND))
        limiter.close()
    assert starts == sorted(starts), "in the order in which they were booked"
    for first, begin in enumerate(starts):
        for last in range(first, len(starts)):
            assert last - first + 1 <= rate.burst + (starts[last] - begin) / rate.interval + 1e-9


async def test_people_workflows_and_models_are_apart(limiter: RateLimiter, clock: Clock) -> None:
    rate = Rate.of("1 per minute")
    assert (await limiter.book_person("ann", "desk", rate)).booked
    refused = await limiter.book_person("ann", "desk", rate)
    assert (refused.booked, refused.wait_s) == (False, 60.0)
    assert (await limiter.book_person("eve", "desk", rate)).booked
    assert (await limiter.book_person("ann", "other", rate)).booked
    assert (await limiter.book_model("ann", rate, patience_s=0)).booked
    clock.micros += 59 * SECOND
    assert not (await limiter.book_person("ann", "desk", rate)).booked
    clock.micros += SECOND
    assert (await limiter.book_person("ann", "desk", rate)).booked


async def test_a_clock_that_is_set_back_locks_nobody_out(limiter: RateLimiter, clock: Clock) -> None:
    rate = Rate.of("10 per minute")
    for _ in range(10):
        assert (await limiter.book_person("ann", "desk", rate)).booked
    clock.micros -= 30 * SECOND
    assert not (await limiter.book_person("ann", "desk", rate)).booked, "half a minute is waited out"
    clock.micros -= 3600 * SECOND
    assert [(await limiter.book_person("ann", "desk", rate)).booked for _ in range(11)] == [True] * 10 + [False]


async def test_what_says_nothing_any_more_is_pruned(limiter: RateLimiter, clock: Clock) -> None:
    rate = Rate.of("1 per minute")
    await limiter.book_person("ann", "desk", rate)
    clock.micros += 30 * SECOND
    await limiter.book_person("eve", "desk", rate)
    clock.micros += 30 * SECOND
    assert limiter.prune() == 1
    assert not (await limiter.book_person("eve", "desk", rate)).booked


async def test_nobody_waits_for_longer_than_a_row_may_say(limiter: RateLimiter) -> None:
    with pytest.raises(ValueError, match="600 s at most"):
        await limiter.book_model("m", Rate.of("1 per hour"), patience_s=MAX_WAIT_S + 1)


MANY = """
import asyncio, sys
from sluicegate.policies.rates.limiter import RateLimiter
from sluicegate.policies.rates.rate import Rate
from sluicegate.storage.postgres import server
limiter = RateLimiter(server(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
async def many():
    turns = await asyncio.gather(*(limiter.book_person("ann", "desk", Rate.of("25 per day")) for _ in range(20)))
    waits = await asyncio.gather(*(
        limiter.book_model("m", Rate.of("1 per minute"), patience_s=600) for _ in range(8)))
    print(sum(turn.booked for turn in turns), *(round(turn.wait_s / 60) for turn in waits if turn.booked), flush=True)
asyncio.run(many())
"""


@pytest.mark.slow
def test_two_processes_share_one_rate_exactly(postgres: str) -> None:
    RateLimiter(server(postgres)).close()
    each = [
        subprocess.Popen(
            [sys.executable, "-c", MANY, postgres], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    for process in each:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    said = list[list[int]]()
    for process in each:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    for process in each:
        out, _ = process.communicate(timeout=60)
        said.append([int(word) for word in out.split()])
    assert sum(passed for passed, *_ in said) == 25, "what the burst lets pass, and none more"
    waits = sorted(wait for _, *waits in said for wait in waits)
    assert waits == list(range(11)), "each minute of the ten once, and the first at once"
