"""Documents and questions in several languages: what each embedder finds, and what is said of one that knows neither.

The questions were written before anything was measured, and none was changed afterwards.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from sluicegate.models.chain import ModelSet
from sluicegate.models.config import ModelConfig, resolve
from sluicegate.models.embedded.pinned import known_languages
from sluicegate.retrieval.config import IndexConfig
from sluicegate.retrieval.ingest import ingest
from sluicegate.retrieval.lance import LanceRetriever
from tests.support.knowledge import HashEmbedder, person

# typer imports a name that its newest click announces to remove
pytestmark = pytest.mark.filterwarnings("ignore:.*will be removed in Click:DeprecationWarning")

SETS = Path(__file__).parent / "multilingual"
MANY, ENGLISH = "embedded:multilingual-e5-small", "embedded:all-minilm-l6-v2"


def written(folder: Path, *languages: str) -> dict[str, str]:
    """Write the documents of these languages into a folder; returns the questions, each with its document's id."""
    folder.mkdir()
    questions: dict[str, str] = {}
    for language in languages:
        rows = yaml.safe_load((SETS / f"{language}.yaml").read_text("utf-8"))
        for name, text in rows["documents"].items():
            (folder / f"{language}-{name}.md").write_text(text, "utf-8")
        questions |= {question: f"{folder.name}/{language}-{name}.md" for question, name in rows["questions"].items()}
    return questions


async def found_first(folder: Path, model: str, questions: dict[str, str], **settings: Any) -> int:
    """How many questions find their document first, through ingest and search as they are served."""
    models = ModelSet({"embedder": ModelConfig(use=model)})
    config = IndexConfig(path=("knowledge",), approved=True, readers=("everyone",), **settings)
    await ingest(folder / "indexes" / "kb", [], config, models, folders=[folder])
    retriever = LanceRetriever(folder / "indexes", {"kb": config}, models)
    try:
        found = {question: await retriever.search("kb", question, person(), k=1) for question in questions}
    finally:
        retriever.close()
    return sum(bool(best) and best[0]["id"] == questions[question] for question, best in found.items())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("language", "stems"),
    # of the last three nobody has told the index the language
    [("de", "German"), ("ja", "English"), ("ru", "English"), ("ar", "English"), ("zh", "English")],
)
async def test_the_encoder_for_many_languages_finds_what_the_english_one_does_not(
    tmp_path: Path, language: str, stems: str
) -> None:
    questions = written(tmp_path / "knowledge", language)
    assert len(questions) == 10
    many = await found_first(tmp_path, MANY, questions, language=stems)
    (tmp_path / "indexes").rename(tmp_path / "of-many")
    english = await found_first(tmp_path, ENGLISH, questions, language=stems)
    assert many >= 8
    assert many - english >= 4


WORKFLOW = """
workflow: many
version: 1
purpose: Refuse everything.
models: {{embedder: {model}, slm: {{use: "embedded:smollm2-135m"}}}}
intents: {{other: {{task: out-of-scope}}}}
router: {{strategy: slm}}
indexes: {{kb: {{path: knowledge, approved: true, readers: everyone}}}}
start: refuse
nodes: {{refuse: {{kind: refuse}}}}
"""


def told(folder: Path, model: str, *options: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """What `ingest` and then `doctor` say of the index, with this model."""
    from typer.testing import CliRunner

    from sluicegate.cli import doctor, ingest

    (folder / "workflow.yaml").write_text(WORKFLOW.format(model=model), "utf-8")
    report = CliRunner().invoke(ingest.app, [str(folder), "--json", *options])
    assert report.exit_code == 0, report.output
    checked = json.loads(CliRunner().invoke(doctor.app, [str(folder / "workflow.yaml"), "--json"]).stdout)
    [line] = [each for each in checked if each["what"] == "index kb"]
    return json.loads(report.stdout)["indexes"]["kb"]["problems"], line


@pytest.mark.slow
def test_ingest_and_doctor_name_the_languages_that_the_embedder_does_not_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")
    knowledge = tmp_path / "knowledge"
    written(knowledge, "de", "ja")
    (knowledge / "de-urlaub.md").unlink()
    (knowledge / "en.md").write_text("Ask the help desk for a new badge when yours is lost or broken.")
    (knowledge / "short.md").write_text("Toner schwarz: Regal 4")
    (knowledge / "figures.csv").write_text(
        "id,name,price\nA12,Toner schwarz,12.30\nA13,Toner cyan,14.20\nA14,Trommel,9.00"
    )
    problems, line = told(tmp_path, f'{{use: "{ENGLISH}"}}')
    [warning] = problems
    assert (warning["code"], warning["severity"]) == ("SG405", "warning")
    says = f"19 documents are in languages that {ENGLISH} does not know: ja (10), de (9)"
    assert warning["message"] == f"index 'kb': {says}"
    assert f"such as {MANY}, and run `sluicegate ingest --rebuild`" in warning["hint"]
    assert line["state"] == "warn"
    assert says in line["detail"]
    assert line["hint"] == warning["hint"]
    # again from the catalogue, when no document is read
    assert told(tmp_path, f'{{use: "{ENGLISH}"}}') == (problems, line)
    # a team may know better, and says so in the config
    problems, line = told(tmp_path, f'{{use: "{ENGLISH}", languages: [en, de]}}')
    assert [each["message"].rpartition(": ")[2] for each in problems] == ["ja (10)"]
    problems, line = told(tmp_path, f'{{use: "{MANY}"}}', "--rebuild")
    assert (problems, line["state"]) == ([], "ok")


@pytest.mark.slow
def test_of_a_model_whose_languages_nobody_says_nothing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")
    own: Callable[[Any], HashEmbedder] = lambda _models: HashEmbedder(name="ollama:own")  # noqa: E731
    monkeypatch.setattr("sluicegate.models.chain.ModelSet", own)
    written(tmp_path / "knowledge", "ja")
    problems, line = told(tmp_path, '{use: "ollama:own"}')
    assert (problems, line["state"]) == ([], "ok")
    problems, line = told(tmp_path, '{use: "ollama:own", languages: [en]}')
    assert [each["code"] for each in problems] == ["SG405"]
    assert line["state"] == "warn"


def test_the_languages_of_a_model_are_not_those_of_its_fallback() -> None:
    config = {"embedder": ModelConfig(use="ollama:own", otherwise=(ENGLISH, "ollama:more"), languages=("de",))}
    assert ModelSet(config).languages("embedder") == {"de"}
    known = {name: sorted(known_languages(model)) for name, model in resolve(config, "embedder")}
    assert known == {"ollama:own": ["de"], ENGLISH: ["en"], "ollama:more": []}
