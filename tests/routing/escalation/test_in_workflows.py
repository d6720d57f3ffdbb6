"""Learned escalation in a workflow: loaded, decided by, recorded, explained, watched and fitted again."""

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sluicegate.cli.doctor import _router_lines  # pyright: ignore[reportPrivateUsage]
from sluicegate.errors import InsufficientDataError, ModelError
from sluicegate.evals.evaluation.baselines import RouterWithThreshold
from sluicegate.graphs.config.load import load
from sluicegate.graphs.runtime.factory import open_workflow
from sluicegate.home import home
from sluicegate.learning.projection import Projection
from sluicegate.learning.threshold import NEVER
from sluicegate.observe.tracing.describers import describe
from sluicegate.observe.tracing.spans import RunInfo, Score
from sluicegate.observe.tracing.store import Store
from sluicegate.observe.tracing.storing.writes import Writes
from sluicegate.services import Escalation, Services
from sluicegate.state import Principal
from tests.support import ROOT
from tests.support.fakes import FakeModels, FakeRetriever, FakeRouter
from tests.support.made_rows import made
from tests.support.router_command import said, told

BASE = ROOT / "tests" / "graphs" / "config" / "workflow"
OVERLAY = """
extends: workflow.yaml
version: 4
router: {artifact: null, strategy: slm, embeddings: false, escalation: routers/escalate}
examples: {escalation: examples/escalation.jsonl}
nodes:
  facts:
    then:
      - {when: "router.needs_large >= router.escalation_threshold", go: synthesize}
      - {otherwise: answer}
"""
HARD, EASY = "prove the theorem number 7 please", "name the capital number 7 please"
ASKER: Principal = {"id": "ann", "roles": ["employee"], "groups": [], "clearance": "internal"}


