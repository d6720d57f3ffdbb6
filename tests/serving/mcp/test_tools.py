"""What the tools say of themselves: by what their workflows can do, and by nothing that was ingested or asked."""

from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from mcp.types import Tool

from sluicegate.graphs.config.load import load
from sluicegate.serving.mcp.tools import OWN, tools_of
from tests.support import ROOT
from tests.support.orders import orders

CONFIGS = ROOT / "configs"
PATTERNS = CONFIGS / "patterns"


def tools(*files: Path) -> dict[str, Tool]:
    return {tool.name: tool for tool in tools_of([load(file) for file in files])}


def hints(tool: Tool) -> tuple[bool | None, ...]:
    """Whether it only reads, may destroy, may be repeated, and reaches out."""
    given = tool.annotations
    assert given
    return given.read_only_hint, given.destructive_hint, given.idempotent_hint, given.open_world_hint


@pytest.mark.slow
def test_hints_follow_from_the_tools_that_a_workflow_may_call() -> None:
    found = tools(CONFIGS / "helpdesk" / "workflow.yaml", PATTERNS / "3-rag-slm" / "workflow.yaml")
    assert hints(found["helpdesk"]) == (False, True, False, True)
    assert hints(found["rag-slm"]) == (True, False, True, False)
    assert hints(found["get_run"]) == hints(found["list_approvals"]) == (True, False, True, False)
    assert hints(found["decide_approval"]) == (False, True, True, True)


def test_there_is_a_tool_for_what_some_workflow_does() -> None:
    assert [*tools(PATTERNS / "3-rag-slm" / "workflow.yaml")] == ["rag-slm", "get_run"]
    found = tools(PATTERNS / "9-claims-intake" / "workflow.yaml")
    assert [*found] == ["claims-intake", *OWN]


@pytest.mark.slow
def test_words_and_schemas_are_the_operators_and_closed(tmp_path: Path) -> None:
    file = PATTERNS / "9-claims-intake" / "workflow.yaml"
    found = tools(file, orders(tmp_path / "orders"))
    assert found["claims-intake"].description == load(file).config.purpose
    for tool in found.values():
        for schema in (tool.input_schema, tool.output_schema or {}):
            Draft202012Validator.check_schema(schema)
            assert (schema["type"], schema["additionalProperties"]) == ("object", False)
    assert [*found["claims-intake"].input_schema["properties"]] == ["text", "session", "request_id"]


def test_tables_are_taken_by_who_reads_them(tmp_path: Path) -> None:
    found = tools(orders(tmp_path / "orders"))
    (name,) = {*found} - {*OWN}
    assert "attachments" in found[name].input_schema["properties"]
    assert found[name].input_schema["required"] == ["text"]
