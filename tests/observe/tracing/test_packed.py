"""Observations of a file are packed by commit and run, and read as if each were a row."""

import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sluicegate.errors import RunError
from sluicegate.observe.tracing.spans import Record
from sluicegate.observe.tracing.store import Store
from sluicegate.observe.tracing.storing.writes import Writes
from tests.support.scenario import branch, first_stretch, last_stretch, open_tracer


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(tmp_path / "store.sqlite")) as opened:
        yield opened


def record(name: str, parent: str = "up", **attributes: Any) -> Record:
    return Record(name * 16, parent, name, "span", attributes, start_ns=1795886545289065257, end_ns=1795886545289065258)


def commit(store: Store, *records: tuple[str, Record]) -> None:
    store.write(Writes(records=[*records]))


def test_each_has_a_number_whatever_it_is_packed_with(store: Store) -> None:
    assert (store.last(), store.since(0)) == (0, [])
    commit(store, ("one", record("a")), ("two", record("b")), ("one", record("c", said={"x": [1.5, None, "ü"]})))
    seen = store.last()
    commit(store, ("one", record("d")), ("one", record("e")))
    assert [(row["seq"], row["name"]) for row in store.since(0)] == [*enumerate("acbde", 1)]
    assert [row["name"] for row in store.since(seen)] == ["d", "e"]
    assert [row["name"] for row in store.since(seen + 1)] == ["e"], "also from the middle of a row"
    assert store.last() == 5
    assert [row["name"] for row in store.spans("one")] == ["a", "c", "d", "e"]
    assert store.spans("one")[1] == {
        "seq": 2, "span_id": "c" * 16, "run_id": "one", "parent": "up", "name": "c", "type": "span",
        "start_ns": 1795886545289065257, "end_ns": 1795886545289065258, "level": "DEFAULT", "message": "",
        "attributes": {"said": {"x": [1.5, None, "ü"]}},
    }  # fmt: skip


def test_the_first_root_stays(store: Store) -> None:
    commit(store, ("one", record("a")), ("one", record("r", "", of="first")))
    commit(store, ("one", record("b")), ("one", record("r", "", of="second")))
    commit(store, ("one", record("r", "", of="third")))
    assert [row["name"] for row in store.spans("one")] == ["a", "r", "b"]
    root = store.root("one")
    assert root
    assert root.attributes == {"of": "first"}
    assert store.root("two") is None


async def test_a_resume_goes_into_the_root_wherever_it_is(tmp_path: Path) -> None:
    store, tracer = open_tracer(tmp_path)
    await first_stretch(tracer)
    before = store.spans("run-1")
    await last_stretch(tracer)
    after = store.spans("run-1")
    assert [row for row in after[: len(before)] if row["parent"]] == [row for row in before if row["parent"]]
    root = store.root("run-1")
    assert root
    assert root.attributes["status"] == "answered"
    assert store.query("SELECT sum(count) AS n FROM packed_spans") == [{"n": len(after)}]
    tracer.close()
    store.close()


def test_what_cannot_get_smaller_is_kept_as_it_is(store: Store) -> None:
    sql = "SELECT sqlar_compress(CAST('ab' AS BLOB)) AS packed, sqlar_uncompress(CAST('ab' AS BLOB), 2) AS whole"
    assert store.query(sql) == [{"packed": b"ab", "whole": b"ab"}]


def test_a_message_is_kept_whole(store: Store) -> None:
    one = record("a")
    one.message = "invalid byte \0 in the name"
    commit(store, ("one", one))
    assert [row["message"] for row in store.spans("one")] == ["invalid byte \ufffd in the name"]


def test_what_is_damaged_says_so(store: Store) -> None:
    commit(store, ("one", record("a", text="word " * 100)))
    store.query("UPDATE packed_spans SET content = zeroblob(length(content)) RETURNING seq")
    with pytest.raises(RunError, match="is corrupt") as raised:
        store.spans("one")
    assert raised.value.code == "SG606"


@pytest.mark.skipif(not shutil.which("sqlite3"), reason="SQLite's shell is not installed")
def test_the_shell_of_sqlite_reads_the_views(tmp_path: Path) -> None:
    store, tracer = open_tracer(tmp_path)
    with tracer.run("r", workflow="w"):
        tracer.branch("a", branch("b", "x > 1", {"x": 2}, ("c",)))
    sql = "SELECT node, taken, condition FROM decisions; SELECT count(*) FROM spans;"
    read = subprocess.run(["sqlite3", str(store.path), sql], capture_output=True, text=True, check=True)
    assert read.stdout.split() == ["a|b|x", ">", "1", "2"]
    tracer.close()
    store.close()


def test_following_unpacks_only_runs_with_something_new(store: Store) -> None:
    sql: list[str] = []
    connection: sqlite3.Connection = store._connection  # pyright: ignore[reportPrivateUsage]
    connection.set_trace_callback(sql.append)
    store.since(7)
    connection.set_trace_callback(None)
    plan = " / ".join(row["detail"] for row in store.query(f"EXPLAIN QUERY PLAN {sql[0]}"))
    assert "SEARCH packed_spans USING INDEX packed_spans_by_run (run_id=?)" in plan
    assert "SEARCH packed_spans USING INTEGER PRIMARY KEY (rowid>?)" in plan
