"""Whatever is done to a config: problems with codes, never anything else."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sluicegate.errors import CODES
from sluicegate.graphs.config.check import as_json, as_sarif, as_text, check

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parent / "workflow"
TEXT = (FOLDER / "workflow.yaml").read_text(encoding="utf-8")
LINES = TEXT.split("\n")


def _data() -> dict[str, Any]:
    data: dict[str, Any] = yaml.load(TEXT, Loader=yaml.BaseLoader)
    return data


def _pointers(value: Any, at: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(pointer for key, part in items for pointer in _pointers(part, (*at, key)))]


POINTERS = [pointer for pointer in _pointers(_data()) if pointer]

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        ["yes", "010", "12:30", "1.10", "<<", "otherwise", "respond", "classify", "../..", "\0", "a" * 5000]
    ),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
WORDS = [
    "intent.risk", "==", "'low'", "&&", "!", "(", ")", "checks.failed", "1", "<", "1.0", "in", "[", "]", "x.y", "?",
]  # fmt: skip
workload = settings(max_examples=60)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("prompts", "knowledge"):
        (tmp_path / name).symlink_to(FOLDER / name)
    return tmp_path


def _survives(folder: Path, content: bytes) -> None:
    path = folder / "workflow.yaml"
    path.write_bytes(content)
    report = check(path)
    assert (report.workflow is None) == any(problem.severity == "error" for problem in report.problems)
    assert all(problem.code in CODES and problem.message for problem in report.problems)
    assert str(path) in as_text(report).plain
    json.dumps([as_json([report]), as_sarif([report])])


@workload
@given(pointer=st.sampled_from(POINTERS), value=values, how=st.sampled_from(["replace", "delete", "add", "rename"]))
def test_changed_values(folder: Path, pointer: tuple[str | int, ...], value: Any, how: str) -> None:
    data = copy.deepcopy(_data())
    holder: Any = data
    for step in pointer[:-1]:
        holder = holder[step]
    if how == "delete":
        del holder[pointer[-1]]
    elif how == "add" and isinstance(holder[pointer[-1]], dict):
        holder[pointer[-1]][str(value)] = value
    elif how == "rename" and isinstance(holder, dict):
        holder[str(value)] = holder.pop(pointer[-1])
    else:
        holder[pointer[-1]] = value
    _survives(folder, yaml.safe_dump(data, allow_unicode=True, sort_keys=False).encode("utf-8", "surrogatepass"))


@workload
@given(
    line=st.integers(0, len(LINES) - 1),
    other=st.integers(0, len(LINES) - 1),
    how=st.sampled_from(["duplicate", "drop", "swap", "indent", "cut"]),
    at=st.integers(0, 120),
)
def test_changed_lines(folder: Path, line: int, other: int, how: str, at: int) -> None:
    lines = list(LINES)
    if how == "duplicate":
        lines.insert(other, lines[line])
    elif how == "drop":
        del lines[line]
    elif how == "swap":
        lines[line], lines[other] = lines[other], lines[line]
    elif how == "indent":
        lines[line] = " " * (at % 7) + lines[line].lstrip()
    else:
        lines[line] = lines[line][:at]
    _survives(folder, "\n".join(lines).encode())


@workload
@given(
    at=st.integers(0, len(TEXT)),
    junk=st.binary(max_size=12) | st.text(max_size=12).map(lambda t: t.encode("utf-8", "replace")),
)
def test_inserted_bytes(folder: Path, at: int, junk: bytes) -> None:
    content = TEXT.encode()
    _survives(folder, content[:at] + junk + content[at:])


@workload
@given(end=st.integers(0, len(TEXT)))
def test_truncated_files(folder: Path, end: int) -> None:
    _survives(folder, TEXT.encode()[:end])


@workload
@given(condition=st.text(max_size=40) | st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join))
def test_any_condition(folder: Path, condition: str) -> None:
    data = _data()
    data["nodes"]["gate"]["then"][1]["when"] = condition
    _survives(folder, yaml.safe_dump(data, sort_keys=False).encode())


@workload
@given(content=st.binary(max_size=200))
def test_any_bytes(folder: Path, content: bytes) -> None:
    _survives(folder, content)
