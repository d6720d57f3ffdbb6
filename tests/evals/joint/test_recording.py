"""Recorded requests, followed under thresholds that nobody ran them with: they end as a real run does."""

import asyncio
import random
import shutil
import time
import uuid
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.joint_helpdesk import best, followed
from sluicegate.cli.doctor import _router_lines  # pyright: ignore[reportPrivateUsage]
from sluicegate.errors import InsufficientDataError
from sluicegate.evals.evaluation.baselines import isolated
from sluicegate.evals.evaluation.cases import Case, ExpectedTool, read_cases
from sluicegate.evals.joint.fit import fit_joint
from sluicegate.evals.joint.recording import Recorded, named, read_recorded, record, under
from sluicegate.evals.joint.walking import candidates, taken, walk
from sluicegate.evals.joint.watching import watch_joint
from sluicegate.graphs.config.load import Workflow, load
from sluicegate.graphs.runtime.factory import open_workflow
from sluicegate.home import home, private_folder
from sluicegate.learning.threshold import NEVER
from sluicegate.observe.incidents import Incidents
from sluicegate.observe.tracing.spans import RunInfo, Score
from sluicegate.observe.tracing.store import Store
from sluicegate.observe.tracing.storing.writes import Writes
from sluicegate.policies.cache.cache import NoCache
from sluicegate.routing.joint.thresholds import ConfidenceWithThresholds, RouterWithThresholds
from sluicegate.services import AnswerConfidence, AnswerFeatures, Classification, Services
from sluicegate.serving.operating import joint_drift
from tests.support import ROOT
from tests.support.fakes import FakeGuards, FakeModels, FakeRetriever, FakeRouter
from tests.support.family import edit, family, kyc_of, without_people
from tests.support.flows import ANN
from tests.support.router_command import told

OVERLAY = """
extends: workflow.yaml
version: joint
router: {joint: {artifact: routers/joint, error: 0.25}}
examples: {calibration: examples/graded.jsonl}
nodes:
  answer: {then: check}
  check:
    then:
      - {when: "checks.failed || intent.risk == 'high'", go: approve}
      - {when: "answer.by != 'synthesize' && answer.confidence < answer.threshold", go: approve}
      - {otherwise: respond}
"""
FORK = """\
  recall: {then: [{when: "cache.hit && intent.risk == 'low'", go: respond}, {otherwise: gather}]}
  gather: {kind: parallel, branches: [look, beside], join: facts}
  look: {kind: choice, then: [{when: "intent.confidence < router.threshold", go: unsure}, {otherwise: facts}]}
  unsure: {kind: choice, then: facts}
  beside: {kind: choice, then: facts}
"""
LISTED = """\
  facts: {then: [{when: "intent.task == 'synthesis'", go: synthesize}, {otherwise: each}]}
  each: {kind: for-each, over: documents, do: label, at_most: 6, collect: labels, then: answer}
  label: {kind: choice, then: [{when: "%s", go: second}, {otherwise: each}]}
  second: {kind: choice, then: each}
"""
LABELS = {"pass": "password_reset", "open": "access_request", "état": "password_reset"}


class Routes(FakeRouter):
    """A request is its label, and its confidences in route and answer: ``pass 0.8 0.6``."""

    async def classify(self, text: str) -> Classification:
        word, route, _ = text.split()
        found = replace(await super().classify(text), label=LABELS[word], confidence=float(route))
        return replace(found, unlike="language", by="unlike", threshold=NEVER) if word == "état" else found


class Sure:
    like = ""

    def __call__(self, evidence: AnswerFeatures) -> AnswerConfidence:
        sure = float(evidence.question.split()[2])
        return AnswerConfidence(sure, sure, {}, 0.75)


def scripted(services: Services) -> Services:
    return replace(
        services,
        models=MODELS,  # pyright: ignore[reportArgumentType]
        router=Routes(),
        confidence=Sure(),
        retriever=FakeRetriever(),
        guards=FakeGuards(),
    )


MODELS = FakeModels()


def case(text: str, *, small: bool = True) -> Case:
    """Of which the small model's answer, or only the large one's, is right."""
    return Case(text, text, ANN, facts=("small answer",) if small else ("large answer",))


@pytest.fixture
def workflow(tmp_path: Path) -> Workflow:
    folder = shutil.copytree(ROOT / "tests" / "graphs" / "config" / "workflow", tmp_path / "workflow")
    (folder / "over.yaml").write_text(OVERLAY, encoding="utf-8")
    (folder / "examples").mkdir()
    lines = (f'{{"text": "request {number}", "facts": ["x"]}}\n' for number in range(300))
    (folder / "examples" / "graded.jsonl").write_text("".join(lines), encoding="utf-8")
    return load(folder / "over.yaml")


