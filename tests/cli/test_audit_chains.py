"""`sluicegate audit` where machines share a server: every chain is verified, listed, pinned and exported."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sluicegate.cli import audit, incidents
from sluicegate.observe.audit.log import open_audit
from sluicegate.observe.audit.shared.store import SharedAudit
from sluicegate.serving.operating import audit_state
from sluicegate.storage.postgres import Server, configured


@pytest.fixture
def homes(tmp_path: Path, postgres: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two machines that carried one run; this one is the second."""
    monkeypatch.setenv("SLUICEGATE_DATABASE_URL", postgres)
    monkeypatch.delenv("SLUICEGATE_AUDIT_KEY", raising=False)
    for number, name in enumerate("ab"):
        monkeypatch.setenv("SLUICEGATE_HOME", str(tmp_path / name))
        log = open_audit()
        log.append("node", actor="alice", run="r", workflow="w", facts={"number": number})
        log.append("node", actor="alice", run=name, workflow="w")
        log.close()
    return tmp_path


@pytest.fixture
def server(homes: Path) -> Server:
    found = configured()
    assert found
    return found


def call(*words: str, app: Any = audit.app) -> tuple[int, str]:
    result = CliRunner().invoke(app, [*words], catch_exceptions=False)
    return result.exit_code, result.stdout


def called(*words: str, app: Any = audit.app) -> Any:
    return json.loads(call(*words, "--json", app=app)[1])


def delete_a_chain(server: Server) -> str:
    chain = SharedAudit(server).chains()[0]
    with server.connection() as connection:
        connection.execute("DELETE FROM audit_records WHERE chain = %s", (chain,))
    return chain


@pytest.mark.slow
def test_all_chains_verify(homes: Path) -> None:
    status, text = call("verify", "--all")
    assert status == 0
    assert "4 records in 2 chains, 4 signed statements: intact" in text
    assert audit_state.latest()
    # what is on this machine alone is verified as ever
    assert "2 records (1 to 2)" in call("verify")[1]


def test_a_missing_chain_fails_says_what_and_opens_an_incident(homes: Path, server: Server) -> None:
    chain = delete_a_chain(server)
    status, text = call("verify", "--all")
    assert status == 1
    assert "tampered with" in text
    found = called("verify", "--all")
    (finding,) = (each for each in found["findings"] if each["kind"] == "missing")
    assert (finding["chain"], finding["seq"]) == (chain, 1)
    assert "may still have it in its home" in finding["hint"]
    (incident,) = called("list", app=incidents.app)
    assert incident["kind"] == "tampering"
    assert chain in incident["source"]


def test_the_console_verifies_all_of_them(homes: Path, server: Server) -> None:
    assert not audit_state.verified_once("").tampered
    seen = audit_state.latest()
    assert seen
    assert seen.verdict.chains == 2
    delete_a_chain(server)
    assert audit_state.verified_once(seen.at).tampered


@pytest.mark.slow
def test_chains_are_listed_and_their_keys_pinned(homes: Path, tmp_path: Path) -> None:
    rows = called("chains")
    assert [(row["records"], row["ended"], row["pinned"]) for row in rows] == [(2, True, False)] * 2
    own = called("trust")["own"]
    assert own in {row["fingerprint"] for row in rows}
    other = next(row for row in rows if row["fingerprint"] != own)
    assert call("verify", "--all")[0] == 0
    pinned = called("trust", own[:16])["pinned"]
    assert list(pinned) == [own]
    status, text = call("verify", "--all")
    assert (status, "unknown-key" in text) == (1, True)
    assert set(called("trust", other["chain"])["pinned"]) == {own, other["fingerprint"]}
    found = called("verify", "--all")
    assert (found["tampered"], found["findings"]) == (False, [])
    called("trust", other["fingerprint"], "--remove")
    assert call("verify", "--all")[0] == 1
    file = tmp_path / "pins.json"
    called("trust", "--all", "--file", str(file))
    assert call("verify", "--all", "--trusted", str(file))[0] == 0
    assert call("trust", "nobody")[0] == 2


def test_a_run_that_was_carried_by_two_machines_is_exported_as_one(homes: Path) -> None:
    rows = called("export", "--run", "r", "--names")
    assert [row["facts"]["number"] for row in rows] == [0, 1]
    assert len({row["chain"] for row in rows}) == 2
    assert {row["actor"] for row in rows} == {"alice"}
    assert len(called("export")) == 4
    assert len(called("export", "--folder", str(homes / "a" / "audit"))) == 2


def test_a_run_that_was_carried_by_two_machines_is_proved_in_both_chains(homes: Path, tmp_path: Path) -> None:
    file, pins = tmp_path / "proof.json", tmp_path / "pins.json"
    assert call("prove", "r", "--out", str(file))[0] == 0
    called("trust", "--all", "--file", str(pins))
    status, text = call("verify", "--proof", str(file), "--trusted", str(pins))
    assert status == 0
    assert text.count("1 records of run r") == 2
    proof = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps({**proof, "run": "other"}), "utf-8")
    assert call("verify", "--proof", str(file))[0] == 1
    proof["proofs"][1]["chain"][0]["record"]["facts"]["number"] = 7
    file.write_text(json.dumps(proof), "utf-8")
    assert "does not hold" in call("verify", "--proof", str(file))[1]
    pins.write_text("{}")
    assert call("verify", "--proof", str(file), "--trusted", str(pins))[0] == 1


def test_a_checkpoint_covers_every_chain(homes: Path, server: Server, tmp_path: Path) -> None:
    witness = tmp_path / "witness.jsonl"
    assert call("checkpoint", "--out", str(witness))[0] == 0
    # the database is put back to before this machine had written, and this machine is gone too
    mine = next(row["chain"] for row in called("chains") if row["fingerprint"] == called("trust")["own"])
    with server.connection() as connection:
        connection.execute("DELETE FROM audit_entries WHERE chain = %s", (mine,))
        connection.execute("DELETE FROM audit_records WHERE chain = %s", (mine,))
    for path in (homes / "b" / "audit").iterdir():
        path.unlink()
    assert call("verify", "--all")[0] == 0
    found = called("verify", "--all", "--witness", str(witness))
    assert [each["kind"] for each in found["findings"] if each["kind"] != "unpinned"] == ["missing", "rolled-back"]


def test_after_a_restore_each_machine_sends_again(homes: Path, server: Server) -> None:
    mine = next(row["chain"] for row in called("chains") if row["fingerprint"] == called("trust")["own"])
    with server.connection() as connection:
        connection.execute("DELETE FROM audit_entries WHERE chain = %s", (mine,))
        connection.execute("DELETE FROM audit_records WHERE chain = %s", (mine,))
    assert call("verify", "--all")[0] == 1
    assert called("restored", "the night's backup", "--by", "op")["records"] == 3
    found = called("verify", "--all")
    assert not found["tampered"]
    assert "restored" in {each["kind"] for each in found["findings"]}


def test_without_a_server_there_is_one_chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_audit().append("node")
    assert "1 records (1 to 1)" in call("verify", "--all")[1]
    for words in (["chains"], ["trust", "--all"], ["restored", "why"]):
        assert call(*words)[0] == 2
