"""The tracer and its store: nesting, what is committed when, resume across processes, crashes, bad stores."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import zlib
from contextlib import closing
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest

from sluicegate.errors import RunError
from sluicegate.observe.tracing import recorder
from sluicegate.observe.tracing.reading.filters import RunFilter
from sluicegate.observe.tracing.reading.usage import usage as summarised
from sluicegate.observe.tracing.settings import TraceSettings
from sluicegate.observe.tracing.spans import root_id
from sluicegate.observe.tracing.store import Store
from sluicegate.observe.tracing.tracer import RecordingTracer
from sluicegate.services import Tracer as TracerContract
from sluicegate.storage.schemas import TRACES
from tests.support import ROOT
from tests.support.scenario import branch, first_stretch, last_stretch, open_tracer, state_of


def by_name(store: Store, run: str) -> dict[str, dict[str, Any]]:
    return {span["name"]: span for span in store.spans(run)}


async def test_observations_nest_in_tasks_and_threads(tmp_path: Path) -> None:
    store, tracer = open_tracer(tmp_path)

    async def node(name: str) -> None:
        with tracer.node(name, "retrieve", "retriever"):
            await asyncio.sleep(0)
            with tracer.span(f"in {name}", "span"):
                await asyncio.sleep(0)

    def in_thread() -> None:
        with tracer.span("in thread", "span"):
            pass

    with tracer.run("r", workflow="w"):
        await asyncio.gather(node("a"), node("b"))
        thread = threading.Thread(target=copy_context().run, args=(in_thread,))
        thread.start()
        thread.join()
    spans = by_name(store, "r")
    assert spans["in a"]["parent"] == spans["a"]["span_id"]
    assert spans["in b"]["parent"] == spans["b"]["span_id"]
    assert spans["a"]["parent"] == spans["b"]["parent"] == spans["in thread"]["parent"] == root_id("r")
    tracer.close()
    store.close()


async def test_runs_side_by_side_do_not_mix(tmp_path: Path) -> None:
    store, tracer = open_tracer(tmp_path)
    await asyncio.gather(*(first_stretch(tracer, run=f"run-{n}") for n in range(10)))
    counts = [len(store.spans(f"run-{n}")) for n in range(10)]
    assert len(set(counts)) == 1
    for n in range(10):
        ids = {span["span_id"] for span in store.spans(f"run-{n}")}
        assert all(span["parent"] in ids for span in store.spans(f"run-{n}") if span["parent"])
    tracer.close()
    store.close()


def test_outside_a_run_nothing_is_recorded_and_nothing_fails(tmp_path: Path) -> None:
    store, tracer = open_tracer(tmp_path)
    contract: TracerContract = tracer
    with contract.span("lost", "span") as span, contract.node("n", "k", "span"):
        span.set(a=1)
        span.fail("x")
    contract.branch("a", branch("b"))
    contract.score("s", 1.0)
    tracer.finish("answered", state_of())
    assert store.runs() == []
    tracer.close()
    store.close()


def test_a_run_is_two_commits_and_its_scores_come_with_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "_PAUSE_S", 3600)
    store, tracer = open_tracer(tmp_path)
    commits: list[str] = []
    store._connection.set_trace_callback(lambda sql: commits.append(sql) if sql == "COMMIT" else None)  # type: ignore[reportPrivateUsage]
    with tracer.run("r", workflow="w"):
        assert (len(commits), store.run("r")["status"]) == (1, "running")
        for number in range(20):
            with tracer.node(f"n{number}", "retrieve", "retriever"):
                pass
        tracer.score("cost_usd", 0.1)
        assert tracer.flush(1)
        assert (len(store.spans("r")), store.scores("r")) == (20, [])
        tracer.finish("answered", state_of("slm"))
    assert len(commits) == 3, "one of them is the flush"
    assert "cost_usd" in [score["name"] for score in store.scores("r")]
    tracer.close()
    store.close()


def test_a_run_is_in_the_store_when_its_block_ends(tmp_path: Path) -> None:
    store, tracer = open_tracer(tmp_path)
    with tracer.run("r", workflow="w", version="2", digest="d", user="ann", input="hello"):
        tracer.branch("a", branch("b", "x > 1", {"x": 2}, ("c",)), confidence=0.5, threshold=0.4)
        tracer.finish("answered", state_of("slm"))
    other = sqlite3.connect(tmp_path / "store.sqlite")
    row = other.execute("SELECT status, path, intent, confidence, threshold, request FROM runs").fetchone()
    assert row == ("answered", "slm", "password_reset", 0.83, 0.71, "hello")
    # as SQLite's shell has it
    other.create_function("sqlar_uncompress", 2, lambda packed, size: zlib.decompress(packed)[:size])
    assert other.execute("SELECT count(*), max(attributes ->> 'to') FROM spans").fetchone() == (2, "b")
    other.close()
    [decision] = store.decisions("r")
    assert (decision["node"], decision["taken"], decision["not_taken"]) == ("a", "b", ["c"])
    assert (decision["condition"], decision["values"], decision["confidence"]) == ("x > 1", {"x": 2}, 0.5)
    tracer.close()
    store.close()


async def test_steps_and_model_calls_are_views_of_the_same_observations(tmp_path: Path) -> None:
    store, tracer = open_tracer(tmp_path)
    await first_stretch(tracer)
    steps = store.query("SELECT node, kind, visit FROM steps ORDER BY seq")
    assert [step["node"] for step in steps] == ["classify", "gate", "recall", "facts", "answer", "check", "act"]
    assert steps[4] == {"node": "answer", "kind": "slm-answer", "visit": 1}
    calls = store.model_calls("run-1")
    assert [call["type"] for call in calls] == ["embedding", "generation"]
    assert calls[1]["model"] == "embedded:smollm2-135m"
    assert calls[1]["asked"] == "ollama:qwen3:1.7b"
    assert calls[1]["fallback"]
    assert (calls[1]["prompt_tokens"], calls[1]["usd"], calls[1]["finish"]) == (120, 0.0012, "stop")
    tracer.close()
    store.close()


def test_a_run_that_is_cut_short_is_still_running(tmp_path: Path) -> None:
    store, tracer = open_tracer(tmp_path)
    for run, shadow in (("r", False), ("s", True)):
        with pytest.raises(asyncio.CancelledError), tracer.run(run, workflow="w", shadow=shadow):
            raise asyncio.CancelledError
    assert (store.run("r")["status"], store.run("r")["error"]) == ("running", None)
    assert store.run("s")["status"] == "failed", "nobody resumes a shadow run"
    tracer.close()
    store.close()


def test_a_failing_run_is_recorded_with_its_error(tmp_path: Path) -> None:
    store, tracer = open_tracer(tmp_path)
    with pytest.raises(ValueError), tracer.run("r", workflow="w"), tracer.node("n", "classify", "chain"):
        raise ValueError("no such label")
    run = store.run("r")
    assert (run["status"], run["error"]) == ("failed", "ValueError: no such label")
    assert by_name(store, "r")["n"]["level"] == "ERROR"
    tracer.close()
    store.close()


def test_an_interrupt_is_no_failure(tmp_path: Path) -> None:
    from langgraph.errors import GraphInterrupt

    store, tracer = open_tracer(tmp_path)
    with tracer.run("r", workflow="w"):
        with pytest.raises(GraphInterrupt), tracer.node("approve", "human-interrupt", "span"):
            raise GraphInterrupt
        tracer.finish("waiting", state_of())
    span = by_name(store, "r")["approve"]
    assert (span["level"], span["attributes"]["interrupted"]) == ("DEFAULT", True)
    assert store.run("r")["status"] == "waiting"
    tracer.close()
    store.close()


RESUME = """
import asyncio, sys
from pathlib import Path
from tests.support.scenario import first_stretch, last_stretch, open_tracer
store, tracer = open_tracer(Path(sys.argv[1]))
asyncio.run({"first": first_stretch, "last": last_stretch}[sys.argv[2]](tracer))
tracer.close()
"""


@pytest.mark.slow
def test_a_resume_in_another_process_joins_the_trace(tmp_path: Path) -> None:
    for stretch in ("first", "last"):
        subprocess.run([sys.executable, "-c", RESUME, str(tmp_path), stretch], check=True, env=_environment())
    store = Store(tmp_path / "store.sqlite")
    spans = by_name(store, "run-1")
    assert spans["invoke_agent helpdesk (resume)"]["parent"] == spans["invoke_agent helpdesk"]["span_id"]
    assert [run["run_id"] for run in store.runs()] == ["run-1"]
    run = store.run("run-1")
    assert (run["status"], run["request"]) == ("answered", "How do I reset my password?")
    root, resume = (span for span in store.spans("run-1") if span["type"] == "agent")
    assert root["end_ns"] >= resume["end_ns"]
    waited_from = max(span["end_ns"] for span in store.spans("run-1") if span["end_ns"] < resume["start_ns"])
    took = (waited_from - root["start_ns"] + resume["end_ns"] - resume["start_ns"]) / 1e6
    assert run["ms"] >= took * 0.9, "the time of both stretches, without what is between them"
    assert root["attributes"]["status"] == "answered"
    store.close()


CRASH = """
import os, signal, sys, time
from pathlib import Path
from tests.support.scenario import open_tracer
store, tracer = open_tracer(Path(sys.argv[1]))
with tracer.run("r", workflow="w", input="hello"):
    for name in ("a", "b"):
        with tracer.node(name, "retrieve", "retriever"):
            with tracer.span(f"in {name}", "span"):
                pass
    with tracer.node("c", "retrieve", "retriever"):
        with tracer.span("in c", "span"):
            pass
        while not any(span["name"] == "b" for span in store.spans("r")):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_kill_9_loses_no_more_than_the_running_node(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", CRASH, str(tmp_path)], check=False, env=_environment())
    assert done.returncode == -signal.SIGKILL
    store = Store(tmp_path / "store.sqlite")
    assert {"a", "b", "in a", "in b"} <= set(by_name(store, "r"))
    assert (store.run("r")["status"], store.run("r")["request"]) == ("running", "hello")
    store.close()


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def test_a_corrupt_store_says_so(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    path.write_bytes(b"this is no database, but it is long enough to be looked at as one" * 20)
    with pytest.raises(RunError) as raised:
        Store(path)
    assert raised.value.code == "SG606"


async def test_a_store_damaged_inside_says_so(tmp_path: Path) -> None:
    store, tracer = open_tracer(tmp_path)
    for n in range(20):
        await first_stretch(tracer, run=f"run-{n}")
    tracer.close()
    store.close()
    path = tmp_path / "store.sqlite"
    data = bytearray(path.read_bytes())
    # behind the pages of the schema
    middle = len(data) // 8192 * 4096
    data[middle:-4096] = b"\xa5" * (len(data) - middle - 4096)
    path.write_bytes(data)
    damaged = Store(path)
    with pytest.raises(RunError) as raised:
        damaged.query("SELECT * FROM runs, spans USING (run_id)")
    assert raised.value.code == "SG606"
    damaged.close()


def test_a_store_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    Store(path).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA user_version = 7")
    connection.close()
    with pytest.raises(RunError) as raised:
        Store(path)
    assert raised.value.code == "SG612"
    assert f"format 7, this one reads {len(TRACES.steps)}" in raised.value.message


def test_a_store_that_cannot_be_written_is_reported_at_the_end_of_the_run(tmp_path: Path) -> None:
    store, tracer = open_tracer(tmp_path)
    store.query("PRAGMA query_only = ON")
    with pytest.raises(RunError) as raised, tracer.run("r", workflow="w"):
        pass
    assert raised.value.code == "SG607"
    store.query("PRAGMA query_only = OFF")
    assert tracer.flush(1)
    assert len(store.spans("r")) == 1, "what could not be written is kept and written later"
    tracer.close()
    store.close()


async def test_feedback_and_corrections(tmp_path: Path) -> None:
    store, tracer = open_tracer(tmp_path)
    await first_stretch(tracer)
    await last_stretch(tracer)
    tracer.feedback("run-1", "thumb", False, comment="wrong portal", by="ann")
    tracer.feedback("run-1", "correct_intent", "access_request", by="lea")
    with pytest.raises(RunError) as raised:
        tracer.feedback("nobody", "thumb", True)
    assert raised.value.code == "SG603"
    assert [(row["name"], row["value"]) for row in store.feedback()] == [
        ("thumb", 0),
        ("correct_intent", "access_request"),
    ]
    [correction] = store.corrections("helpdesk")
    assert (correction["text"], correction["predicted"], correction["label"]) == (
        "How do I reset my password?",
        "password_reset",
        "access_request",
    )
    assert store.scores("run-1")[-2]["value"] is False
    tracer.close()
    store.close()


async def test_lists_filters_usage_and_drift(tmp_path: Path) -> None:
    store, tracer = open_tracer(tmp_path)
    before = time.time_ns()
    for n in range(4):
        await first_stretch(tracer, run=f"run-{n}")
        if n:
            await last_stretch(tracer, run=f"run-{n}")
    with tracer.run("shade", workflow="helpdesk", shadow=True):
        tracer.finish("answered", state_of("slm"))
    assert [run["run_id"] for run in store.runs()] == ["run-3", "run-2", "run-1", "run-0"]
    assert [run["run_id"] for run in store.runs(RunFilter(status="waiting"))] == ["run-0"]
    assert len(store.runs(RunFilter(path="rag-slm", intent="password_reset"))) == 3
    assert len(store.runs(RunFilter(shadow=True))) == 5
    assert {store.run(run)["environment"] for run in ("run-0", "shade")} == {"staging", "staging-shadow"}
    assert store.runs(RunFilter(workflow="other")) == []
    assert store.runs(RunFilter(since_ns=time.time_ns())) == []
    assert len(store.runs(RunFilter(since_ns=before), limit=2)) == 2
    usage = summarised(store)
    assert (usage["runs"], usage["llm_calls_avoided"], usage["slm_calls"]) == (3, 3, 3)
    assert usage["usd"] == pytest.approx(0.0036)
    assert usage["all_llm_usd"] == pytest.approx(0.06)
    assert usage["paths"]["rag-slm"]["share"] == 1.0
    assert [row["confidence"] for row in store.confidences("helpdesk")] == [0.83] * 4
    store.query("UPDATE runs SET confidence = NULL WHERE run_id = 'run-1' RETURNING run_id", ())
    assert len(store.confidences("helpdesk")) == 3, "a class without a confidence tells nothing of drift"
    assert store.prune(time.time_ns(), "other") == 0
    assert store.prune(time.time_ns(), "helpdesk") == 4, "the waiting run stays"
    assert [run["run_id"] for run in store.runs(RunFilter(shadow=True))] == ["run-0"]
    assert store.query("SELECT DISTINCT run_id FROM spans") == [{"run_id": "run-0"}]
    tracer.close()
    store.close()


def test_a_run_is_found_by_the_start_of_its_id(tmp_path: Path) -> None:
    store, tracer = open_tracer(tmp_path)
    for run in ("abc-1", "abc-2", "xyz"):
        with tracer.run(run, workflow="w"):
            pass
    assert store.run("x")["run_id"] == "xyz"
    assert store.run("abc-1")["run_id"] == "abc-1"
    for missing in ("abc", "none", "", "%"):
        with pytest.raises(RunError) as raised:
            store.run(missing)
        assert raised.value.code == "SG603"
    tracer.close()
    store.close()


def test_odd_values_do_no_harm(tmp_path: Path) -> None:
    store, tracer = open_tracer(tmp_path)
    with tracer.run("r", workflow="w", input="lone \ud83d surrogate"), tracer.span("odd", "span") as span:
        span.set(nan=float("nan"), when=object, deep={"a": [{1: float("inf")}]}, bytes=b"x", lone="\ud83d")
    spans = by_name(store, "r")
    assert spans["odd"]["attributes"]["nan"] == "nan"
    assert spans["odd"]["attributes"]["deep"] == {"a": [{"1": "inf"}]}
    tracer.close()
    store.close()


@pytest.mark.parametrize("mode", ["full", "masked", "hashes"])
async def test_how_much_of_the_texts_is_kept(tmp_path: Path, mode: Any) -> None:
    store, tracer = open_tracer(tmp_path, settings=TraceSettings(payloads=mode))
    await first_stretch(tracer, text="I am ann@example.com, password: hunter2hunter2")
    spans = by_name(store, "run-1")
    asked = str(spans["chat qwen3:1.7b"]["attributes"]["input"])
    assert "hunter2" not in asked, "secrets are never kept"
    assert ("ann@example.com" in asked) == (mode == "full")
    assert ("I am" in asked) == (mode != "hashes")
    assert ("I am" in store.run("run-1")["request"]) == (mode != "hashes")
    if mode == "hashes":
        assert asked.startswith("hmac:")
        assert asked.endswith("characters)")
        assert "ann@example.com" not in str(store.spans("run-1"))
    tracer.close()
    store.close()


def test_a_tracer_without_a_store_only_exports() -> None:
    tracer = RecordingTracer(None)
    with tracer.run("r", workflow="w"):
        pass
    assert tracer.flush(1)
    tracer.close()
