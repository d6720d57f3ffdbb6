"""`sluicegate ingest`, on a workflow file."""

import json
from pathlib import Path
from typing import Any

import pytest

from sluicegate.errors import ConfigError
from sluicegate.home import home
from tests.support.knowledge import HashEmbedder

# typer imports a name that its newest click announces to remove
pytestmark = pytest.mark.filterwarnings("ignore:.*will be removed in Click:DeprecationWarning")

WORKFLOW = """
workflow: small
version: 1
purpose: Refuse everything.
models: {embedder: {use: "embedded:all-minilm-l6-v2"}, slm: {use: "embedded:smollm2-135m"}}
intents: {other: {task: out-of-scope}}
router: {strategy: slm}
indexes: {kb: {path: knowledge, approved: true, readers: everyone}, more: {path: more}}
start: refuse
nodes: {refuse: {kind: refuse}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("sluicegate.models.chain.ModelSet", lambda _models: HashEmbedder())
    (tmp_path / "workflow.yaml").write_text(WORKFLOW)
    for name in ("knowledge", "more"):
        (tmp_path / name).mkdir()
    (tmp_path / "knowledge" / "vpn.md").write_text("reset the vpn [bold]token[/bold]")
    return tmp_path


def ingest(*arguments: str) -> Any:
    from typer.testing import CliRunner

    from sluicegate.cli.ingest import app

    return CliRunner().invoke(app, [*arguments])


@pytest.mark.slow
def test_a_table_says_what_changed(folder: Path) -> None:
    first = ingest(str(folder))
    assert first.exit_code == 0, first.output
    assert "+ knowledge/vpn.md" in first.output
    assert (home() / "indexes" / "small" / "kb" / "catalog.sqlite").is_file()
    again = ingest(str(folder / "workflow.yaml"), "--json")
    report = json.loads(again.stdout)["indexes"]["kb"]
    assert (report["added"], report["unchanged"], report["embedded"], report["chunks"]) == ([], 1, 0, 1)
    (folder / "knowledge" / "vpn.md").unlink()
    gone = ingest(str(folder))
    assert "- knowledge/vpn.md" in gone.output


@pytest.mark.slow
def test_an_unreadable_file_is_named_and_the_command_fails(folder: Path) -> None:
    (folder / "more" / "bad.md").write_bytes(b"caf\xe9 \x81")
    result = ingest(str(folder))
    assert result.exit_code == 1
    assert "SG403 more/bad.md: not UTF-8" in result.stderr
    assert "+ knowledge/vpn.md" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "why"),
    [(["--index", "mor"], "did you mean 'more'"), (["knowledge"], "several indexes (one of: kb, more). Choose one")],
)
def test_the_index_must_be_known(folder: Path, arguments: list[str], why: str) -> None:
    result = ingest(str(folder), *arguments)
    assert isinstance(result.exception, ConfigError)
    assert result.exception.code == "SG115"
    assert why in str(result.exception)