def recorded(workflow: Workflow, cases: list[Case], folder: Path) -> list[Recorded]:
    rows: list[Recorded] = []
    asyncio.run(record(workflow, cases, folder, on_row=rows.append, change=scripted))
    return rows


def test_every_way_is_run_once_and_no_model_is_asked_twice(workflow: Workflow, tmp_path: Path) -> None:
    MODELS.asked.clear()
    (row,) = recorded(workflow, [case("pass 0.8 0.3")], tmp_path / "runs")
    ends = [(way.sent, way.large, way.right) for way in row.ways]
    # sent by the small model; shown to a person; answered by the large model, whose answer lacks the fact
    assert ends == [(True, False, True), (False, False, True), (True, True, False)]
    assert [role for role, _ in MODELS.asked] == ["slm", "llm"]
    assert row.stagewise.kept is False
    assert row.ways[0].scores == {"intent.confidence": 0.8, "answer.confidence": 0.3}


@pytest.mark.slow
def test_one_run_without_thresholds_tells_what_others_give_away(workflow: Workflow, tmp_path: Path) -> None:
    """The benchmark of the helpdesk runs each request once; what it says ends as `walk` says of all ways."""
    cases = [case("pass 0.9 0.9"), case("pass 0.8 0.8"), case("pass 0.7 0.7"), case("pass 0.6 0.6", small=False)]
    rows: list[Recorded] = []
    once = record(workflow, cases, tmp_path / "once", on_row=rows.append, change=scripted, values=(0.0,))
    asyncio.run(once)
    assert [len(row.ways) for row in rows] == [1] * 4
    vectors = candidates(named(workflow), rows)
    ends, known = followed(workflow, rows, vectors, large=True), recorded(workflow, cases, tmp_path / "all")
    assert (ends.kept == walk(workflow, known, vectors).kept).all()
    assert (ends.sent == walk(workflow, known, vectors).sent).all()
    # the least sure answer of the small model is wrong
    assert best(workflow, rows, (0.1, 0.25), large=True) == {0.1: 3, 0.25: 4}


@pytest.mark.slow
def test_branches_side_by_side_are_recorded_as_any_others(workflow: Workflow, tmp_path: Path) -> None:
    """What a threshold decides in a branch is in the trail of the run."""
    file = workflow.folder / "over.yaml"
    file.write_text(f"{OVERLAY}{FORK}", encoding="utf-8")
    (row,) = recorded(load(file), [case("pass 0.8 0.3")], tmp_path / "runs")
    decided = {(each.node, each.to) for way in row.ways for each in way.decisions}
    assert {("look", "unsure"), ("look", "facts")} <= decided


@pytest.mark.parametrize("threshold", ["intent.confidence < router.threshold", "answer.confidence < answer.threshold"])
def test_what_is_decided_for_each_item_supports_no_bound(workflow: Workflow, tmp_path: Path, threshold: str) -> None:
    file = workflow.folder / "over.yaml"
    file.write_text(f"{OVERLAY}{LISTED % threshold}", encoding="utf-8")
    with pytest.raises(InsufficientDataError, match="for each item of 'each', 'label' decides by a threshold"):
        recorded(load(file), [case("pass 0.8 0.3")], tmp_path / "runs")


def test_what_a_run_within_a_run_decides_supports_no_bound(tmp_path: Path) -> None:
    claims = without_people(family(tmp_path))
    classified = (
        "router: {strategy: slm, threshold: 0.8}\nstart: classify\nnodes:\n  classify: {kind: classify, then: gate}"
    )
    edit(kyc_of(claims), "start: gate\nnodes:", classified)
    unsure = "{when: checks.failed || intent.confidence < router.threshold, go: refuse}"
    edit(kyc_of(claims), "{when: checks.failed, go: refuse}", unsure)
    with pytest.raises(InsufficientDataError, match="within 'kyc', 'kyc' decides by router"):
        recorded(load(claims), [case("pass 0.8 0.3")], tmp_path / "runs")


def test_where_no_threshold_has_a_say_there_is_one_way(workflow: Workflow, tmp_path: Path) -> None:
    expects = Case("c", "open 0.8 0.6", ANN, tool=ExpectedTool(name="create_ticket"))
    (row,) = recorded(workflow, [expects, Case("d", "pass 0.1 0.1", ANN)], tmp_path / "runs")
    assert [way.decisions for way in row.ways] == [[]]


