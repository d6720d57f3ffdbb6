"""What `check` reads, and what it shows of files that are none of the workflow's."""

import os
import shutil
from pathlib import Path

import pytest

from sluicegate.files import ALLOWED
from sluicegate.graphs.config.check import as_text, check
from sluicegate.graphs.config.load import inspect

FOLDER = Path(__file__).parent / "workflow"
SECRET = "AKIA-SECRET-WORDS"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return shutil.copytree(FOLDER, tmp_path / "a" / "workflow")


def shown(path: Path) -> str:
    return as_text(check(path)).plain


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("secrets.env", f"KEY={SECRET}\n"),
        ("secrets.yaml", f"{SECRET}: {SECRET}\n{SECRET}x: [1\n"),
        ("secrets.yaml", f"token: {SECRET}\n{SECRET}: 1\n"),
        ("secrets.yaml", f"- {SECRET}\n"),
        ("secrets.yaml", f'"{SECRET}'),
    ],
)
def test_extends_shows_nothing_of_a_file_that_is_no_workflow(folder: Path, name: str, text: str) -> None:
    (folder.parents[1] / name).write_text(text)
    (folder / "over.yaml").write_text(f"extends: ../../{name}\n")
    (problem,) = inspect(folder / "over.yaml")[1]
    assert problem.code == "SG118"
    assert "is no workflow" in problem.message
    assert SECRET not in shown(folder / "over.yaml")


def test_a_linked_prompt_or_policy_is_neither_read_nor_shown(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = folder.parents[1] / "foreign.md"
    foreign.write_text(f"{SECRET} {{{{unknown}}}}\n")
    (folder / "prompts" / "answer.md").unlink()
    (folder / "prompts" / "answer.md").symlink_to(foreign)
    problem = inspect(folder / "workflow.yaml")[1][-1]
    assert (problem.code, "outside the workflow's folder" in problem.message) == ("SG101", True)
    assert SECRET not in shown(folder / "workflow.yaml")
    monkeypatch.setenv(ALLOWED, str(folder.parents[1]))
    assert [problem.code for problem in inspect(folder / "workflow.yaml")[1]] == ["SG125"]


def test_a_policy_outside_is_neither_read_nor_shown(folder: Path) -> None:
    (folder.parents[1] / "foreign.cedar").write_text(f"{SECRET};")
    (folder / "over.yaml").write_text('extends: workflow.yaml\npolicy: {files: ["../../*.cedar"]}\n')
    (problem,) = inspect(folder / "over.yaml")[1]
    assert (problem.code, "outside the workflow's folder" in problem.message) == ("SG201", True)
    assert SECRET not in shown(folder / "over.yaml")


def test_a_link_in_place_of_the_workflow_is_checked_and_its_lines_are_not_shown(folder: Path) -> None:
    foreign = folder.parents[1] / "foreign.yaml"
    foreign.write_text(f"workflow: a\n{SECRET.lower()}: 1\nversion: '{SECRET}'\n")
    (folder / "linked.yaml").symlink_to(foreign)
    assert "│" not in shown(folder / "linked.yaml")


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_what_is_no_file_is_reported(folder: Path, kind: str) -> None:
    (os.mkfifo if kind == "pipe" else os.mkdir)(folder / "odd.yaml")
    (folder / "prompts" / "odd.md").symlink_to(folder / "odd.yaml")
    (folder / "over.yaml").write_text("extends: odd.yaml\n")
    for path, code in [("odd.yaml", "SG101"), ("over.yaml", "SG118"), ("workflow.yaml", "SG101")]:
        (problem,) = inspect(folder / path)[1]
        assert (problem.code, f"it is a {kind}" in problem.message) == (code, True)


def test_a_thousand_bases_are_too_many(folder: Path) -> None:
    for number in range(1_200):
        base = f"v{number + 1}.yaml" if number < 1_199 else "workflow.yaml"
        (folder / f"v{number}.yaml").write_text(f"extends: {base}\n")
    (problem,) = inspect(folder / "v0.yaml")[1]
    assert problem.code == "SG118"
    assert "more than 16 files" in problem.message
    assert inspect(folder / "v1190.yaml")[1] == []


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_are_counted_as_editors_show_them(folder: Path, end: str) -> None:
    text = (FOLDER / "workflow.yaml").read_text().replace("kind: cache-lookup", "kind: cache-lookpu")
    line = next(number for number, one in enumerate(text.split("\n"), start=1) if "lookpu" in one)
    odd = "# YAML ends a line\u2028# here,\x85# here\u2029# and here"
    (folder / "workflow.yaml").write_bytes(f"{odd}\n{text}".replace("\n", end).encode())
    problem = next(one for one in inspect(folder / "workflow.yaml")[1] if one.code == "SG110")
    assert problem.place is not None
    assert problem.place.line == line + 1
    assert "kind: cache-lookpu" in next(one for one in shown(folder / "workflow.yaml").splitlines() if "│" in one)


@pytest.mark.slow
@pytest.mark.parametrize("key", ["artifact", "answers", "escalation", "model"])
def test_an_artifact_is_one_of_the_workflows_own(folder: Path, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = folder.parents[1] / "foreign"
    foreign.mkdir()
    (folder / "linked").mkdir()
    (folder / "linked" / "card.json").symlink_to(foreign / "card.json")
    for name in ("../../foreign", "linked"):
        strategy = "head" if key == "artifact" else "slm"
        named = f"router: {{strategy: {strategy}, {key}: {name}}}"
        if key == "model":
            named = f"guards: {{injection: {{model: {name}}}}}"
        (folder / "over.yaml").write_text(f"extends: workflow.yaml\n{named}\n")
        for card in (None, SECRET):
            if card:
                (foreign / "card.json").write_text(card)
            problems = [one for one in inspect(folder / "over.yaml")[1] if one.severity == "error"]
            assert [(one.code, "outside the workflow's folder" in one.message) for one in problems] == [("SG101", True)]
            assert problems[0].place is not None
            assert SECRET not in shown(folder / "over.yaml")
        with monkeypatch.context() as allowing:
            allowing.setenv(ALLOWED, str(foreign))
            assert not [one for one in inspect(folder / "over.yaml")[1] if one.severity == "error"]
        (foreign / "card.json").unlink()


def test_a_card_is_bounded_before_it_is_read(folder: Path) -> None:
    (folder / "router").mkdir()
    os.mkfifo(folder / "router" / "card.json")
    (folder / "over.yaml").write_text("extends: workflow.yaml\nrouter: {artifact: router}\n")
    assert "it is a pipe" in inspect(folder / "over.yaml")[1][0].message
