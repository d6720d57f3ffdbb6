"""`sluicegate router` from the outside: what it prints and what it refuses."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sluicegate.cli.router import app
from sluicegate.cli.router.fit import CALIBRATIONS
from sluicegate.errors import ModelError
from sluicegate.routing.calibration.calibration import METHODS
from sluicegate.routing.data import Labelled
from sluicegate.routing.intent.artifact import write_artifact
from tests.support.made_rows import fitted_at, graded, jsonl, made, rows
from tests.support.router_command import said, told

REPORT = {
    *("rows", "accuracy", "macro_f1", "ece", "threshold", "coverage", "accepted_accuracy"),
    *("oos_recall", "oos_auroc", "latency_ms_p50", "latency_ms_p95"),
}
Write = Callable[..., Path]


@pytest.fixture
def artifact(written: Write, tmp_path: Path) -> Path:
    out = tmp_path / "router"
    train, apart = written(jsonl(rows(240, 0)), "train.jsonl"), written(jsonl(rows(200, 1)), "apart.jsonl")
    told("fit", train, "--calibration", apart, "--oos-label", "oos", "--embedder", "none", "--out", out)
    return out


@pytest.mark.slow
def test_fit_and_report(artifact: Path, written: Write, tmp_path: Path) -> None:
    data = written(jsonl(rows(120, 2)), "test.jsonl")
    found = told("report", artifact, "--data", data)
    assert found.keys() >= REPORT
    assert found["rows"] == 120
    assert found["accuracy"] > 0.95
    assert found["artifact"] == json.loads((artifact / "card.json").read_text())["hash"]
    page = tmp_path / "report.html"
    table = said("report", artifact, "--data", data, "--html", page)
    assert "accepted accuracy" in table
    assert "printer" in table
    assert "<svg" in page.read_text()


@pytest.mark.slow
def test_a_report_says_how_many_requests_are_unlike_the_calibration_rows(tmp_path: Path, written: Write) -> None:
    new = asyncio.run(fitted_at(tmp_path / "new", embeddings=False))
    german = Labelled(["Mein Drucker druckt nicht mehr und ich weiß nicht, warum das so ist."], ["printer"], {})
    data = written(jsonl(rows(9, 2)) + jsonl(german))

    def told_of(folder: str) -> dict[str, str]:
        lines = said("report", tmp_path / folder, "--data", data).splitlines()
        return {cells[1].strip(): cells[2].strip() for line in lines if len(cells := line.split("│")) == 4}

    found = told_of("new")
    assert (found["foreign"], found["novel"]) == ("10.0%", "0.0%")
    assert found["novel bound"] == f"{new.card['likeness']['bound']:.1%}"
    card = {name: value for name, value in new.card.items() if name not in ("likeness", "files", "hash")}
    write_artifact(tmp_path / "old", new.head, new.calibrator, card)
    found = told_of("old")
    assert (found["foreign"], found["novel"]) == ("0.0%", "0.0%")
    assert found["novel bound"] == "unlike requests are not told apart: fitted by 0.1, fit it again"


@pytest.mark.slow
def test_a_part_is_held_apart_by_itself(written: Write, tmp_path: Path) -> None:
    out = tmp_path / "alone"
    found = told("fit", written(jsonl(rows(300, 0))), "--embedder", "none", "--error", "0.2", "--out", out)
    assert found["calibration"] >= 30
    assert found["train"] + found["calibration"] == 300
    assert not list(tmp_path.glob(".*fitting"))


@pytest.mark.slow
def test_explain_and_threshold(artifact: Path, written: Write) -> None:
    data = written(jsonl(rows(300, 3)), "more.jsonl")
    found = told("explain", "my printer is jammed", "--router", artifact, "--examples", data)
    assert found["label"] == "printer"
    assert found["nearest"]
    assert "Contributing features" in said("explain", "my printer is jammed", "--router", artifact)
    costs = told("threshold", artifact, "--data", data, "--error", 0.05, "--error", 0.2)
    assert [row["error"] for row in costs["overall"]] == [0.05, 0.2]
    assert "Per intent" in said("threshold", artifact, "--data", data)


@pytest.mark.slow
def test_escalation(written: Write, tmp_path: Path) -> None:
    def lines(seed: int) -> str:
        data = made(200, seed)
        pairs = zip(data.prompts, data.weak, data.strong, strict=True)
        return "".join(json.dumps({"prompt": p, "weak_correct": w, "strong_correct": s}) + "\n" for p, w, s in pairs)

    out, page = tmp_path / "escalate", tmp_path / "page.html"
    told("fit", written(lines(0), "a.jsonl"), "--task", "escalate", "--embedder", "none", "--out", out)
    found = told("report", out, "--data", written(lines(1), "b.jsonl"), "--html", page)
    assert {"apgr", "cpt50", "cpt80"} <= found.keys()
    assert found["apgr"] > 0.6
    assert "<svg" in page.read_text()


@pytest.mark.slow
def test_answers(written: Write, tmp_path: Path) -> None:
    data = written("".join(json.dumps(row) + "\n" for row in graded(300, 0)))
    (found,) = told("fit", data, "--task", "answer", "--error", 0.4, "--out", tmp_path / "answers")
    assert found["auroc"] > 0.7


def test_every_calibration_can_be_named() -> None:
    assert CALIBRATIONS == METHODS


@pytest.mark.slow
def test_what_is_refused(written: Write, tmp_path: Path, artifact: Path) -> None:
    one = written('{"text": "a", "label": "x"}\n{"text": "b", "label": "x"}\n', "one.jsonl")
    with pytest.raises(ModelError, match="SG313 only one class"):
        said("fit", one, "--out", tmp_path / "x", "--embedder", "none")
    with pytest.raises(ModelError, match="SG308"):
        said("fit", written(jsonl(rows(50, 0))), "--out", tmp_path / "x", "--embedder", "nonsense")
    with pytest.raises(ModelError, match="SG310"):
        said("report", tmp_path / "absent", "--data", one)
    few = written(jsonl(rows(60, 0)), "few.jsonl")
    with pytest.raises(ModelError, match="SG313"):
        said("fit", few, "--out", tmp_path / "x", "--embedder", "none", "--error", "0.001")
    assert not list(tmp_path.glob(".*fitting")), "only a fit that was interrupted has something to go on with"
    for wrong in (["fit", one], ["fit", one, "--out", "x", "--task", "dance"], ["fit", one, "--method", "magic"]):
        assert CliRunner().invoke(app, [str(a) for a in wrong]).exit_code == 2
