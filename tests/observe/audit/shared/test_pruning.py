"""What is past retention is deleted on the server too, on record, and what stays verifies."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from weakref import WeakSet

import pytest

from sluicegate.errors import CorruptError
from sluicegate.observe.audit.shared.sequence import Entry, SharedRecord
from sluicegate.observe.audit.shared.store import SharedAudit
from sluicegate.observe.audit.shared.verify_all import verify_all, verify_shared
from sluicegate.storage.postgres import Server
from tests.observe.audit.shared.machines import Rows, machine


@pytest.fixture
def server(postgres: str) -> Any:
    made = Server(postgres)
    yield made
    made.close()


@pytest.mark.slow
def test_old_records_and_statements_go_and_the_rest_verifies(tmp_path: Path, server: Server) -> None:
    clock = [datetime(2026, 1, 1, tzinfo=UTC)]
    shared = SharedAudit(server)
    log, other = (machine(tmp_path, name, server, segment_mb=0.003, now=lambda: clock[0]) for name in "ab")
    for _ in range(20):
        log.append("node", risk="high")
        other.append("node", risk="high")
    clock[0] += timedelta(days=179)
    log.prune()
    assert verify_shared(shared).records == 40
    clock[0] += timedelta(days=2)
    log.append("node", risk="high")
    log.prune(keep_from=8)
    assert next(row.seq for row in shared.records(log.chain)) == 8
    log.prune()
    assert next(row.seq for row in shared.records(log.chain)) == 21
    # another machine's are its own to delete
    assert [row.seq for row in shared.records(other.chain)] == [*range(1, 21)]
    kinds = [entry.kind for entry in shared.entries()]
    assert kinds.count("registered") == 2
    assert len(kinds) < 12
    assert not verify_shared(shared).tampered
    other.append("node", risk="high")
    other.prune()
    for one in (log, other):
        found = verify_all(shared, one.folder)
        assert not found.tampered, found.findings
        one.close()
    rows = Rows.of(shared)
    for gone in [entry for entry in rows.kept if entry.kind == "registered"]:
        fewer = Rows([entry for entry in rows.kept if entry is not gone], rows.lines)
        assert "missing" in {finding.kind for finding in verify_shared(fewer).findings}
    for gone in rows.lines:
        fewer = Rows(rows.kept, [row for row in rows.lines if row is not gone])
        assert verify_shared(fewer).tampered


def test_what_was_changed_is_not_deleted(tmp_path: Path, server: Server) -> None:
    clock = [datetime(2026, 1, 1, tzinfo=UTC)]
    log = machine(tmp_path, "a", server, now=lambda: clock[0])
    for _ in range(4):
        log.append("node", risk="high")
    with server.connection() as connection:
        connection.execute("DELETE FROM audit_records WHERE seq = 2")
    clock[0] += timedelta(days=200)
    with pytest.raises(CorruptError, match="nothing of it is deleted"):
        log.prune()
    assert [row.seq for row in SharedAudit(server).records(log.chain)] == [1, 3, 4]
    log.close()


class Mortal(Entry):
    """Whose end can be seen."""

    __slots__ = ("__weakref__",)


class Watched:
    """Rows as a server gives them, each made when it is asked for; counts how many are alive at a time."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._alive: WeakSet[Entry] = WeakSet()
        self.most = 0

    def entries(self, *, chain: str = "") -> Iterator[Entry]:
        for entry in self._rows.entries(chain=chain):
            given = Mortal(**asdict(entry))
            self._alive.add(given)
            yield given
            self.most = max(self.most, len(self._alive))

    def chains(self) -> list[str]:
        return self._rows.chains()

    def records(self, chain: str) -> Iterable[SharedRecord]:
        return self._rows.records(chain)


@pytest.mark.slow
def test_statements_are_not_kept_while_they_are_verified(tmp_path: Path, server: Server) -> None:
    log = machine(tmp_path, "a", server)
    for _ in range(40):
        log.append("node", risk="high")
    log.close()
    rows = Rows.of(SharedAudit(server))
    watched = Watched(rows)
    verdict = verify_shared(watched, seen=[(rows.kept[-1].position, rows.kept[-1].hash)])
    assert not verdict.tampered
    assert verdict.checkpoints > 40
    assert 0 < watched.most <= 3


def test_what_is_written_meanwhile_is_not_seen_in_part(tmp_path: Path, server: Server) -> None:
    shared = SharedAudit(server)
    log = machine(tmp_path, "a", server)
    log.append("node", risk="high")
    with shared.snapshot() as rows:
        before = [*rows.entries()]
        log.append("node", risk="high")
        machine(tmp_path, "b", server).close()
        assert [*rows.entries()] == before
        assert [row.seq for row in rows.records(log.chain)] == [1]
        verdict = verify_shared(rows)
    assert (verdict.records, verdict.tampered) == (1, False)
    assert verify_shared(shared).records == 2
    log.close()
