"""A placeholder that nothing fills is told at its place, not found in an answer without sources."""

import shutil
from pathlib import Path

import pytest

from sluicegate.errors import Problem
from sluicegate.graphs.config.load import inspect
from tests.support import ROOT

HELPDESK = ROOT / "configs" / "helpdesk"


def edited(folder: Path, name: str, old: str, new: str) -> list[Problem]:
    copy = folder / "helpdesk"
    shutil.copytree(HELPDESK, copy)
    file = copy / name
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")
    return inspect(copy / "workflow.yaml")[1]


def at(problem: Problem) -> str:
    """The text from a problem's place on."""
    assert problem.place is not None
    lines = Path(problem.place.file).read_text(encoding="utf-8").splitlines()
    return lines[problem.place.line - 1][problem.place.column - 1 :]


@pytest.mark.slow
@pytest.mark.parametrize("written", ["{{souces}}", "{{ souces }}", "{{sour ces}}", "{{sour-ces}}"])
def test_a_misspelt_placeholder_of_a_prompt_is_told_once_with_its_place(tmp_path: Path, written: str) -> None:
    """Two nodes ask by this prompt."""
    [problem] = edited(tmp_path, "prompts/answer-quote.md", "{{sources}}", written)
    assert problem.code == "SG125"
    assert problem.message == f"unknown placeholder {{{{{written.strip('{} ')}}}}} in the prompt of 'answer'"
    assert problem.choices == ("feedback", "question", "section", "sources")
    assert problem.suggestion == "sources"
    assert at(problem).startswith(written)


def test_what_another_kind_fills_is_not_filled_here(tmp_path: Path) -> None:
    [problem] = edited(tmp_path, "prompts/extract.md", "{{question}}", "{{question}} {{sources}}")
    assert (problem.code, problem.choices) == ("SG125", ("fields", "question"))


def test_a_misspelt_placeholder_of_an_intents_fields_is_told(tmp_path: Path) -> None:
    [problem] = edited(tmp_path, "workflow.yaml", "{{question}}", "{{qestion}}")
    assert (problem.code, problem.suggestion) == ("SG125", "question")
    assert at(problem).startswith("{{qestion}}")
