"""What a home records is on the server when its writer waits for that, and soon after otherwise, whatever fails."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sluicegate.errors import CorruptError, RunError
from sluicegate.observe.audit.log import AuditLog
from sluicegate.observe.audit.proof import records
from sluicegate.observe.audit.shared import delivery
from sluicegate.observe.audit.shared.reading import merged
from sluicegate.observe.audit.shared.store import SharedAudit
from sluicegate.observe.audit.shared.verify_all import verify_all, verify_shared
from sluicegate.observe.audit.verify import AuditVerdict, verify
from sluicegate.storage.postgres import Server
from tests.observe.audit.shared.machines import filled, machine
from tests.support.waiting import soon


@pytest.fixture
def server(postgres: str) -> Any:
    made = Server(postgres)
    yield made
    made.close()


@pytest.fixture
def shared(server: Server) -> SharedAudit:
    return SharedAudit(server)


@pytest.fixture(autouse=True)
def only_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody waits for is sent when a log is closed, and no sooner."""
    monkeypatch.setattr(delivery, "_EVERY_S", 1000.0)


@pytest.fixture
def make(tmp_path: Path, server: Server) -> Iterator[Callable[..., AuditLog]]:
    logs: list[AuditLog] = []

    def made(name: str, **options: Any) -> AuditLog:
        logs.append(machine(tmp_path, name, server, **options))
        return logs[-1]

    yield made
    for log in logs:
        if log.chain:
            log.close()


def kinds(verdict: AuditVerdict) -> set[str]:
    return {finding.kind for finding in verdict.findings} - {"unpinned"}


def on_server(shared: SharedAudit) -> int:
    return sum(1 for chain in shared.chains() for _ in shared.records(chain))


