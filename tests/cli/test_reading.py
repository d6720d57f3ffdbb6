"""Nobody reads what they may not: a draft is for those who may read every source of it, wherever it is shown."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from sluicegate import Service
from sluicegate.cli import app
from sluicegate.errors import RunError
from sluicegate.graphs.runtime.intake import principal
from sluicegate.graphs.session.session import Session
from tests.support.fakes import FakeModels, FakeRouter
from tests.support.receiver import PUBLIC, Receiver
from tests.support.receiver import SECRET as KEY
from tests.support.stand import NoShadow, served

pytestmark = pytest.mark.slow

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


@pytest.fixture
def destinations(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Receiver, Receiver]]:
    """Langfuse and an OTLP collector."""
    with Receiver() as langfuse, Receiver() as collector:
        monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", PUBLIC)
        monkeypatch.setenv("LANGFUSE_SECRET_KEY", KEY)
        monkeypatch.setenv("LANGFUSE_HOST", langfuse.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        yield langfuse, collector


def received(server: Receiver) -> str:
    return repr((server.spans, server.scores))


def test_where_traces_are_sent_nobody_reads_what_its_readers_may_not(
    desk: Path, destinations: tuple[Receiver, Receiver]
) -> None:
    run = ask(desk)
    said("approvals", "approve", run, *HEAD, "--reason", SECRET)
    said("trace", "feedback", run, "--score", "thumb=true", "--comment", SECRET)
    for _ in range(2):
        for server in destinations:
            assert {span.name for span in server.spans} > {"retrieval kb", "draft", "approve", "facts→draft"}
            assert not [hidden for hidden in HIDDEN if hidden in received(server)]
            server.spans.clear()
        # what is sent again is sent in the same way
        assert said("trace", "push", "--again")[0]["failures"] == {}


def test_readers_that_may_read_it_all_are_sent_it_all(desk: Path, destinations: tuple[Receiver, Receiver]) -> None:
    readers = "tracing: {readers: {roles: [hr], clearance: confidential}}\nstart: classify"
    desk.write_text(desk.read_text().replace("start: classify", readers))
    run = ask(desk)
    said("approvals", "approve", run, *HEAD)
    for _ in range(2):
        for server in destinations:
            assert SECRET in received(server)
            server.spans.clear()
        said("trace", "push", "--again")


def test_a_session_decision_is_made_by_the_whole_person(desk: Path) -> None:
    session = Session.start(desk, "What does Bob earn?", as_="ann", role="hr", clearance="confidential").run()
    with pytest.raises(RunError, match="may not decide"):
        session.approve(as_="hedy", role=["lead", "hr"])
    hedy = principal("hedy", ["lead", "hr"], ["board"], "confidential")
    assert session.approve(as_=hedy).entry
    assert session.state["approval"]["by"] == "hedy"
    # a session's own run is read by no one else either, nor is a copy of it
    for run in (session.run_id, session.fork(at="approve").run_id):
        for reader in ({}, {"as_": "olga", "role": "operator"}):
            with pytest.raises(RunError, match="passages that this rests on"):
                Session.open(run, **reader)


def test_step_decides_with_the_clearance_that_is_given(desk: Path) -> None:
    def stepped(decider: str) -> Result:
        keys, asker = "r\na fine\nq\n", ("--as", "ann", "--role", "hr", "--clearance", "confidential")
        return CliRunner().invoke(app, ["step", str(desk), "What?", *asker, "--decider", decider], input=keys)

    assert "answered" not in stepped("hedy:lead").stdout
    desk.write_text(desk.read_text().replace("approvers: role:lead", "approvers: role:hr"))
    assert "may not decide" in str(stepped("hedy:hr").exception)
    assert stepped("hedy:hr:confidential").exit_code == 0
    assert "an approver" in str(stepped("hedy:hr:secret").exception)


def test_a_replay_shows_the_words_to_who_may_read_them(desk: Path) -> None:
    run = ask(desk)
    said("approvals", "approve", run, *HEAD)
    desk.write_text(desk.read_text().replace("version: 1", "version: 2"))
    reader = ("--as", "hedy", "--role", "auditor", "--role", "hr", "--clearance", "confidential")
    for way in ((), ("--json",)):
        for who in ((), ("--as", "olga", "--role", "operator")):
            shown = command("replay", run, "--with", str(desk), *who, *way).stdout
            assert "passages that this rests on" in shown
            assert not [hidden for hidden in HIDDEN if hidden in shown]
    assert SECRET in command("replay", run, "--with", str(desk), *reader, "--json").stdout


def test_who_resumes_anothers_run_is_not_shown_it(desk: Path) -> None:
    run = ask(desk)
    said("approvals", "approve", run, *HEAD)
    for way in ((), ("--json",)):
        shown = command("run", str(desk), "x", "--run", run, *LEA, *way).stdout
        assert "passages that this rests on" in shown
        assert not [hidden for hidden in HIDDEN if hidden in shown]
    assert SECRET in command("run", str(desk), "x", "--run", run, *ASKER).stdout


def test_an_evaluation_is_sent_without_them(
    desk: Path, tmp_path: Path, destinations: tuple[Receiver, Receiver]
) -> None:
    text = desk.read_text().replace("risk: high", "risk: low")
    checked = '{when: "checks.failed", go: refuse}, {otherwise: respond}'
    text = text.replace("then: approve", f"then: [{checked}]")
    start, end = text.index("  approve:"), text.index("  respond:")
    desk.write_text(text[:start] + text[end:])
    asker = {"id": "ann", "roles": ["hr"], "clearance": "confidential"}
    cases = tmp_path / "cases.jsonl"
    cases.write_text(json.dumps({"text": "What does Bob earn?", "intent": "question", "principal": asker}))
    found = command("eval", str(desk), str(cases), "--langfuse", "--json")
    assert found.exit_code == 0, found.output or found.exception
    langfuse, collector = destinations
    assert [item["input"] for item in langfuse.items] == ["What does Bob earn?"]
    told = repr((langfuse.spans, langfuse.items, langfuse.run_items, langfuse.scores, collector.spans))
    assert "experiment" in told
    assert not [hidden for hidden in HIDDEN if hidden in told]


def test_the_documents_of_every_workflow_in_a_folder(desk: Path) -> None:
    text, other = desk.read_text(encoding="utf-8"), desk.parents[1] / "second"
    name = next(line for line in text.splitlines() if line.startswith("workflow: "))
    shutil.copytree(desk.parent, other)
    (other / "workflow.yaml").write_text(text.replace(name, "workflow: second"), encoding="utf-8")
    report = said("ingest", str(desk.parents[1]))
    first = name.removeprefix("workflow: ")
    assert sorted(report["workflows"]) == sorted([first, "second"])
    taken = {index: (one["unchanged"], len(one["added"])) for index, one in report["indexes"].items()}
    assert taken == {f"{first}/kb": (1, 0), "second/kb": (0, 1)}
    assert "has several workflows" in str(command("ingest", str(desk.parents[1]), "--index", "kb").exception)