def test_a_request_unlike_the_others_keeps_the_threshold_that_none_reaches(workflow: Workflow, tmp_path: Path) -> None:
    rows = recorded(workflow, [case("état 0.9 0.9")], tmp_path / "runs")
    assert [way.large for way in rows[0].ways] == [True]
    assert not walk(workflow, rows, [{"router.threshold": 0.0, "answer.threshold": 0.0}]).kept.any()


@pytest.mark.slow
def test_other_thresholds_end_as_a_real_run_with_them(workflow: Workflow, tmp_path: Path) -> None:
    chance, now = random.Random(3), dict[str, float]()
    texts = [f"pass {chance.randrange(1, 10) / 10} {chance.randrange(1, 10) / 10}" for _ in range(6)]
    rows = recorded(workflow, [case(text) for text in texts], tmp_path / "runs")
    vectors = chance.sample(candidates(["router.threshold", "answer.threshold"], rows), 5)
    outcomes = walk(workflow, rows, vectors)

    def moved(services: Services) -> Services:
        made = scripted(services)
        return replace(
            made,
            router=RouterWithThresholds(made.router, lambda _: now),
            confidence=ConfidenceWithThresholds(made.confidence, lambda _: now),
            cache=NoCache(),
        )

    runner = isolated(workflow, tmp_path / "real", moved).runner
    for number, vector in enumerate(vectors):
        now.update(vector)
        for position, row in enumerate(rows):
            outcome = asyncio.run(runner.run(row.text, ANN))
            sent, way = outcome.waiting is None, taken(workflow, row, vector)
            assert way
            assert (outcomes.sent[number, position], way.large) == (sent, outcome.summary.llm_calls > 0)
            assert outcomes.wrong[number, position] == (sent and "Small" not in outcome.text)


@pytest.mark.slow
def test_a_way_that_was_not_recorded_supports_no_bound(workflow: Workflow, tmp_path: Path) -> None:
    (row,) = recorded(workflow, [case("pass 0.8 0.3")], tmp_path / "runs")
    cut = replace(row, ways=row.ways[:1])
    found = walk(workflow, [cut], [{"router.threshold": 0.0, "answer.threshold": NEVER}])
    assert (found.sent.item(), found.wrong.item(), found.kept.item()) == (True, True, False)


@pytest.mark.slow
def test_recordings_are_read_back_without_a_line_that_was_cut_off(workflow: Workflow, tmp_path: Path) -> None:
    rows = recorded(workflow, [case("pass 0.8 0.3"), case("pass 0.2 0.9")], tmp_path / "runs")
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(row.line() for row in rows) + rows[0].line()[:50], encoding="utf-8")
    assert read_recorded(file) == rows


# --- fitted, served, watched ---


def graded(count: int, row: Recorded) -> list[Recorded]:
    """Like a recorded one: the surer the answer, the more often it is right; the route says nothing of it."""
    chance, rows = random.Random(1), list[Recorded]()
    for number in range(count):
        route, sure = chance.random(), chance.random()
        right = {False: chance.random() < 0.4 + 0.6 * sure, True: chance.random() < 0.8}
        scores = {"intent.confidence": route, "answer.confidence": sure}
        ways = [
            replace(
                way,
                decisions=[replace(one, values={**one.values, **scores}) for one in way.decisions],
                scores=scores,
                right=right[way.large],
            )
            for way in row.ways
        ]
        rows.append(Recorded(f"{number:03}", f"request {number}", ways, replace(ways[2], at={}, decisions=[])))
    return rows


@pytest.fixture
def card(workflow: Workflow, tmp_path: Path) -> dict[str, Any]:
    data = tmp_path / "rows.jsonl"
    data.write_text("{}", encoding="utf-8")
    rows = graded(300, *recorded(workflow, [case("pass 0.8 0.3")], tmp_path / "runs"))
    return fit_joint(workflow, rows, workflow.folder / "routers" / "joint", data=data)


def served(path: Path) -> Any:
    return open_workflow(path, dry=True).runner.services


