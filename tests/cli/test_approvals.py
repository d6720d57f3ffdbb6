"""`sluicegate approvals` over a workflow of its own: real services in a real home, stand-ins for the models only."""

import json
import re
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from sluicegate.cli import approvals
from sluicegate.cli import run as run_command
from sluicegate.errors import RunError
from sluicegate.evals.promotion import champions
from sluicegate.graphs.config.load import load
from sluicegate.graphs.runtime.versions import keep, kept
from sluicegate.observe.tracing.store import Store
from tests.support import ROOT
from tests.support.approving import WORKFLOW, later
from tests.support.fakes import FakeModels, FakeRouter

LEAD = ("--as", "lea", "--role", "lead")


@pytest.fixture
def workflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the workflow, whose models are stand-ins whichever command opens it."""

    def models(_models: Any) -> FakeModels:
        return FakeModels({"slm": "Ann may write there."})

    def router(*_: Any) -> FakeRouter:
        return FakeRouter("access")

    monkeypatch.setattr("sluicegate.graphs.runtime.factory.ModelSet", models)
    monkeypatch.setattr("sluicegate.graphs.runtime.factory._router", router)
    folder = tmp_path / "desk"
    (folder / "prompts").mkdir(parents=True)
    prompt = "---\nid: draft\nversion: 1\n---\nPut it short: {{question}}{{sources}}{{feedback}}{{section}}\n"
    (folder / "prompts" / "draft.md").write_text(prompt, encoding="utf-8")
    path = folder / "workflow.yaml"
    path.write_text(WORKFLOW % "No.", encoding="utf-8")
    return path


def changed(workflow: Path) -> None:
    workflow.write_text(WORKFLOW % "Not this time.", encoding="utf-8")


def command(*arguments: str) -> Result:
    return CliRunner().invoke(approvals.app, [*arguments], env={"COLUMNS": "200"})


def said(*arguments: str) -> Any:
    result = command(*arguments, "--json")
    assert result.exit_code == 0, result.output or result.exception
    return json.loads(result.stdout)


def fault(result: Result) -> str:
    assert isinstance(result.exception, RunError), result.output
    return result.exception.code


def ask(workflow: Path, user: str = "ann") -> str:
    result = CliRunner().invoke(
        run_command.app, [str(workflow), "Give me access to the finance share", "--as", user, "--json"]
    )
    assert result.exit_code == 0, result.output or result.exception
    outcome = json.loads(result.stdout)
    assert (outcome["status"], outcome["answer"]) == ("waiting", "")
    return outcome["run"]


@pytest.mark.slow
def test_what_waits_is_listed_with_who_decides_until_when(workflow: Path) -> None:
    assert command("list").stdout == "no run is waiting for a decision\n"
    first, second = ask(workflow), ask(workflow, "bob")
    listed = said("list")
    assert [(one["run"], one["principal"]) for one in listed] == [(first, "ann"), (second, "bob")]
    assert (listed[0]["approvers"], listed[0]["escalate_to"]) == ("role:lead", "role:manager")
    waits = datetime.fromisoformat(listed[0]["deadline"]) - datetime.fromisoformat(listed[0]["asked_at"])
    assert waits == timedelta(hours=24)
    assert said("list", "--workflow", "other") == []
    page = command("list", "--limit", "1", "--json")
    assert [one["run"] for one in json.loads(page.stdout)] == [first]
    after = page.stderr.split("--after ")[1].strip()
    assert [one["run"] for one in said("list", "--limit", "1", "--after", after)] == [second]
    table = command("list").stdout
    assert first in table
    assert "access is a high-risk class" in table


@pytest.mark.slow
def test_the_evidence_is_shown(workflow: Path) -> None:
    run = ask(workflow)
    shown = said("show", run[:-2])
    assert shown["request"] == "Give me access to the finance share"
    assert shown["draft"] == "Ann may write there."
    assert [check["guard"] for check in shown["checks"]] == ["tone"]
    page = command("show", run).stdout
    for words in (
        "Give me access", "requester ann", "Ann may write there.", "tone passed", "role:lead",
        "is a high-risk class",
    ):  # fmt: skip
        assert words in page


@pytest.mark.slow
def test_an_approved_draft_goes_out_once(workflow: Path) -> None:
    run = ask(workflow)
    decided = said("approve", run, *LEAD)
    assert (decided["status"], decided["answer"]) == ("answered", "Ann may write there.")
    assert fault(command("approve", run, *LEAD)) == "SG605"
    assert fault(command("reject", run, *LEAD)) == "SG605"
    assert fault(command("show", run)) == "SG605"
    assert said("list") == []


@pytest.mark.slow
def test_an_edit_goes_out_in_place_of_the_draft(workflow: Path) -> None:
    run = ask(workflow)
    assert said("edit", run, "Ask your manager.", *LEAD)["answer"] == "Ask your manager."


@pytest.mark.slow
def test_a_rejection_refuses(workflow: Path) -> None:
    decided = said("reject", ask(workflow), *LEAD, "--reason", "not without a ticket")
    assert (decided["status"], decided["path"]) == ("refused", "refused")
    assert "Ann may write there." not in decided["answer"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "who",
    [("--as", "ann", "--role", "lead"), ("--as", "bob"), ("--as", "mia", "--role", "manager")],
    ids=["the requester, whatever their role", "no role", "the second circle before half of the time"],
)
def test_who_may_not_decide_changes_nothing(workflow: Path, who: tuple[str, ...]) -> None:
    run = ask(workflow)
    assert fault(command("approve", run, *who, "--intent", "hardware")) == "SG610"
    assert [one["run"] for one in said("list")] == [run]
    assert corrections() == []
    assert said("approve", run, *LEAD)["status"] == "answered"


def test_after_half_of_the_time_the_second_circle_decides_too(workflow: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = ask(workflow)
    later(monkeypatch, 13)
    assert said("approve", run, "--as", "mia", "--role", "manager")["status"] == "answered"


@pytest.mark.slow
def test_silence_refuses_when_somebody_looks(workflow: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = ask(workflow)
    later(monkeypatch, 25)
    assert command("watch", "--once").stdout == ""
    assert fault(command("approve", run, *LEAD)) == "SG605"
    store = Store(Path(workflow.parent.parent / "home" / "store.sqlite"))
    assert (store.run(run)["status"], store.run(run)["approval"]) == ("refused", "timeout")


@pytest.mark.slow
def test_watching_shows_what_comes_in(workflow: Path) -> None:
    run = ask(workflow)
    assert command("watch", "--once").stdout.startswith(f"{run}  access  role:lead until {datetime.now(UTC):%Y}")


@pytest.mark.slow
def test_a_changed_workflow_needs_a_choice(workflow: Path) -> None:
    kept, migrated = ask(workflow), ask(workflow)
    changed(workflow)
    for run in (kept, migrated):
        assert fault(command("reject", run, *LEAD)) == "SG604"
    assert {one["run"] for one in said("list")} == {kept, migrated}
    assert said("reject", kept, *LEAD, "--kept")["answer"].startswith("No.")
    assert said("reject", migrated, *LEAD, "--migrate")["answer"].startswith("Not this time.")


@pytest.mark.slow
def test_a_run_goes_on_under_the_version_that_was_promoted_when_it_began(workflow: Path) -> None:
    """As over HTTP: what has served was edited by nobody, so nothing is to be said about it."""

    first = ask(workflow)
    before = (kept(load(workflow).digest), load(workflow).digest)
    challenger = workflow.with_name("challenger.yaml")
    challenger.write_text(WORKFLOW % "Not this time.", encoding="utf-8")
    promoted = load(challenger)
    keep(promoted, present=False)
    path = kept(promoted.digest)
    champions.promote("desk", path=path, digest=promoted.digest, before=before, by="ops", facts={})
    second = ask(path)
    # each ends where it began, whatever the named file is by now
    workflow.write_text(WORKFLOW % "Never.", encoding="utf-8")
    never = ask(workflow)
    assert said("reject", first, *LEAD)["answer"].startswith("No.")
    assert said("reject", second, *LEAD)["answer"].startswith("Not this time.")
    # a version that has not served is another matter, and what serves is the promoted one
    assert fault(command("reject", never, *LEAD)) == "SG604"
    assert said("reject", never, *LEAD, "--migrate")["answer"].startswith("Not this time.")


@pytest.mark.slow
def test_a_workflow_that_an_edit_broke_hides_nothing(workflow: Path) -> None:
    run = ask(workflow)
    workflow.write_text("workflow: [", encoding="utf-8")
    assert [one["run"] for one in said("list")] == [run]
    assert said("approve", run, *LEAD, "--kept")["status"] == "answered"


def corrections() -> list[tuple[str, str, str]]:
    from sluicegate.home import home

    rows = Store(home() / "store.sqlite").corrections("desk")
    return [(row["text"], row["predicted"], row["label"]) for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize("verdict", [["approve"], ["edit", "Ask for a laptop."], ["reject"]])
def test_a_decision_can_correct_the_class(workflow: Path, verdict: list[str]) -> None:
    run = ask(workflow)
    wrong = command(verdict[0], run, *verdict[1:], *LEAD, "--intent", "harware")
    assert wrong.exit_code == 2
    assert "access, hardware" in " ".join(wrong.output.replace("│", " ").split())
    said(verdict[0], run, *verdict[1:], *LEAD, "--intent", "hardware")
    [(text, predicted, label)] = corrections()
    assert (text, predicted, label.strip('"')) == ("Give me access to the finance share", "access", "hardware")


@pytest.mark.slow
def test_what_the_page_tells_people_to_type_works(workflow: Path) -> None:
    page = (ROOT / "docs" / "approvals.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    typed = [shlex.split(line)[2:] for block in blocks for line in block.splitlines()]
    commands = {"list", "show", "approve", "edit", "reject", "watch", "export", "link", "links"}
    assert {words[0] for words in typed} == commands
    here = {"helpdesk-lead": "lead", "hardware_request": "hardware", "WORKFLOW": str(workflow)}
    here["decided.jsonl"] = str(workflow.with_name("decided.jsonl"))
    for words in typed:
        if "LINK" in words:
            here["LINK"] = said("links")[0]["link"]
        done = command(*(ask(workflow) if word == "RUN" else here.get(word, word) for word in words))
        assert done.exit_code == 0, f"{words}: {done.output} {done.exception}"


@pytest.mark.slow
def test_every_verdict_is_a_score_of_its_run(workflow: Path) -> None:
    run = ask(workflow)
    said("reject", run, *LEAD, "--reason", "no ticket")
    from sluicegate.home import home

    scores = {score["name"]: score for score in Store(home() / "store.sqlite").scores(run)}
    assert scores["approval"]["value"].strip('"') == "reject"
    assert scores["approval"]["comment"] == "no ticket"
