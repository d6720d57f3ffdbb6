"""Killing a process at every point of a list, and looking at what it and the one after it came to.

A harness is a module of this folder that takes a folder and points, plays each in processes of its own and prints a
line of JSON for each. All points are played with runs in the home, some with runs on a server too, or all there as
well where `SLUICEGATE_TEST_ALL_KILLS` is set.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT

__all__ = ["Matrix"]


class Matrix:
    def __init__(self, harness: str, points: Sequence[str], on_server: Sequence[str]) -> None:
        self._harness = harness
        everywhere = os.environ.get("SLUICEGATE_TEST_ALL_KILLS")
        self._points = {"home": points, "server": points if everywhere else on_server}
        self._known: dict[str, dict[str, dict[str, Any]]] = {}
        self.cases = [(place, point) for place, its in self._points.items() for point in its]

    def at(self, place: str, point: str, request: pytest.FixtureRequest) -> dict[str, Any]:
        """What a killed process and the one after it came to. The first question of a place plays all its points."""
        if place not in self._known:
            self._known[place] = {row["point"]: row for row in self._played(place, request)}
        return self._known[place][point]

    def _played(self, place: str, request: pytest.FixtureRequest) -> list[dict[str, Any]]:
        in_memory: Path = request.getfixturevalue("in_memory")
        folder = in_memory / f"{self._harness}-{place}"
        environment = {**os.environ, "SLUICEGATE_HOME": str(folder / "home")}
        if place == "server":
            environment["SLUICEGATE_DATABASE_URL"] = request.getfixturevalue("postgres_database")
        # the embedded libraries warn about forks of a process with threads; these processes die at once
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", f"tests.faults.{self._harness}", folder, *self._points[place]],
            capture_output=True, text=True, check=False, cwd=ROOT, env=environment, timeout=900,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]
