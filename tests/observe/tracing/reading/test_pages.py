"""Lists of runs: what is filtered, pages that hold still while runs come, and what of the store is read for them."""

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.observe.tracing.reading.filters import RunFilter, Sight, matches, where
from sluicegate.observe.tracing.reading.pages import page_of_runs, requesters
from sluicegate.observe.tracing.reading.usage import daily_use
from sluicegate.observe.tracing.store import Store
from tests.support.recorded_runs import BEGAN_NS, begin, end, many

DAY_NS = 86_400 * 10**9


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(tmp_path / "store.sqlite")) as opened:
        yield opened


def ids(rows: Sequence[dict[str, Any]]) -> list[str]:
    return [row["run_id"] for row in rows]


def plan(store: Store, which: RunFilter) -> str:
    """How SQLite finds the first page."""
    terms, values = where(which)
    sql = f"EXPLAIN QUERY PLAN SELECT * FROM runs {terms} ORDER BY started_ns DESC, run_id DESC LIMIT 51"
    return " / ".join(row["detail"] for row in store.query(sql, values))


def test_pages_follow_each_other_whatever_comes_in_between(store: Store) -> None:
    runs = many(store, 25)
    first = page_of_runs(store, RunFilter(), limit=10)
    assert ids(first.rows) == runs[:-11:-1]
    # some begin now, and one later that has an earlier start: another machine's clock
    for number in range(7):
        begin(store, f"new-{number}", at_ns=BEGAN_NS + DAY_NS + number)
    begin(store, "late", at_ns=BEGAN_NS + 3 * 10**9)
    second = page_of_runs(store, RunFilter(), limit=10, after=first.next)
    third = page_of_runs(store, RunFilter(), limit=10, after=second.next)
    assert ids(second.rows) + ids(third.rows) == [*runs[14:3:-1], "late", *runs[3::-1]]
    assert third.next == ""


def test_runs_that_began_at_once_are_neither_lost_nor_repeated(store: Store) -> None:
    runs = sorted(many(store, 9, apart_ns=0), reverse=True)
    seen, after = list[str](), ""
    while True:
        page = page_of_runs(store, RunFilter(), limit=2, after=after)
        seen += ids(page.rows)
        if not (after := page.next):
            break
    assert seen == runs


def test_an_exactly_full_last_page_has_no_next(store: Store) -> None:
    many(store, 4)
    first = page_of_runs(store, RunFilter(), limit=2)
    assert first.next
    second = page_of_runs(store, RunFilter(), limit=2, after=first.next)
    assert (len(second.rows), second.next) == (2, "")


@pytest.mark.parametrize("cursor", ["x", "1", "-5.abc", "9" * 40 + ".a", "²³.a", ".", "1.a'; DROP TABLE runs; --"])
def test_a_cursor_that_is_none_begins_anew_or_ends_the_list(store: Store, cursor: str) -> None:
    runs = many(store, 3)
    assert ids(page_of_runs(store, RunFilter(), after=cursor).rows) in ([], runs[::-1])
    assert len(store.runs()) == 3


@pytest.mark.slow
def test_rows_that_are_not_shown_are_passed_over_and_counted(store: Store) -> None:
    runs = many(store, 1200)
    chosen = {runs[2], runs[600], runs[1199]}
    page = page_of_runs(store, RunFilter(), limit=2, shown=lambda row: row["run_id"] in chosen)
    assert (ids(page.rows), bool(page.next)) == ([runs[1199]], True), "500 were read"
    found, after, reads = ids(page.rows), page.next, 1
    while after:
        page = page_of_runs(store, RunFilter(), limit=2, after=after, shown=lambda row: row["run_id"] in chosen)
        found, after, reads = found + ids(page.rows), page.next, reads + 1
    assert (found, reads) == ([runs[1199], runs[600], runs[2]], 3)


def test_every_filter(store: Store) -> None:
    end(store, begin(store, "aa01", user="ann"), path="rag-slm", intent="password", risk="low", usd=0.002)
    end(store, begin(store, "aa02", user="bob", at_ns=BEGAN_NS + 5), path="cache", intent="password", risk="high")
    end(store, begin(store, "bb03", user="cia", workflow="orders"), status="failed", usd=0.5)
    begin(store, "bb04", user="ann", shadow=True)

    def found(**fields: Any) -> set[str]:
        return {*ids(page_of_runs(store, RunFilter(**fields)).rows)}

    assert found() == {"aa01", "aa02", "bb03"}
    assert found(shadow=True, users=("ann",)) == {"aa01", "bb04"}
    assert found(workflow="orders") == found(status="failed") == found(usd_from=0.1) == {"bb03"}
    assert found(path="cache") == found(risk="high") == found(since_ns=BEGAN_NS + 1) == {"aa02"}
    assert found(intent="password", until_ns=BEGAN_NS + 5) == {"aa01"}
    assert found(usd_to=0.01) == {"aa01", "aa02"}, "what cost nothing yet costs little"
    assert found(id_prefix="aa") == {"aa01", "aa02"}
    assert found(id_prefix="b%") == set()
    assert found(within=()) == set()
    assert found(within=(Sight("helpdesk", ["bob"]), Sight("orders"))) == {"aa02", "bb03"}
    assert found(within=(Sight("", ["cia"]),)) == {"bb03"}
    assert found(within=(Sight("helpdesk", []),)) == set()


