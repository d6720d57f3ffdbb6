"""`sluicegate mcp CONFIG…`, and the group that it is a part of."""

import os
import sys
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters

import sluicegate.cli as cli
from tests.support import ROOT

PATTERN = str(ROOT / "configs" / "patterns" / "2-policy-gate")


def left_with(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["sluicegate", "mcp", *arguments])
    with pytest.raises(SystemExit) as left:
        cli.main()
    return int(left.value.code or 0)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nosuch.yaml", "--as", "ann"], 2, "SG101"),
        (["--as", "ann", "nosuch.yaml"], 2, "SG101"),
        (["serve", "nosuch.yaml", "--as", "ann"], 2, "SG101"),
        (["nosuch.yaml"], 1, "Name the user: --as NAME --role ROLE"),
        (["nosuch.yaml", "--as", "ann", "--tokens", "t.json"], 1, "--tokens and --oidc go with --http"),
        (["nosuch.yaml", "--http"], 1, "choose exactly one"),
        (["nosuch.yaml", "--http", "--host", "0.0.0.0", "--as", "ann"], 1, "Use --tokens FILE"),
        (["--help"], 0, ""),
        ([], 2, ""),
    ],
)
def test_workflows_are_named_without_a_command(
    arguments: list[str], code: int, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert left_with(monkeypatch, *arguments) == code
    assert words in " ".join(capsys.readouterr().err.split())


def test_without_the_sdk_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith("sluicegate.serving.mcp.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mcp.server", None)
    assert left_with(monkeypatch, "nosuch.yaml", "--as", "ann") == 1
    assert "pip install 'sluicegate[mcp]'" in capsys.readouterr().err


@pytest.mark.slow
async def test_a_client_starts_it_with_a_folder(tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("sluicegate")), "mcp", PATTERN, "--as", "ann", "--role", "employee"]
    server = StdioServerParameters(command=command[0], args=command[1:], env=dict(os.environ), cwd=str(tmp_path))
    async with Client(server) as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
    assert tools[:2] == ["policy-gate", "get_run"]
