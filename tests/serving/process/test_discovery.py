"""What a server finds below the files and folders that it is given."""

from pathlib import Path

import pytest

from sluicegate.errors import ConfigError
from sluicegate.home import home
from sluicegate.serving.process.discovery import Discovery, load_all
from tests.support.stand import TEXT, written


def test_a_workflow_is_found_by_what_it_is(tmp_path: Path) -> None:
    first = written(tmp_path / "one" / "workflow.yaml", "one")
    second = written(tmp_path / "deep" / "er" / "desk.yml", "two")
    # none of these is one: data, an overlay, a file of another kind, a hidden folder
    written(tmp_path / "plan.yaml", text="plan: {}\n")
    written(tmp_path / "one" / "challenger.yaml", text="extends: workflow.yaml\nversion: 2\n")
    written(tmp_path / "one" / "notes.md", text="workflow: three\n")
    written(tmp_path / ".git" / "workflow.yaml", "four")
    written(tmp_path / "broken.yaml", text="plan: [\n")
    assert Discovery().workflows_below(tmp_path) == sorted([first, second])
    assert [each.name for each in load_all([tmp_path])] == ["one", "two"]
    # what is named twice is one, and a file is served whatever it is called
    assert [each.name for each in load_all([tmp_path, first, tmp_path / "one"])] == ["one", "two"]


def test_the_home_is_not_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICEGATE_HOME", str(tmp_path / "home"))
    written(home() / "versions" / "abc" / "workflow.yaml", "kept")
    file = written(tmp_path / "one" / "workflow.yaml", "one")
    assert Discovery().workflows_below(tmp_path) == [file]


def test_what_is_broken_is_named_all_of_it(tmp_path: Path) -> None:
    written(tmp_path / "good" / "workflow.yaml", "good")
    written(tmp_path / "a" / "workflow.yaml", text="workflow: [\n")
    written(tmp_path / "b" / "half.yaml", text="version: 1\nworkflow: half\nnodes: {a: {kind: \n")
    written(tmp_path / "c" / "desk.yaml", "c", TEXT.replace("start: ", "begin: "))
    with pytest.raises(ConfigError) as caught:
        load_all([tmp_path])
    assert {Path(problem.place.file).parent.name for problem in caught.value.problems if problem.place} == set("abc")


def test_two_of_one_name_are_refused_with_both_places(tmp_path: Path) -> None:
    one, other = (written(tmp_path / each / "workflow.yaml", "desk") for each in ("a", "b"))
    with pytest.raises(ConfigError) as caught:
        load_all([one, other])
    [problem] = caught.value.problems
    assert problem.code == "SG144"
    assert problem.place
    assert problem.place.file == str(other)
    assert f"{one}, line 1" in problem.message


def test_a_folder_without_a_workflow_and_a_file_that_is_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_all([tmp_path, tmp_path / "none.yaml"])
    assert [problem.code for problem in caught.value.problems] == ["SG101", "SG101"]
    assert "no workflow in" in str(caught.value)
