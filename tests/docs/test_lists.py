"""docs/lists.md: its workflow is checked and run as it says, through the command line."""

import json
from pathlib import Path

import pytest

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
    assert json.loads(done.stdout)["answer"] == "2 orders are open."
    assert [title for title, _ in tickets(own_home)] == ["Beamer for room 1.12"] * 2
    assert len({key for _, key in tickets(own_home)}) == 2
