"""The saver's contract, on a file and on a server alike."""

import asyncio
import random
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.base import empty_checkpoint

from sluicegate.errors import CorruptError, RunError
from sluicegate.graphs.runtime.checkpoints import Checkpoints, open_checkpoints
from sluicegate.storage.database import place
from sluicegate.storage.postgres import Server

META: Any = {"source": "loop", "step": 1, "parents": {}}


@pytest.fixture
def saver(each_place: str) -> Iterator[Checkpoints]:
    with closing(open_checkpoints(place())) as made:
        yield made


def at(thread: str, id: str = "") -> Any:
    return {"configurable": {"thread_id": thread, "checkpoint_ns": "", **({"checkpoint_id": id} if id else {})}}


def put(saver: Checkpoints, config: Any, id: str, changed: dict[str, Any], held: Any = None) -> Any:
    """A checkpoint that changes some channels and keeps the others of `held`; its config and its versions."""
    versions = dict(held["channel_versions"]) if held else {}
    new = {channel: saver.get_next_version(versions.get(channel), None) for channel in changed}
    checkpoint: Any = {**empty_checkpoint(), "id": id, "channel_versions": {**versions, **new}}
    checkpoint["channel_values"] = {**(held["channel_values"] if held else {}), **changed}
    return saver.put(config, checkpoint, META, new), checkpoint


@pytest.mark.slow
def test_what_was_put_is_got(saver: Checkpoints) -> None:
    values = {"run": {"id": "r", "text": "grüße\0 😀"}, "n": 1}
    config, _ = put(saver, at("r"), "1", values)
    found = saver.get_tuple(at("r"))
    assert found
    assert found.checkpoint["channel_values"] == values
    assert (found.config, found.parent_config) == (config, None)
    assert found.metadata["step"] == 1
    assert saver.get_tuple(at("other")) is None


def stored(saver: Checkpoints) -> list[int]:
    """Bytes of each row."""
    with saver._database.reading() as execute:  # type: ignore[reportPrivateUsage]
        assert execute("SELECT count(*) AS rows FROM channels") == [{"rows": 0}]
        return [row["size"] for row in execute("SELECT length(checkpoint) AS size FROM checkpoints ORDER BY id")]


def test_only_what_changed_is_written_and_every_checkpoint_is_whole(saver: Checkpoints) -> None:
    long = random.Random(1).randbytes(1000).hex()
    first, held = put(saver, at("r"), "1", {"documents": long, "answer": "a"})
    put(saver, first, "2", {"answer": "b"}, held)
    latest, before = saver.get_tuple(at("r")), saver.get_tuple(at("r", "1"))
    assert latest
    assert before
    assert latest.checkpoint["channel_values"] == {"documents": long, "answer": "b"}
    assert before.checkpoint["channel_values"]["answer"] == "a"
    assert latest.parent_config == first
    large, small = stored(saver)
    assert large > 1000
    assert small < 200


def test_a_list_is_appended_to_however_long_it_is(saver: Checkpoints) -> None:
    config, held = put(saver, at("r"), "000", {"trail": [], "n": 0})
    trail: list[Any] = []
    numbers = random.Random(1)
    for number in range(1, 80):
        trail = [*trail, {"node": "check", "reason": numbers.randbytes(40).hex()}]
        config, held = put(saver, config, f"{number:03}", {"trail": trail, "n": number}, held)
    assert max(stored(saver)) < 300
    for number in (1, 15, 16, 17, 79):
        found = saver.get_tuple(at("r", f"{number:03}"))
        assert found
        assert found.checkpoint["channel_values"] == {"trail": trail[:number], "n": number}
    # a change in the middle is no addition
    put(saver, config, "080", {"trail": [*trail[:3], {}, *trail[4:]]}, held)
    found = saver.get_tuple(at("r"))
    assert found
    assert found.checkpoint["channel_values"]["trail"][3] == {}


def test_a_map_has_the_entries_that_changed(saver: Checkpoints) -> None:
    unlike = random.Random(1).randbytes(400).hex()
    run: dict[str, Any] = {"id": unlike, "visits": {}, "shadow": False}
    config, held = put(saver, at("r"), "1", {"run": run})
    # some are no additions: another order, an entry less, and what is equal in Python alone
    for own, change in {
        "2": {**run, "visits": {"gate": 1}},
        "3": {**run, "visits": {"gate": 1}, "status": "answered"},
        "4": dict(reversed(run.items())),
        "5": {"id": unlike},
        "6": {"id": unlike, "shadow": 0},
        "7": {"id": unlike, "shadow": False},
    }.items():
        config, held = put(saver, config, own, {"run": change}, held)
        found = saver.get_tuple(at("r"))
        assert found
        assert repr(found.checkpoint["channel_values"]) == repr({"run": change})
    sizes = stored(saver)
    assert [size < 200 for size in sizes] == [False, True, True, False, False, True, False]


