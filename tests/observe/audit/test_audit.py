"""The audit log: every change shows, nothing is dropped, a person can be erased."""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.errors import RunError
from sluicegate.observe.audit import log as audit_log
from sluicegate.observe.audit.chain import canonical, line_of, plain
from sluicegate.observe.audit.log import AuditLog, AuditSettings
from sluicegate.observe.audit.proof import check_proof, prove, records
from sluicegate.observe.audit.verify import verify

FACTS = {"node": "answer", "model": "ollama:qwen3:1.7b", "confidence": 0.75, "documents": [{"id": "kb-1"}]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "audit"


@pytest.fixture
def make(folder: Path, tmp_path: Path) -> Callable[..., AuditLog]:
    return lambda **options: AuditLog(folder, AuditSettings(**options), key=tmp_path / "keys" / "audit.pem")


def filled(make: Callable[..., AuditLog], count: int = 6, **options: Any) -> AuditLog:
    log = make(**options)
    for number in range(count):
        log.append("node", actor="alice", run=f"r{number % 2}", workflow="helpdesk", facts={**FACTS, "number": number})
    return log


def lines_of(folder: Path) -> list[bytes]:
    return (folder / "audit-000001.jsonl").read_bytes().splitlines(keepends=True)


def rewrite(folder: Path, lines: list[bytes]) -> None:
    (folder / "audit-000001.jsonl").write_bytes(b"".join(lines))


def found(folder: Path) -> list[tuple[str, int]]:
    return [(finding.kind, finding.seq) for finding in verify(folder).findings]


def test_what_is_written_verifies(make: Any, folder: Path) -> None:
    filled(make).checkpoint()
    verdict = verify(folder)
    assert (verdict.records, verdict.first, verdict.last, verdict.checkpoints) == (6, 1, 6, 1)
    assert verdict.findings == ()
    assert not verdict.tampered


def test_lines_are_canonical_and_chained(make: Any, folder: Path) -> None:
    filled(make, 2)
    first, second = (json.loads(line) for line in lines_of(folder))
    assert lines_of(folder)[0] == rfc8785.dumps(first) + b"\n"
    assert first["prev"] == "0" * 64
    assert second["prev"] == first["hash"]
    assert first["facts"]["model"] == "ollama:qwen3:1.7b"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.slow
@given(st.dictionaries(st.text(max_size=6), JSON, max_size=4))
def test_any_data_becomes_canonical_data(value: dict[str, Any]) -> None:
    data = plain(value)
    assert canonical(data) == rfc8785.dumps(data)
    line, own = line_of({"seq": 1, "facts": data}, "0" * 64)
    assert json.loads(line)["hash"] == own
    assert plain(data) == data


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (2**60, str(2**60)),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (1.0, 1),
        (-0.0, 0),
        ({1}, [1]),
        ((1, 2), [1, 2]),
        (datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01 00:00:00+00:00"),
        ("\ud800", "?"),
        ({1: 2}, {"1": 2}),
    ],
)
def test_what_json_cannot_hold_becomes_text(value: Any, expected: Any) -> None:
    assert plain({"x": value})["x"] == expected


def test_an_edit_is_found(make: Any, folder: Path) -> None:
    filled(make)
    lines = lines_of(folder)
    lines[2] = lines[2].replace(b'"number":2', b'"number":7')
    rewrite(folder, lines)
    assert ("edited", 3) in found(folder)
    assert verify(folder).tampered


def test_an_edit_with_a_new_hash_is_found(make: Any, folder: Path) -> None:
    filled(make)
    lines = lines_of(folder)
    body = json.loads(lines[2])
    previous = body.pop("prev")
    body.pop("hash")
    lines[2], _ = line_of({**body, "facts": {}}, previous)
    rewrite(folder, lines)
    assert found(folder) == [("rewritten", 4)]


def test_a_rewritten_chain_is_found_by_the_signed_head(make: Any, folder: Path) -> None:
    filled(make)
    previous, lines = "0" * 64, list[bytes]()
    for body, _, _ in list(records(folder)):
        line, previous = line_of({**body, "facts": {"innocent": True}}, previous)
        lines.append(line)
    rewrite(folder, lines)
    assert ("rewritten", 6) in found(folder)


