"""A package of plug-ins as `sluicegate init --plugin` writes it: installed for real, tested, checked, and run."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from sluicegate.cli.init import init
from sluicegate.errors import ConfigError, RunError

pytestmark = pytest.mark.slow

NAME = "shop_extras"

RUN = """
import asyncio, json, sys
from pathlib import Path
from sluicegate.graphs.runtime.build import build
from sluicegate.graphs.config.load import load
from sluicegate.home import home
from sluicegate.nodes.tools.tool_runner import ToolRunner
from sluicegate.policies.guards.set import GuardSet
from tests.support.fakes import FakeModels, FakeRouter, services
from sluicegate.services import IntentFacts, WorkflowFacts
from sluicegate.graphs.runtime.intake import principal, request

workflow = load(sys.argv[1])
facts = WorkflowFacts("plugged", "1", "d", {"game": IntentFacts("tool", "low", 50, "shop_extras_roll_dice")})
given = services(workflow=facts, router=FakeRouter("game"), tools=ToolRunner(home()), guards=GuardSet(),
                 models=FakeModels(parsed={"urgent": True}))
graph = build(workflow.flow, workflow.conditions, workflow.settings)

async def main(text):
    state = {"request": request(text, channel="t", id="r", received_at=given.now()), "principal": principal("a"),
             "run": {"id": "r", "workflow": "w", "version": "1", "digest": "d", "started_at": "", "status": "running",
                     "visits": {}, "shadow": False}, "trail": [], "tool_calls": []}
    return await graph.ainvoke(state, context=given)

print(json.dumps([asyncio.run(main(text)) for text in ("Roll a die for me", "ROLL A DIE NOW")]))
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    parent = tmp_path_factory.mktemp("package")
    done = python(Path(), "-m", "sluicegate", "init", "--plugin", NAME, "--in", str(parent), "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    made = json.loads(done.stdout)
    assert made["plugin"] == NAME
    assert made["next"][:2] == [f"pip install -e '{parent / NAME}[test]'", f"pytest {parent / NAME}"]
    return Path(made["folder"])


@pytest.fixture(scope="module")
def installed(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--target", str(target), str(package)], check=True, capture_output=True)
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


def test_everything_in_it_has_its_name(package: Path) -> None:
    files = [path for path in package.rglob("*") if path.is_file()]
    assert {path.relative_to(package).as_posix() for path in files} == {
        "README.md", "pyproject.toml", "workflow.yaml", f"tests/test_{NAME}.py",
        *(f"src/{NAME}/{module}.py" for module in ("__init__", "node", "tool", "guard")),
    }  # fmt: skip
    assert [path for path in files if "example" in path.read_text()] == []


def test_its_own_tests_pass(package: Path, installed: Path) -> None:
    done = python(
        installed, "-m", "pytest", "-q", "-W", "error", "-p", "no:asyncio", "-p", "no:cacheprovider", str(package)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 passed" in done.stdout


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        *((name, "invalid package name") for name in ("Shop", "shop-extras", "1st", "shop_", "class", "a" * 61)),
        *((name, "is an installed package") for name in ("json", "sluicegate")),
    ],
)
def test_a_name_that_cannot_be_imported_is_refused(name: str, fault: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=fault) as caught:
        init(name, plugin=True, parent=tmp_path)
    (problem,) = caught.value.problems
    assert problem.code == "SG107"
    assert problem.hint
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_left_alone(package: Path) -> None:
    before = {path: path.read_bytes() for path in package.rglob("*.toml")}
    with pytest.raises(RunError, match="already exists") as caught:
        init(NAME, plugin=True, parent=package.parent)
    assert caught.value.code == "SG607"
    assert caught.value.hint
    assert before == {path: path.read_bytes() for path in package.rglob("*.toml")}


def test_it_starts_from_no_pattern(tmp_path: Path) -> None:
    with pytest.raises(typer.BadParameter, match="no pattern"):
        init(NAME, pattern="1", plugin=True, parent=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_config_that_uses_it_checks_out(package: Path, installed: Path) -> None:
    done = python(installed, "-m", "sluicegate", "check", str(package / "workflow.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_without_the_package_the_names_are_unknown(package: Path) -> None:
    done = python(Path(), "-m", "sluicegate", "check", str(package / "workflow.yaml"))
    assert done.returncode == 1
    for what in ("shop-extras-urgency", "shop_extras_roll_dice", "shop-extras-no-shouting"):
        assert what in done.stdout


def test_kind_tool_and_guard_run(package: Path, installed: Path) -> None:
    done = python(installed, "-c", RUN, str(package / "workflow.yaml"))
    assert done.returncode == 0, done.stderr
    polite, loud = json.loads(done.stdout)
    assert polite["extra"] == {"urgent": True}
    assert polite["tool_calls"][0]["result"]["rolled"] in range(1, 7)
    assert polite["answer"]["text"].startswith("You rolled ")
    assert loud["policy"]["rules"] == ["guard:shop-extras-no-shouting"]
    assert loud["run"]["status"] == "refused"


def test_upgrading_the_package_is_a_new_digest(package: Path, installed: Path, tmp_path: Path) -> None:
    site = shutil.copytree(installed, tmp_path / "site")

    def checked() -> Any:
        done = python(site, "-m", "sluicegate", "check", "--json", str(package / "workflow.yaml"))
        return json.loads(done.stdout)["workflows"][0]

    before = checked()
    packages = {one["name"]: one["source"] for one in before["inputs"] if one["kind"] == "package"}
    assert set(packages) == {"kind shop-extras-urgency", "tool shop_extras_roll_dice", "guard shop-extras-no-shouting"}
    (metadata,) = site.glob("*.dist-info/METADATA")
    old = next(line for line in metadata.read_text().splitlines() if line.startswith("Version: "))
    assert all(source.endswith(old.removeprefix("Version: ")) for source in packages.values())
    metadata.write_text(metadata.read_text().replace(old, "Version: 99.0"))
    after = checked()
    assert all(one["source"].endswith(" 99.0") for one in after["inputs"] if one["kind"] == "package")
    assert after["digest"] != before["digest"]
