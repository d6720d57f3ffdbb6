"""The public interface: every name is there, nothing is loaded before it is used, and examples use nothing else."""

import ast
import importlib
import json
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import sluicegate

ROOT = Path(__file__).resolve().parent.parent
FACES = ("sluicegate", "sluicegate.tasks", "sluicegate.routing", "sluicegate.evals")


def _example_code() -> dict[str, str]:
    """The Python that a user reads, by where it stands."""
    template = ROOT / "src/sluicegate/cli/plugin_template"
    code = {str(file.relative_to(ROOT)): file.read_text() for file in template.rglob("*.py")}
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")):
        for number, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)):
            code[f"{page.name} {number}"] = block
    for file in (ROOT / "notebooks").glob("*.ipynb"):
        for number, cell in enumerate(json.loads(file.read_text())["cells"]):
            if cell["cell_type"] == "code":
                code[f"{file.name} {number}"] = "".join(cell["source"])
    return code


CODE = _example_code()


@pytest.mark.parametrize("face", FACES)
def test_every_public_name_is_there(face: str) -> None:
    module = importlib.import_module(face)
    assert set(module.__all__) - {"__version__"} <= set(dir(module))
    assert [name for name in module.__all__ if getattr(module, name, None) is None] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    ["from sluicegate import evals, routing, tasks", "from sluicegate.evals import champions"],
)
def test_a_public_module_is_there_when_nothing_has_loaded_it(line: str) -> None:
    subprocess.run([sys.executable, "-c", line], check=True)


@pytest.mark.parametrize("face", ["sluicegate", "sluicegate.routing", "sluicegate.evals"])
def test_type_checkers_are_told_the_same_names(face: str) -> None:
    module = importlib.import_module(face)
    assert module.__file__
    told: dict[str, object] = {}
    (block,) = (each for each in ast.parse(Path(module.__file__).read_text()).body if isinstance(each, ast.If))
    for line in block.body:
        if isinstance(line, ast.ImportFrom):
            exec(ast.unparse(line), told)
    told.pop("__builtins__")
    assert told.keys() == set(module.__all__) - {"__version__"}
    assert all(getattr(module, name) is value for name, value in told.items())


def test_plug_ins_of_the_last_release_find_what_they_import() -> None:
    from sluicegate.nodes import generation, registry

    assert (generation.said, registry.NodeKind) == (sluicegate.said, sluicegate.NodeKind)


def test_what_is_not_public_is_not_there() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Sluice'"):
        _ = sluicegate.Sluice  # type: ignore[attr-defined]


@pytest.mark.slow
def test_the_version_is_that_of_the_package() -> None:
    assert sluicegate.__version__ == version("sluicegate")
    shown = subprocess.check_output([sys.executable, "-m", "sluicegate", "--version"], text=True)
    assert shown == f"sluicegate {version('sluicegate')}\n"


@pytest.mark.slow
def test_doctor_names_the_version() -> None:
    command = [sys.executable, "-m", "sluicegate", "doctor", "--json"]
    lines = json.loads(subprocess.run(command, capture_output=True, text=True, check=False).stdout)
    assert [line["detail"] for line in lines if line["what"] == "sluicegate"] == [version("sluicegate")]


def test_there_are_examples() -> None:
    kinds = {Path(where.split()[0]).suffix for where, code in CODE.items() if "from sluicegate" in code}
    assert kinds == {".md", ".ipynb", ".py"}


@pytest.mark.parametrize("where", sorted(CODE))
def test_examples_import_only_what_is_public(where: str) -> None:
    for node in ast.walk(ast.parse(CODE[where])):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "sluicegate":
            assert node.module in FACES
            assert {each.name for each in node.names} <= set(importlib.import_module(node.module).__all__)
        elif isinstance(node, ast.Import):
            assert not [each.name for each in node.names if each.name.startswith("sluicegate.")]