@pytest.fixture
def workflow(tmp_path: Path) -> Path:
    """The workflow of the tests of configs, with a branch on `router.needs_large` and logs to fit it on."""
    folder = shutil.copytree(BASE, tmp_path / "workflow")
    (folder / "examples").mkdir()
    logs = made(300, 0)
    pairs = zip(logs.prompts, logs.weak, logs.strong, strict=True)
    lines = (json.dumps({"prompt": p, "weak_correct": w, "strong_correct": s}) for p, w, s in pairs)
    (folder / "examples" / "escalation.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (folder / "over.yaml").write_text(OVERLAY, encoding="utf-8")
    return folder / "over.yaml"


def fit(workflow: Path) -> dict[str, Any]:
    return told("fit", workflow, "--task", "escalate")


@pytest.fixture
def fitted(workflow: Path) -> dict[str, Any]:
    return fit(workflow)


def router_of(workflow: Path, classify: Any, target: str = "") -> Any:
    """The workflow's own router, with the part that names the intent replaced."""
    if target:
        workflow.write_text(OVERLAY.replace("escalation: routers", f"escalation_target: {target}, escalation: routers"))
    opened = open_workflow(workflow, dry=True)
    router: Any = opened.runner.services.router
    router._inner._router = classify
    return opened, router


@pytest.mark.slow
async def test_a_request_that_needs_the_large_model_takes_its_branch(workflow: Path, fitted: dict[str, Any]) -> None:
    assert fitted["artifact"] == str(workflow.parent / "routers" / "escalate")

    def changed(services: Services) -> Services:
        router: Any = services.router
        router._router = FakeRouter(label="password_reset", confidence=0.9)
        return replace(services, models=FakeModels(), retriever=FakeRetriever())

    opened = open_workflow(workflow, dry=True, change=changed)
    chances: list[float] = []
    for text, writer in ((HARD, "synthesize"), (EASY, "answer")):
        outcome = await opened.runner.run(text, ASKER)
        route = outcome.state["route"]
        assert (route["needs_large"] >= route["escalation_threshold"]) == (writer == "synthesize")
        assert route["escalation_artifact"] == fitted["hash"]
        (branch,) = [entry["branch"] for entry in outcome.state["trail"] if entry["node"] == "facts"]
        assert branch["to"] == writer
        assert branch["values"]["router.needs_large"] == route["needs_large"]
        chances.append(route["needs_large"])
    opened.close()
    store = Store(home() / "store.sqlite")
    assert [row["needs_large"] for row in store.confidences("helpdesk")] == chances
    store.close()


@pytest.mark.slow
async def test_the_target_of_the_workflow_sets_the_threshold(workflow: Path, fitted: dict[str, Any]) -> None:
    del fitted
    thresholds: list[float] = []
    digests: set[str] = set()
    for target in ("{recover: 0.5}", "{recover: 0.95}", "{share: 0.1}", "{share: 0.9}"):
        opened, router = router_of(workflow, FakeRouter(), target)
        found = await router.classify(HARD)
        thresholds.append(found.escalation.threshold)
        digests.add(opened.workflow.digest)
        opened.close()
    assert thresholds[0] > thresholds[1]
    assert thresholds[2] > thresholds[3]
    assert len(digests) == 4, "another target is another version"


@pytest.mark.slow
def test_an_artifact_is_named_fitted_and_covered_by_the_digest(workflow: Path) -> None:
    missing = load(workflow)
    (warning,) = missing.warnings
    assert (warning.code, warning.message) == ("SG310", "no escalation artifact 'routers/escalate' yet")
    assert "--task escalate" in (warning.hint or "")
    assert [line.state for line in _router_lines(missing, "w.yaml")] == ["ok", "missing"]
    with pytest.raises(ModelError, match=r"SG310 .*--task escalate"):
        open_workflow(workflow, dry=True)
    fit(workflow)
    fitted = load(workflow)
    assert fitted.warnings == ()
    assert fitted.digest != missing.digest
    assert [(line.what, line.state) for line in _router_lines(fitted, "")] == [("router", "ok"), ("escalation", "ok")]


@pytest.mark.slow
async def test_another_embedder_than_the_fitted_one_is_refused(workflow: Path, fitted: dict[str, Any]) -> None:
    """The workflow asks its own embedder, and says which vectors it needs."""
    del fitted
    opened, router = router_of(workflow, FakeRouter())
    escalation = router._inner._escalation
    opened.close()
    asked: list[str] = []

    async def embed(texts: Any) -> Any:
        asked.extend(texts)
        raise ModelError("SG312", "another embedder")

    landmarks = np.eye(2, dtype=np.float32)
    weights = {"similar": np.ones((2, 1), np.float32), "embedding": np.zeros((2, 1), np.float32)}
    escalation.head = replace(
        escalation.head, lexicons={}, weights=weights, landmarks=landmarks, sharpness={"similar": 1.0}, embed_words=5,
        projection=Projection(np.zeros(2, np.float32), None),
    )  # fmt: skip
    escalation._embed = embed
    with pytest.raises(ModelError, match="SG312"):
        await router.classify("one two three four five six")
    assert asked == ["one two three four five"]


async def test_the_baselines_escalate_none_or_all() -> None:
    class Certain:
        async def classify(self, text: str) -> Any:
            return replace(await FakeRouter().classify(text), escalation=Escalation(0.4, 0.3, "hash"))

    for threshold, escalated in ((0.0, False), (NEVER, True)):
        found = await RouterWithThreshold(Certain(), threshold).classify("x")
        assert found.escalation
        assert (found.escalation.needs_large >= found.escalation.threshold) == escalated


def test_traces_and_the_audit_log_have_the_probability() -> None:
    route = {
        "threshold": 0.7, "artifact": "a", "needs_large": 0.4, "escalation_threshold": 0.3, "escalation_artifact": "b",
    }  # fmt: skip
    described = describe({"route": route})["route"]
    assert described.attributes["needs_large"] == 0.4
    assert described.facts == route


def remember(runs: list[tuple[float, float | None, str]], verdicts: dict[int, bool] | None = None) -> None:
    """Runs in the store: days ago, the probability that the large model is needed, and the request."""
    store, now = Store(home() / "store.sqlite"), time.time_ns()
    begun, ended, scores = [], [], []
    for number, (days, needs, request) in enumerate(runs):
        info = RunInfo(
            f"run{number}", f"{number:032x}", "helpdesk", "1", "d", "", "", "", "", shadow=False, request=request
        )
        at = now - int(days * 86_400 * 10**9)
        begun.append((info, at))
        outcome = {"status": "answered", "intent": "payroll", "confidence": 0.9, "threshold": 0.5}
        ended.append((info, at + 10**9, 1000.0, outcome if needs is None else outcome | {"needs_large": needs}))
        if verdicts and number in verdicts:
            scores.append(
                Score(f"s{number}", info.run_id, "needed_large", verdicts[number], "", now, source="feedback")
            )
    store.write(Writes(begun=begun, scores=scores, ended=ended))
    store.close()


def test_drift_of_the_probability_is_told(workflow: Path) -> None:
    before = [(20.0, 0.1 + i % 10 / 50, "x") for i in range(80)]
    after = [(2.0, 0.6 + i % 10 / 50, "x") for i in range(80)]
    remember([*before, *after])
    found = told("drift", workflow)
    assert found["needs_large_psi"] > 0.2
    (warning,) = found["warnings"]
    assert warning.startswith("the probability that the large model is needed moved from 0.19 to 0.69")


def test_runs_without_an_escalation_have_no_such_drift(workflow: Path) -> None:
    remember([(days, None, "x") for days in (20.0, 2.0) for _ in range(80)])
    assert told("drift", workflow)["needs_large_psi"] is None


@pytest.mark.slow
def test_a_refit_learns_from_what_people_say_of_runs(workflow: Path, tmp_path: Path) -> None:
    fitted = fit(workflow)
    with pytest.raises(InsufficientDataError, match="no usable verdicts"):
        said("refit", workflow, "--task", "escalate", "--out", tmp_path / "proposed")
    requests = [f"transpose the score of number {number} please" for number in range(80)]
    remember(
        [(1.0, 0.2, text) for text in requests], dict.fromkeys(range(60), True) | dict.fromkeys(range(60, 80), False)
    )
    found = told("refit", workflow, "--task", "escalate", "--out", tmp_path / "proposed")
    assert (found["verdicts"], found["rows"]) == (80, 380)
    assert found["hash"] != fitted["hash"]
    before, after = (
        told("explain", "transpose the score please", "--router", folder)
        for folder in (workflow.parent / "routers" / "escalate", tmp_path / "proposed")
    )
    assert after["needs_large"] > before["needs_large"]
    assert after["evidence"][0]["weight"] > 0
    assert "Contributing features" in said("explain", HARD, "--router", tmp_path / "proposed")


@pytest.mark.slow
def test_a_proposal_does_not_replace_what_serves_and_a_fit_needs_its_logs(workflow: Path, tmp_path: Path) -> None:
    fit(workflow)
    with pytest.raises(AssertionError, match="is the artifact in use"):
        said("refit", workflow, "--task", "escalate", "--out", workflow.parent / "routers" / "escalate")
    workflow.write_text(OVERLAY.replace("examples: {escalation: examples/escalation.jsonl}", ""))
    with pytest.raises(InsufficientDataError, match="names no logged requests"):
        said("fit", workflow, "--task", "escalate")


@pytest.mark.slow
def test_the_helpdesk_with_an_escalation_is_proved_and_says_how_to_fit_it() -> None:
    example = load(ROOT / "configs" / "helpdesk" / "escalation.yaml")
    assert [problem.code for problem in example.warnings] == ["SG310"]
    assert example.digest != load(ROOT / "configs" / "helpdesk" / "workflow.yaml").digest
    branches = [edge.condition for edge in example.flow.nodes["facts"].edges]
    assert "router.needs_large >= router.escalation_threshold" in branches