@pytest.fixture
def away(server: Server, monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Take the server away, and bring it back."""
    real = server._take  # type: ignore[reportPrivateUsage]

    def refused() -> Any:
        raise psycopg.OperationalError("connection refused")

    return lambda gone: monkeypatch.setattr(server, "_take", refused if gone else real)


def test_a_risky_event_is_there_when_append_returns(make: Any, shared: SharedAudit) -> None:
    log = filled(make("a"), 3)
    assert on_server(shared) == 0
    log.append("node", risk="high")
    assert on_server(shared) == 4
    log.append("node", risk="low")
    assert on_server(shared) == 4
    log.close()
    assert on_server(shared) == 5


def test_an_ordinary_event_is_there_soon(make: Any, shared: SharedAudit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "_EVERY_S", 0.01)
    sent = threading.Event()
    real = SharedAudit.add

    def added(self: SharedAudit, *given: Any, **more: Any) -> Any:
        done = real(self, *given, **more)
        sent.set()
        return done

    monkeypatch.setattr(SharedAudit, "add", added)
    log = make("a")
    log.append("node")
    assert sent.wait(30)
    assert on_server(shared) == 1
    log.close()


@pytest.mark.parametrize("flush", ["always", "never"])
def test_the_workflow_says_what_waits(make: Any, shared: SharedAudit, flush: str) -> None:
    log = make("a", flush=flush)
    log.append("node", risk="high" if flush == "never" else "low")
    assert on_server(shared) == (1 if flush == "always" else 0)
    log.close()


def test_the_server_has_the_bytes_of_the_home(make: Any, shared: SharedAudit, tmp_path: Path) -> None:
    log = filled(make("a", segment_mb=0.001), 30)
    chain = log.chain
    log.close()
    files = b"".join(path.read_bytes() for path in sorted((tmp_path / "a").glob("audit-*.jsonl")))
    assert b"".join(row.line for row in shared.records(chain)) == files
    assert len(list((tmp_path / "a").glob("audit-*.jsonl"))) > 5
    assert kinds(verify_all(shared, tmp_path / "a")) == set()


def test_a_chain_begins_on_the_server_with_what_the_home_has(make: Any, shared: SharedAudit, tmp_path: Path) -> None:
    alone = AuditLog(tmp_path / "a", key=tmp_path / "keys" / "a.pem")
    filled(alone).close()
    assert not (tmp_path / "a" / "chain").exists()
    filled(make("a"), 2).close()
    assert on_server(shared) == 6
    assert kinds(verify_all(shared, tmp_path / "a")) == set()


def test_many_batches_are_one_chain(make: Any, shared: SharedAudit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "_BATCH", 3)
    filled(make("a"), 10).close()
    heads = [json.loads(entry.statement) for entry in shared.entries() if entry.kind == "head"]
    assert [(head["seq"], head.get("ended", False)) for head in heads] == [
        (3, False),
        (6, False),
        (9, False),
        (10, True),
    ]
    assert kinds(verify_shared(shared)) == set()


def test_while_the_server_is_away_events_stay_in_the_home(
    make: Any, shared: SharedAudit, tmp_path: Path, away: Callable[[bool], None]
) -> None:
    log = filled(make("a"), 2)
    away(True)
    filled(log, 2, start=2)
    with pytest.raises(RunError, match="an audit event is not on the server: PostgreSQL") as caught:
        log.append("node", actor="alice", risk="high")
    assert caught.value.code == "SG695"
    assert verify(tmp_path / "a").records == 5
    away(False)
    assert kinds(verify_all(shared, tmp_path / "a")) == {"undelivered"}
    assert on_server(shared) == 0
    log.append("node", actor="alice", risk="high")
    assert on_server(shared) == 6
    log.close()
    assert kinds(verify_all(shared, tmp_path / "a")) == set()


def test_what_was_left_is_sent_by_the_homes_next_process(
    make: Any, shared: SharedAudit, tmp_path: Path, away: Callable[[bool], None], caplog: pytest.LogCaptureFixture
) -> None:
    log = filled(make("a"), 2)
    log.checkpoint()
    filled(log, 2, start=2)
    away(True)
    log.close()
    assert "are not on the server yet" in caplog.text
    away(False)
    found = verify_all(shared, tmp_path / "a")
    assert not found.tampered
    assert kinds(found) == {"undelivered", "unclosed"}
    make("a").append("node", risk="high")
    assert on_server(shared) == 5
    assert "undelivered" not in kinds(verify_all(shared, tmp_path / "a"))


def test_a_full_disk_loses_no_place(make: Any, shared: SharedAudit, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was sent is noted in the home; where that fails, the server is asked how far it came."""

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    log = make("a")
    with monkeypatch.context() as patched:
        patched.setattr(delivery.ChainDelivery, "_remember", full)
        for _ in range(3):
            log.append("node", risk="high")
    log.append("node", risk="high")
    log.close()
    assert on_server(shared) == 4
    assert kinds(verify_shared(shared)) == set()


def test_a_copy_of_a_home_is_found_before_it_writes(make: Any, shared: SharedAudit, tmp_path: Path) -> None:
    filled(make("a")).close()
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    shutil.copy(tmp_path / "keys" / "a.pem", tmp_path / "keys" / "copy.pem")
    first = make("a")
    first.append("node", risk="high", facts={"of": "the first"})
    copy = make("copy")
    with pytest.raises(CorruptError, match="which is not in") as caught:
        copy.append("node", risk="high", facts={"of": "the copy"})
    assert "a home has one machine" in caught.value.hint
    first.close()
    copy.close()
    assert not verify_shared(shared).tampered
    verdict = verify_all(shared, tmp_path / "copy")
    assert ("rewritten", 5) in {(finding.kind, finding.seq) for finding in verdict.findings}


def put_back(server: Server, position: int) -> None:
    """The database, whole, as it was when it had `position` statements."""
    with server.connection() as connection:
        connection.execute("DELETE FROM audit_entries WHERE position > %s", (position,))
        connection.execute(
            "DELETE FROM audit_records WHERE seq > COALESCE("
            " (SELECT max(seq) FROM audit_entries WHERE audit_entries.chain = audit_records.chain), 0)"
        )


def test_a_database_that_was_put_back_is_found_and_taken_up_on_record(
    make: Any, shared: SharedAudit, server: Server, tmp_path: Path
) -> None:
    log, other = make("a"), make("b")
    log.append("node", risk="high")
    end = max(entry.position for entry in shared.entries())
    other.append("node", risk="high")
    log.append("node", risk="high")
    put_back(server, end)
    assert not verify_shared(shared).tampered
    assert "rolled-back" in kinds(verify_all(shared, tmp_path / "a"))
    for each in (log, other):
        with pytest.raises(CorruptError, match="put back to an older state"):
            each.append("node", risk="high")
    # what nobody waits for says so too
    with pytest.raises(CorruptError, match="put back to an older state"):
        log.append("node", risk="low")
    for each, name in ((log, "a"), (other, "b")):
        each.close()
        again = make(name)
        again.send_again("restored from the night's backup", by="op")
        again.append("node", risk="high")
        again.close()
        found = verify_all(shared, tmp_path / name)
        assert not found.tampered
        assert "restored" in kinds(found)
    assert on_server(shared) == sum(len(list(records(tmp_path / name))) for name in "ab")


def test_clocks_that_differ_change_no_order(make: Any, shared: SharedAudit, tmp_path: Path) -> None:
    """Five minutes fast, five minutes slow, and one that jumps back."""
    now = datetime(2026, 11, 28, 12, tzinfo=UTC)
    skews = {"fast": [5] * 6, "slow": [-5] * 6, "jumps": [5, 5, -5, -5, 0, 0]}
    clocks = {
        name: iter([now + timedelta(minutes=each) for each in minutes for _ in range(2)])
        for name, minutes in skews.items()
    }
    logs = {name: make(name, now=lambda name=name: next(clocks[name], now)) for name in skews}
    for number in range(3):
        for log in logs.values():
            log.append("node", run="r", risk="high", facts={"number": number})
    for log in logs.values():
        log.close()
    found = verify_shared(shared)
    assert (found.tampered, found.records, kinds(found)) == (False, 9, set())
    rows = list(merged(shared, tmp_path / "fast", "r"))
    for chain in shared.chains():
        assert [body["facts"]["number"] for body, of, _ in rows if of == chain] == [0, 1, 2]


def test_a_run_that_two_machines_carried_is_one_list(make: Any, shared: SharedAudit, tmp_path: Path) -> None:
    first, second = make("a"), make("b")
    for number, log in enumerate((first, second, first, second)):
        log.append("node", run="r", risk="low", facts={"number": number})
        log.append("node", run="other", risk="low")
    second.close()
    rows = list(merged(shared, tmp_path / "a", "r"))
    assert [body["facts"]["number"] for body, _, _ in rows] == [0, 1, 2, 3]
    assert len({chain for _, chain, _ in rows}) == 2
    first.close()


WRITER = """
import sys
import threading
from pathlib import Path
from sluicegate.observe.audit.log import AuditLog
from sluicegate.storage.postgres import Server
from tests.observe.audit.shared.machines import machine
log = machine(Path(sys.argv[1]), sys.argv[2], Server(sys.argv[4]))
for number in range(int(sys.argv[5])):
    log.append("node", run=sys.argv[3], risk="high" if number % 5 == 0 else "low", facts={"number": number})
    print(number, flush=True)
log.close()
"""


def writer(root: Path, home: str, run: str, url: str, count: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", WRITER, str(root), home, run, url, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ})


@pytest.mark.slow
def test_processes_of_two_homes_write_at_once(tmp_path: Path, postgres: str, shared: SharedAudit) -> None:
    writers = [writer(tmp_path, home, f"{home}{number}", postgres, 40) for home in "ab" for number in range(2)]
    for one in writers:
        one.communicate(timeout=120)
    assert [one.returncode for one in writers] == [0, 0, 0, 0]
    verdict = verify_all(shared, tmp_path / "a")
    assert (verdict.records, verdict.chains, kinds(verdict)) == (160, 2, set())
    for run in ("a0", "a1", "b0", "b1"):
        numbers = [body["facts"]["number"] for body, _, _ in merged(shared, tmp_path / "a", run)]
        assert numbers == list(range(40))


@pytest.mark.slow
def test_a_killed_process_is_a_fact_and_nothing_else(
    tmp_path: Path, postgres: str, shared: SharedAudit, make: Any
) -> None:
    said = 0
    for kill in range(3):
        with writer(tmp_path, "a", f"r{kill}", postgres, 100_000) as process:
            assert process.stdout
            for _ in range(13 + kill):
                said = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            said = max([said, *(int(line) for line in process.stdout if line.endswith("\n"))])
        found = verify_shared(shared)
        assert not found.tampered
        assert kinds(found) == {"unclosed"}
        # what append has returned for with a high risk is there, without the machine
        there = {body["facts"]["number"] for body, _, _ in merged(shared, tmp_path / "none", f"r{kill}")}
        assert set(range(0, said + 1, 5)) <= there
    make("a").append("node", risk="high")
    verdict = verify_all(shared, tmp_path / "a")
    assert not verdict.tampered
    assert sum(finding.kind == "unclosed" for finding in verdict.findings) == 4
    assert on_server(shared) == len(list(records(tmp_path / "a")))


def test_a_server_that_is_closed_ends_what_is_delivered_to_it(make: Any, server: Server, shared: SharedAudit) -> None:
    logs = [filled(make(name), 2) for name in ("a", "b")]
    parts = [log._delivery for log in logs]
    threads = [part._sender.thread for part in parts]
    assert all(thread.is_alive() for thread in threads)
    server.close()
    assert not any(thread.is_alive() for thread in threads)
    assert on_server(shared) == 4
    assert delivery._open.of(server) == []
    assert kinds(verify_shared(shared)) == set(), "both have ended their parts"
    # a log that was left open goes on in its home; what it writes is sent by the next one
    filled(logs[0], 2, start=2)
    logs[0].close()
    assert on_server(shared) == 4
    make("a").close()
    assert on_server(shared) == 6


async def test_no_thread_of_a_closed_server_lives_on(server: Server) -> None:
    before = threading.active_count()
    await asyncio.gather(*(server.call(server.version) for _ in range(5)))
    assert threading.active_count() > before
    server.close()
    await soon(lambda: threading.active_count() <= before)
    assert await server.call(server.version)
