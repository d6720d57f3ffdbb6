"""The commands on a real workflow: evaluate, shadow, promote, roll back. The embedded models answer."""

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sluicegate.cli.eval import app as eval_app
from sluicegate.cli.ingest import app as ingest_app
from sluicegate.cli.promote import app as promote_app
from sluicegate.cli.rollback import app as rollback_app
from sluicegate.cli.run import app as run_app
from sluicegate.cli.shadow import app as shadow_app
from sluicegate.errors import ConfigError, RunError
from sluicegate.evals.promotion.champions import champion
from sluicegate.evals.promotion.gates import Pair
from sluicegate.evals.shadow.pairs import PairStore
from sluicegate.evals.shadow.shadow import shadow_of
from sluicegate.graphs.config.load import load
from sluicegate.graphs.runtime.factory import open_workflow
from sluicegate.graphs.runtime.intake import principal
from sluicegate.home import home
from sluicegate.observe.tracing.store import Store
from sluicegate.observe.tracing.tracer import RecordingTracer
from tests.support.waiting import until

pytestmark = pytest.mark.slow

HELPDESK = Path("configs/helpdesk")
PLAN = """
plan: fewer-quotes
goal: {metric: seconds, cap: 30}
guardrails: [{metric: answered, margin: 0.1}]
limits: [{event: failed, rate: 0.05}]
pairs: {minimum: 100, maximum: 1000}
"""


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A copy of the helpdesk with few documents, and a challenger and a plan beside it."""
    folder = tmp_path / "desk"
    shutil.copytree(HELPDESK, folder, ignore=shutil.ignore_patterns("knowledge"))
    (folder / "knowledge").mkdir()
    for name in ("kb-029", "kb-030", "kb-031", "kb-032", "kb-003"):
        for file in (HELPDESK / "knowledge").glob(f"{name}*"):
            shutil.copy(file, folder / "knowledge")
    (tmp_path / "next").mkdir()
    (tmp_path / "next" / "workflow.yaml").write_text(
        "extends: ../desk/workflow.yaml\nversion: 2\nnodes:\n  answer: {quotes: 1}\n"
    )
    (tmp_path / "plan.yaml").write_text(PLAN)
    return folder / "workflow.yaml"


def call(app: Any, *given: Any, status: int = 0) -> Any:
    result = CliRunner().invoke(app, [*map(str, given), "--json"])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == status, result.output
    return json.loads(result.stdout)


def rows(path: Path) -> Path:
    cases = [
        {"text": "How many cents does a colour page cost?", "intent": "printing", "facts": ["nine cents"],
         "citations": ["kb-032"], "refused": False},
        {"text": "Which film should I watch tonight?", "intent": "out_of_scope", "refused": True},
    ]  # fmt: skip
    path.write_text("".join(json.dumps(case) + "\n" for case in cases))
    return path


def test_evaluate_then_shadow_on_the_embedded_models(desk: Path, own_home: Path, tmp_path: Path) -> None:
    call(ingest_app, desk)
    data = rows(tmp_path / "cases.jsonl")
    said = call(eval_app, desk, data, "--html", tmp_path / "r.html", "--junit", tmp_path / "r.xml")
    figures = said["variants"]["workflow"]["all"]
    assert figures["intent_accuracy"]["value"] == 1.0
    assert figures["must_refuse_answered"]["value"] == 0.0
    # an embedded stand-in is named as what it is
    assert any("fallback answered" in note for note in said["notes"])
    assert (tmp_path / "r.html").read_text().startswith("<!doctype html>")
    assert 'tests="2"' in (tmp_path / "r.xml").read_text()
    # nothing of an evaluation is left where requests of users are
    assert not list((own_home / "evals").glob("workflow-*"))
    assert "rows" in said
    assert call(eval_app, desk, data, "--threshold", "correct>=1.1", status=1)["thresholds"][0]["held"] is False

    challenger, plan = tmp_path / "next" / "workflow.yaml", tmp_path / "plan.yaml"
    at = call(shadow_app, "start", desk, challenger, "--plan", plan)
    run = call(run_app, desk, "How many cents does a colour page cost?")
    assert call(shadow_app, "work", at_name(at)) == {"paired": 1}
    (pair,) = PairStore().pairs(at["number"])
    assert pair.champion_run == run["run"]
    assert pair.challenger["answered"] == 1.0
    # priced from what both recorded
    assert {"list_usd", "usd", "seconds"} <= pair.champion.keys() & pair.challenger.keys()
    within_the_process(desk, at_name(at))
    status = call(shadow_app, "status")[0]
    assert (status["pairs"], status["shed"]) == (2, {})
    assert call(promote_app, desk, "--plan", plan, status=3)["verdict"] == "CONTINUE"


def test_an_evaluation_that_is_killed_goes_on_where_it_stopped(desk: Path, own_home: Path, tmp_path: Path) -> None:
    call(ingest_app, desk)
    data = tmp_path / "cases.jsonl"
    texts = [f"Which film should I watch on evening {number}?" for number in range(400)]
    data.write_text("".join(json.dumps({"text": text, "refused": True}) + "\n" for text in texts))
    killed = subprocess.Popen(
        [sys.executable, "-m", "sluicegate", "eval", str(desk), str(data)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    results = own_home / "evals" / "results.sqlite"
    until(lambda: known(results) or killed.poll() is not None)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    before = known(results)
    assert 0 < len(before) < len(texts)
    assert (own_home / "evals" / f"workflow-{killed.pid}").is_dir()
    data.write_text("".join(json.dumps({"text": text, "refused": True}) + "\n" for text in texts[: len(before) + 3]))
    said = call(eval_app, desk, data)
    runs = {row["run"] for row in said["rows"]["workflow"]}
    assert before < runs
    assert len(runs) == len(before) + 3
    assert not list((own_home / "evals").glob("workflow-*")), "nor is anything left of the killed one"


def known(results: Path) -> set[str]:
    """The runs whose rows an evaluation has kept."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{results}?mode=ro", uri=True)) as connection:
            return {json.loads(said)["run"] for (said,) in connection.execute("SELECT result FROM results")}
    except sqlite3.OperationalError:
        return set()