def test_a_deletion_is_found(make: Any, folder: Path) -> None:
    filled(make)
    lines = lines_of(folder)
    rewrite(folder, [*lines[:2], *lines[4:]])
    assert found(folder) == [("deleted", 3)]
    assert "missing before this line: 3 to 4" in verify(folder).findings[0].message


def test_a_deletion_at_the_beginning_is_found(make: Any, folder: Path) -> None:
    filled(make)
    rewrite(folder, lines_of(folder)[1:])
    assert found(folder) == [("deleted", 1)]


@pytest.mark.parametrize("kept", [5, 1, 0])
def test_a_truncation_is_found(make: Any, folder: Path, kept: int) -> None:
    filled(make)
    rewrite(folder, lines_of(folder)[:kept])
    assert ("truncated", kept + 1) in found(folder)


def test_a_truncation_with_an_older_head_is_found_by_a_checkpoint_kept_elsewhere(make: Any, folder: Path) -> None:
    log = filled(make, 3)
    older = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".lock"}
    for _ in range(3):
        log.append("node")
    witnessed = log.checkpoint()
    log.close()
    for path in folder.iterdir():
        path.unlink()
    for name, data in older.items():
        (folder / name).write_bytes(data)
    assert verify(folder).findings == ()
    assert [f.kind for f in verify(folder, witnessed=[witnessed]).findings] == ["truncated"]
    forged = {**witnessed, "seq": 3}
    assert [f.kind for f in verify(folder, witnessed=[forged]).findings] == ["signature"]


def test_a_log_whose_files_are_gone_is_found(make: Any, folder: Path) -> None:
    filled(make)
    (folder / "audit-000001.jsonl").unlink()
    assert found(folder) == [("truncated", 1)]


def test_where_there_is_no_log_there_is_nothing_to_verify(folder: Path) -> None:
    with pytest.raises(RunError) as caught:
        verify(folder)
    assert caught.value.code == "SG603"


def test_a_reorder_is_found(make: Any, folder: Path) -> None:
    filled(make)
    lines = lines_of(folder)
    rewrite(folder, [lines[0], lines[2], lines[1], *lines[3:]])
    assert {kind for kind, _ in found(folder)} == {"reordered"}
    assert ("reordered", 3) in found(folder)


def test_a_repeated_record_is_found(make: Any, folder: Path) -> None:
    filled(make)
    lines = lines_of(folder)
    rewrite(folder, [*lines[:3], lines[2], *lines[3:]])
    assert ("reordered", 3) in found(folder)


def test_an_inserted_record_is_found(make: Any, folder: Path) -> None:
    filled(make)
    lines = lines_of(folder)
    forged, _ = line_of({"v": 1, "seq": 7, "at": "x", "event": "node", "facts": {}}, json.loads(lines[-1])["hash"])
    second, _ = line_of({"v": 1, "seq": 8, "at": "x", "event": "node", "facts": {}}, json.loads(forged)["hash"])
    rewrite(folder, [*lines, forged, second])
    assert ("rewritten", 7) in found(folder)


@pytest.mark.parametrize("name", ["head", "checkpoints.jsonl"])
def test_changed_signatures_are_found(make: Any, folder: Path, name: str) -> None:
    filled(make).checkpoint()
    path = folder / name
    path.write_bytes(path.read_bytes().replace(b'"seq":6', b'"seq":5').replace(b'"seq":5', b'"seq":4'))
    assert ("signature", 0) in found(folder)


def test_another_key_is_found(make: Any, folder: Path, tmp_path: Path) -> None:
    filled(make)
    AuditLog(tmp_path / "other", key=tmp_path / "keys" / "other.pem").append("node")
    verdict = verify(folder, public_key=(tmp_path / "other" / "public.pem").read_bytes())
    assert verdict.tampered
    with pytest.raises(RunError, match="signed with another key") as caught:
        AuditLog(folder, key=tmp_path / "keys" / "other.pem")
    assert caught.value.code == "SG606"