@pytest.mark.slow
def test_thresholds_are_fitted_told_served_and_withdrawn_on_drift(
    workflow: Workflow, card: dict[str, Any], own_home: Path
) -> None:
    assert card["proof"]["p"] <= 0.05
    assert card["proof"]["kept"] > card["stagewise"]["kept"]
    folder = workflow.folder / "routers" / "joint"
    said = told("report", folder)
    assert said["sentence"].startswith("What goes out unasked is wrong at most 25 % of the time, with 95 % confidence:")

    path = workflow.path
    thresholds = joint_of(path)
    assert thresholds("") == card["thresholds"]
    assert thresholds("fake:slm") == card["thresholds"]
    assert thresholds("other:model") == {}, "nothing was proved for the answers of other models"

    fitted, incidents, store = load(path), Incidents(), Store(home() / "store.sqlite")
    assert watch_joint(fitted, store, incidents) is not None
    chance = random.Random(5)
    ran(store, fitted, [(chance.random(), chance.random()) for _ in range(60)])
    found = watch_joint(fitted, store, incidents)
    assert found
    assert not found.drifted
    ran(store, fitted, [(0.05, 0.05)] * 80)
    service: Any = SimpleNamespace(serving=SimpleNamespace(workflow=fitted))
    joint_drift.watch(service, store)
    (incident,) = incidents.list()
    assert incident["kind"] == "drift"
    assert "stage-wise thresholds serve" in incident["impact"]
    assert thresholds("") == {}
    assert watch_joint(fitted, store, incidents) is None, "it is open"
    incidents.close(incident["id"], "fitted again", by="ann")
    assert thresholds("") == card["thresholds"]
    again = watch_joint(fitted, store, incidents)
    assert again
    assert again.runs == 0, "runs before the incident was closed do not count again"


def joint_of(path: Path) -> Any:
    """The thresholds of an opened workflow."""
    router: Any = served(path).router
    return router._inner._thresholds


def ran(store: Store, workflow: Workflow, scores: list[tuple[float, float]]) -> None:
    """Runs of the workflow with these confidences in route and answer."""
    begun: list[Any] = []
    ended: list[Any] = []
    answers: list[Score] = []
    for route, sure in scores:
        run, now = uuid.uuid4().hex, time.time_ns()
        info = RunInfo(run, run, workflow.name, workflow.version, workflow.digest, "", "", "", "", shadow=False)
        begun.append((info, now))
        outcome = {"status": "answered", "intent": "password_reset", "confidence": route, "threshold": 0.5}
        ended.append((info, now, 1.0, outcome))
        answers.append(Score(uuid.uuid4().hex, run, "answer_confidence", sure, "", now))
    store.write(Writes(begun=begun, scores=answers, ended=ended))


@pytest.mark.slow
def test_thresholds_of_another_workflow_warn_and_do_not_serve(workflow: Workflow, card: dict[str, Any]) -> None:
    path = workflow.path
    assert not [problem for problem in load(path).warnings if problem.code == "SG312"]
    path.write_text(OVERLAY.replace("'high'\"", "'high' || intent.out_of_scope\""), encoding="utf-8")
    (problem,) = [problem for problem in load(path).warnings if problem.code == "SG312"]
    assert "fitted to other branches: stage-wise thresholds serve instead" in problem.message
    (line,) = [line for line in _router_lines(load(path), "w.yaml") if line.what == "joint thresholds"]
    assert line.state == "warn"
    assert "fitted to other branches" in line.detail
    assert joint_of(path)("") == {}
    path.write_text(OVERLAY.replace("error: 0.25", "error: 0.2, on_drift: low-confidence"), encoding="utf-8")
    (problem,) = [problem for problem in load(path).warnings if problem.code == "SG312"]
    assert "a bound of 25% at 95% confidence" in problem.message
    assert joint_of(path)("any")["answer.threshold"] == NEVER


@pytest.mark.slow
def test_the_command_goes_on_from_what_was_recorded_and_asks_no_model_again(
    workflow: Workflow, tmp_path: Path, own_home: Path
) -> None:
    (row,) = recorded(workflow, [case("pass 0.8 0.3")], tmp_path / "runs")
    file = workflow.folder / "examples" / "graded.jsonl"
    rows = zip(read_cases(file), graded(300, row), strict=True)
    kept = private_folder(home() / "evals") / f"joint-{under(workflow)[:16]}.jsonl"
    kept.write_text("".join(replace(made, case=one.id, text=one.text).line() for one, made in rows), encoding="utf-8")
    card = told("fit", workflow.path, "--task", "joint")
    assert card["rows"]["order"] + card["rows"]["proof"] == 300
    assert not [problem for problem in load(workflow.path).warnings if problem.code == "SG312"]
    workflow.path.write_text(OVERLAY.replace("error: 0.25", "error: 0.001"), encoding="utf-8")
    with pytest.raises(InsufficientDataError, match="Graded requests needed by bound"):
        told("fit", workflow.path, "--task", "joint")


@pytest.mark.slow
def test_too_few_graded_requests_are_refused(workflow: Workflow, tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text("{}", encoding="utf-8")
    rows = graded(6, *recorded(workflow, [case("pass 0.8 0.3")], tmp_path / "runs"))
    with pytest.raises(InsufficientDataError, match="no thresholds together reach the 25% error target"):
        fit_joint(workflow, rows, tmp_path / "joint", data=data)
    assert not (tmp_path / "joint").exists()
