"""A disk that is really full, or really read-only, under the command line: nothing half done, and said clearly."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sluicegate.models import weights
from sluicegate.sqlite import connect

ROOT = Path(__file__).parents[2]
PATTERNS = ROOT / "configs" / "patterns"
LEFT = (0, 150)
"""Kilobytes: no room at all, and room for some of the stores."""
REQUEST = "Please order a second monitor for my desk in Building 2."


pytestmark = pytest.mark.timeout(900)


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


def patient(folder: Path, pattern: str) -> str:
    """A pattern whose models may take their time on a busy machine."""
    path = folder / f"{pattern}.yaml"
    slow = "{use: 'embedded:smollm2-135m', otherwise: [], timeout_s: 600}"
    path.write_text(f"extends: {PATTERNS / pattern / 'workflow.yaml'}\nmodels: {{slm: {slow}}}\n", encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module", autouse=True)
def _weights() -> None:
    for name in weights.WEIGHTS:
        weights.ensure(name)


def run(disk: Path, *command: str, status: int | None = 0) -> Any:
    """What a command printed as JSON; no command may end in a traceback."""
    environment = {**os.environ, "SLUICEGATE_HOME": str(disk / "home"), "OLLAMA_HOST": "127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, "-m", "sluicegate", *command, "--json"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=environment,
        timeout=280,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert status is None or done.returncode == status, done.stdout + done.stderr
    assert done.returncode in (0, 1)
    return json.loads(done.stdout)


def fill(disk: Path, left: int) -> Path:
    filler = disk / "filler"
    about = os.statvfs(disk)
    filler.write_bytes(b"x" * max(0, about.f_bavail * about.f_frsize - left * 1024))
    return filler


def tickets(disk: Path) -> int:
    return connect(disk / "home" / "tickets.sqlite").execute("SELECT count(*) FROM tickets").fetchone()[0]


def test_a_full_disk_stops_a_run_clearly_and_it_goes_on_when_there_is_space(disk: Path, tmp_path: Path) -> None:
    workflow = patient(tmp_path, "1-slm-router-tools")
    assert run(disk, "run", workflow, REQUEST, "--run", "first")["status"] == "answered"
    ended = {"first"}
    for left in LEFT:
        filler = fill(disk, left)
        said = run(disk, "run", workflow, REQUEST, "--run", f"left-{left}", status=None)
        filler.unlink()
        if "error" in said:
            assert said["error"]["code"] == "SG607"
            assert str(disk) in said["error"]["message"], "the place that is full is named"
            assert said["error"]["mend"]
        else:
            ended.add(said["run"])
    assert "left-0" not in ended
    assert tickets(disk) >= len(ended)
    for left in LEFT:
        assert run(disk, "run", workflow, REQUEST, "--run", f"left-{left}")["status"] == "answered"
    assert tickets(disk) == 1 + len(LEFT), "an order was lost or placed twice"
    assert run(disk, "audit", "verify")["findings"] == []


def test_a_full_disk_takes_no_half_of_an_index(disk: Path, tmp_path: Path) -> None:
    workflow = patient(tmp_path, "3-rag-slm")
    filler = fill(disk, 100)
    said = run(disk, "ingest", workflow, status=1)
    assert said["error"]["code"] == "SG607"
    filler.unlink()
    run(disk, "ingest", workflow)
    answered = run(disk, "run", workflow, "How do I connect to the office wifi?")
    assert answered["status"] == "answered"


def test_a_read_only_disk_refuses_runs_and_still_shows_the_records(disk: Path, tmp_path: Path) -> None:
    workflow = patient(tmp_path, "1-slm-router-tools")
    run(disk, "run", workflow, REQUEST, "--run", "first")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    for command in (["run", workflow, REQUEST], ["budget", "show"], ["audit", "checkpoint"]):
        said = run(disk, *command, status=1)
        assert said["error"]["code"] == "SG607"
        assert str(disk) in said["error"]["message"]
    # an auditor's copy is often read-only
    assert run(disk, "audit", "verify")["records"] == 6
    assert len(run(disk, "audit", "export", "--run", "first")) == 5
    assert run(disk, "trace", "show", "first")
