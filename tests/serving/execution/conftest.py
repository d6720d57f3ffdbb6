"""Processes that carry runs, for the tests of this folder."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support import ROOT

Started = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Started]:
    """Start a process with the home of this name, and wait until it carries."""
    with ExitStack() as living:

        def started(name: str, *texts: str, running: int = 4, drain_s: float = 30) -> "subprocess.Popen[str]":
            command = [sys.executable, "-W", "ignore", "-m", "tests.serving.execution.carrying"]
            environment = {**os.environ, "SLUICEGATE_HOME": str(tmp_path / name)}
            process = subprocess.Popen(
                [*command, str(tmp_path), str(running), str(drain_s), *texts],
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                text=True,
            )
            assert process.stdout
            living.callback(process.stdout.close)
            living.callback(process.wait)
            living.callback(process.kill)
            assert process.stdout.readline() == "ready\n"
            return process

        yield started


def calls(folder: Path) -> list[str]:
    """The processes that have called a model, call by call."""
    return (folder / "calls").read_text().split() if (folder / "calls").exists() else []
