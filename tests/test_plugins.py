"""A third party's package: installed for real, found by its entry points, checked, and run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent / "plugin_package"

RUN = """
import asyncio, json, sys
from pathlib import Path
from sluicegate.graphs.runtime.build import build
from sluicegate.graphs.config.load import load
from sluicegate.home import home
from sluicegate.nodes.tools.tool_runner import ToolRunner
from sluicegate.policies.guards.set import GuardSet
from tests.support.fakes import FakeRouter, services
from sluicegate.services import IntentFacts, WorkflowFacts
from sluicegate.graphs.runtime.intake import principal, request

workflow = load(sys.argv[1])
facts = WorkflowFacts("plugged", "1", "d", {"game": IntentFacts("tool", "low", 50, "roll_dice")})
given = services(workflow=facts, router=FakeRouter("game"), tools=ToolRunner(home()), guards=GuardSet())
graph = build(workflow.flow, workflow.conditions, workflow.settings)

async def main(text):
    state = {"request": request(text, channel="t", id="r", received_at=given.now()), "principal": principal("a"),
             "run": {"id": "r", "workflow": "w", "version": "1", "digest": "d", "started_at": "", "status": "running",
                     "visits": {}, "shadow": False}, "trail": [], "tool_calls": []}
    return await graph.ainvoke(state, context=given)

print(json.dumps([asyncio.run(main(text)) for text in ("Roll a die for me", "ROLL A DIE NOW")]))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--target", str(target), str(PACKAGE)], check=True, capture_output=True)
    return target


def python(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(installed), str(Path.cwd())])
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )


def test_a_config_that_uses_it_checks_out(installed: Path) -> None:
    done = python(installed, "-m", "sluicegate", "check", str(PACKAGE / "workflow.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_without_the_package_the_names_are_unknown() -> None:
    done = python(Path(), "-m", "sluicegate", "check", str(PACKAGE / "workflow.yaml"))
    assert done.returncode == 1
    for what in ("count-words", "roll_dice", "no-shouting"):
        assert what in done.stdout


def test_kind_tool_and_guard_run(installed: Path) -> None:
    done = python(installed, "-c", RUN, str(PACKAGE / "workflow.yaml"))
    assert done.returncode == 0, done.stderr
    polite, loud = json.loads(done.stdout)
    assert polite["extra"] == {"length": 5}
    assert polite["tool_calls"][0]["result"]["rolled"] in range(1, 7)
    assert polite["answer"]["text"].startswith("You rolled ")
    assert loud["policy"]["rules"] == ["guard:no-shouting"]
    assert loud["run"]["status"] == "refused"
