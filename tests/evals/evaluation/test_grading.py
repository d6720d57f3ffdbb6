"""Which requests come to an answer that can be graded, and what counts as right."""

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sluicegate.cli.router.grade import grade as grade_files
from sluicegate.errors import ConfigError
from sluicegate.evals.evaluation import grading
from sluicegate.evals.evaluation.cases import Case
from sluicegate.evals.evaluation.grading import GradedAnswer, answering, drafted, grade, right
from sluicegate.graphs.config.load import Workflow, load
from sluicegate.nodes.kinds.answering import SlmAnswer
from sluicegate.routing.answers.answer import ANY
from sluicegate.routing.answers.fit import read_graded
from sluicegate.routing.data import read_escalations
from sluicegate.services import EmbeddingRequest, Embeddings
from tests.support import ROOT
from tests.support.fakes import FakeConfidence, FakeModels, FakePolicy, FakeRetriever, FakeRouter, services
from tests.support.flows import ANN, runner

WORKFLOW = ROOT / "tests" / "graphs" / "config" / "workflow" / "workflow.yaml"
CASE = Case("c1", "How do I reset it?", ANN, intent="password_reset", facts=("small answer",))


@pytest.fixture(scope="module")
def workflow() -> Workflow:
    return load(WORKFLOW)


REACHED: list[tuple[str, dict[str, Any], bool]] = [
    ("a sure question", {}, True),
    ("an unsure intent goes to the large model", {"router": FakeRouter(confidence=0.1)}, False),
    ("a report goes to the large model", {"router": FakeRouter(label="report")}, False),
    ("a request for a tool", {"router": FakeRouter(label="access")}, False),
    ("what the policies deny", {"policy": FakePolicy({"ask"})}, False),
]


@pytest.mark.parametrize(("name", "replaced", "reached"), REACHED, ids=[row[0] for row in REACHED])
async def test_only_what_the_workflow_lets_the_small_model_answer_is_graded(
    own_home: Path, workflow: Workflow, name: str, replaced: dict[str, Any], reached: bool
) -> None:
    sure = FakeConfidence(0.1, threshold=0.0)
    state = await drafted(workflow, runner(own_home, services(confidence=sure, **replaced)), CASE)
    assert (state is not None) == reached
    assert len(sure.seen) == reached
    if state:
        assert state["answer"]["by"] == "answer"
        assert right(workflow, CASE, state) is True


GRADES: list[tuple[str, dict[str, Any], bool | None]] = [
    ("the fact is there", {}, True),
    ("a fact is missing", {"facts": ("never",)}, False),
    ("a whole answer", {"facts": (), "answer": "Small answer"}, True),
    ("another answer", {"facts": (), "answer": "Another"}, False),
    ("no document says it", {"facts": (), "known": False}, False),
    ("nothing is expected", {"facts": ()}, None),
    ("it wanted a tool", {"facts": (), "intent": "access_request"}, False),
]


@pytest.mark.parametrize(("name", "expects", "verdict"), GRADES, ids=[row[0] for row in GRADES])
async def test_what_counts_as_right(
    own_home: Path, workflow: Workflow, name: str, expects: dict[str, Any], verdict: bool | None
) -> None:
    state = await drafted(workflow, runner(own_home, services()), CASE)
    assert state is not None
    state["intent"]["label"] = "password_reset"
    assert right(workflow, replace(CASE, **expects), state) is verdict


