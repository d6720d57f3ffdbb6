"""docs/stepping.md: what it shows of branches side by side and of sub-workflows is what happens."""

import contextlib
import io
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.pages import blocks, commands, page, run


@pytest.mark.slow
def test_a_session_steps_through_branches_as_the_page_says(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    text = page("docs/stepping.md").partition("## Branches side by side")[2].partition("\n## ")[0]
    for command in commands(text):
        assert run(command).exit_code == 0
    (program,) = blocks(text, "python")
    (printed,) = blocks(text, "text")
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(program, {})
    assert out.getvalue() == printed


@pytest.mark.slow
def test_a_session_steps_into_a_sub_workflow_as_the_page_says(
    tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = page("docs/stepping.md").partition("## Sub-workflows")[2].partition("\n## ")[0]
    for name, config in zip(("identity", "claim"), blocks(text, "yaml"), strict=True):
        (tmp_path / name).mkdir()
        (tmp_path / name / "workflow.yaml").write_text(config)
    (program,) = blocks(text, "python")
    (printed,) = blocks(text, "text")
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(program, {})
    assert out.getvalue() == printed
