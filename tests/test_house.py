"""The house as the architecture page tells it: links, floors, imports, documents that are true."""

import ast
import functools
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import files, packages_distributions
from pathlib import Path

import pytest
import yaml

from tests.support import ROOT

PACKAGE = ROOT / "src" / "sluicegate"
STACK = {
    "langgraph",
    "langchain-core",
    "langchain-community",
    "ollama",
    "lancedb",
    "guardrails-ai",
    "langfuse",
    "pydantic",
}
"""What the project stands on, in every installation."""
USED_UNIMPORTED = {
    "ipykernel": "runs the notebooks",
    "jupyterlab": "shows the notebooks",
}
SHARED_NAMES = {
    "Answer": "the draft in the state; what a provider of models returns",
    "Embedded": "the provider of embedded models; vectors with their model",
    "Question": "a row of a probe; a cached question",
}
"""Public classes that stand in two modules, with what each of the two is."""
MOST_MODULES = 12
"""Side by side in one folder, `__init__` aside; the command line has one for each command."""


@pytest.mark.parametrize("name", ["graphs", "nodes", "policies"])
def test_top_level_folders_are_linked_into_the_package(name: str) -> None:
    link = ROOT / "src" / "sluicegate" / name
    assert link.is_symlink()
    assert link.readlink() == Path("..") / ".." / name


def test_no_top_level_package_is_importable_by_its_folder_name() -> None:
    code = "import sluicegate.graphs, sys; print([n for n in ('graphs', 'nodes', 'policies') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_floors() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_no_modules_import_each_other_in_a_circle() -> None:
    """Not even inside a function or for type checking only: a module is understood without what stands on it."""
    files = _modules()
    imports = {name: _imports(path, files) - {name} for name, path in files.items()}
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        pytest.fail(f"imports go round: {' -> '.join(reversed(error.args[1]))}")


def test_no_room_is_too_wide() -> None:
    rooms: dict[Path, int] = {}
    for name, path in _modules().items():
        if path.name != "__init__.py" and not name.startswith("sluicegate.cli."):
            rooms[path.parent] = rooms.get(path.parent, 0) + 1
    assert {str(room): count for room, count in rooms.items() if count > MOST_MODULES} == {}


def test_every_room_says_what_it_is_for() -> None:
    silent = [name for name, path in _modules().items() if not ast.get_docstring(_parsed(path))]
    assert silent == []


def test_a_class_name_has_one_meaning() -> None:
    """The models of the HTTP API aside: they are the API's own form of what the package calls by the same name."""
    places: dict[str, list[str]] = {}
    for name, path in _modules().items():
        if name == "sluicegate.serving.http.messages":
            continue
        for node in _parsed(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and node.name not in SHARED_NAMES:
                places.setdefault(node.name, []).append(name)
    assert {name: modules for name, modules in places.items() if len(modules) > 1} == {}


def _modules() -> dict[str, Path]:
    """Every module of the package by name; linked folders are walked too."""
    found: dict[str, Path] = {}
    folders = [(PACKAGE, "sluicegate")]
    while folders:
        folder, prefix = folders.pop()
        for path in folder.iterdir():
            if path.is_dir() and (path / "__init__.py").is_file():
                folders.append((path, f"{prefix}.{path.name}"))
            elif path.suffix == ".py":
                found[prefix if path.stem == "__init__" else f"{prefix}.{path.stem}"] = path
    return found


@functools.cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes())


def _imports(path: Path, modules: dict[str, Path]) -> set[str]:
    named: set[str] = set()
    for node in ast.walk(_parsed(path)):
        if isinstance(node, ast.Import):
            named |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inside = {f"{node.module}.{each.name}" for each in node.names}
            named |= (inside & modules.keys()) or {node.module}
    return named & modules.keys()


