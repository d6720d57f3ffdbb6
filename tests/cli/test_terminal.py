"""What a terminal obeys does not reach it, wherever the text comes from."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.pretty import Pretty
from rich.table import Table
from rich.text import Text
from typer.testing import CliRunner

from sluicegate.cli._support import console as module
from sluicegate.cli.check import app

EVIL = "a\x1b]0;pwned\x07\x1b[2J\x9b31m\x7f\u202eb\u2066\r\x00\ud800\u2028"
OBEYED = {*map(chr, (*range(9), *range(11, 32), *range(127, 160))), *"\u202e\u2066\u2028\ud800"}


def printed(renderable: Any, **options: Any) -> str:
    out = io.StringIO()
    screen = module.console()
    screen.file = out
    screen.print(renderable, **options)
    return out.getvalue()


@pytest.mark.parametrize("form", ["text", "markup", "table", "pretty", "highlighted"])
def test_control_characters_are_shown_and_not_sent(form: str) -> None:
    table = Table("what")
    table.add_row(EVIL, style="red")
    renderable = {"text": Text(EVIL, "red"), "table": table, "pretty": Pretty({EVIL: [EVIL]})}.get(form, EVIL)
    text = printed(renderable, highlight=form == "highlighted", markup=form == "markup")
    assert not OBEYED & set(text)
    assert "a" in text
    if form == "text":
        assert r"a\u001b]0;pwned" in text
        assert r"\u009b31m\u007f\u202eb\u2066" in text


@pytest.mark.parametrize("width", [14, 15, 16, 17, 40])
def test_a_table_wraps_what_is_shown_and_crops_nothing_of_it(width: int) -> None:
    table = Table(box=None, pad_edge=False, width=width, show_header=False)
    table.add_column(overflow="fold")
    table.add_row("\x1b\x9b" * 9)
    assert "".join(printed(table).split()) == r"\u001b\u009b" * 9
    assert max(map(len, printed(table).splitlines())) <= width


def test_colours_of_ones_own_are_sent() -> None:
    from rich.console import Console

    screen: Console = type(module.console())(file=io.StringIO(), force_terminal=True, color_system="standard")
    screen.print(Text("\x1b[2Jx", "red"))
    screen.print(Text.assemble("a\x1b", ("\x9b", "red"), "b"))
    shown = "\x1b[31m\\u001b[2Jx\x1b[0m\na\\u001b\x1b[31m\\u009b\x1b[0mb\n"
    assert screen.file.getvalue() == shown  # type: ignore[attr-defined]


def test_json_is_escaped_as_json_and_reads_back(capsys: pytest.CaptureFixture[str]) -> None:
    module.emit({EVIL: EVIL})
    text = capsys.readouterr().out
    assert not OBEYED & set(text)
    assert json.loads(text) == {EVIL: EVIL}


@pytest.mark.parametrize("arguments", [[], ["--json"], ["--format", "sarif"]])
def test_a_checked_file_sends_nothing(tmp_path: Path, arguments: list[str]) -> None:
    file = tmp_path / "esc.yaml"
    file.write_bytes('workflow: t\nversion: 1\n"zo\\x1b[31mrk": "\\e[2J"\nkey: "\\x9b2J\u202e"\n'.encode())
    done = CliRunner().invoke(app, [str(file), *arguments])
    assert done.exit_code == 1
    assert "zo" in done.stdout
    assert not OBEYED & set(done.stdout)