def test_a_step_whose_parent_is_gone_is_corrupt(saver: Checkpoints) -> None:
    first, held = put(saver, at("r"), "1", {"n": 1})
    put(saver, first, "2", {"n": 2}, held)
    with saver._database.writing() as execute:  # type: ignore[reportPrivateUsage]
        execute("DELETE FROM checkpoints WHERE id = ?", ("1",))
    with pytest.raises(CorruptError, match="the step before it is missing"):
        saver.get_tuple(at("r"))


def test_a_fork_has_the_values_of_what_it_was_copied_from(saver: Checkpoints) -> None:
    first, held = put(saver, at("r"), "1", {"trail": [1], "n": 1})
    second, held = put(saver, first, "2", {"trail": [1, 2]}, held)
    third, _ = put(saver, second, "3", {"trail": [1, 2, 3], "n": 3}, held)
    # as LangGraph copies a checkpoint: beside it, with nothing new
    fork, copy = put(saver, first, "4", {}, held)
    fork, copy = put(saver, fork, "5", {"trail": [1, 2, 9]}, copy)
    states = {found.checkpoint["id"]: found.checkpoint["channel_values"] for found in saver.list(at("r"))}
    assert states == {
        "1": {"trail": [1], "n": 1},
        "2": {"trail": [1, 2], "n": 1},
        "3": {"trail": [1, 2, 3], "n": 3},
        "4": {"trail": [1, 2], "n": 1},
        "5": {"trail": [1, 2, 9], "n": 1},
    }
    assert third != fork


def test_another_process_goes_on_where_a_row_was_rewritten_meanwhile(saver: Checkpoints) -> None:
    first, held = put(saver, at("r"), "1", {"trail": ["secret"], "run": {"text": "secret", "n": 1}})
    assert Checkpoints(saver._database).rewrite("r", concealed) == 2  # type: ignore[reportPrivateUsage]
    put(saver, first, "2", {"trail": ["secret", "more"], "run": {"text": "secret", "n": 2}}, held)
    found = Checkpoints(saver._database).get_tuple(at("r"))  # type: ignore[reportPrivateUsage]
    assert found
    assert found.checkpoint["channel_values"] == {"trail": ["<X>", "more"], "run": {"text": "<X>", "n": 2}}


def concealed(value: Any) -> Any:
    """Plain data without the secret."""
    if isinstance(value, dict):
        return {key: concealed(each) for key, each in value.items()}
    if isinstance(value, list):
        return [concealed(each) for each in value]
    return "<X>" if value == "secret" else value


