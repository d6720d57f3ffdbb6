"""Servers that are dead, slow or refuse: the run is never delayed, drops are counted, the store sends them later."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from sluicegate.observe.exporters.export import QueuedExporter, Rejected, SendError
from sluicegate.observe.exporters.langfuse import Keys, LangfuseSender, server_state
from sluicegate.observe.exporters.otlp import OtlpEndpoint, OtlpSender
from sluicegate.observe.exporters.resend import push
from sluicegate.observe.tracing.reading.filters import RunFilter
from sluicegate.observe.tracing.settings import TraceSettings
from sluicegate.observe.tracing.spans import RunInfo, Score, Trace
from sluicegate.observe.tracing.store import Store
from tests.support import ROOT
from tests.support.loopback import free_port
from tests.support.raw_bytes import readable
from tests.support.receiver import PUBLIC, SECRET, Receiver
from tests.support.scenario import first_stretch, last_stretch, open_tracer
from tests.support.waiting import until


def langfuse(url: str, **options: Any) -> QueuedExporter:
    return QueuedExporter(LangfuseSender(Keys(PUBLIC, SECRET, url), timeout_s=5), first_pause_s=0.05, **options)


def dead_port() -> str:
    return f"http://127.0.0.1:{free_port()}"


async def test_a_dead_server_costs_no_time_and_loses_nothing(tmp_path: Path) -> None:
    url = dead_port()
    store, tracer = open_tracer(tmp_path, langfuse(url))
    await first_stretch(tracer)
    await last_stretch(tracer)
    # neither waits for its deadline, which would be for ever
    assert not tracer.flush(10_000), "it says that nothing arrived"
    tracer.close(10_000)
    [report] = tracer.report()
    assert (report.sent, report.waiting) == (0, 0)
    again = 1  # the root, by the resume
    assert report.dropped == len(store.spans("run-1")) + len(store.scores("run-1")) + again
    assert "ConnectError" in report.reason
    assert store.run("run-1")["status"] == "answered"
    assert store.undelivered(f"langfuse {url}") == ["run-1"]
    store.close()


UNCLOSED = """
import asyncio, sys
from pathlib import Path
from sluicegate.observe.exporters.export import QueuedExporter
from sluicegate.observe.exporters.langfuse import Keys, LangfuseSender
from tests.support.scenario import first_stretch, open_tracer
store, tracer = open_tracer(Path(sys.argv[1]), QueuedExporter(LangfuseSender(Keys(*sys.argv[2:5]))))
asyncio.run(first_stretch(tracer))
"""


@pytest.mark.slow
def test_a_program_that_never_closes_its_tracer_still_sends(tmp_path: Path) -> None:
    with Receiver() as server:
        words = [sys.executable, "-c", UNCLOSED, str(tmp_path), PUBLIC, SECRET, server.url]
        root = str(ROOT)
        done = subprocess.run(words, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": root})
        assert done.stderr == b""
        assert "invoke_agent helpdesk" in {span.name for span in server.spans}


@pytest.mark.slow
async def test_a_slow_server_does_not_delay_a_run(tmp_path: Path) -> None:
    """The run ends and the tracer closes while the server has not answered its first request."""
    with Receiver(held=threading.Event()) as server:
        store, tracer = open_tracer(tmp_path, langfuse(server.url))
        await first_stretch(tracer)
        await last_stretch(tracer)
        assert not tracer.flush(0.2)
        tracer.close(0.2)
        assert tracer.report()[0].dropped > 0
        assert store.run("run-1")["status"] == "answered"
        assert server.spans == []
        assert server.held
        server.held.set()
        store.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "reason"), [(401, "the keys are refused (401)"), (413, "too large for the server (413)")]
)
async def test_a_refusal_is_counted_and_not_repeated(tmp_path: Path, status: int, reason: str) -> None:
    with Receiver(status=status) as server:
        store, tracer = open_tracer(tmp_path, langfuse(server.url))
        await first_stretch(tracer)
        tracer.flush(5)
        tracer.close()
        [report] = tracer.report()
        assert report.reason == reason
        assert report.dropped == len(store.spans("run-1"))
        assert len(server.requests) < (3 if status == 401 else 200)
        store.close()


async def test_a_failing_server_is_tried_again_until_it_recovers(tmp_path: Path) -> None:
    with Receiver(status=500) as server:
        store, tracer = open_tracer(tmp_path, langfuse(server.url))
        await first_stretch(tracer)
        assert not tracer.flush(5)
        assert "(500)" in tracer.report()[0].reason
        server.status = 0
        until(lambda: tracer.flush(1))
        tracer.close()
        assert {span.span_id for span in server.spans} == {span["span_id"] for span in store.spans("run-1")}
        assert tracer.report()[0].dropped == 0
        assert store.undelivered(tracer.report()[0].destination) == []
        store.close()


@pytest.mark.slow
async def test_what_was_dropped_is_pushed_from_the_store(tmp_path: Path) -> None:
    with Receiver(status=401) as server:
        store, tracer = open_tracer(tmp_path, langfuse(server.url))
        await first_stretch(tracer)
        await last_stretch(tracer)
        tracer.flush(5)
        tracer.close()
        assert not server.spans
        server.status = 0
        sender = LangfuseSender(Keys(PUBLIC, SECRET, server.url))
        [result] = push(store, [sender])
        assert (result.runs, result.failures) == (1, {})
        assert {span.span_id for span in server.spans} == {span["span_id"] for span in store.spans("run-1")}
        assert {score["id"] for score in server.scores} == {score["score_id"] for score in store.scores("run-1")}
        assert "path:rag-slm" in server.named("classify").attributes["langfuse.trace.tags"]
        again = push(store, [LangfuseSender(Keys(PUBLIC, SECRET, server.url))])
        assert again[0].runs == 0, "nothing is left to send"
        everything = push(store, [LangfuseSender(Keys(PUBLIC, SECRET, server.url))], again=True)
        assert everything[0].runs == 1
        store.close()


async def test_push_to_a_dead_server_says_so_and_keeps_the_runs(tmp_path: Path) -> None:
    store, tracer = open_tracer(tmp_path)
    await first_stretch(tracer)
    tracer.close()
    url = dead_port()
    [result] = push(store, [LangfuseSender(Keys(PUBLIC, SECRET, url))])
    assert result.runs == 0
    assert "ConnectError" in result.failures["run-1"]
    assert store.undelivered(f"langfuse {url}") == ["run-1"]
    store.close()


def five_runs(folder: Path) -> tuple[Store, list[str]]:
    """A store with five runs that nobody has confirmed, and their ids, oldest first."""
    store, tracer = open_tracer(folder)
    names = [f"r{number}" for number in range(5)]
    for name in names:
        with tracer.run(name, workflow="w", input="hello"):
            tracer.score("stars", 1.0)
    tracer.close()
    return store, names


@pytest.mark.slow
def test_push_goes_round_a_run_that_cannot_be_sent(tmp_path: Path) -> None:
    store, names = five_runs(tmp_path)
    # as 0.1.0 kept it: `trace feedback --score stars=inf`
    store.add_score(Score("s", names[1], "stars", float("inf"), "", 1, source="feedback"))
    with Receiver() as server:
        sender = LangfuseSender(Keys(PUBLIC, SECRET, server.url))
        [result] = push(store, [sender])
        assert (result.runs, result.unsent) == (4, 0)
        assert result.failures == {names[1]: "scores: stars is not a finite number"}
        assert len(server.scores) == 5, "its other score arrives, and so do those of the later runs"
        assert store.undelivered(sender.destination) == [names[1]]
    store.close()


class Faulty:
    """A destination that takes no trace of some runs."""

    destination = "faulty"
    overwrites = False

    def __init__(self, bad: set[str]) -> None:
        self.bad = bad
        self.asked: list[str] = []

    def send(self, traces: list[Trace]) -> None:
        for trace in traces:
            self.asked.append(trace.info.run_id)
            if trace.info.run_id in self.bad:
                raise SendError("the server answered (500)", again=True, status=500)

    def close(self) -> None: ...


@pytest.mark.parametrize(
    ("bad", "asked", "unsent"),
    [({0}, 5, 0), ({0, 1, 3, 4}, 5, 0), ({1, 2, 3}, 4, 1), ({0, 1, 2, 3, 4}, 3, 2)],
)
def test_push_ends_where_three_runs_in_a_row_fail(bad: set[int], asked: int, unsent: int, tmp_path: Path) -> None:
    store, names = five_runs(tmp_path)
    sender = Faulty({names[number] for number in bad})
    [result] = push(store, [sender])
    assert sender.asked == names[:asked]
    failed = sorted(sender.bad & set(sender.asked))
    assert (result.runs, [*result.failures], result.unsent) == (asked - len(failed), failed, unsent)
    assert store.undelivered("faulty") == [name for name in names if name in failed or name not in sender.asked]
    store.close()


async def test_five_megabytes_are_cut_before_they_are_kept_or_sent(tmp_path: Path) -> None:
    text = "All my notes. " * 380_000
    assert len(text) > 5_000_000
    with Receiver(limit_bytes=1_000_000) as server:
        store, tracer = open_tracer(tmp_path, langfuse(server.url))
        await first_stretch(tracer, text=text)
        assert tracer.flush(10)
        tracer.close()
        assert len(server.spans) == len(store.spans("run-1"))
        sent = server.named("chat smollm2-135m").attributes["langfuse.observation.input"]
        assert len(sent) < 33_000
        assert f"[cut: {len(text)} characters]" in sent
        assert store.run("run-1")["request"].endswith(f"[cut: {len(text)} characters]")
        assert (tmp_path / "store.sqlite").stat().st_size < 1_000_000
        store.close()


@pytest.mark.slow
async def test_a_batch_that_is_too_large_is_sent_in_pieces(tmp_path: Path) -> None:
    with Receiver(limit_bytes=12_000) as server:
        settings = TraceSettings(payload_limit=20_000)
        store, tracer = open_tracer(tmp_path, langfuse(server.url), settings=settings)
        await first_stretch(tracer, text="All my notes. " * 3000)
        assert tracer.flush(10)
        tracer.close()
        [report] = tracer.report()
        assert report.dropped == 0
        assert {span.span_id for span in server.spans} == {span["span_id"] for span in store.spans("run-1")}
        question = server.named("chat smollm2-135m").attributes["langfuse.observation.input"]
        assert "[cut: too large for the server]" in question
        store.close()


@pytest.mark.slow
async def test_secrets_reach_neither_the_store_nor_any_exporter(tmp_path: Path) -> None:
    secret, mail = "sk-lf-4f9d2c8e7a1b4f9d2c8e7a1b", "ann.smith@example.com"
    with Receiver() as langfuse_server, Receiver() as collector:
        exporters = [
            langfuse(langfuse_server.url),
            QueuedExporter(OtlpSender(OtlpEndpoint(f"{collector.url}/v1/traces"))),
        ]
        store, tracer = open_tracer(tmp_path, *exporters)
        await first_stretch(tracer, text=f"my key {secret} fails, write to {mail}")
        with tracer.run("run-2", workflow="helpdesk", user="ann"):
            with pytest.raises(ValueError), tracer.node("boom", "classify", "chain"):
                raise ValueError(f"cannot use {secret}")
            tracer.score("note", 1.0, comment=f"asked by {mail}")
        assert tracer.flush(10)
        tracer.close()
        kept = "".join(str(store.spans(run["run_id"])) + str(run) for run in store.runs(RunFilter()))
        kept += str(store.scores("run-2"))
        sent = str(langfuse_server.spans) + str(langfuse_server.scores)
        for copy in (kept, sent, str(collector.spans)):
            assert secret not in copy
            assert mail not in copy
            assert "<token>" in copy
        assert "<email>" in kept
        assert "<email>" in sent
        store.close()
    files = b"".join(readable(path) for path in tmp_path.glob("store.sqlite*"))
    assert secret.encode() not in files


@pytest.mark.slow
@pytest.mark.parametrize("version", ["4.16.0", "4.59.0", "3.125.1"])
async def test_scores_arrive_at_servers_of_every_version(tmp_path: Path, version: str) -> None:
    with Receiver(version=version) as server:
        store, tracer = open_tracer(tmp_path, langfuse(server.url))
        await first_stretch(tracer)
        await last_stretch(tracer)
        assert tracer.flush(10)
        tracer.feedback("run-1", "thumb", True, comment="helped", by="ann")
        assert tracer.flush(10)
        tracer.close()
        assert {score["id"] for score in server.scores} == {score["score_id"] for score in store.scores("run-1")}
        thumb = next(score for score in server.scores if score["name"] == "thumb")
        assert (thumb["value"], thumb["dataType"], thumb["comment"]) == (1, "BOOLEAN", "helped")
        assert thumb["metadata"]["by"].startswith("user-")
        store.close()


async def test_scores_arrive_when_the_server_does_not_say_its_version(tmp_path: Path) -> None:
    with Receiver(version="4.16.0") as server:
        sender = LangfuseSender(Keys(PUBLIC, SECRET, server.url))
        sender._batched = True
        store, tracer = open_tracer(tmp_path, QueuedExporter(sender))
        await last_stretch(tracer)
        assert tracer.flush(10)
        tracer.close()
        assert len(server.scores) == len(store.scores("run-1")) > 0
        store.close()


def test_the_state_of_a_server() -> None:
    with Receiver(version="4.16.0") as server:
        assert server_state(Keys(PUBLIC, SECRET, server.url)).version == (4, 16, 0)
    gone = server_state(Keys(PUBLIC, SECRET, dead_port()))
    assert (gone.reachable, gone.version) == (False, ())


class Stuck:
    """A sender whose server never takes anything."""

    destination = "stuck"
    overwrites = False

    def send(self, traces: list[Trace]) -> Rejected | None:
        raise SendError("down", again=True)

    def close(self) -> None: ...


@pytest.mark.slow
async def test_a_command_that_ends_waits_for_no_server_that_takes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Receiver(held=threading.Event()) as server:
        store, tracer = open_tracer(tmp_path, langfuse(server.url))
        await first_stretch(tracer)
        tracer.hand_over()
        [report] = tracer.report()
        assert (report.sent, report.dropped) == (0, len(store.spans("run-1")))
        assert store.undelivered(report.destination) == ["run-1"]
        [told] = caplog.messages
        assert told.startswith(f"langfuse {server.url}: {report.dropped} observations and scores were not sent")
        assert "sluicegate trace push" in told
        assert server.held
        server.held.set()
        store.close()


@pytest.mark.slow
async def test_a_command_that_ends_sends_all_that_a_server_takes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Receiver() as server:
        store, tracer = open_tracer(tmp_path, langfuse(server.url, batch=20))
        for number in range(30):
            await first_stretch(tracer, f"run-{number}")
        tracer.hand_over()
        [report] = tracer.report()
        assert (report.dropped, caplog.messages) == (0, [])
        assert store.undelivered(report.destination) == []
        store.close()


async def test_an_outage_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Receiver(status=500) as server:
        store, tracer = open_tracer(tmp_path, langfuse(server.url))
        await first_stretch(tracer)
        for _ in range(4):
            assert not tracer.flush(5)
        assert [text.partition(":")[0] for text in caplog.messages] == ["langfuse http"]
        assert "takes no traces (the server answered (500))" in caplog.messages[0]
        server.status = 0
        until(lambda: tracer.flush(1))
        tracer.close()
        assert len(caplog.messages) == 2
        assert "takes traces again; 0 were dropped so far" in caplog.messages[1]
        store.close()


def test_runs_that_end_together_share_a_request() -> None:
    from sluicegate.observe.tracing.spans import Record

    class Counting(Stuck):
        def __init__(self) -> None:
            self.sent: list[int] = []

        def send(self, traces: list[Trace]) -> Rejected | None:
            self.sent.append(len(traces))
            return None

    info = RunInfo("r", "t", "w", "1", "d", "", "", "e", "r", False)
    sender = Counting()
    exporter = QueuedExporter(sender, batch=4, linger_s=600)
    for _ in range(3):
        exporter.offer(Trace(info, [Record("1", "", "n", "span", {})], []))
    assert exporter.flush(60)
    assert sender.sent == [3], "a flush waits for nobody else"
    for _ in range(4):
        exporter.offer(Trace(info, [Record("1", "", "n", "span", {})], []))
    until(lambda: exporter.report().waiting == 0)
    assert sender.sent == [3, 4], "a full batch does not linger"
    exporter.close(0.1)


def test_a_full_queue_drops_and_counts() -> None:
    exporter = QueuedExporter(Stuck(), capacity=10, first_pause_s=30)
    info = RunInfo("r", "t", "w", "1", "d", "", "", "e", "r", False)
    from sluicegate.observe.tracing.spans import Record

    for _ in range(8):
        exporter.offer(Trace(info, [Record("1", "", "n", "span", {}), Record("2", "", "n", "span", {})], []))
    report = exporter.report()
    assert (report.waiting, report.dropped) == (10, 6)
    exporter.close(0.1)
    assert exporter.report().dropped == 16


@pytest.mark.slow
def test_a_batch_is_given_up_after_its_last_attempt() -> None:
    exporter = QueuedExporter(Stuck(), attempts=3, first_pause_s=0.01)
    from sluicegate.observe.tracing.spans import Record

    info = RunInfo("r", "t", "w", "1", "d", "", "", "e", "r", False)
    exporter.offer(Trace(info, [Record("1", "", "n", "span", {})], []))
    until(lambda: exporter.report().dropped)
    report = exporter.report()
    assert (report.dropped, report.waiting, report.reason) == (1, 0, "down")
    exporter.close(0.1)


def test_a_collector_is_configured_by_the_standard_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    assert OtlpSender.configured() is None
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318/")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=a%20b,x-other=c")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "gzip")
    sender = OtlpSender.configured()
    assert sender is not None
    assert sender.destination == "otlp http://127.0.0.1:4318/v1/traces"
    assert sender._collector._headers == {"x-tenant": "a b", "x-other": "c"}
    assert sender._collector._compress
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:9/otlp")
    named = OtlpSender.configured()
    assert named is not None
    assert named.destination == "otlp http://127.0.0.1:9/otlp"
    for name, value in (("OTEL_TRACES_EXPORTER", "none"), ("OTEL_SDK_DISABLED", "true")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert OtlpSender.configured() is None


def test_a_collector_gets_its_headers_gzip_and_resource(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with Receiver() as server:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=a")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
        monkeypatch.setenv("OTEL_SERVICE_NAME", "desk")
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "team=it,region=eu%20west")
        sender = OtlpSender.configured()
        assert sender is not None
        store, tracer = open_tracer(tmp_path, QueuedExporter(sender))
        with tracer.run("r", workflow="w"):
            pass
        assert tracer.flush(5)
        tracer.close()
        store.close()
        headers = {key.lower(): value for key, value in server.requests[0][2].items()}
        assert (headers["x-tenant"], headers["content-encoding"]) == ("a", "gzip")
        resource = server.spans[0].resource
        assert (resource["service.name"], resource["team"], resource["region"]) == ("desk", "it", "eu west")
