"""The example of a GitHub workflow: valid, and every command and option of ours in it is there."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
import typer
import yaml

from sluicegate.cli import app
from tests.support import ROOT

FILE = ROOT / "deploy" / "github" / "evaluate.yaml"


@pytest.mark.slow
def test_it_is_valid() -> None:
    tool = Path(sys.executable).with_name("check-jsonschema")
    command = [str(tool), "--builtin-schema", "vendor.github-workflows", str(FILE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_its_commands_are_ours() -> None:
    (job,) = yaml.safe_load(FILE.read_text(encoding="utf-8"))["jobs"].values()
    lines = [
        line for step in job["steps"] for line in step.get("run", "").splitlines() if line.startswith("sluicegate ")
    ]
    assert [line.split()[1] for line in lines] == ["check", "models", "ingest", "eval"]
    for line in lines:
        words = [job["env"].get(word.removeprefix("$"), word) for word in shlex.split(line)[1:]]
        command: click.Command = typer.main.get_command(app)
        with click.Context(command) as context:
            while isinstance(command, click.Group):
                found = command.get_command(context, words[0])
                assert found, line
                command, words = found, words[1:]
            # parses as a call would, and runs nothing
            command.make_context("sluicegate", words, resilient_parsing=False)
    assert all((ROOT / job["env"][name]).is_file() for name in ("CONFIG", "CASES"))
    assert re.search(r"--markdown (\S+)", lines[-1])[1] in FILE.read_text().partition("- name: Comment")[2]  # type: ignore[index]
