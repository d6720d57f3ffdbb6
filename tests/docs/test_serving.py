"""docs/serving.md: its program runs, its calls are made against a server, and its table is what there is."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sluicegate.serving.http.endpoints import OPERATIONS
from tests.support import ROOT
from tests.support.pages import blocks, page

pytestmark = pytest.mark.slow

PAGE = page("docs/serving.md")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A working directory with the configs, and the commands on the path."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sluicegate").write_text(f'#!/bin/sh\nexec {sys.executable} -m sluicegate "$@"\n')
    (tmp_path / "bin" / "sluicegate").chmod(0o755)
    return tmp_path


@pytest.fixture
def server(place: Path) -> Iterator[tuple[Path, str]]:
    """The server of the page, on a free port."""
    (command,) = blocks(PAGE, "console")
    shell(place, "sluicegate token add first")
    process = subprocess.Popen(
        [sys.executable, "-m", *command.split(), "--port", "0"], cwd=place, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr
    said = ""
    while "is served at" not in said:
        said = process.stderr.readline()
        assert said, "the server left"
    yield place, re.sub(r".*http://127.0.0.1:", "localhost:", said).strip()
    process.terminate()
    process.stderr.close()
    assert process.wait(60) == 0


def shell(place: Path, script: str) -> str:
    env = {**os.environ, "PATH": f"{place / 'bin'}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-ec", script], cwd=place, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_calls_of_the_page(server: tuple[Path, str]) -> None:
    if not shutil.which("curl"):
        pytest.skip("no curl")
    place, address = server
    lines = "".join(blocks(PAGE, "sh")).replace("localhost:8080", address).splitlines()
    # curl ends its answer without a line break
    told = shell(place, "\n".join(f"{line}; echo" if line.startswith("curl") else line for line in lines))
    said = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
    answered, waiting, approvals = said
    assert (answered["status"], answered["path"], answered["intent"]) == ("answered", "rag-slm", "printing")
    assert answered["citations"][0]["document"] == "kb-032"
    assert set(json.loads(blocks(PAGE, "json")[0])) <= set(answered)
    assert waiting["status"] == "waiting"
    assert [each["id"] for each in approvals["approvals"]] == [waiting["run"]]


def test_the_program_of_the_page(place: Path) -> None:
    (program,) = blocks(PAGE, "python")
    shell(place, "sluicegate ingest configs/helpdesk/workflow.yaml")
    (place / "program.py").write_text(program)
    assert shell(place, f"{sys.executable} program.py").startswith("answered rag-slm ")


def test_every_operation_is_on_the_page() -> None:
    for each in OPERATIONS:
        assert re.search(rf"`{each.method} {re.escape(each.path)}`", PAGE), each
