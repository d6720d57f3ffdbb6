"""docs/lists.md: its workflow is checked and run as it says, through the command line."""

import contextlib
import io
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sluicegate.cli import step
from tests.support.orders import TABLE, orders, tickets
from tests.support.pages import blocks, commands, page, run

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*will be removed in Click:DeprecationWarning")]

PAGE = page("docs/lists.md")


def test_its_commands_do_what_it_says(tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    orders(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert TABLE in blocks(PAGE, "console")[0]
    (command,) = commands(PAGE.replace("$ sluicegate", "sluicegate"), "console")
    assert run(["sluicegate", "check", "orders.yaml"]).exit_code == 0
    done = run([*command, "--json"])
    assert done.exit_code == 0, done.output
    outcome = json.loads(done.stdout)
    assert outcome["answer"] == "2 orders are open."
    shown = run(["sluicegate", "trace", "show", outcome["run"]]).output
    assert all(f"call-tool · item {n}" in shown for n in range(3))
    assert [title for title, _ in tickets(own_home)] == ["Beamer for room 1.12"] * 2
    assert len({key for _, key in tickets(own_home)}) == 2


def test_a_session_steps_through_it_as_the_page_of_stepping_says(
    tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders(tmp_path)
    monkeypatch.chdir(tmp_path)
    text = page("docs/stepping.md").partition("## Lists")[2].partition("\n## ")[0]
    (program,), (printed,) = blocks(text, "python"), blocks(text, "text")
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(program, {})
    assert out.getvalue() == printed
    assert tickets(own_home) == []


def test_items_are_shown_in_the_terminal(tmp_path: Path, own_home: Path) -> None:
    command = [str(orders(tmp_path)), "Order these", "--attach", str(tmp_path / "positions.csv"), "--dry"]
    done = CliRunner().invoke(step.app, command, input="u order\ni\n\ni\nq\n")
    assert done.exit_code == 0, done.output
    last = [" ".join(line.split()) for line in done.output.splitlines() if line.startswith("each 2")]
    assert len(last) == 2
    assert last[0].startswith("each 2 to do")
    assert last[1].startswith("each 2 done order")