_ROWS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "user": st.sampled_from(["ann", "bob"]),
        "workflow": st.sampled_from(["helpdesk", "orders"]),
        "at_ns": st.integers(1, 4),
        "outcome": st.fixed_dictionaries(
            {},
            optional={
                "path": st.sampled_from(["cache", "tool"]),
                "risk": st.sampled_from(["low", "high"]),
                "usd": st.sampled_from([0.0, 0.1, 0.2]),
            },
        ),
    }
)
_SIGHTS = st.builds(
    Sight,
    workflow=st.sampled_from(["", "helpdesk"]),
    users=st.none() | st.lists(st.sampled_from(["ann", "bob"])),
)
_FILTERS = st.builds(
    RunFilter,
    workflow=st.sampled_from(["", "orders"]),
    path=st.sampled_from(["", "cache"]),
    risk=st.sampled_from(["", "high"]),
    users=st.sampled_from([(), ("ann",)]),
    since_ns=st.integers(0, 3),
    until_ns=st.integers(0, 5),
    usd_from=st.sampled_from([None, 0.0, 0.1]),
    usd_to=st.sampled_from([None, 0.1]),
    id_prefix=st.sampled_from(["", "1", "10"]),
    within=st.none() | st.lists(_SIGHTS, max_size=2).map(tuple),
)


@pytest.mark.slow
@given(st.lists(_ROWS, min_size=1, max_size=12), _FILTERS)
def test_a_row_in_memory_matches_when_the_store_finds_it(rows: list[dict[str, Any]], which: RunFilter) -> None:
    with closing(Store(":memory:")) as store:
        for number, row in enumerate(rows):
            info = begin(store, str(number), at_ns=row["at_ns"], user=row["user"], workflow=row["workflow"])
            end(store, info, **row["outcome"])
        every = store.runs(limit=-1)
        assert {*ids(page_of_runs(store, which).rows)} == {row["run_id"] for row in every if matches(which, row)}


@pytest.mark.slow
def test_a_page_of_ten_thousand_runs_reads_an_index_and_the_rows_it_shows(store: Store) -> None:
    many(store, 10_000, users=[f"user-{number}" for number in range(500)])
    everybody = RunFilter(within=(Sight("helpdesk"),), path="tool", usd_from=0.09)
    assert "USING INDEX runs_listed" in plan(store, everybody)
    assert "TEMP B-TREE" not in plan(store, everybody)
    own = RunFilter(within=(Sight("helpdesk", ["ann", "user-7"]),))
    assert "USING INDEX runs_by_user" in plan(store, own)
    found = page_of_runs(store, RunFilter(id_prefix=f"{77:023x}"))
    assert "sqlite_autoindex_runs_1" in plan(store, RunFilter(id_prefix="ab"))
    assert len(found.rows) == 16
    assert len(requesters(store)) == 500
    terms, values = where(replace(everybody, since_ns=BEGAN_NS))
    sql = f"EXPLAIN QUERY PLAN SELECT sum(usd) FROM runs {terms} GROUP BY path"
    assert "COVERING INDEX runs_listed" in store.query(sql, values)[0]["detail"]


def test_costs_are_added_up_by_the_day(store: Store) -> None:
    for number, (path, usd) in enumerate([("rag-llm", 0.2), ("rag-llm", 0.3), ("cache", 0.0), (None, None)]):
        info = begin(store, f"r{number}", at_ns=BEGAN_NS + (number // 2) * DAY_NS)
        outcome: dict[str, Any] = {"path": path, "usd": usd, "prompt_tokens": 7} if path else {}
        end(store, info, **outcome)
    begin(store, "shade", shadow=True)
    days = [time.strftime("%Y-%m-%d", time.gmtime(at / 1e9)) for at in (BEGAN_NS, BEGAN_NS + DAY_NS)]
    assert [(str(each.day), each.name, each.runs, each.usd, each.tokens) for each in daily_use(store, RunFilter())] == [
        (days[0], "rag-llm", 2, pytest.approx(0.5), 14),
        (days[1], "cache", 1, 0.0, 7),
        (days[1], "none", 1, 0.0, 0),
    ]
    (first, *_), _ = daily_use(store, RunFilter(), by="workflow")
    assert (str(first), daily_use(store, RunFilter(users=("nobody",)))) == (days[0], [])
