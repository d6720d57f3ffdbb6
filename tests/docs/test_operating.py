"""docs/operating.md: its commands work in the order of the page; its variables are those that the code reads."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.pages import blocks, commands, page, run, table

pytestmark = pytest.mark.slow

PAGE = page("docs/operating.md")


def test_the_commands_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLUICEGATE_HOME", str(tmp_path / ".sluicegate"))
    lines = [line for block in blocks(PAGE, "sh") for line in block.splitlines()]
    typed = iter(commands(PAGE))
    printed: dict[str, str] = {}
    for line in lines:
        if line.startswith("export "):
            name, value = line.removeprefix("export ").split("=")
            monkeypatch.setenv(name, value.replace("$PWD", str(tmp_path)))
        elif line.startswith("sluicegate "):
            done = run(next(typed))
            assert done.exit_code == 0, f"{line}\n{done.output[-2000:]}\n{done.exception}"
            printed[line] = done.output
        else:
            subprocess.run(["bash", "-ec", line], check=True)

    # the restored home has what was backed up, and is the one that the later commands worked on
    assert os.environ["SLUICEGATE_HOME"].endswith("restored")
    assert "1 checkpoints: intact" in printed["sluicegate audit verify --witness checkpoint.json"]
    assert "gpt-5-mini" in printed["sluicegate budget switch list"]
    assert json.loads((tmp_path / "incidents.json").read_text(encoding="utf-8")) == []
    events = [json.loads(row)["event"] for row in (tmp_path / "records.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [event for event in events if event.startswith("switch")]


def test_every_variable_is_on_the_page() -> None:
    read = {
        name
        for folder in ("src", "graphs", "nodes", "policies")
        for file in (ROOT / folder).rglob("*.py")
        for name in re.findall(r"\"(SLUICEGATE_[A-Z_]+)\"", file.read_text(encoding="utf-8"))
    }
    shown = {name for cell in table(PAGE, "variable") for name in re.findall(r"SLUICEGATE_[A-Z_]+", cell)}
    # this one is only refused
    assert shown == read - {"SLUICEGATE_LEDGER_URL"}