@pytest.mark.slow
def test_whoever_opens_a_new_log_beside_another_finds_the_whole_key(tmp_path: Path) -> None:
    def opened(number: int) -> str:
        log = AuditLog(tmp_path / f"home{number}", key=tmp_path / "audit.pem")
        log.close()
        return (tmp_path / f"home{number}" / "public.pem").read_text()

    opened(0)
    with ThreadPoolExecutor(8) as pool:
        assert len({*pool.map(opened, [number for number in range(1, 30) for _ in range(8)])}) == 1


@pytest.mark.parametrize("damage", [lambda ls: ls[:-1], lambda ls: [*ls, ls[-1]], lambda ls: [*ls, b"x\n", b"y\n"]])
def test_nothing_more_is_written_to_a_log_that_was_changed(make: Any, folder: Path, damage: Any) -> None:
    log = filled(make)
    rewrite(folder, damage(lines_of(folder)))
    before = lines_of(folder)
    for attempt in (lambda: log.append("node"), make):
        with pytest.raises(RunError, match="was changed") as caught:
            attempt()
        assert caught.value.code == "SG606"
    assert lines_of(folder) == before


def test_a_head_that_is_gone_is_tampering(make: Any, folder: Path) -> None:
    filled(make).close()
    (folder / "head").unlink()
    with pytest.raises(RunError, match="its head is missing"):
        make()
    assert ("signature", 0) in found(folder)


def test_a_torn_last_line_is_repaired_and_recorded(make: Any, folder: Path) -> None:
    filled(make).close()
    with (folder / "audit-000001.jsonl").open("ab") as file:
        file.write(b'{"at":"2026')
    assert found(folder) == [("torn", 0)]
    assert not verify(folder).tampered
    log = make()
    log.append("node")
    assert verify(folder).findings == ()
    recovered = [body for body, _, _ in records(folder) if body["event"] == "audit.recovered"]
    assert recovered[0]["facts"]["torn_bytes"] == 11


def test_a_record_whose_head_was_not_written_is_taken_in_and_recorded(make: Any, folder: Path) -> None:
    log = filled(make, 3)
    slots = (folder / "head").read_bytes()
    log.append("node", run="late")
    log.close()
    (folder / "head").write_bytes(slots)
    assert found(folder) == [("unsigned", 4)]
    make()
    assert verify(folder).findings == ()
    assert [(body["seq"], body["event"]) for body, _, _ in records(folder)][3:] == [(4, "node"), (5, "audit.recovered")]


WRITER = """
import sys
from pathlib import Path
from sluicegate.observe.audit.log import AuditLog
from sluicegate.observe.audit.log import AuditSettings
folder, key, name, count = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
log = AuditLog(folder, AuditSettings(segment_mb=0.01), key=key)
for number in range(count):
    log.append("node", run=name, facts={"number": number, "filler": "x" * 100})
    print(number, flush=True)
"""


def writer(folder: Path, name: str, count: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", WRITER, str(folder), str(folder.parent / "keys" / "audit.pem"), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_processes_write_one_chain_over_many_segments(folder: Path) -> None:
    writers = [writer(folder, name, 60) for name in "abc"]
    for one in writers:
        one.communicate(timeout=60)
    assert [one.returncode for one in writers] == [0, 0, 0]
    verdict = verify(folder)
    assert (verdict.records, verdict.findings) == (180, ())
    assert len(list(folder.glob("audit-*.jsonl"))) > 3
    for name in "abc":
        assert [b["facts"]["number"] for b, _, _ in records(folder) if b.get("run") == name] == list(range(60))


@pytest.mark.slow
def test_a_killed_writer_loses_nothing_it_said_it_wrote(make: Any, folder: Path) -> None:
    said = 0
    for name in ("a", "b", "c"):
        with writer(folder, name, 100_000) as process:
            assert process.stdout
            for _ in range(40):
                said = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            said = max([said, *(int(line) for line in process.stdout if line.endswith("\n"))])
        make(segment_mb=0.01).append("node", run="after")
        verdict = verify(folder)
        assert verdict.findings == ()
        numbers = [body["facts"]["number"] for body, _, _ in records(folder) if body.get("run") == name]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) in (said + 1, said + 2)


FULL = """
import resource, sys
from pathlib import Path
from sluicegate.errors import RunError
from sluicegate.observe.audit.log import AuditLog
log = AuditLog(Path(sys.argv[1]), key=Path(sys.argv[2]))
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
written = 0
try:
    while True:
        log.append("node", risk="high", facts={"filler": "x" * 900})
        written += 1
except RunError as error:
    print(error.code, written)
"""


