"""Every way to change what a server has of the audit log shows, and says what and where."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from sluicegate.observe.audit.chain import canonical, line_of
from sluicegate.observe.audit.keys import private_key, public_pem
from sluicegate.observe.audit.shared.sequence import Entry, SharedRecord, entry_hash, made
from sluicegate.observe.audit.shared.store import SharedAudit
from sluicegate.observe.audit.shared.trust import fingerprint
from sluicegate.observe.audit.shared.verify_all import registered, verify_shared
from sluicegate.storage.postgres import Server
from tests.observe.audit.shared.machines import Rows, filled, machine


@dataclass
class Stage:
    """Two machines that have written in turn, and one that has been killed."""

    rows: Rows
    a: str
    b: str
    killed: str
    keys: dict[str, Ed25519PrivateKey]

    @property
    def end(self) -> Entry:
        return max(self.rows.kept, key=lambda entry: entry.position)

    def of(self, chain: str, kind: str = "head") -> list[Entry]:
        return [entry for entry in self.rows.entries(chain=chain) if entry.kind == kind]

    def trusted(self) -> set[str]:
        return {fingerprint(key.public_key()) for key in self.keys.values()}

    def seen(self) -> list[tuple[int, str]]:
        return [(self.end.position, self.end.hash)]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, postgres_database: str) -> Stage:
    root = tmp_path_factory.mktemp("machines")
    server = Server(postgres_database)
    logs = {name: machine(root, name, server) for name in ("a", "b", "killed")}
    for start in (0, 3):
        for log in logs.values():
            filled(log, 3, start=start)
            log.checkpoint()
    ids = {name: log.chain for name, log in logs.items()}
    logs["a"].close()
    logs["b"].close()
    keys = {ids[name]: private_key(root / "keys" / f"{name}.pem") for name in logs}
    rows = Rows.of(SharedAudit(server))
    logs["killed"].close()
    server.close()
    return Stage(rows, ids["a"], ids["b"], ids["killed"], keys)


@pytest.fixture
def stage(built: Stage) -> Stage:
    return replace(built, rows=built.rows.copy())


def found(stage: Stage, **options: Any) -> list[tuple[str, str]]:
    """Kind and chain of what is tampering."""
    options = {"trusted": stage.trusted(), "seen": (), **options}
    verdict = verify_shared(stage.rows, **options)
    return [(finding.kind, finding.chain) for finding in verdict.findings if finding.tampering]


def test_what_machines_have_written_verifies(stage: Stage) -> None:
    verdict = verify_shared(stage.rows, trusted=stage.trusted(), seen=stage.seen())
    assert not verdict.tampered
    assert (verdict.records, verdict.chains) == (18, 3)
    (unclosed,) = verdict.findings
    assert (unclosed.kind, unclosed.chain) == ("unclosed", stage.killed)
    assert "has not ended its part" in unclosed.message


def without_records(stage: Stage, chain: str, *seqs: int) -> None:
    stage.rows.lines = [row for row in stage.rows.lines if row.chain != chain or (seqs and row.seq not in seqs)]


def without_entries(stage: Stage, gone: Callable[[Entry], bool]) -> None:
    stage.rows.kept = [entry for entry in stage.rows.kept if not gone(entry)]


def edited_line(stage: Stage, chain: str, seq: int) -> bytes:
    (row,) = (row for row in stage.rows.records(chain) if row.seq == seq)
    return row.line.replace(b'"number":', b'"number":9')


def exchanged(stage: Stage, one: tuple[str, int], other: tuple[str, int]) -> None:
    at = {(row.chain, row.seq): row for row in stage.rows.lines}
    for place, source in ((one, at[other]), (other, at[one])):
        stage.rows.change_record(*place, run=source.run, at=source.at, line=source.line)


def forged_registration(stage: Stage, chain: str) -> None:
    """By somebody who can write the database, and has a key of their own."""
    key = Ed25519PrivateKey.generate()
    fields = {"prev": stage.end.hash, "seq": 0, "hash": "0" * 64, "at": "2026-01-01T00:00:00+00:00"}
    fields |= {"writer": {"id": "x", "host": "evil", "pid": 1}, "public_key": public_pem(key.public_key()).decode()}
    stage.rows.kept.append(made(key, "registered", chain, {**fields, "position": stage.end.position + 1}))


def forked(stage: Stage) -> None:
    """A copy of a home, which has its key, signs another record under a number that is taken."""
    fields = {"prev": stage.end.hash, "seq": 6, "hash": "1" * 64, "at": "2026-01-01T00:00:00+00:00"}
    fields |= {"writer": {"id": "x", "host": "copy", "pid": 1}, "position": stage.end.position + 1}
    stage.rows.kept.append(made(stage.keys[stage.a], "head", stage.a, fields))


def signed_by_another(stage: Stage) -> None:
    last = stage.of(stage.b)[-1]
    told = json.loads(last.statement)
    told.pop("signature")
    stage.rows.kept = [entry for entry in stage.rows.kept if entry.position != last.position]
    kind, chain = told.pop("kind"), told.pop("chain")
    stage.rows.kept.append(made(stage.keys[stage.a], kind, chain, told))


def swapped_statements(stage: Stage) -> None:
    first, second = stage.of(stage.a)[0], stage.of(stage.b)[0]
    for place, source in ((first, second), (second, first)):
        fields = {"chain": source.chain, "seq": source.seq, "hash": source.hash, "statement": source.statement}
        stage.rows.change_entry(place.position, **fields)


def a_new_tail(stage: Stage) -> None:
    """Records behind the last one, chained as they should be, which nobody signed."""
    last = max(stage.rows.records(stage.a), key=lambda row: row.seq)
    own = json.loads(last.line)["hash"]
    line, _ = line_of({"v": 1, "seq": last.seq + 1, "at": "x", "event": "node", "facts": {}}, own)
    stage.rows.lines.append(SharedRecord(stage.a, last.seq + 1, "", "x", line))


def rechained(stage: Stage) -> None:
    """A chain that is whole in itself, with other records than were signed."""
    own = "0" * 64
    stage.rows.lines = [row for row in stage.rows.lines if row.chain != stage.a]
    for seq in range(1, 7):
        line, own = line_of({"v": 1, "seq": seq, "at": "x", "event": "nothing", "facts": {}}, own)
        stage.rows.lines.append(SharedRecord(stage.a, seq, "", "x", line))


TAMPERING: dict[str, tuple[Callable[[Stage], Any], str]] = {
    "a record edited": (lambda s: s.rows.change_record(s.a, 2, line=edited_line(s, s.a, 2)), "edited"),
    "a record named for another run": (lambda s: s.rows.change_record(s.a, 2, run="other"), "edited"),
    "a record moved in time": (lambda s: s.rows.change_record(s.a, 2, at="2020"), "edited"),
    "a record deleted": (lambda s: without_records(s, s.a, 3), "deleted"),
    "the first record deleted": (lambda s: without_records(s, s.a, 1), "deleted"),
    "a chain truncated": (lambda s: without_records(s, s.a, 5, 6), "truncated"),
    "a chain's records gone": (lambda s: without_records(s, s.a), "missing"),
    "records of the killed one truncated": (lambda s: without_records(s, s.killed, 6), "truncated"),
    "records reordered": (lambda s: exchanged(s, (s.a, 2), (s.a, 3)), "reordered"),
    "records exchanged between chains": (lambda s: exchanged(s, (s.a, 2), (s.b, 2)), "rewritten"),
    "a chain rewritten": (rechained, "rewritten"),
    "a tail added": (a_new_tail, "rewritten"),
    "a chain moved to another id": (
        lambda s: [s.rows.change_record(s.a, seq, chain="f" * 16) for seq in range(1, 7)],
        "unregistered",
    ),
    "a process taken out": (
        lambda s: (without_records(s, s.a), without_entries(s, lambda entry: entry.chain == s.a)),
        "gap",
    ),
    "a registration deleted": (
        lambda s: without_entries(s, lambda entry: (entry.chain, entry.kind) == (s.b, "registered")),
        "unregistered",
    ),
    "a statement deleted": (lambda s: without_entries(s, lambda e: e == s.of(s.a)[0]), "gap"),
    "the last statements deleted": (lambda s: without_entries(s, lambda e: e.position >= 8), "rolled-back"),
    "statements exchanged": (swapped_statements, "edited"),
    "a statement's number edited": (lambda s: s.rows.change_entry(s.of(s.a)[0].position, seq=9), "edited"),
    "a statement's kind edited": (lambda s: s.rows.change_entry(s.of(s.a)[0].position, kind="pruned"), "edited"),
    "a statement edited": (
        lambda s: s.rows.change_entry(s.end.position, statement=s.end.statement.replace(b'"seq":6', b'"seq":5')),
        "edited",
    ),
    "a statement edited with its hash": (
        lambda s: s.rows.change_entry(
            s.end.position,
            seq=5,
            statement=(changed := s.end.statement.replace(b'"seq":6', b'"seq":5')),
            hash=entry_hash(changed),
        ),
        "signature",
    ),
    "a head signed with the key of another chain": (signed_by_another, "signature"),
    "a second chain of one id": (lambda s: forged_registration(s, s.a), "signature"),
    "a chain of an unknown key": (lambda s: forged_registration(s, "e" * 16), "unknown-key"),
    "a home copied": (forked, "forked"),
    "everything gone": (lambda s: (without_entries(s, lambda _: True), s.rows.lines.clear()), "rolled-back"),
}


@pytest.mark.parametrize("name", TAMPERING)
def test_is_found(stage: Stage, name: str) -> None:
    memory = stage.seen()
    change, kind = TAMPERING[name]
    change(stage)
    kinds = {kind for kind, _ in found(stage, seen=memory)}
    assert kind in kinds


def test_findings_say_where_and_what_to_do(stage: Stage) -> None:
    without_records(stage, stage.a)
    (missing,) = (each for each in verify_shared(stage.rows).findings if each.tampering)
    assert (missing.kind, missing.chain, missing.seq, missing.place) == ("missing", stage.a, 1, f"chain {stage.a}")
    assert "which signed 6 records: none is there" in missing.message
    assert "may still have it in its home" in missing.hint


def test_whoever_writes_the_database_can_add_a_chain_but_not_pin_its_key(stage: Stage) -> None:
    forged_registration(stage, "e" * 16)
    told = verify_shared(stage.rows, trusted=None)
    assert [each.kind for each in told.findings if each.tampering] == []
    assert "unpinned" in {each.kind for each in told.findings}
    assert ("unknown-key", "e" * 16) in found(stage)


def test_a_database_that_was_put_back_whole_shows_only_to_who_has_seen_more(stage: Stage) -> None:
    memory, end = stage.seen(), stage.end
    keep = {entry.position for entry in stage.rows.kept if entry.position <= 6}
    without_entries(stage, lambda entry: entry.position not in keep)
    signed = {chain.id: chain.last for chain in _heads(stage).values()}
    stage.rows.lines = [row for row in stage.rows.lines if row.seq <= signed.get(row.chain, 0)]
    assert found(stage, seen=()) == []
    assert {kind for kind, _ in found(stage, seen=memory)} == {"rolled-back"}
    assert end.position == memory[0][0]


def _heads(stage: Stage) -> dict[str, Any]:
    chains = registered(stage.rows.entries())
    for entry in stage.rows.entries():
        chains[entry.chain].last = entry.seq
    return chains


EDITS = ["delete record", "edit record", "exchange records", "delete entry", "edit entry", "exchange entries"]


@pytest.mark.slow
@settings(max_examples=150)
@given(
    st.lists(st.tuples(st.sampled_from(EDITS), st.integers(0, 10**6), st.integers(0, 10**6)), min_size=1, max_size=4)
)
def test_random_edits_are_always_found(built: Stage, edits: list[tuple[str, int, int]]) -> None:
    stage = replace(built, rows=built.rows.copy())
    before = _as_rows(stage.rows)
    for edit, first, second in edits:
        _edit(stage.rows, edit, first, second)
    changed = _as_rows(stage.rows) != before
    assert bool(found(stage, seen=[(built.end.position, built.end.hash)])) is changed


def _as_rows(rows: Rows) -> Any:
    return sorted(rows.kept, key=lambda each: each.position), sorted(
        rows.lines, key=lambda each: (each.chain, each.seq)
    )


def _edit(rows: Rows, edit: str, first: int, second: int) -> None:
    what = rows.lines if edit.endswith(("record", "records")) else rows.kept
    if not what:
        return
    one, other = first % len(what), second % len(what)
    if edit.startswith("delete"):
        del what[one]
    elif edit == "edit record":
        row = rows.lines[one]
        at = second % len(row.line)
        line = row.line[:at] + bytes([row.line[at] ^ (1 + first % 255)]) + row.line[at + 1 :]
        rows.lines[one] = replace(row, line=line)
    elif edit == "edit entry":
        row = rows.kept[one]
        at = second % len(row.statement)
        told = row.statement[:at] + bytes([row.statement[at] ^ (1 + first % 255)]) + row.statement[at + 1 :]
        rows.kept[one] = replace(row, statement=told, hash=entry_hash(told))
    elif edit == "exchange records":
        a, b = rows.lines[one], rows.lines[other]
        rows.lines[one] = replace(b, chain=a.chain, seq=a.seq)
        rows.lines[other] = replace(a, chain=b.chain, seq=b.seq)
    else:
        a, b = rows.kept[one], rows.kept[other]
        rows.kept[one], rows.kept[other] = replace(b, position=a.position), replace(a, position=b.position)


def test_a_statement_is_canonical(stage: Stage) -> None:
    for entry in stage.rows.kept:
        assert canonical(json.loads(entry.statement)) == entry.statement
