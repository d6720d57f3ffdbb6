"""The JSON Schema and the reference: up to date, and of one mind with the loader."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from sluicegate.graphs.config.load import inspect
from sluicegate.graphs.config.reference import reference_page
from sluicegate.graphs.config.schema import workflow_schema
from sluicegate.graphs.config.source import read
from tests.support import ROOT

FOLDER = Path(__file__).parent


def _validator() -> Any:
    schema = workflow_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def _data(path: Path) -> Any:
    return read(path, plain_keys=frozenset({"no"})).data


def test_the_committed_schema_is_the_generated_one() -> None:
    committed = json.loads((ROOT / "configs" / "workflow.schema.json").read_text(encoding="utf-8"))
    assert committed == workflow_schema(), "run: sluicegate schema --out configs/workflow.schema.json"


@pytest.mark.slow
def test_the_committed_reference_is_the_generated_one() -> None:
    committed = (ROOT / "docs" / "config.md").read_text(encoding="utf-8")
    assert committed == reference_page(), "run: sluicegate schema --reference --out docs/config.md"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["workflow.yaml", "variant.yaml"])
def test_the_schema_accepts_what_loads(name: str) -> None:
    path = FOLDER / "workflow" / name
    assert inspect(path)[1] == []
    assert list(_validator().iter_errors(_data(path))) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        (("purpse",), "x"),
        (("nodes", "gate", "kind"), "policy-chek"),
        (("nodes", "gate", "kindd"), "x"),
        (("nodes", "facts", "k"), 0),
        (("nodes", "respond", "then"), "refuse"),
        (("nodes", "gate", "then"), 3),
        (("intents", "payroll", "risk"), "hihg"),
        (("models", "slm", "use"), "qwen3"),
        (("router", "target"), {"eror": 0.1}),
    ],
)
def test_the_schema_refuses_what_the_loader_refuses(pointer: tuple[str, ...], value: Any, tmp_path: Path) -> None:
    data = _data(FOLDER / "workflow" / "workflow.yaml")
    holder = data
    for step in pointer[:-1]:
        holder = holder[step]
    holder[pointer[-1]] = value
    assert list(_validator().iter_errors(data))
    # JSON is YAML
    (tmp_path / "workflow.yaml").write_text(json.dumps(data))
    assert inspect(tmp_path / "workflow.yaml")[0] is None


def test_every_key_is_described() -> None:
    schema = workflow_schema()
    blocks = {
        "": schema,
        **schema["$defs"],
        **{v["if"]["properties"]["kind"]["const"]: v["then"] for v in schema["$defs"]["Node"]["allOf"]},
    }
    bare = [
        f"{name}.{key}"
        for name, block in blocks.items()
        for key, part in block.get("properties", {}).items()
        if "description" not in part and key != "kind"
    ]
    assert bare == []