def test_a_step_is_one_transaction_of_one_row(saver: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    database: Any = saver._database  # type: ignore[reportPrivateUsage]
    commits: list[str] = []
    writing = database.writing
    monkeypatch.setattr(database, "writing", lambda run="": commits.append(run) or writing(run))
    config, held = put(saver, at("r"), "1", {"n": 1})
    saver.put_writes(config, [("n", 2), ("trail", ["a"])], "task")
    waits = saver.get_tuple(at("r"))
    assert waits
    assert waits.pending_writes == [("task", "n", 2), ("task", "trail", ["a"])]
    config, held = put(saver, config, "2", {"n": 2, "trail": ["a"]}, held)
    assert commits == ["r", "r"]
    with database.reading() as execute:
        assert execute("SELECT count(*) AS rows FROM writes") == [{"rows": 0}]
    # a step that does not end keeps what its other tasks have done
    saver.put_writes(config, [("n", 3)], "task")
    saver.put_writes(config, [("__error__", "failed")], "other")
    assert commits == ["r", "r", "r"]
    kept = Checkpoints(database).get_tuple(at("r"))
    assert kept
    assert kept.pending_writes == [("other", "__error__", "failed"), ("task", "n", 3)]


def test_results_stay_and_interrupts_are_replaced(saver: Checkpoints) -> None:
    config, _ = put(saver, at("r"), "1", {"n": 1})
    for value in ("first", "second"):
        saver.put_writes(config, [("answer", value)], "task")
        saver.put_writes(config, [("__interrupt__", value)], "other")
    found = saver.get_tuple(at("r"))
    assert found
    assert sorted(found.pending_writes or []) == [("other", "__interrupt__", "second"), ("task", "answer", "first")]


def test_listing_filters_and_limits(saver: Checkpoints) -> None:
    config, held = put(saver, at("r"), "1", {"n": 1})
    for number in range(2, 5):
        config, held = put(saver, config, str(number), {"n": number}, held)
    put(saver, at("s"), "9", {"n": 9})
    ids = lambda found: [one.checkpoint["id"] for one in found]  # noqa: E731
    assert ids(saver.list(at("r"))) == ["4", "3", "2", "1"]
    assert ids(saver.list(at("r"), before=at("r", "3"), limit=1)) == ["2"]
    assert ids(saver.list(None)) == ["9", "4", "3", "2", "1"]
    assert ids(saver.list(at("r"), filter={"step": 7})) == []
    saver.delete_thread("r")
    assert ids(saver.list(None)) == ["9"]


def test_who_stands_at_an_interrupt(saver: Checkpoints) -> None:
    late, _ = put(saver, at("late"), "5", {"n": 1})
    early, _ = put(saver, at("early"), "3", {"n": 1})
    gone, held = put(saver, at("gone"), "1", {"n": 1})
    put(saver, at("never"), "1", {"n": 1})
    for config in (late, early, gone):
        saver.put_writes(config, [("__interrupt__", "why")], "task")
    put(saver, gone, "2", {"n": 2}, held)
    assert saver.interrupts.threads() == ["early", "late"]
    assert saver.interrupts.unscheduled() == ["early", "late"]
    saver.interrupts.schedule("late", "desk", "2026-01-02T00:00:00+00:00")
    assert saver.interrupts.unscheduled() == ["early"]
    assert saver.interrupts.overdue("desk", "2026-01-03T00:00:00+00:00") == ["late"]
    assert (
        saver.interrupts.overdue("desk", "2026-01-02T00:00:00+00:00")
        == saver.interrupts.overdue("other", "2026-01-03")
        == []
    )
    assert (saver.interrupts.threads("desk"), saver.interrupts.threads("other")) == (["early", "late"], ["early"])
    assert saver.beginning("e") == ["early"]
    assert saver.beginning("") == ["early", "gone", "late"]


def test_what_waits_is_found_by_an_index_and_never_by_looking_through_the_rows(tmp_path: Path) -> None:
    saver = open_checkpoints(tmp_path)
    asked: list[str] = []
    saver._database._connection.set_trace_callback(asked.append)  # type: ignore[reportPrivateUsage]
    saver.interrupts.unscheduled()
    saver.interrupts.overdue("desk", "2026-01-03T00:00:00+00:00")
    with saver._database.reading() as execute:  # type: ignore[reportPrivateUsage]
        plans = [execute(f"EXPLAIN QUERY PLAN {sql}")[0]["detail"] for sql in asked[:2]]
    saver.close()
    assert plans == [
        "SEARCH waiting USING INDEX waiting_deadlines (workflow=?)",
        "SEARCH waiting USING COVERING INDEX waiting_deadlines (workflow=? AND deadline<?)",
    ]


def test_rewriting_reaches_every_value_of_a_thread(saver: Checkpoints) -> None:
    config, held = put(saver, at("r"), "1", {"request": {"text": "secret"}})
    put(saver, config, "2", {"request": {"text": "secret and more"}}, held)
    saver.put_writes(config, [("answer", {"text": "no"})], "task")
    put(saver, at("s"), "1", {"request": {"text": "secret"}})

    def change(values: Any) -> Any:
        return {channel: {"text": value["text"].replace("secret", "<X>")} for channel, value in values.items()}

    assert saver.rewrite("r", change) == 2
    texts = [found.checkpoint["channel_values"]["request"]["text"] for found in saver.list(None)]
    assert sorted(texts) == ["<X>", "<X> and more", "secret"]
    assert saver.rewrite("r", change) == 0


async def test_many_loops_and_threads_at_once(saver: Checkpoints) -> None:
    def work(name: str) -> None:
        async def steps() -> None:
            config, held = at(name), None
            for number in range(1, 6):
                versions: Any = {"n": saver.get_next_version(held["channel_versions"]["n"] if held else None, None)}
                held = {**empty_checkpoint(), "id": str(number), "channel_versions": versions}
                held["channel_values"] = {"n": f"{name} {number}"}
                config = await saver.aput(config, held, META, versions)  # type: ignore[arg-type]

        asyncio.run(steps())

    threads = [threading.Thread(target=work, args=(f"t{number}",)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    for number in range(12):
        found = await saver.aget_tuple(at(f"t{number}"))
        assert found
        assert found.checkpoint["channel_values"] == {"n": f"t{number} 5"}
    assert len([found async for found in saver.alist(None)]) == 60


def test_a_failed_write_leaves_nothing_of_itself(saver: Checkpoints) -> None:
    config, held = put(saver, at("r"), "1", {"n": 1})
    rows = [("r", "", own, None, "zlib", b"", "", b"") for own in ("2", "3", None)]
    with pytest.raises((RunError, sqlite3.Error)), saver._database.writing() as execute:  # type: ignore[reportPrivateUsage]
        execute.many("INSERT INTO checkpoints VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
    with saver._database.reading() as execute:  # type: ignore[reportPrivateUsage]
        assert execute("SELECT count(*) AS rows FROM checkpoints") == [{"rows": 1}]
    found = saver.get_tuple(config)
    assert found
    assert found.checkpoint["channel_values"] == held["channel_values"]


def test_a_saver_without_its_server(tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        open_checkpoints(Server("postgresql://127.0.0.1:1/none?connect_timeout=2"))
    assert caught.value.code == "SG625"
