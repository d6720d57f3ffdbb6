"""`sluicegate audit` and `sluicegate incidents`, as people and scripts call them."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sluicegate.cli import audit, incidents
from sluicegate.observe.audit.log import AuditSettings, open_audit
from sluicegate.observe.incidents import Incidents


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SLUICEGATE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SLUICEGATE_AUDIT_KEY", raising=False)
    log = open_audit(AuditSettings(texts="kept"))
    for number in range(4):
        texts = {"request": f"words {number}"}
        log.append("node", actor="alice", run=f"r{number % 2}", workflow="w", facts={"number": number}, texts=texts)
    log.close()
    return tmp_path / "home"


def call(app: Any, *words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, [*words], catch_exceptions=False)
    return result.exit_code, result.stdout


def called(app: Any, *words: str) -> Any:
    return json.loads(call(app, *words, "--json")[1])


def test_a_whole_log_verifies() -> None:
    status, text = call(audit.app, "verify")
    assert status == 0
    assert "4 records (1 to 4), 0 checkpoints: intact" in text


def test_tampering_fails_and_opens_an_incident(home: Path) -> None:
    path = home / "audit" / "audit-000001.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"number":1', b'"number":9'))
    status, text = call(audit.app, "verify")
    assert status == 1
    assert "tampered with" in text
    found = called(audit.app, "verify")
    assert found["tampered"] is True
    assert found["findings"][0]["kind"] == "edited"
    (incident,) = called(incidents.app, "list")
    assert (incident["kind"], incident["severity"], incident["occurrences"]) == ("tampering", "serious", 2)


def test_export_filters_and_shows_names_and_texts_on_demand() -> None:
    _, text = call(audit.app, "export", "--run", "r1")
    rows = [json.loads(line) for line in text.splitlines()]
    assert [row["seq"] for row in rows] == [2, 4]
    assert "alice" not in text
    assert "words" not in text
    shown = called(audit.app, "export", "--run", "r1", "--names", "--texts")
    assert {row["actor"] for row in shown} == {"alice"}
    assert [row["texts"]["request"]["text"] for row in shown] == ["words 1", "words 3"]


def test_a_run_is_proved_and_checked_without_the_log(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proof, key = tmp_path / "proof.json", tmp_path / "public.pem"
    assert call(audit.app, "prove", "r1", "--out", str(proof))[0] == 0
    key.write_bytes((home / "audit" / "public.pem").read_bytes())
    monkeypatch.setenv("SLUICEGATE_HOME", str(tmp_path / "elsewhere"))
    status, text = call(audit.app, "verify", "--proof", str(proof), "--key", str(key))
    assert status == 0
    assert "proof holds: 2 records of run r1" in text
    proof.write_text(proof.read_text("utf-8").replace('"number": 1', '"number": 7'), "utf-8")
    assert called(audit.app, "verify", "--proof", str(proof), "--key", str(key))["holds"] is False
    assert not (tmp_path / "elsewhere").exists()


def test_a_checkpoint_kept_elsewhere_shows_a_rollback(tmp_path: Path, home: Path) -> None:
    before = {path.name: path.read_bytes() for path in (home / "audit").iterdir()}
    open_audit().append("node")
    witness = tmp_path / "witness.jsonl"
    assert call(audit.app, "checkpoint", "--out", str(witness))[0] == 0
    for path in (home / "audit").iterdir():
        path.unlink()
    for name, data in before.items():
        (home / "audit" / name).write_bytes(data)
    assert call(audit.app, "verify")[0] == 0
    assert called(audit.app, "verify", "--witness", str(witness))["findings"][0]["kind"] == "truncated"


def test_a_person_is_erased() -> None:
    done = called(audit.app, "erase", "alice", "--yes", "--by", "dpo")
    assert (done["person"], done["removed"]["texts"], done["in_progress"]) == ("alice", 4, [])
    shown = called(audit.app, "export", "--names", "--texts")
    assert "words" not in json.dumps(shown)
    assert "alice" not in json.dumps(shown)
    assert call(audit.app, "verify")[0] == 0


def test_nothing_is_pruned_before_its_time() -> None:
    assert called(audit.app, "prune") == {"deleted": 0, "retention_days": 180}


def test_an_incident_is_shown_annotated_closed_and_exported(tmp_path: Path) -> None:
    opened = Incidents().record("budget-stop", system="w", source="per_day_usd", description="the cap was reached")
    assert opened is not None
    assert "the cap was reached" in call(incidents.app, "show", opened)[1]
    changed = called(incidents.app, "annotate", opened, "looked", "--severity", "serious", "--by", "op")
    assert changed["deadline"] is not None
    assert call(incidents.app, "annotate", opened, "x", "--severity", "huge")[0] == 2
    assert called(incidents.app, "close", opened, "raised the cap", "--by", "op")["status"] == "closed"
    assert call(incidents.app, "list")[1].strip() == "no open incidents"
    assert called(incidents.app, "list", "--all")[0]["resolution"] == "raised the cap"
    out = tmp_path / "incidents.json"
    assert call(incidents.app, "export", "--out", str(out))[0] == 0
    assert [row["id"] for row in json.loads(out.read_text("utf-8"))] == [opened]
