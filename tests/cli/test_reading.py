"""Nobody reads what they may not: a draft is for those who may read every source of it, wherever it is shown."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from sluicegate import Service
from sluicegate.cli import app
from sluicegate.errors import RunError
from sluicegate.graphs.session.session import Session
from tests.support.fakes import FakeModels, FakeRouter
from tests.support.stand import NoShadow, served

WORKFLOW = """
workflow: salaries
version: 1
purpose: Drafts from documents that not everybody may read.
models:
  slm: {use: "embedded:smollm2-135m"}
  embedder: {use: "embedded:all-minilm-l6-v2"}
intents:
  question: {task: short-answer, risk: high, max_tokens: 60, describe: "a question"}
router: {strategy: slm}
indexes:
  kb: {path: knowledge}
start: classify
nodes:
  classify: {kind: classify, then: gate}
  gate: {kind: policy-check, then: [{when: "policy.verdict == 'deny'", go: refuse}, {otherwise: facts}]}
  facts: {kind: retrieve, index: kb, then: draft}
  draft: {kind: slm-answer, prompt: answer, then: check}
  check: {kind: output-check, guards: [tone], then: approve}
  approve:
    kind: human-interrupt
    approvers: role:lead
    timeout: 24h
    then: [{when: "approval.verdict in ['approve', 'edit']", go: respond}, {otherwise: refuse}]
  respond: {kind: respond}
  refuse: {kind: refuse, say: "No."}
