"""A disk that is really full, or really read-only, under the command line: nothing half done, and said clearly."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sluicegate.observe.incidents import Incidents
from sluicegate.storage.sqlite import connect
from tests.support import ROOT

pytestmark = pytest.mark.slow

PATTERNS = ROOT / "configs" / "patterns"
LEFT = (0, 150)
"""Kilobytes: no room at all, and room for some of the stores."""
REQUEST = "Please order a second monitor for my desk in Building 2."


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """An empty disk of 12 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"this test may not mount a small disk: {made.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture(scope="module")
def clerk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Path, list[str]], dict[str, Any]]]:
    """Carries out commands of the command line (see `clerk`): a home and the words, to status and output."""
    folder = tmp_path_factory.mktemp("clerk")
    environment = {**os.environ, "OLLAMA_HOST": "127.0.0.1:9"}
    command = [sys.executable, "-W", "ignore", "-m", "tests.faults.clerk", str(folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    ) as process:
        assert process.stdin
        assert process.stdout
        asks, answers = process.stdin, process.stdout

        def ask(home: Path, words: list[str]) -> dict[str, Any]:
            asks.write(json.dumps({"home": str(home), "command": words}) + "\n")
            asks.flush()
            return json.loads(answers.readline())

        yield ask
        asks.close()
        assert process.wait(30) == 0


@pytest.fixture
def run(disk: Path, clerk: Callable[[Path, list[str]], dict[str, Any]]) -> Callable[..., Any]:
    """What a command printed as JSON; no command may end in a traceback."""

    def carried_out(*command: str, status: int | None = 0) -> Any:
        done = clerk(disk / "home", [*command, "--json"])
        assert "Traceback" not in done["stderr"], done["stderr"]
        assert status is None or done["status"] == status, done["stdout"] + done["stderr"]
        assert done["status"] in (0, 1)
        return json.loads(done["stdout"])

    return carried_out


def pattern(name: str) -> str:
    return str(PATTERNS / name / "workflow.yaml")


def fill(disk: Path, left: int) -> Path:
    filler = disk / "filler"
    about = os.statvfs(disk)
    filler.write_bytes(b"x" * max(0, about.f_bavail * about.f_frsize - left * 1024))
    return filler


def tickets(disk: Path) -> int:
    return connect(disk / "home" / "tickets.sqlite").execute("SELECT count(*) FROM tickets").fetchone()[0]


def test_a_full_disk_stops_a_run_clearly_and_it_goes_on_when_there_is_space(
    disk: Path, run: Callable[..., Any]
) -> None:
    workflow = pattern("1-slm-router-tools")
    assert run("run", workflow, REQUEST, "--run", "first")["status"] == "answered"
    ended = {"first": "answered"}
    for left in LEFT:
        filler = fill(disk, left)
        said = run("run", workflow, REQUEST, "--run", f"left-{left}", status=None)
        filler.unlink()
        if "error" in said:
            assert said["error"]["code"] == "SG607"
            assert str(disk) in said["error"]["message"], "the place that is full is named"
            assert said["error"]["hint"]
        else:
            # a tool that found no room has done nothing, and the run says so
            ended[said["run"]] = said["status"]
    assert "left-0" not in ended
    for left in LEFT:
        name = f"left-{left}"
        ended[name] = run("run", workflow, REQUEST, "--run", name)["status"] if name not in ended else ended[name]
    assert ended["left-0"] == "answered"
    assert tickets(disk) == list(ended.values()).count("answered"), "an order was lost or placed twice"
    assert run("audit", "verify")["findings"] == []


def test_a_full_disk_takes_no_half_of_an_index(disk: Path, run: Callable[..., Any]) -> None:
    workflow = pattern("3-rag-slm")
    filler = fill(disk, 100)
    said = run("ingest", workflow, status=1)
    assert said["error"]["code"] == "SG607"
    filler.unlink()
    run("ingest", workflow)
    answered = run("run", workflow, "How do I connect to the office wifi?")
    assert answered["status"] == "answered"


def test_a_read_only_disk_refuses_runs_and_still_shows_the_records(disk: Path, run: Callable[..., Any]) -> None:
    workflow = pattern("1-slm-router-tools")
    run("run", workflow, REQUEST, "--run", "first")
    incidents = Incidents(disk / "home" / "incidents.sqlite")
    incidents.record("tampering", system="desk", source="log", description="edit")
    incidents._database.close()
    spent = run("budget", "show")["spending"][0]["calls"]
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    for command in (["run", workflow, REQUEST], ["audit", "checkpoint"], ["budget", "clock", "--accept"]):
        said = run(*command, status=1)
        assert said["error"]["code"] == "SG607"
        assert str(disk) in said["error"]["message"]
    # an auditor's copy is often read-only
    assert run("audit", "verify")["records"] == 7
    assert len(run("audit", "export", "--run", "first")) == 6
    assert run("trace", "show", "first")
    assert [row["calls"] for row in run("budget", "show")["spending"]] == [spent]
    assert run("budget", "show", workflow)["cache"]["hits"] == 0
    assert [one["kind"] for one in run("incidents", "list")] == ["tampering"]