@pytest.mark.slow
def test_what_is_imported_is_declared_and_what_is_declared_is_imported() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirements = sum(project["optional-dependencies"].values(), project["dependencies"])
    declared = {_canonical(re.match(r"[\w.-]+", each)[0]) for each in requirements}  # type: ignore[index]
    imported = {owner for path in _modules().values() for owner in _third_parties(path)}
    assert imported - declared == set()
    assert declared - imported == USED_UNIMPORTED.keys()
    assert {_canonical(re.match(r"[\w.-]+", each)[0]) for each in project["dependencies"]} >= STACK  # type: ignore[index]


def _third_parties(path: Path) -> set[str]:
    """The distributions that a module imports from, also by `fitting("…")`; of a namespace, those with the file."""
    named: set[str] = set()
    for node in ast.walk(_parsed(path)):
        match node:
            case ast.Import():
                named |= {each.name for each in node.names}
            case ast.ImportFrom(module=str(module)):
                named.add(module)
            case ast.Call(func=ast.Name(id="fitting"), args=[ast.Constant(value=str(module))]):
                named.add(module)
            case _:
                pass
    owners: set[str] = set()
    for module in named:
        top, place = module.partition(".")[0], module.replace(".", "/")
        if top in sys.stdlib_module_names or top == "sluicegate":
            continue
        candidates = set(_owners()[top])
        if len(candidates) > 1:
            paths = (f"{place}/", f"{place}.py")
            candidates = {each for each in candidates if any(str(file).startswith(paths) for file in files(each) or ())}
        owners |= {_canonical(each) for each in candidates}
    return owners


@functools.cache
def _owners() -> Mapping[str, list[str]]:
    return packages_distributions()


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.slow
def test_nothing_branches_on_the_code_of_an_error() -> None:
    """Types are for programs, codes for people; a config's problems are data, and their code is what they are."""
    problems = {"sluicegate.graphs.config.check", "sluicegate.graphs.config.load"}
    branching = [
        f"{name}:{node.lineno}"
        for name, path in _modules().items()
        for node in ast.walk(_parsed(path))
        if isinstance(node, ast.Compare)
        for side in (node.left, *node.comparators)
        for each in (side, *getattr(side, "elts", ()))
        if isinstance(each, ast.Constant) and re.match(r"SG\d", str(each.value)) and name not in problems
    ]
    assert branching == []


