"""`sluicegate approvals export`: from real decisions on drafts to a fit that reads them."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sluicegate.cli import app
from sluicegate.graphs.runtime.factory import open_workflow
from sluicegate.graphs.runtime.intake import principal
from sluicegate.observe.tracing.store import Store
from sluicegate.routing.answers.answer import FEATURES, load_answers, load_fit
from sluicegate.services import AnswerFeatures, Completion
from tests.support.approving import WORKFLOW, later
from tests.support.fakes import FakeModels, FakeRouter
from tests.support.raw_bytes import readable

ANN, LEA = principal("ann"), principal("lea", ["lead"])
ASKED = "May Ann write to the finance share"
GOOD, BAD = "Ann may write to the finance share.", "Seventeen elephants dance upon Saturn."


class Desk:
    """A workflow whose drafts a lead decides on, with `models` to say what the draft is."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file, self.out, self.models = folder / "workflow.yaml", folder / "decided.jsonl", FakeModels()
        monkeypatch.setattr("sluicegate.graphs.runtime.factory.ModelSet", lambda _: self.models)
        monkeypatch.setattr("sluicegate.graphs.runtime.factory._router", lambda *_: FakeRouter("access"))
        (folder / "prompts").mkdir(parents=True)
        prompt = "---\nid: draft\nversion: 1\n---\n{{question}}{{sources}}{{feedback}}{{section}}\n"
        (folder / "prompts" / "draft.md").write_text(prompt, encoding="utf-8")
        self.write()

    def write(self, kind: str = "slm-answer", more: str = "") -> None:
        text = (WORKFLOW % "No.").replace("kind: summarize", f"kind: {kind}") + more
        self.file.write_text(text, encoding="utf-8")

    def decide(self, *cases: tuple[str, str, str]) -> None:
        """Ask, and decide on the draft: draft, verdict, the text of an edit. No verdict leaves the run waiting."""
        opened = open_workflow(self.file)

        async def all_of_them() -> None:
            for draft, verdict, text in cases:
                self.models.answers["slm"] = draft
                waiting = (await opened.runner.run(ASKED, ANN)).waiting
                assert waiting is not None
                if verdict:
                    given: Any = verdict
                    await opened.runner.decide(waiting["run"], given, LEA, reason="because", text=text)

        asyncio.run(all_of_them())
        opened.tracer.close()

    def export(self, *options: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """What the command says, and the rows it wrote."""
        said = run("approvals", "export", str(self.file), "--out", str(self.out), "--json", *options)
        return said, [json.loads(line) for line in self.out.read_text(encoding="utf-8").splitlines()]


def run(*arguments: str, stdin: str | None = None) -> Any:
    result = CliRunner().invoke(app, [*arguments], input=stdin)
    assert result.exit_code == 0, result.output or result.exception
    return json.loads(result.stdout)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(tmp_path / "desk", monkeypatch)


@pytest.mark.slow
def test_each_verdict_grades_the_draft_that_was_shown(desk: Desk) -> None:
    desk.decide((GOOD, "approve", ""), (BAD, "reject", ""), (BAD, "edit", "Ask Bob."), (GOOD, "", ""))
    said, rows = desk.export()
    assert (said["answers"], said["right"], said["left_out"]) == (3, 1, {})
    assert [(row["verdict"], row["answer"], row["right"]) for row in rows] == [
        ("approve", GOOD, True), ("reject", BAD, False), ("edit", BAD, False),
    ]  # fmt: skip
    assert [row.get("right_answer") for row in rows] == [None, None, "Ask Bob."]
    assert {(row["question"], row["model"], row["reason"]) for row in rows} == {(ASKED, "fake:slm", "because")}
    assert [set(row["features"]) for row in rows] == [set(FEATURES)] * 3
    assert rows[0]["features"]["grounding"] == 1.0 > rows[1]["features"]["grounding"]


@pytest.mark.slow
def test_a_fit_learns_from_the_decisions(desk: Desk, tmp_path: Path) -> None:
    desk.decide((GOOD, "approve", ""), (BAD, "reject", ""), (BAD, "edit", "Ask Bob."))
    desk.export()
    # as many as a fit needs, without as many runs
    desk.out.write_text(desk.out.read_text(encoding="utf-8") * 40, encoding="utf-8")
    fit = ("router", "fit", str(desk.out), "--task", "answer", "--without-threshold", "--json")
    (fitted,) = run(*fit, "--out", str(tmp_path / "answers"))
    assert fitted["auroc"] == 1.0
    sure = load_answers(tmp_path / "answers")
    alike = load_fit(Path(fitted["artifact"])).alike
    vector = alike.vectors[0].tolist() if alike else []
    good, bad = (
        sure(
            AnswerFeatures(
                Completion(text, "fake:slm", "m", 1, 1, "stop", 1.0, 0.0), text, ASKED, [ASKED], vector=vector
            )
        )
        for text in (GOOD, BAD)
    )
    assert bad.confidence < 0.3 < 0.7 < good.confidence


@pytest.mark.slow
def test_what_cannot_be_learned_from_is_left_out_and_counted(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.decide((GOOD, "", ""))
    with monkeypatch.context() as clock:
        later(clock, 25)
        assert run("approvals", "list", "--json") == []
    desk.write(more="tracing: {payloads: hashes}\n")
    desk.decide((GOOD, "approve", ""))
    desk.write(kind="summarize")
    desk.decide((GOOD, "approve", ""))
    said, rows = desk.export()
    assert rows == []
    assert said["left_out"] == {
        "nobody decided in time": 1, "the texts were not kept": 1, "the draft is no answer of the small model": 1,
    }  # fmt: skip


def test_with_hashes_nothing_that_anybody_wrote_is_in_the_store(desk: Desk, own_home: Path) -> None:
    desk.write(more="tracing: {payloads: hashes}\n")
    desk.decide((GOOD, "approve", ""), (BAD, "edit", "Ask Bob in the cellar."))
    store = Store(own_home / "store.sqlite")
    [one, _] = store.runs()
    run("trace", "feedback", one["run_id"], "--score", "useful=false", "--comment", "a wombat wrote it", "--json")
    reasons = [span["attributes"].get("approval_reason", "") for span in store.spans(one["run_id"])]
    assert "hmac:" in "".join(reasons)
    assert {row["comment"][:5] for row in store.scores(one["run_id"]) if row["name"] in ("approval", "useful")} == {
        "hmac:"
    }
    store.close()
    kept = b"".join(readable(file) for file in own_home.glob("store.sqlite*"))
    for words in (ASKED, GOOD, BAD, "Ask Bob", "because", "wombat"):
        at = kept.find(words.encode())
        assert at < 0, (words, kept[at - 300 : at + 100])


@pytest.mark.slow
def test_a_draft_that_a_check_redacted_is_still_its_writer_s(desk: Desk) -> None:
    desk.file.write_text(desk.file.read_text(encoding="utf-8").replace("[tone]", "[pii]"), encoding="utf-8")
    desk.decide(("Ask bob@example.org.", "approve", ""))
    [row] = desk.export()[1]
    assert (row["answer"], row["model"], row["right"]) == ("Ask <EMAIL_1>.", "fake:slm", True)


def test_only_what_ended_since_then(desk: Desk) -> None:
    desk.decide((GOOD, "approve", ""))
    assert desk.export("--since", "30d")[0]["answers"] == 1
    assert desk.export("--since", "2100-01-01")[0]["answers"] == 0


@pytest.mark.slow
def test_the_last_that_waits_is_shown_and_an_edit_comes_from_standard_input(desk: Desk) -> None:
    desk.decide((BAD, "", ""), (GOOD, "", ""), (BAD, "approve", ""))
    assert run("approvals", "show", "last", "--json")["draft"] == GOOD
    waits = run("approvals", "show", "last", "--json")["run"]
    edit = ("approvals", "edit", waits, "-", "--as", "lea", "--role", "lead", "--json")
    empty = CliRunner().invoke(app, [*edit], input=" \n")
    assert empty.exit_code == 2, empty.output
    assert run(*edit, stdin="Ask Bob.\nHe knows.\n")["answer"] == "Ask Bob.\nHe knows."
    assert run("approvals", "show", "last", "--json")["draft"] == BAD
