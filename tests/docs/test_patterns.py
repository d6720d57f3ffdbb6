"""What docs/patterns.md and docs/thirty-days.md tell people to type works, in the order of the page."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.pages import commands, page, run


@pytest.mark.slow
def test_thirty_days_from_the_first_command_to_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "configs").mkdir()
    monkeypatch.chdir(tmp_path)
    typed = commands(page("docs/thirty-days.md"))
    steps = {command[1] for command in typed}
    assert {"init", "check", "router", "ingest", "run", "approvals", "policy", "eval"} <= steps
    for command in typed:
        # two of the rows are enough to see that the command works
        limited = [*command, "--limit", "2"] if command[1] == "eval" else command
        done = run(limited)
        assert done.exit_code == 0, f"{shlex.join(command)}\n{done.output[-2000:]}\n{done.exception}"
    assert (tmp_path / "service.svg").read_text(encoding="utf-8").startswith("<svg")


def test_the_rule_that_thirty_days_shows_is_that_of_the_pattern() -> None:
    config = (ROOT / "configs" / "patterns" / "6-human-handoff" / "workflow.yaml").read_text(encoding="utf-8")
    shown = re.findall(r"^  - \{(when: .*), go: approve\}$", page("docs/thirty-days.md"), re.MULTILINE)
    assert len(shown) == 2
    plain = re.sub(r",\s+go:", ", go:", config)
    assert all(f"{{{rule}, go: approve}}" in plain for rule in shown)


def test_without_its_first_branch_that_workflow_does_not_start(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "configs" / "patterns" / "6-human-handoff", tmp_path / "service")
    file = tmp_path / "service" / "workflow.yaml"
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if "checks.failed || intent.risk == 'high'" not in line]
    assert len(kept) == len(lines) - 1
    file.write_text("".join(kept), encoding="utf-8")
    done = run(["sluicegate", "check", str(file)])
    assert done.exit_code != 0
    assert "SG134" in done.output


@pytest.mark.slow
def test_the_commands_on_patterns_name_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    typed = commands(page("docs/patterns.md"))
    named = [
        part for command in typed for part in command if re.fullmatch(r"configs/patterns/[^/]+/workflow.yaml", part)
    ]
    there = [folder for folder in (ROOT / "configs" / "patterns").iterdir() if folder.is_dir()]
    assert {Path(part).parts[2] for part in named} == {folder.name for folder in there}
    for command in typed:
        for part in command:
            if part.startswith("configs/"):
                assert (ROOT / part).exists(), part
    monkeypatch.chdir(ROOT)
    routed = run(next(command for command in typed if command[1:3] == ["task", "route"]))
    assert routed.exit_code == 0, routed.exception
    assert "password" in routed.output