@pytest.mark.slow
def test_a_full_disk_fails_closed_and_leaves_a_whole_log(make: Any, folder: Path, tmp_path: Path) -> None:
    assert resource.RLIMIT_FSIZE
    command = [sys.executable, "-c", FULL, str(folder), str(tmp_path / "keys" / "audit.pem")]
    code, written = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert code == "SG607"
    assert int(written) > 5
    verdict = verify(folder)
    assert (verdict.records, verdict.findings) == (int(written), ())
    assert make().append("node") == int(written) + 1


def test_a_folder_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError) as caught:
        AuditLog(tmp_path / "file" / "audit", key=tmp_path / "k.pem")
    assert caught.value.code == "SG607"


def test_the_key_is_private(make: Any, tmp_path: Path) -> None:
    make()
    key = tmp_path / "keys" / "audit.pem"
    assert key.stat().st_mode & 0o777 == 0o600
    key.chmod(0o644)
    with pytest.raises(RunError, match="is readable by other users") as caught:
        make()
    assert caught.value.code == "SG606"


def test_no_word_and_no_name_is_in_the_log(make: Any, folder: Path) -> None:
    log = make()
    texts = {"request": "my password is hunter2", "answer": "never say that"}
    log.append("node", actor="alice@example.com", run="r", texts=texts, people={"approver": "bob@example.com"})
    raw = b"".join(lines_of(folder))
    for secret in (b"hunter2", b"never", b"alice", b"bob"):
        assert secret not in raw
    (body, _, _) = next(iter(records(folder)))
    alice = log.payloads.person("alice@example.com")
    assert body["actor"] == alice.pseudonym
    assert body["texts"]["request"] == {"hmac": alice.hmac("my password is hunter2"), "length": 22}
    assert log.payloads.names()[body["people"]["approver"]] == "bob@example.com"


def test_a_person_whom_another_process_erased_is_known_no_longer(make: Any) -> None:
    log, other = make(), make()
    before = log.payloads.person("alice")
    assert log.payloads.person("alice") == before
    assert other.erase("alice", by="dpo") == 0
    assert log.payloads.person("alice").pseudonym != before.pseudonym


def test_one_person_is_erased_without_breaking_the_chain(make: Any, folder: Path) -> None:
    log, other = make(texts="kept"), make(texts="kept")
    for who in ("alice", "bob"):
        log.append("node", actor=who, run="r", texts={"request": f"words of {who}"})
    other.append("node", actor="alice", run="r", texts={"request": "more words of alice"})
    before = log.payloads.person("alice")
    assert sorted(payload.text for payload in log.payloads.of_run("r")) == [
        "more words of alice", "words of alice", "words of bob",
    ]  # fmt: skip
    assert log.erase("alice", by="dpo") == 2
    assert [payload.text for payload in log.payloads.of_run("r")] == ["words of bob"]
    assert "alice" not in log.payloads.names().values()
    for path in folder.iterdir():
        assert b"words of alice" not in path.read_bytes(), path
        assert b"alice" not in path.read_bytes(), path
    assert verify(folder).findings == ()
    erased = [body for body, _, _ in records(folder) if body["event"] == "audit.erased"]
    assert erased[0]["facts"] == {"person": before.pseudonym, "texts": 2}
    # the other process, which knew her, starts anew
    assert other.payloads.person("alice").pseudonym != before.pseudonym
    assert log.erase("nobody", by="dpo") == 0


def test_a_proof_convinces_without_the_log_and_shows_no_other_run(make: Any, folder: Path) -> None:
    log = filled(make, 7)
    log.append("node", run="r0", facts={"last": True})
    proof = json.loads(json.dumps(prove(log, "r0")))
    key = (folder / "public.pem").read_bytes()
    assert check_proof(proof, public_key=key) == (True, "5 records of run r0, in a log signed at record 8")
    assert sum("record" in step for step in proof["chain"]) == 5
    assert '"r1"' not in json.dumps(proof)


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p["chain"][0]["record"]["facts"].update(number=9),
        lambda p: p["chain"].pop(1),
        lambda p: p["chain"].pop(),
        lambda p: p["chain"].reverse(),
        lambda p: p.update(run="r1"),
        lambda p: p["checkpoint"].update(seq=99),
        lambda p: p.update(start="1" * 64),
        lambda p: p["chain"][1].update(digest="zz"),
        lambda p: p.pop("chain"),
        lambda p: p.update(public_key="none"),
    ],
)
def test_a_changed_proof_does_not_hold(make: Any, change: Callable[[Any], Any]) -> None:
    proof = prove(filled(make, 5), "r0")
    change(proof)
    assert not check_proof(proof)[0]


