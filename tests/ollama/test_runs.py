"""The demo, two patterns and the notebooks, once each, on a real Ollama server: `make test-ollama`.

They run from a copy of `configs` and `notebooks` in which the server is the only place for a small model, so that a
call that it does not answer is seen.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from sluicegate.evals.evaluation.cases import read_cases
from sluicegate.graphs.runtime.factory import Opened, open_workflow
from sluicegate.models.chain import ModelSet
from sluicegate.observe.tracing.store import Store
from sluicegate.retrieval.catalog import Catalog
from sluicegate.retrieval.files import indexes_of
from sluicegate.retrieval.ingest import ingest
from tests.support import ROOT
from tests.support.ollama_real import RealOllama

pytestmark = [pytest.mark.ollama, pytest.mark.slow, pytest.mark.timeout(1200)]

CHAT, EMBEDDER = "ollama:smollm2:135m", "ollama:all-minilm"
ON_OLLAMA = {
    'slm:      {use: "ollama:qwen3:1.7b", otherwise: ["embedded:smollm2-135m"], timeout_s: ': (
        f'passages: {{use: "{EMBEDDER}"}}\n  slm:      {{use: "{CHAT}", timeout_s: '
    ),
    "embedded:smollm2-135m": CHAT,
    "handbook: {path: knowledge}": "handbook: {path: knowledge, embedder: passages}",
}
"""What is written otherwise in the copy. Routers keep the embedder that they were fitted with."""


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("on-ollama")
    for name in ("configs", "notebooks"):
        shutil.copytree(ROOT / name, folder / name)
    for file in (*folder.rglob("*.yaml"), *folder.rglob("*.ipynb")):
        text = file.read_text(encoding="utf-8")
        for before, after in ON_OLLAMA.items():
            text = text.replace(before, after)
        file.write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def served(real_ollama: RealOllama, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", real_ollama.url)


def asked() -> set[str]:
    """The models that answered in this home, by their calls."""
    return {row["model"] for row in Store().query("SELECT DISTINCT model FROM model_calls")}


def test_the_demo(copied: Path) -> None:
    workflow = str(copied / "configs" / "helpdesk" / "workflow.yaml")
    for command in (["ingest", workflow], ["demo", workflow, "--json"]):
        done = subprocess.run(
            [sys.executable, "-m", "sluicegate", *command], env=os.environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    outcomes = json.loads(done.stdout)["outcomes"]
    assert len(outcomes) == len(read_cases(copied / "configs" / "helpdesk" / "examples" / "requests.jsonl"))
    assert not [outcome["error"] for outcome in outcomes if "error" in outcome]
    assert {outcome["model"] for outcome in outcomes} <= {CHAT, ""}
    assert CHAT in asked()


async def opened(folder: Path) -> Opened:
    made = open_workflow(folder / "workflow.yaml")
    models = ModelSet(made.workflow.config.models)
    for name, index in made.workflow.config.indexes.items():
        place = indexes_of(made.workflow.name) / name
        await ingest(place, [], index, models, folders=made.workflow.folders)
        assert _built_with(place) == EMBEDDER
    return made


def _built_with(index: Path) -> str:
    catalog = Catalog(index)
    head = catalog.head()
    catalog.close()
    return head.embedder if head else ""


@pytest.mark.parametrize("name", ["1-slm-router-tools", "3-rag-slm"])
async def test_a_pattern_takes_its_ways(copied: Path, name: str) -> None:
    folder = copied / "configs" / "patterns" / name
    made = await opened(folder)
    for case in read_cases(folder / "examples" / "requests.jsonl"):
        outcome = await made.runner.run(case.text, case.principal)
        assert outcome.path == case.path, (case.text, [entry["node"] for entry in outcome.state["trail"]])
        if "spend" in outcome.state and outcome.path != "cache":
            assert not outcome.summary.fallback
    made.tracer.flush()
    assert CHAT in asked()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_the_notebooks(copied: Path, own_home: Path) -> None:
    from nbclient import NotebookClient

    for name in ("helpdesk", "patterns/8-parallel-research"):
        index = [sys.executable, "-m", "sluicegate", "ingest", str(copied / "configs" / name / "workflow.yaml")]
        subprocess.run(index, env=os.environ, check=True, capture_output=True)
    for file in sorted(copied.glob("notebooks/*.ipynb")):
        notebook: Any = nbformat.read(file, as_version=4)
        place = {"metadata": {"path": str(copied / "notebooks")}}
        NotebookClient(notebook, timeout=900, resources=place).execute()
        cells = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        assert cells, file.stem
        assert not [output for output in cells if output.output_type == "error"], file.stem
    assert CHAT in asked()
