"""`router fit`, `drift` and `refit` on a workflow and the store of its runs."""

import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sluicegate.cli.router import app
from sluicegate.errors import ModelError
from sluicegate.home import home
from sluicegate.learning.artifact import read_card
from sluicegate.observe.tracing.spans import RunInfo, Score
from sluicegate.observe.tracing.store import Store
from sluicegate.observe.tracing.storing.writes import Writes
from tests.support import ROOT
from tests.support.router_command import said, told

HELPDESK = ROOT / "configs" / "helpdesk" / "workflow.yaml"
DAY = 86_400 * 10**9


@pytest.fixture
def workflow(tmp_path: Path) -> Path:
    """The helpdesk with a router on words alone."""
    path = tmp_path / "lexical" / "workflow.yaml"
    path.parent.mkdir()
    path.write_text(
        f"extends: {HELPDESK}\nversion: lexical\nrouter:\n  artifact: routers/lexical\n  embeddings: false\n"
        "  target: {error: 0.2, confidence: 0.95}\n",
        encoding="utf-8",
    )
    return path


def remember(runs: list[tuple[float, str, float, str]], corrected: dict[int, str] | None = None) -> None:
    """Runs in the store: days ago, intent, confidence, request."""
    store = Store(home() / "store.sqlite")
    now = time.time_ns()
    begun, ended, scores = [], [], []
    for number, (days, intent, sure, request) in enumerate(runs):
        info = RunInfo(
            f"run{number}", f"{number:032x}", "helpdesk", "1", "d", "", "", "", "", shadow=False, request=request
        )
        at = now - int(days * DAY)
        begun.append((info, at))
        outcome = {"status": "answered", "intent": intent, "confidence": sure, "threshold": 0.5}
        ended.append((info, at + 10**9, 1000.0, outcome))
        if corrected and number in corrected:
            scores.append(
                Score(f"s{number}", info.run_id, "correct_intent", corrected[number], "", now, source="feedback")
            )
    store.write(Writes(begun=begun, scores=scores, ended=ended))
    store.close()


@pytest.mark.slow
def test_drift_of_recorded_runs(tmp_path: Path) -> None:
    before = [(20.0, ["printing", "wifi_network"][i % 2], 0.9 - i % 10 / 100, "x") for i in range(80)]
    after = [(2.0, ["printing", "out_of_scope"][i % 2], 0.6 - i % 10 / 100, "x") for i in range(80)]
    remember([*before, *after])
    svg = tmp_path / "drift.svg"
    found = told("drift", HELPDESK, "--svg", svg)
    assert (found["before"], found["after"]) == (80, 80)
    assert len(found["warnings"]) == 3
    assert found["oos_after"] == 0.5
    assert svg.read_text().startswith("<svg")
    assert "wifi_network" in said("drift", HELPDESK)


@pytest.mark.slow
def test_refit_learns_from_corrections(workflow: Path, tmp_path: Path) -> None:
    fitted = told("fit", workflow)
    assert fitted["artifact"] == str(workflow.parent / "routers" / "lexical")
    with pytest.raises(ModelError, match="SG313 no usable corrections"):
        said("refit", workflow, "--out", tmp_path / "proposed")
    requests = [f"the flux capacitor of {name} hums again" for name in ("ann", "bob", "cem", "dee", "eve", "fay")]
    remember([(1.0, "fault_report", 0.4, text) for text in requests], dict.fromkeys(range(6), "hardware_request"))
    found = told("refit", workflow, "--out", tmp_path / "proposed")
    assert found["corrections"] == 6
    assert (found["rows"], found["compared_on"]) == (260, "examples.eval")
    assert found["hash"] != fitted["hash"]
    recorded = found["recorded"]
    assert recorded["requests"] == 6
    assert recorded["other_label"] + recorded["other_trust"] >= len(recorded["examples"]) > 0
    assert all(row["after"].startswith("hardware_request") for row in recorded["examples"])
    assert found["new"]["accuracy"] - found["old"]["accuracy"] == pytest.approx(
        (found["mended"] - found["broken"]) / 260
    )
    told_by_new = told("explain", "flux capacitor hums", "--router", tmp_path / "proposed")
    assert told_by_new["label"] == "hardware_request"
    # nothing is promoted: the workflow's own artifact is as it was
    assert read_card(workflow.parent / "routers" / "lexical")["hash"] == fitted["hash"]


def test_examples_must_be_labelled_with_the_workflows_intents(workflow: Path) -> None:
    lines = (HELPDESK.parent / "examples" / "train.jsonl").read_text(encoding="utf-8")
    (workflow.parent / "examples").mkdir()
    (workflow.parent / "examples" / "train.jsonl").write_text(lines.replace('"printing"', '"printng"'), "utf-8")
    with pytest.raises(ModelError, match=r"SG312 .* labels rows printng, which helpdesk does not have"):
        said("fit", workflow)


@pytest.mark.slow
def test_a_proposal_never_takes_the_place_of_what_serves(workflow: Path, tmp_path: Path) -> None:
    told("fit", workflow)
    result = CliRunner().invoke(app, ["refit", str(workflow), "--out", str(workflow.parent / "routers" / "lexical")])
    assert result.exit_code == 2
    assert "is the artifact in use" in result.output


@pytest.mark.slow
def test_since_must_be_a_duration() -> None:
    assert CliRunner().invoke(app, ["drift", str(HELPDESK), "--since", "soon"]).exit_code == 2