def test_a_proof_under_another_key_does_not_hold(make: Any, tmp_path: Path) -> None:
    proof = prove(filled(make, 5), "r0")
    AuditLog(tmp_path / "other", key=tmp_path / "keys" / "other.pem")
    assert not check_proof(proof, public_key=(tmp_path / "other" / "public.pem").read_bytes())[0]


def test_a_run_that_is_not_there_cannot_be_proved(make: Any) -> None:
    with pytest.raises(RunError) as caught:
        prove(filled(make), "r9")
    assert caught.value.code == "SG603"


def test_pruning_waits_for_retention_and_is_an_event(folder: Path, tmp_path: Path) -> None:
    clock = [datetime(2026, 1, 1, tzinfo=UTC)]
    log = AuditLog(folder, AuditSettings(segment_mb=0.003), key=tmp_path / "k.pem", now=lambda: clock[0])
    for number in range(60):
        log.append("node", facts={"number": number})
    segments = len(list(folder.glob("audit-*.jsonl")))
    assert segments > 3
    clock[0] += timedelta(days=179)
    assert log.prune() == 0
    clock[0] += timedelta(days=2)
    assert log.prune(keep_from=1) == 0
    some = log.prune(keep_from=30)
    assert 0 < some < 30
    assert verify(folder).findings == ()
    rest = log.prune()
    assert 0 < rest <= 60 - some
    verdict = verify(folder)
    assert verdict.findings == ()
    assert verdict.first == some + rest + 1
    assert sum(body["event"] == "audit.pruned" for body, _, _ in records(folder)) >= 1
    first = min(folder.glob("audit-*.jsonl"))
    first.unlink()
    assert verify(folder).tampered


def test_a_clock_that_went_back_deletes_nothing_early(folder: Path, tmp_path: Path) -> None:
    clock = [datetime(2026, 1, 1, tzinfo=UTC)]
    log = AuditLog(folder, AuditSettings(segment_mb=0.003), key=tmp_path / "k.pem", now=lambda: clock[0])
    while len(list(folder.glob("audit-*.jsonl"))) < 3:
        # every other record is from a machine whose clock is ten years slow
        clock[0] = datetime(2016 if clock[0].year == 2026 else 2026, 1, 1, tzinfo=UTC)
        log.append("node", facts={"number": 1})
    clock[0] = datetime(2026, 2, 1, tzinfo=UTC)
    assert log.prune() == 0
    assert verify(folder).findings == ()


def test_retention_is_at_least_half_a_year() -> None:
    assert AuditSettings().retention_days == 180
    with pytest.raises(ValueError, match="180"):
        AuditSettings(retention_days=30)


def test_risky_events_are_forced_onto_the_disk(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    forced: list[int] = []
    log = make()
    monkeypatch.setattr(audit_log, "_sync", forced.append)
    log.append("node", risk="low")
    assert forced == []
    log.append("node", risk="high")
    assert len(forced) == 2


def test_an_event_is_a_line_and_a_head_however_long_the_log(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    log = filled(make, 50)
    calls: list[tuple[str, int]] = []

    def counted(name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def call(*arguments: Any) -> Any:
            result = real(*arguments)
            calls.append((name, result if isinstance(result, int) else len(result)))
            return result

        return call

    for name in ("open", "read", "pread", "write", "pwrite"):
        monkeypatch.setattr(os, name, counted(name))
    log.append("node", actor="alice", run="r", workflow="w", facts=FACTS, texts={"answer": "x" * 300})
    assert [name.removeprefix("p") for name, _ in calls] == ["read", "write", "write"]
    assert sum(size for _, size in calls) < 5000