"""
SECRET = "Bob earns 90000 a year"
DOCUMENT = f"""---
title: Pay of the board
readers: [role:hr]
clearance: confidential
approved: true
---
{SECRET}.
"""
LEA = ("--as", "lea", "--role", "lead")
HEAD = ("--as", "hedy", "--role", "lead", "--role", "hr", "--clearance", "confidential")
ASKER = ("--as", "ann", "--role", "hr", "--clearance", "confidential")
HIDDEN = (SECRET, "Pay of the board", "pay.md")


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    models = FakeModels({"slm": f"{SECRET} [1]."})
    monkeypatch.setattr("sluicegate.graphs.runtime.factory.ModelSet", lambda _models: models)
    monkeypatch.setattr("sluicegate.graphs.runtime.factory._router", lambda *_: FakeRouter("question"))
    monkeypatch.setattr("sluicegate.graphs.runtime.factory.Opened.warm", lambda _opened: None)
    monkeypatch.setattr("sluicegate.models.chain.ModelSet", lambda _models: models)
    folder = tmp_path / "desk"
    for name, text in {
        "workflow.yaml": WORKFLOW,
        "prompts/answer.md": "---\nid: answer\nversion: 1\n---\n{{question}}{{sources}}{{feedback}}{{section}}\n",
        "knowledge/pay.md": DOCUMENT,
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    assert command("ingest", str(folder / "workflow.yaml")).exit_code == 0
    return folder / "workflow.yaml"


def command(*arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments], env={"COLUMNS": "250"})


def said(*arguments: str) -> Any:
    result = command(*arguments, "--json")
    assert result.exit_code == 0, result.output or result.exception
    return json.loads(result.stdout)


def ask(desk: Path) -> str:
    outcome = said("run", str(desk), "What does Bob earn?", *ASKER)
    assert outcome["status"] == "waiting"
    return outcome["run"]


@pytest.mark.slow
def test_who_may_not_read_sees_that_it_waits_and_why(desk: Path) -> None:
    run = ask(desk)
    for reader in ((), LEA):
        for words in (("list",), ("show", run), ("watch", "--once")):
            for form in ((), ("--json",)):
                shown = command("approvals", *words, *reader, *form).stdout
                assert run in shown
                assert "of the 1 passages that this rests on" in shown
                assert not [hidden for hidden in HIDDEN if hidden in shown]
        waiting = said("approvals", "show", run, *reader)
        assert (waiting["draft"], waiting["documents"], waiting["proposal"]) == ("", [], {})
        assert waiting["request"] == "What does Bob earn?"
    for verdict in (("approve", run), ("reject", run), ("edit", run, "Ask HR.")):
        refused = command("approvals", *verdict, *LEA)
        assert isinstance(refused.exception, RunError)
        assert (refused.exception.code, "may not decide" in refused.exception.message) == ("SG610", True)


def test_it_goes_to_who_may_read(desk: Path) -> None:
    run = ask(desk)
    waiting = said("approvals", "show", run, *HEAD)
    assert (waiting["withheld"], waiting["draft"]) == ("", f"{SECRET} [1].")
    assert said("approvals", "approve", run, *HEAD)["status"] == "answered"


def test_the_same_over_http(desk: Path) -> None:
    lead = {"x-user": "lea", "x-roles": "lead"}
    run = ask(desk)
    with served(Service(desk, beside=NoShadow)) as client:  # type: ignore[arg-type]
        operator = {"x-user": "olga", "x-roles": "operator"}
        for address in ("/v1/approvals", f"/v1/approvals/{run}"):
            shown = client.get(address, headers=lead)
            assert shown.status_code == 200
            assert "passages that this rests on" in shown.text
            assert not [hidden for hidden in HIDDEN if hidden in shown.text]
        refused = client.post(f"/v1/approvals/{run}", json={"verdict": "approve"}, headers=lead)
        assert (refused.status_code, refused.json()["code"]) == (403, "SG610")
        said("approvals", "approve", run, *HEAD)
        seen = client.get(f"/v1/runs/{run}", headers=operator)
        assert seen.json()["status"] == "answered"
        assert "passages that this rests on" in seen.json()["reason"]
        assert not [hidden for hidden in HIDDEN if hidden in seen.text]
        trail = client.get(f"/v1/runs/{run}/trail", headers=operator).text
        assert not [hidden for hidden in HIDDEN if hidden in trail]


def test_a_session_opens_for_who_may_read(desk: Path) -> None:
    run = ask(desk)
    for reader in ({}, {"as_": "olga", "role": "operator"}):
        with pytest.raises(RunError, match="passages that this rests on"):
            Session.open(run, **reader)
    opened = Session.open(run, as_="hedy", role=["auditor", "hr"], clearance="confidential")
    assert opened.waiting is not None
    assert opened.waiting["draft"] == f"{SECRET} [1]."


@pytest.mark.slow
def test_a_trace_is_shown_and_exported_without_what_its_reader_may_not_read(desk: Path, tmp_path: Path) -> None:
    run = ask(desk)
    said("approvals", "approve", run, *HEAD)
    page = tmp_path / "run.html"
    ways = (
        ("trace", "show", run), ("trace", "show", run, "--json"), ("trace", "show", run, "--html", str(page)),
        ("trace", "list", "--json"), ("trace", "export", run), ("trace", "export", run, "--format", "otlp"),
        ("approvals", "export", str(desk), "--out", str(page)),
    )  # fmt: skip
    for way in ways:
        for reader in ((), ("--as", "olga", "--role", "operator")):
            result = command(*way, *reader)
            assert result.exit_code == 0, result.output or result.exception
            told = result.stdout + (page.read_text(encoding="utf-8") if page.exists() else "")
            assert not [hidden for hidden in HIDDEN if hidden in told], way
        page.unlink(missing_ok=True)
    assert "passages that this rests on" in command("trace", "show", run).stdout
    left = said("approvals", "export", str(desk), "--out", str(page))["left_out"]
    assert left == {"the reader may not read all of its sources": 1}
    page.unlink()
    reader = ("--as", "hedy", "--role", "auditor", "--role", "hr", "--clearance", "confidential")
    for way in ways[:-1]:
        result = command(*way, *reader)
        told = result.stdout + (page.read_text(encoding="utf-8") if page.exists() else "")
        assert SECRET in told, way
        page.unlink(missing_ok=True)