@pytest.mark.slow
def test_an_error_that_is_caught_by_its_type_is_raised_as_it() -> None:
    from sluicegate import errors

    typed = {kind.only: name for name in errors.__all__ if hasattr(kind := getattr(errors, name), "only")}
    assert len(typed) > 5
    untyped = [
        f"{name}:{node.lineno}: {typed[code]}"
        for name, path in _modules().items()
        for node in ast.walk(_parsed(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Error")
        for code in [each.value for each in node.args[:1] if isinstance(each, ast.Constant)]
        if code in typed
    ]
    assert untyped == []


def test_every_folder_of_the_package_is_on_the_map() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    package = ROOT / "src" / "sluicegate"
    folders = [path.name for path in package.iterdir() if path.is_dir() and path.name != "__pycache__"]
    assert [name for name in folders if f"{name}/" not in page and f"{name} and" not in page] == []


def test_links_in_the_documents_lead_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
    links = [(page, found) for page in pages for found in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())]
    broken = [
        f"{page.name}: {target}"
        for page, target in links
        if not target.startswith(("http", "mailto")) and not (page.parent / target).exists()
    ]
    assert broken == []


def test_commands_in_the_readme_exist() -> None:
    from sluicegate.cli import COMMANDS

    text = (ROOT / "README.md").read_text()
    named = set(re.findall(r"`?(?<!from )sluicegate ([a-z]+)", text)) - {"run"}
    assert named <= set(COMMANDS)
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)`", text)) | {"demo", "test"} <= targets


@pytest.mark.slow
def test_the_picture_in_the_readme_is_the_workflow_as_it_is() -> None:
    from sluicegate.graphs.config.load import load
    from sluicegate.graphs.picture.picture import svg

    workflow = load(ROOT / "configs" / "helpdesk" / "workflow.yaml")
    title = f"{workflow.name}, version {workflow.version}"
    assert svg(workflow.flow, title=title) == (ROOT / "docs" / "helpdesk.svg").read_text()


def test_malicious_releases_are_not_locked() -> None:
    lock = (ROOT / "uv.lock").read_text()
    locked = dict(re.findall(r'^name = "([^"]+)"\nversion = "([^"]+)"', lock, re.MULTILINE))
    assert locked["guardrails-ai"] != "0.10.1"
    assert locked.get("litellm") not in {"1.82.7", "1.82.8", "1.107.0"}


def test_example_yaml_in_the_readme_is_yaml() -> None:
    for block in re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL):
        assert yaml.safe_load(block)


@pytest.mark.slow
def test_the_wheel_holds_real_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Built from the checkout or from the sdist: the links to the folders at the top are files in both."""
    from hatchling.build import build_sdist, build_wheel

    monkeypatch.chdir(ROOT)
    direct = zipfile.ZipFile(tmp_path / build_wheel(str(tmp_path)))
    with tarfile.open(tmp_path / build_sdist(str(tmp_path))) as sdist:
        sdist.extractall(tmp_path, filter="data")
    monkeypatch.chdir(next(tmp_path.glob("sluicegate-*/")))
    (tmp_path / "again").mkdir()
    names = set(direct.namelist())
    assert set(zipfile.ZipFile(tmp_path / "again" / build_wheel(str(tmp_path / "again"))).namelist()) == names
    for file in (
        "sluicegate/graphs/runtime/build.py",
        "sluicegate/nodes/kinds/classify.py",
        "sluicegate/policies/base/base.cedar",
        "sluicegate/policies/base/schema.cedarschema",
        "sluicegate/patterns/1-slm-router-tools/workflow.yaml",
        "sluicegate/cli/starter/workflow.yaml",
        "sluicegate/cli/plugin_template/pyproject.toml",
        "sluicegate/cli/plugin_template/src/example_plugin/node.py",
        "sluicegate/cli/plugin_template/tests/test_example_plugin.py",
        "sluicegate/serving/http/console/static/htmx.LICENSE.txt",
        "sluicegate/serving/http/console/static/htmx.min.js",
        "sluicegate/serving/http/console/templates/layout.html",
        "sluicegate/py.typed",
    ):
        assert file in names
    assert not {name for name in names if name.startswith(("graphs/", "nodes/", "policies/"))}


def test_every_benchmark_has_a_make_target() -> None:
    """Or is a part of one that has."""
    made = (ROOT / "Makefile").read_text(encoding="utf-8")
    files = {file.stem: file.read_text(encoding="utf-8") for file in (ROOT / "benchmarks").glob("[a-z]*.py")}
    run = {name for name in files if f"benchmarks/{name}.py" in made}
    every = "\n".join(files.values())
    parts = {name for name in files if re.search(rf"from benchmarks(\.| import (.*\b)?){name}\b", every)}
    assert set(files) == run | parts


@pytest.mark.slow
def test_no_test_is_decided_by_a_clock() -> None:
    """What will come is waited for by `tests.support.waiting`; how fast something is, `benchmarks/` measures."""
    stopwatch = re.compile(
        r"\b(perf_counter|monotonic|process_time|thread_time)(_ns)?\(|\btimeit\b|\btime\.time\("
        r"|\btime_ns\(\) *-|- *time\.time_ns\("
    )
    timed = {
        "tests/support/waiting.py",  # gives up some time
        "tests/support/ollama_server.py",  # says how long it took, as Ollama does
    }
    files = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py")}
    assert {name for name, text in files.items() if stopwatch.search(text)} == timed


@pytest.mark.slow
def test_no_test_stands_on_another() -> None:
    """What several tests share is in a conftest or in `tests/support`."""
    standing = [
        f"{path.relative_to(ROOT)}: {name}"
        for folder in ("tests", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(_parsed(path))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [each.name for each in node.names])
        if name.startswith("tests.") and name.rpartition(".")[2].startswith("test_")
    ]
    assert standing == []
