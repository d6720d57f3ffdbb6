"""What is released: the wheel, by a bundle and without a network, and the sdist; each run from elsewhere."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support import ROOT

pytestmark = pytest.mark.slow

Said = Callable[[Sequence[str], Path], str]
"""Carries out a command in a folder, and gives what it printed."""
PATTERNS = sorted(folder.name for folder in (ROOT / "configs" / "patterns").iterdir() if folder.is_dir())


@pytest.mark.timeout(600)
def test_a_plain_install_runs_the_starter_and_every_pattern(tmp_path: Path) -> None:
    """With the declared dependencies and no extra, from a bundle; then as built from the sdist."""
    uv = _uv(tmp_path / "uv")
    # both from the checkout; by default the wheel would be built from the sdist
    _said([uv, "build", "--quiet", "--sdist", "--wheel", "--out-dir", str(tmp_path / "dist"), str(ROOT)], tmp_path)
    (sdist,), (wheel,) = (tmp_path / "dist").glob("*.tar.gz"), (tmp_path / "dist").glob("*.whl")

    archive, target = tmp_path / "bundle.tar", tmp_path / "installed"
    making = [sys.executable, "-m", "sluicegate", "bundle", str(archive), str(ROOT / "configs" / "patterns")]
    _said([*making, "--wheel", str(wheel)], tmp_path)
    with tarfile.open(archive) as opened:
        opened.extractall(tmp_path, filter="data")
    archive.unlink()
    (script,) = tmp_path.glob("sluicegate-bundle-*/install.py")
    _said([*_without_network(), sys.executable, str(script), str(target)], tmp_path)
    shutil.rmtree(script.parent)

    python, command = target / "env" / "bin" / "python", str(target / "bin" / "sluicegate")
    _lies_in(python, tmp_path)
    assert _said([command, "--version"], tmp_path).split()[-1] in wheel.name
    _goes(_from(command), tmp_path / "starter")
    # a process is one core's work
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda some: _go(python, tmp_path, some), (PATTERNS[::2], PATTERNS[1::2])))

    into = [uv, "pip", "install", "--quiet", "--python", str(python)]
    _said([*into, "--no-deps", "--reinstall-package", "sluicegate", str(sdist)], tmp_path)
    _lies_in(python, tmp_path)
    _goes(_from(command), tmp_path / "from-sdist")


def _from(command: str) -> Said:
    """Each command in a process that starts as it does at its users'."""
    return lambda words, folder: _said([command, *words], folder)


def _go(python: Path, folder: Path, patterns: Sequence[str]) -> None:
    """Each pattern by commands that are forked from one process of that installation."""
    forks = [str(python), "-P", "-W", "ignore", str(ROOT / "tests" / "support" / "forked_commands.py")]
    with subprocess.Popen(
        forks, cwd=folder, env=_own(folder), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        asks, tells = process.stdin, process.stdout
        assert asks
        assert tells

        def said(words: Sequence[str], cwd: Path) -> str:
            asked = {"command": list(words), "cwd": str(cwd), "environment": {"SLUICEGATE_HOME": str(cwd / "home")}}
            print(json.dumps(asked), file=asks, flush=True)
            told = json.loads(tells.readline())
            assert told["status"] == 0, f"{' '.join(words)}\n{told['stdout']}{told['stderr']}"
            return told["stdout"]

        for pattern in patterns:
            _goes(said, folder / pattern, "--pattern", pattern)
        asks.close()
    assert process.returncode == 0


def _goes(said: Said, folder: Path, *options: str) -> None:
    """A new workflow, as its maker meets it: created, its documents taken in, one request answered and looked at."""
    folder.mkdir()
    said(["init", "shop", *options], folder)
    config = Path("configs", "shop", "workflow.yaml")
    if (folder / config.with_name("knowledge")).is_dir():
        said(["ingest", str(config)], folder)
    requests = (folder / config.with_name("examples") / "requests.jsonl").read_text(encoding="utf-8")
    (folder / "one.jsonl").write_text(requests.splitlines()[0] + "\n", encoding="utf-8")
    assert "  path  " in said(["run", str(config), "one.jsonl"], folder)
    assert "  shop v" in said(["trace", "show", "last"], folder)
    assert said(["graph", str(config)], folder).startswith("<svg")


def _lies_in(python: Path, cwd: Path) -> None:
    place = _said([str(python), "-c", "import sluicegate; print(sluicegate.__file__)"], cwd).strip()
    assert Path(place).is_relative_to(python.parent.parent)


def _said(command: Sequence[str], cwd: Path) -> str:
    """What it prints."""
    done = subprocess.run(command, cwd=cwd, env=_own(cwd), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout


def _own(cwd: Path) -> dict[str, str]:
    """An environment with a home of its own, in which nothing leads back to the checkout."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    # compiling what no test imports takes a minute; of options that begin with `no-`, pip takes a 0 for a yes
    return own | {"SLUICEGATE_HOME": str(cwd / "home"), "COLUMNS": "120", "PIP_NO_COMPILE": "0"}


def _without_network() -> list[str]:
    """In front of a command: it gets no network, where this user may take it away."""
    own = ["unshare", "--net"]
    return own if shutil.which("unshare") and subprocess.run([*own, "true"], check=False).returncode == 0 else []


def _uv(fetched: Path) -> str:
    """As the Makefile finds it, or fetches it."""
    if found := shutil.which("uv") or shutil.which(ROOT / ".uv" / "bin" / "uv"):
        return found
    _said([sys.executable, "-m", "venv", str(fetched)], fetched.parent)
    pip = [str(fetched / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    _said([*pip, "install", "--quiet", "uv>=0.9,<1"], fetched.parent)
    return str(fetched / "bin" / "uv")
