"""Which of a workflow's examples fit the confidence in its answers, and which prove the threshold."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sluicegate.cli.router import answers
from sluicegate.errors import ConfigError
from sluicegate.evals.evaluation.grading import GradedAnswer
from sluicegate.routing.answers.answer import folder_of
from sluicegate.routing.answers.fit import read_graded
from tests.support import ROOT
from tests.support.made_rows import EMBEDDER, graded

WORKFLOW = ROOT / "tests" / "graphs" / "config" / "workflow"


async def embed(texts: Sequence[str], _told: Callable[[int, int], None]) -> Any:
    return np.ones((len(texts), 2), np.float32)


def fitted(folder: Path, monkeypatch: pytest.MonkeyPatch, **examples: str) -> list[str]:
    """The files on the card of the fit of a workflow with these examples, those that fit first."""
    workflow = Path(shutil.copytree(WORKFLOW, folder / "workflow")) / "workflow.yaml"
    named = ", ".join(f"{key}: {file}" for key, file in examples.items())
    workflow.write_text(f"{workflow.read_text('utf-8')}\nexamples: {{{named}}}\n", "utf-8")
    for seed, file in enumerate(examples.values()):
        (workflow.parent / file).write_text(f'{{"text": "{seed}", "label": "a"}}\n', "utf-8")

    def as_graded(_workflow: Any, parts: Sequence[Path], *, labelled: bool) -> list[GradedAnswer]:
        # only of the rows that fit those are left out that say nothing of an answer
        assert labelled is (parts[0].name == "train.jsonl")
        made = read_graded(graded(300, [*examples.values()].index(parts[0].name)))
        return [GradedAnswer(row.question, "", row.right, None, row.model, {**row.features}) for row in made]

    monkeypatch.setattr(answers, "graded_answers", as_graded)
    monkeypatch.setattr(answers, "embedding", lambda *_: (embed, EMBEDDER))
    out = folder / "answers"
    answers.fit_workflow_answers(workflow, out, needed=False, as_json=True)
    ((model, style),) = {row.origin for row in read_graded(graded(1, 0))}
    card = json.loads((out / folder_of((model, style)) / "card.json").read_text("utf-8"))
    assert card["rows"] == {"train": 300, "proof": 300}
    return [*card["data"]]


FILES = {"train": "train.jsonl", "calibration": "calibration.jsonl"}


@pytest.mark.slow
def test_the_rows_that_calibrate_the_router_prove_answers_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fitted(tmp_path, monkeypatch, **FILES) == ["train.jsonl", "calibration.jsonl"]


@pytest.mark.slow
def test_rows_of_their_own_prove_answers_where_they_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fitted(tmp_path, monkeypatch, **FILES, answers="later.jsonl") == ["train.jsonl", "later.jsonl"]


def test_without_rows_that_prove_nothing_is_fitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"needs `examples: \{train: …, answers: …\}`"):
        fitted(tmp_path, monkeypatch, train="train.jsonl")