async def test_graded_answers_are_what_a_fit_reads(
    own_home: Path, workflow: Workflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    def isolated(_workflow: Workflow, _folder: Path, change: Any) -> Any:
        return SimpleNamespace(runner=runner(own_home, change(services())))

    monkeypatch.setattr(grading, "isolated", isolated)
    done: list[None] = []
    cases = [CASE, replace(CASE, id="c2", facts=(), known=False), replace(CASE, id="c3", facts=(), intent=None)]
    found = await grade(workflow, cases, own_home / "grading", on_case=lambda: done.append(None))
    # nothing is expected of the third
    assert [(row.right, row.known) for row in found] == [(True, True), (False, False)]
    assert len(done) == 3
    read = read_graded([row.plain() for row in found])
    assert [(row.right, row.known, row.question, row.model) for row in read] == [
        (True, True, CASE.text, "fake:slm"),
        (False, False, CASE.text, "fake:slm"),
    ]
    assert read[0].features["overlap"] == found[0].features["overlap"]


class Numbered(FakeModels):
    """Embeds a sentence by the number in it, which is its place from the question."""

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        cosines = [1 - int("".join(re.findall(r"\d", text)) or 0) / 100 for text in request.texts]
        return Embeddings([[cosine, (1 - cosine**2) ** 0.5] for cosine in cosines], "fake:embedder", "fake")


async def test_of_a_quotation_the_part_is_graded_that_any_model_would_have_quoted(
    own_home: Path, workflow: Workflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = Numbered(parsed={"sentences": [6]})

    def isolated(_workflow: Workflow, _folder: Path, change: Any) -> Any:
        text = "It is 1. It is 2. It is 3. It is 4. It is 5. It is 6."
        given = services(models=models, retriever=FakeRetriever({"h1": text}))
        return SimpleNamespace(runner=runner(own_home, change(given)))

    monkeypatch.setattr(grading, "isolated", isolated)
    settings = {**workflow.settings, "answer": SlmAnswer(prompt="answer", style="quote", quotes=6)}
    quoting = replace(workflow, settings=settings)
    cases = [replace(CASE, facts=("It is 5",)), replace(CASE, id="c2", facts=("It is 6",))]
    found = await grade(quoting, cases, own_home)
    assert [(row.right, row.model) for row in found] == [(True, ANY), (False, ANY)]
    assert not [role for role, _ in models.asked if role == "slm"]
    # for escalation the models answer, whole
    whole = await grade(quoting, cases, own_home, both=True)
    assert [(row.right, row.model) for row in whole] == [(True, "fake:slm"), (True, "fake:slm")]
    assert len(models.asked) == 2


def test_another_model_or_style_answers_in_place_of_the_workflows_own() -> None:
    desk = load(ROOT / "configs" / "helpdesk" / "workflow.yaml")
    other = answering(desk, "embedded:other", "write")
    assert (other.config.models["slm"].use, other.config.models["slm"].otherwise) == ("embedded:other", ())
    assert other.config.models["llm"] == desk.config.models["llm"]
    styles = {name: getattr(own, "style", None) for name, own in other.settings.items()}
    assert (styles["answer"], styles["digest"]) == ("write", "quote")
    assert answering(desk, None, None).settings == desk.settings


def test_a_style_without_its_prompt_is_refused(workflow: Workflow) -> None:
    with pytest.raises(ConfigError, match="SG114 style 'quote' needs the prompt 'answer-quote'"):
        answering(workflow, None, "quote")


def test_rows_that_cannot_be_graded_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def one_of_them(*_: Any, **__: Any) -> list[GradedAnswer]:
        return [GradedAnswer("a", "b", right=True, known=True, model="m", features={})]

    monkeypatch.setattr(grading, "grade", one_of_them)
    data = tmp_path / "rows.jsonl"
    data.write_text('{"text": "a", "facts": ["b"]}\n{"text": "c"}\n{"text": "d"}\n', encoding="utf-8")
    grade_files(WORKFLOW, [data], tmp_path / "graded.jsonl", as_json=True)
    said = capsys.readouterr()
    assert json.loads(said.out) | {"file": ""} == {"file": "", "answers": 1, "right": 1, "left_out": 2}
    assert "2 of 3 rows" in said.err


def test_both_models_are_graded_on_what_the_small_one_would_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows for `router fit --task escalate`; a row that only one of them answered is left out."""

    async def graded(*_: Any, both: bool, large: bool, **__: Any) -> list[GradedAnswer]:
        assert both, "what a fitted escalation sends to the large model is logged too"
        texts = ("a", "b") if large else ("a", "b", "c")
        return [GradedAnswer(text, "", right=large, known=True, model=f"m{large}", features={}) for text in texts]

    monkeypatch.setattr(grading, "grade", graded)
    data, out = tmp_path / "rows.jsonl", tmp_path / "logs.jsonl"
    data.write_text("".join(f'{{"text": "{text}", "facts": ["x"]}}\n' for text in "abc"), encoding="utf-8")
    grade_files(WORKFLOW, [data], out, task="escalate", as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert (found["answers"], found["weak_right"], found["strong_right"]) == (2, 0, 2)
    assert (found["weak"], found["strong"], found["left_out"]) == ("mFalse", "mTrue", 1)
    rows = read_escalations(out)
    assert (rows.prompts, rows.weak, rows.strong) == (["a", "b"], [False, False], [True, True])


async def test_the_large_model_writes_in_place_of_the_small_one(
    own_home: Path, workflow: Workflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Workflow] = []

    def isolated(opened_as: Workflow, folder: Path, change: Any) -> Any:
        opened.append(opened_as)
        return SimpleNamespace(runner=runner(folder, change(services())))

    monkeypatch.setattr(grading, "isolated", isolated)
    (small,), (large,) = [await grade(workflow, [CASE], own_home, both=True, large=large) for large in (False, True)]
    assert (small.model, large.model) == ("fake:slm", "fake:llm")
    assert [one.config.router.escalation for one in opened] == [None, None]
