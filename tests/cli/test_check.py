"""`sluicegate check` and `sluicegate schema`: what they print and how they leave."""

import importlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from click.testing import Result

from tests.support import ROOT

FOLDER = ROOT / "tests" / "graphs" / "config"

# typer imports a name that its newest click announces to remove
pytestmark = pytest.mark.filterwarnings("ignore:.*will be removed in Click:DeprecationWarning")


CONFIGS = Path("configs").resolve()


def _run(command: str, *arguments: str) -> "Result":
    from typer.testing import CliRunner

    app = importlib.import_module(f"sluicegate.cli.{command}").app
    return CliRunner().invoke(app, [*arguments], env={"COLUMNS": "200"})


def _json(*arguments: str) -> Any:
    return json.loads(_run(*arguments).stdout)


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)


def test_it_says_what_streams_and_what_is_in_the_way_of_the_rest() -> None:
    config = str(CONFIGS / "patterns" / "1-slm-router-tools" / "workflow.yaml")
    assert _run("check", config, "--streaming").stdout.endswith("\n  shorten streams, sentence by sentence\n")
    whole = "\n  draft does not stream: slm-review at check needs the whole text\n"
    said = _run("check", str(CONFIGS / "patterns" / "5-two-pass-check"), "--streaming").stdout
    assert said.endswith(whole)
    (said,) = json.loads(_run("check", config, "--json").stdout)["workflows"]
    assert said["streaming"] == {"shorten": {"summarise": "by sentence"}}


def test_it_says_how_each_guarantee_is_kept() -> None:
    config = str(CONFIGS / "patterns" / "2-policy-gate" / "workflow.yaml")
    lines = _run("check", config, "--proofs").stdout.splitlines()
    at = lines.index("  proved: no respond without output-check after generates")
    assert lines[at + 1] == "    after answer every path to respond passes check first"
    (said,) = json.loads(_run("check", config, "--json").stdout)["workflows"]
    assert said["proofs"][2] == {
        "guarantee": "no respond without output-check after generates", "state": "proved",
        "because": "after answer every path to respond passes check first",
    }  # fmt: skip


def test_a_good_workflow_is_one_line() -> None:
    found = _run("check", "workflow/workflow.yaml")
    assert found.exit_code == 0
    assert found.stdout == (
        "✓ workflow/workflow.yaml: helpdesk 3, 11 nodes, 19 branches, 11 conditions, 11 guarantees proved, 0 waived,"
        " 0 warnings\n"
    )


def test_a_problem_shows_its_line_with_a_caret() -> None:
    found = _run("check", "broken/references.yaml")
    assert found.exit_code == 1
    assert (
        "broken/references.yaml:13:8: error SG111 unknown node 'clasify'\n"
        "    13 │ start: clasify\n"
        "       │        ^^^^^^^\n"
        "    did you mean 'classify'?\n"
    ) in found.stdout


def test_exit_statuses() -> None:
    assert _run("check", "workflow/workflow.yaml", "workflow/variant.yaml").exit_code == 0
    assert _run("check", "workflow/workflow.yaml", "broken/empty.yaml").exit_code == 1
    assert _run("check", "absent.yaml").exit_code == 2
    assert _run("check", "broken").exit_code == 2
    assert _run("check").exit_code == 2
    assert _run("check", "workflow", "--format", "xml").exit_code == 2


def test_a_folder_stands_for_the_workflows_in_it() -> None:
    found = _json("check", "workflow", "--json")
    assert [one["path"] for one in found["workflows"]] == ["workflow/workflow.yaml"]


def test_json_has_every_problem_and_what_was_proved() -> None:
    good, bad = _json("check", "workflow/workflow.yaml", "broken/circle.yaml", "--format", "json")["workflows"]
    assert (good["ok"], good["guarantees"], good["problems"]) == (True, 11, [])
    assert len(good["digest"]) == 64
    assert (bad["ok"], bad["problems"][0]["code"], bad["problems"][0]["line"]) == (False, "SG118", 1)


def test_sarif_points_to_the_lines() -> None:
    (run,) = _json("check", "broken/references.yaml", "--format", "sarif")["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert all(rules[result["ruleIndex"]] == result["ruleId"] for result in run["results"])
    wanted = {"startLine": 13, "startColumn": 8}
    (found,) = [one for one in run["results"] if one["locations"][0]["physicalLocation"]["region"] == wanted]
    assert found["level"] == "error"
    assert found["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "broken/references.yaml"
    assert found["message"]["text"].startswith("unknown node 'clasify'. did you mean 'classify'?")


def test_waived_guarantees_are_shown_with_their_reason(tmp_path: Path) -> None:
    waived = tmp_path / "waived.yaml"
    waived.write_text(
        f"extends: {FOLDER / 'workflow' / 'workflow.yaml'}\n"
        "waive: [{guarantee: checked-answers, reason: A pilot on public knowledge.}]\n"
    )
    found = _run("check", str(waived))
    assert found.exit_code == 0
    assert "1 waived" in found.stdout
    assert "waived: checked-answers, because A pilot on public knowledge." in found.stdout


@pytest.mark.slow
def test_schema_is_printed_or_written(tmp_path: Path) -> None:
    printed = _json("schema")
    assert _run("schema", "--out", str(tmp_path / "new" / "schema.json")).exit_code == 0
    assert json.loads((tmp_path / "new" / "schema.json").read_text()) == printed
    assert _run("schema", "--reference").stdout.startswith("# Config reference\n")
