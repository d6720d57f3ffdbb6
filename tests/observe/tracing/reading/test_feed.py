"""Changes of runs as viewers get them: all, in order, by one reader, from where each has been."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, closing
from pathlib import Path
from typing import Any

import pytest

from sluicegate.observe.tracing.reading.feed import Anew, Change, RunFeed
from sluicegate.observe.tracing.reading.pages import last_change
from sluicegate.observe.tracing.store import Store
from tests.support.recorded_runs import begin, end, many
from tests.support.waiting import soon


class Counting(Store):
    reads = 0

    def query(self, sql: str, values: Any = ()) -> list[dict[str, Any]]:
        self.reads += 1
        return super().query(sql, values)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Counting]:
    with closing(Counting(tmp_path / "store.sqlite")) as opened:
        yield opened


Feed = AsyncGenerator[Change | Anew | None]


async def taken(feed: Feed, count: int) -> list[tuple[str, str]]:
    """The next changes: run and status."""
    found = list[tuple[str, str]]()
    while len(found) < count:
        one = await anext(feed)
        if one is not None:
            assert isinstance(one, Change)
            found.append((one.run["run_id"], one.run["status"]))
    return found


def changed(store: Store, name: str) -> None:
    info = begin(store, name)
    end(store, info)


async def test_changes_come_in_order_also_those_of_another_process(store: Counting, tmp_path: Path) -> None:
    with closing(Store(tmp_path / "store.sqlite")) as elsewhere:
        async with aclosing(RunFeed(store, every_s=0.01).follow(0)) as feed:
            info = begin(store, "a")
            assert await taken(feed, 1) == [("a", "running")]
            begin(elsewhere, "b")
            assert await taken(feed, 1) == [("b", "running")]
            end(elsewhere, info)
            assert await taken(feed, 1) == [("a", "answered")]
            for number in range(450):
                begin(store, f"r{number}")
            assert await taken(feed, 450) == [(f"r{number}", "running") for number in range(450)]


async def test_who_comes_back_gets_what_was_missed_and_nothing_twice(store: Counting) -> None:
    feed = RunFeed(store, every_s=0.01)
    async with aclosing(feed.follow(0)) as staying:
        begin(store, "a")
        await taken(staying, 1)
        async with aclosing(feed.follow(0)) as going:
            one = await anext(going)
            assert isinstance(one, Change)
        begin(store, "b")
        begin(store, "c")
        await taken(staying, 2)
        async with aclosing(feed.follow(one.seq)) as back:
            assert await taken(back, 2) == [("b", "running"), ("c", "running")]


async def test_a_page_that_was_read_before_the_feed_has_lost_nothing(store: Counting) -> None:
    begin(store, "a")
    seen = last_change(store)
    begin(store, "b")
    feed = RunFeed(store, every_s=0.01)
    async with aclosing(feed.follow(seen)) as first:
        assert await taken(first, 1) == [("b", "running")]
        # the reader has not seen this one yet when a page that shows it is followed
        begin(store, "c")
        async with aclosing(feed.follow(last_change(store))) as second:
            begin(store, "d")
            assert await taken(second, 1) == [("d", "running")]
        assert await taken(first, 2) == [("c", "running"), ("d", "running")]


async def test_who_was_away_for_too_long_or_reads_too_slowly_begins_anew(store: Counting) -> None:
    feed = RunFeed(store, every_s=0.01, kept=10)
    async with aclosing(feed.follow(0)) as slow, aclosing(feed.follow(0)) as quick:
        begin(store, "first")
        assert await taken(slow, 1) == await taken(quick, 1) == [("first", "running")]
        for number in range(30):
            begin(store, f"r{number}")
        await soon(lambda: feed.last == last_change(store))
        assert isinstance(await anext(slow), Anew)
        with pytest.raises(StopAsyncIteration):
            await anext(slow)
        assert len(feed.latest) == 10
        for seen in (3, 10**6):
            async with aclosing(feed.follow(seen)) as back:
                assert isinstance(await anext(back), Anew), "of long ago, or of another store"
        assert isinstance(await anext(quick), Anew)


async def test_deleted_runs_are_passed_over_and_their_numbers_not_used_again(store: Counting) -> None:
    feed = RunFeed(store, every_s=0.01)
    many(store, 5)
    assert store.prune(10**19 // 2, "helpdesk") == 5
    begin(store, "after")
    async with aclosing(feed.follow(0)) as viewer:
        assert await taken(viewer, 1) == [("after", "running")]
    assert last_change(store) == 6 + 5


async def test_two_hundred_viewers_have_one_reader(store: Counting) -> None:
    feed = RunFeed(store, every_s=0.01)

    async def view(names: list[str]) -> None:
        async with aclosing(feed.follow(0)) as viewer:
            names += [run for run, _ in await taken(viewer, 20)]

    seen = [list[str]() for _ in range(200)]
    watching = [asyncio.create_task(view(names)) for names in seen]
    await soon(lambda: feed.viewers == 200)
    # the reader has begun, and has found nothing yet
    await asyncio.sleep(0.05)
    before = store.reads
    for number in range(20):
        begin(store, f"r{number}")
    await asyncio.gather(*watching)
    assert seen == [[f"r{number}" for number in range(20)]] * 200
    assert store.reads - before <= 2 * 20 + 2, "at most two reads of a change, whoever looks"
    await soon(lambda: feed.viewers == 0)
    reads = store.reads
    changed(store, "unseen")
    await asyncio.sleep(0.05)
    assert store.reads == reads, "nobody looks, nothing is read"


async def test_a_quiet_feed_tells_that_it_lives_and_ends_when_it_is_closed(store: Counting) -> None:
    feed = RunFeed(store, every_s=0.01)
    async with aclosing(feed.follow(0, alive_s=0.01)) as viewer:
        assert await anext(viewer) is None
    viewing = asyncio.create_task(_all(feed.follow(0)))
    await soon(lambda: feed.viewers == 1)
    feed.close()
    assert await viewing == []


async def _all(feed: AsyncIterator[Any]) -> list[Any]:
    return [each async for each in feed]
