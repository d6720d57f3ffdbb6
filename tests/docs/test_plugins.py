"""docs/plugins.md: its code is what `init --plugin` writes and `tests/test_plugins.py` runs; its tables are whole."""

import dataclasses
import re
from pathlib import Path
from typing import get_args

import pytest

from sluicegate import GuardKind, NodeKind, Services, ToolContext
from sluicegate.nodes.kind import Effect
from tests.support.pages import blocks, commands, page, run, table

PAGE = page("docs/plugins.md")


def fields(record: type) -> list[str]:
    return [field.name for field in dataclasses.fields(record)]


def first_column(heading: str) -> list[str]:
    return [name.strip("`") for name in table(PAGE, heading)]


def test_the_code_of_the_page_is_what_the_command_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (command,) = commands(PAGE)
    done = run(command)
    assert done.exit_code == 0, done.output
    written = "\n".join(path.read_text() for path in tmp_path.rglob("*") if path.suffix in {".py", ".toml"})
    shown = [block for language in ("python", "toml") for block in blocks(PAGE, language)]
    assert len(shown) == 4
    assert [block for block in shown if block not in written] == []
    (steps,) = blocks(PAGE, "console")
    printed = [re.sub(r"\s+", " ", line.strip()) for line in done.output.splitlines()[1:]]
    assert [line for line in printed if line] == steps.splitlines()


def test_every_field_and_effect_is_on_the_page() -> None:
    assert first_column("field of `NodeKind`") == fields(NodeKind)
    assert first_column("field of `GuardKind`") == fields(GuardKind)
    assert first_column("effect") == list(get_args(Effect))
    for name in (*fields(Services), *fields(ToolContext)):
        assert f"`{name}`" in PAGE, name
