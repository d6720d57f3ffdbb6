"""The notebooks run top to bottom on the embedded models, and are kept without their output."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.support import ROOT

pytestmark = pytest.mark.slow

NOTEBOOKS = sorted(ROOT.glob("notebooks/*.ipynb"))
EXPECTED = [
    "01_define_and_run",
    "02_step_rewind_fork",
    "03_calibrate_router",
    "04_read_traces",
    "05_approvals_and_policy",
    "06_evaluate_and_promote",
    "07_conversation",
]


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One home for all of them, with the indexes that they need: ingesting once is enough."""
    from typer.testing import CliRunner

    from sluicegate.cli.ingest import app

    folder = tmp_path_factory.mktemp("notebooks")
    before = os.environ.get("SLUICEGATE_HOME")
    os.environ["SLUICEGATE_HOME"] = str(folder)
    try:
        workflows = (ROOT / "configs/helpdesk", ROOT / "configs/patterns/8-parallel-research")
        done = [CliRunner().invoke(app, [str(folder / "workflow.yaml")]) for folder in workflows]
    finally:
        os.environ.pop("SLUICEGATE_HOME") if before is None else os.environ.update(SLUICEGATE_HOME=before)
    assert [each.exit_code for each in done] == [0, 0], [each.output for each in done]
    return folder


@pytest.fixture(scope="module")
def executed(shared_home: Path) -> Iterator[Callable[[Any], None]]:
    """Runs a notebook. One process does it for all, with no name of the one before it: to start one, with what each
    imports and the models that each loads, takes longer than most of them."""
    from nbclient import NotebookClient

    nothing = nbformat.v4.new_notebook()
    client = NotebookClient(nothing, timeout=240, resources={"metadata": {"path": str(ROOT / "notebooks")}})

    def execute(notebook: Any) -> None:
        notebook.cells.insert(0, nbformat.v4.new_code_cell("%reset -f"))
        client.nb = notebook
        client.execute(cleanup_kc=False)

    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SLUICEGATE_HOME", str(shared_home))
        client.execute(cleanup_kc=False)
    yield execute
    client.nb = nothing
    client.execute(cleanup_kc=True)


def test_they_are_all_there() -> None:
    assert [file.stem for file in NOTEBOOKS] == EXPECTED, "each of them runs below"


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_output_is_stripped(file: Path) -> None:
    cells: list[Any] = nbformat.read(file, as_version=4).cells
    assert all(not cell.outputs and cell.execution_count is None for cell in cells if cell.cell_type == "code")
    assert file.stat().st_size < 20_000


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("name", EXPECTED)
def test_it_runs_top_to_bottom(name: str, executed: Callable[[Any], None]) -> None:
    notebook = nbformat.read(ROOT / f"notebooks/{name}.ipynb", as_version=4)
    executed(notebook)
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in shown if output.output_type == "error"]
    kinds = {kind for output in shown for kind in output.get("data", {})}
    said = "".join(output.text for output in shown if output.output_type == "stream" and output.name == "stdout")
    _MUST_SHOW[name](kinds, said)


def _defined(kinds: set[str], said: str) -> None:
    assert {"image/svg+xml", "image/png"} <= kinds
    assert "SG134" in said, "the broken guarantee"
    assert "SG122" in said, "the misspelt field"
    assert "embedded:smollm2-135m" in said


def _stepped(kinds: set[str], said: str) -> None:
    assert "text/html" in kinds
    branches = ("products", "contracts", "incidents")
    found = said.splitlines()
    assert found[:3] == [f"research/{name} found" for name in branches]
    folders = [Path(source).parent.name for source in found[3:]]
    assert folders == sorted(folders, key=branches.index)
    assert set(folders) == set(branches)


def _calibrated(kinds: set[str], said: str) -> None:
    assert "image/svg+xml" in kinds
    assert "5% error: no threshold can be proved, nothing is accepted" in said
    assert re.search(r"^30% error: from confidence 0\.\d\d on, \d\d% accepted$", said, re.MULTILINE)
    assert "vpn_remote 0." in said
    assert "None" not in said


def _traced(kinds: set[str], said: str) -> None:
    assert "image/png" in kinds
    assert "refused" in said
    assert "→" in said


def _decided(kinds: set[str], said: str) -> None:
    assert {"text/html", "image/png"} <= kinds
    assert "ann {'password_reset': 'allow', 'access_request': 'allow', 'hr_confidential': 'allow'}" in said
    assert "bob {'password_reset': 'allow', 'access_request': 'deny', 'hr_confidential': 'deny'}" in said
    assert "nobody {'password_reset': 'allow', 'access_request': 'allow', 'hr_confidential': 'allow'}" in said
    assert said.count("SG610") == 2
    assert "answered human" in said


def _promoted(kinds: set[str], said: str) -> None:
    assert {"text/html", "image/svg+xml"} <= kinds
    assert "PROMOTE" in said
    assert "no worse  grounded              passed" in said
    assert "serves: 2\nserves: 1" in said


def _talked(kinds: set[str], said: str) -> None:
    assert "text/html" in kinds
    assert "How do I connect to the guest wifi? And for how long? (0.9" in said
    assert "\nHow do I book a meeting room?\n" in said
    assert said.endswith("{'turn': 1, 'turns': []}\n")


_MUST_SHOW = {
    "01_define_and_run": _defined,
    "02_step_rewind_fork": _stepped,
    "03_calibrate_router": _calibrated,
    "04_read_traces": _traced,
    "05_approvals_and_policy": _decided,
    "06_evaluate_and_promote": _promoted,
    "07_conversation": _talked,
}
