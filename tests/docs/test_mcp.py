"""What docs/mcp.md says: its example runs, and its forms of a client's configuration are what they are to be."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from sluicegate.serving.http.callers import Named, TokenFile
from tests.support.pages import blocks, page
from tests.support.stand import served

PAGE = page("docs/mcp.md")


@pytest.mark.slow
async def test_the_example_asks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokens = TokenFile(tmp_path / "tokens.json")
    token = tokens.add("ann", Named(id="ann", roles=["employee"]))
    (example,) = blocks(PAGE, "python")
    with served(callers=tokens) as server:
        names: dict[str, Any] = {}
        example = example.replace("http://localhost:8080", str(server.base_url).rstrip("/"))
        exec(example.replace('"helpdesk"', '"shadow-evaluation"'), names)
        await names["ask"](token)
    assert capsys.readouterr().out == "answered Version 1 [1].\n"


def test_the_forms_for_clients_name_a_command_or_an_address() -> None:
    starts, calls = (json.loads(block) for block in blocks(PAGE, "json"))
    assert starts["mcpServers"]["helpdesk"]["args"][0] == "mcp"
    assert calls["servers"]["helpdesk"]["url"].endswith("/mcp")
    (toml,) = blocks(PAGE, "toml")
    assert tomllib.loads(toml)["mcp_servers"]["helpdesk"]["url"].endswith("/mcp")