def within_the_process(desk: Path, name: str) -> None:
    """A service hands the shadow what its user already has."""
    opened = open_workflow(desk)
    shadow = shadow_of(name)
    assert shadow is not None
    outcome = asyncio.run(opened.runner.run("Which film should I watch tonight?", principal("eve", ["employee"])))
    assert shadow.after(outcome) == ""
    assert shadow.drain(60)
    shadow.close()
    assert shadow_of("another workflow") is None


def at_name(said: dict[str, Any]) -> str:
    found = {known.number: known.workflow for known in PairStore().all()}
    return found[said["number"]]


def started(desk: Path, tmp_path: Path, *, better: float = 8.0) -> Path:
    """A comparison with 300 pairs in which the challenger takes `better` seconds less of 10."""
    plan = tmp_path / "plan.yaml"
    at = call(shadow_app, "start", desk, tmp_path / "next" / "workflow.yaml", "--plan", plan)
    pairs = PairStore()
    for number in range(300):
        made = Pair(
            f"a{number}", f"b{number}", "2026-11-23", {"seconds": 10.0, "answered": 1.0},
            {"seconds": 10.0 - better, "answered": 1.0}, slices={"intent": "printing"},
        )  # fmt: skip
        pairs.add(at["number"], made, usd=0.0)
    return plan


def test_promote_and_roll_back(desk: Path, tmp_path: Path) -> None:
    plan = started(desk, tmp_path)
    assert call(promote_app, desk, "--plan", plan, "--dry")["verdict"] == "PROMOTE"
    assert champion("helpdesk") is None
    assert call(shadow_app, "status")[0]["state"] == "running"
    said = call(promote_app, desk, "--plan", plan, "--by", "ops", "--html", tmp_path / "v.html")
    # it is decided
    assert call(shadow_app, "status")[0]["state"] == "stopped"
    assert said["reason"].startswith("Every gate passes, and seconds is better by +0.2667")
    served = champion("helpdesk")
    assert served is not None
    # what serves is the copy that was compared, whatever becomes of the file
    (tmp_path / "next" / "workflow.yaml").unlink()
    assert load(served).digest == said["challenger"]["digest"]
    assert (tmp_path / "v.html").read_text().count("<svg") == 3
    call(rollback_app, "helpdesk", "--reason", "slow at night")
    back = champion("helpdesk")
    assert back is not None
    assert load(back).digest == said["champion"]["digest"]


def test_a_worse_challenger_is_rejected_and_serves_nothing(desk: Path, tmp_path: Path) -> None:
    plan = started(desk, tmp_path, better=-8.0)
    store = Store(home() / "store.sqlite")
    tracer = RecordingTracer(store)
    for run in ("a0", "b0"):
        with tracer.run(run, workflow="helpdesk", input=f"The request of {run}"):
            pass
    said = call(promote_app, desk, "--plan", plan, "--html", tmp_path / "v.html", status=1)
    assert said["verdict"] == "REJECT"
    assert champion("helpdesk") is None
    # the worst ten, each with both runs, linked to their traces where there are any
    assert len(said["regressions"]) == 10
    assert [row["request"] for row in said["regressions"]][:2] == ["The request of a0", ""]
    page = (tmp_path / "v.html").read_text()
    links = re.findall(r'<a href="([^"]+)">', page)
    assert links == ["v-runs/a0.html", "v-runs/b0.html"]
    assert ["The request of a0" in (tmp_path / link).read_text() for link in links] == [True, False]
    assert "<td>a9</td>" in page
    store.close()


def test_a_champion_that_changed_decides_nothing(desk: Path, tmp_path: Path) -> None:
    plan = started(desk, tmp_path)
    desk.write_text(desk.read_text().replace("quote it", "quote").replace("timeout: 24h", "timeout: 23h"))
    said = call(promote_app, desk, "--plan", plan, status=3)
    assert said["verdict"] == "INCONCLUSIVE"
    assert "the champion is now" in said["reason"]


def test_a_plan_that_changed_decides_nothing(desk: Path, tmp_path: Path) -> None:
    plan = started(desk, tmp_path)
    plan.write_text(PLAN.replace("0.1", "0.3"))
    with pytest.raises(RunError) as raised:
        call(promote_app, desk, "--plan", plan)
    assert raised.value.code == "SG616"


def test_what_cannot_be_compared_is_refused(desk: Path, tmp_path: Path) -> None:
    plan, challenger = tmp_path / "plan.yaml", tmp_path / "next" / "workflow.yaml"
    with pytest.raises(RunError, match="the same version"):
        call(shadow_app, "start", desk, desk, "--plan", plan)
    challenger.write_text("extends: ../desk/workflow.yaml\nworkflow: other\n")
    with pytest.raises(RunError, match="a different workflow: other, not helpdesk"):
        call(shadow_app, "start", desk, challenger, "--plan", plan)
    with pytest.raises(ConfigError):
        call(shadow_app, "start", desk, challenger, "--plan", tmp_path / "no.yaml")
