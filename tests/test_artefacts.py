"""What is released: the wheel, by a bundle and without a network, and the sdist; each run from elsewhere."""

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support import ROOT

pytestmark = pytest.mark.slow

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
    # a process is one core's work
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda pattern: _goes(command, tmp_path / (pattern or "starter"), pattern), ["", *PATTERNS]))

    into = [uv, "pip", "install", "--quiet", "--python", str(python)]
    _said([*into, "--no-deps", "--reinstall-package", "sluicegate", str(sdist)], tmp_path)
    _lies_in(python, tmp_path)
    _goes(command, tmp_path / "from-sdist", "")


def _goes(command: str, folder: Path, pattern: str) -> None:
    """A new workflow, as its maker meets it: created, its documents taken in, one request answered and looked at."""
    folder.mkdir()
    _said([command, "init", "shop", *(["--pattern", pattern] if pattern else [])], folder)
    config = Path("configs", "shop", "workflow.yaml")
    if (folder / config.with_name("knowledge")).is_dir():
        _said([command, "ingest", str(config)], folder)
    requests = (folder / config.with_name("examples") / "requests.jsonl").read_text(encoding="utf-8")
    (folder / "one.jsonl").write_text(requests.splitlines()[0] + "\n", encoding="utf-8")
    assert "  path  " in _said([command, "run", str(config), "one.jsonl"], folder)
    assert "  shop v" in _said([command, "trace", "show", "last"], folder)
    assert _said([command, "graph", str(config)], folder).startswith("<svg")


def _lies_in(python: Path, cwd: Path) -> None:
    place = _said([str(python), "-c", "import sluicegate; print(sluicegate.__file__)"], cwd).strip()
    assert Path(place).is_relative_to(python.parent.parent)


def _said(command: Sequence[str], cwd: Path) -> str:
    """What it prints, with a home of its own; nothing of this test's environment leads back to the checkout."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    # compiling what no test imports takes half a minute
    own |= {"SLUICEGATE_HOME": str(cwd / "home"), "COLUMNS": "120", "PIP_NO_COMPILE": "1"}
    done = subprocess.run(command, cwd=cwd, env=own, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout


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
