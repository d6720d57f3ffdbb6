"""The patterns: each may start, keeps its promises, and does with its example requests what it says it does."""

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sluicegate.cli.init import app as init
from sluicegate.cli.router import app as router
from sluicegate.evals.evaluation.cases import Case, read_cases
from sluicegate.evals.evaluation.scoring import measure
from sluicegate.evals.promotion.plan import read_plan
from sluicegate.graphs.config.check import check, workflow_files
from sluicegate.graphs.config.load import load
from sluicegate.graphs.runtime.factory import Opened, open_workflow
from sluicegate.graphs.runtime.intake import principal
from sluicegate.models.chain import ModelSet
from sluicegate.nodes.writing.sections import parted
from sluicegate.retrieval.files import indexes_of
from sluicegate.retrieval.ingest import ingest
from sluicegate.routing.intent.artifact import check_fits, read_artifact
from tests.support import ROOT

PATTERNS = ROOT / "configs" / "patterns"
FOLDERS = sorted(folder for folder in PATTERNS.iterdir() if folder.is_dir())
SCORES = ("intent_right", "path_right", "citation_recall", "correct")

# the stand-in for the large model writes slowly: half a sentence a section is enough to see the way it goes
SHORT = {
    "4-rag-llm": "intents: {outage_report: {max_tokens: 24}, plan: {max_tokens: 24}}\n",
    "8-parallel-research": "intents: {brief: {max_tokens: 24}}\n",
}


@pytest.fixture(scope="module")
def models() -> ModelSet:
    """One set of embedded models for all patterns: what a machine without a server and without keys has."""
    return ModelSet(
        {
            role: config
            for name in ("5-two-pass-check", "4-rag-llm")
            for role, config in load(PATTERNS / name / "workflow.yaml").config.models.items()
        }
    )


def test_there_are_nine() -> None:
    assert [folder.name[0] for folder in FOLDERS] == list("123456789")


@pytest.mark.parametrize("file", workflow_files(PATTERNS), ids=lambda file: str(file.parent.relative_to(PATTERNS)))
def test_each_may_start_without_a_warning_and_proves_its_own_guarantees(file: Path) -> None:
    report = check(file)
    assert report.problems == ()
    assert report.workflow is not None
    assert report.workflow.guarantees
    assert not report.workflow.waivers


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_each_shows_its_graph_and_has_a_small_router(folder: Path) -> None:
    page = (folder / "README.md").read_text(encoding="utf-8")
    assert "graph.svg" in page
    assert f"configs/patterns/{folder.name}/workflow.yaml" in page
    assert (folder / "graph.svg").read_text(encoding="utf-8").startswith("<svg")
    assert sum(file.stat().st_size for file in (folder / "router").iterdir()) < 500_000
    labels = [json.loads(row)["label"] for row in (folder / "examples" / "train.jsonl").read_text().splitlines()]
    intents = load(folder / "workflow.yaml").config.intents
    assert set(labels) == set(intents)
    assert min(labels.count(label) for label in intents) >= 25


@pytest.mark.slow
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_command_that_fitted_its_router_fits_it_again(folder: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    shutil.copytree(folder, mine)
    result = CliRunner().invoke(router, ["fit", str(mine / "workflow.yaml")])
    assert result.exit_code == 0, (result.output, result.exception)
    shipped, fitted = (json.loads((each / "router" / "card.json").read_text()) for each in (folder, mine))
    for part in ("data", "rows"):
        assert fitted[part] == shipped[part], part
    assert fitted["threshold"]["value"] == pytest.approx(shipped["threshold"]["value"], abs=0.02)


def test_the_first_has_no_large_model() -> None:
    assert "llm" not in load(PATTERNS / "1-slm-router-tools" / "workflow.yaml").config.models


@pytest.mark.parametrize(
    ("pattern", "branch"),
    [
        ("2-policy-gate", "intent.label == 'personal_data'\",       go: people"),
        ("6-human-handoff", "checks.failed || intent.risk == 'high'\", go: approve"),
    ],
)
def test_without_its_branch_a_guarantee_is_broken(pattern: str, branch: str, tmp_path: Path) -> None:
    folder = tmp_path / pattern
    shutil.copytree(PATTERNS / pattern, folder)
    file = folder / "workflow.yaml"
    lines = file.read_text(encoding="utf-8").splitlines()
    assert sum(branch in line for line in lines) == 1
    file.write_text("\n".join(line for line in lines if branch not in line), encoding="utf-8")
    assert "SG134" in [problem.code for problem in check(file).problems]


def opened(folder: Path, models: ModelSet, tmp_path: Path) -> Opened:
    file = folder / "workflow.yaml"
    if folder.name in SHORT:
        variant = tmp_path / "workflow.yaml"
        variant.write_text(f"extends: {file}\n{SHORT[folder.name]}", encoding="utf-8")
        file = variant
    return open_workflow(file, models=models)


def cases() -> Iterator[Any]:
    for folder in FOLDERS:
        yield pytest.param(folder, read_cases(folder / "examples" / "requests.jsonl"), id=folder.name)


@pytest.mark.slow
async def test_the_second_pass_judges_drafts_of_desks_that_its_reviewer_never_saw(
    models: ModelSet, tmp_path: Path
) -> None:
    """Of pairs that differ in one sentence; the whole is measured in `benchmarks/guards.py review`."""
    folder = next(one for one in FOLDERS if one.name.startswith("5-"))
    rows = [json.loads(line) for line in (folder / "drafts" / "eval.jsonl").read_text(encoding="utf-8").splitlines()]
    guards = opened(folder, models, tmp_path).runner.services.guards

    async def passed(row: dict[str, Any]) -> bool:
        report = await guards.check(["slm-review"], row["answer"], stage="output", question=row["question"])
        (result,) = report.results
        assert result["reason"] in ("", "the reviewer rejects this answer")
        return result["passed"]

    leaks = [row for row in rows if row["label"] == "leak"][:12]
    proper = [next(row for row in rows if row["pair"] == leak["pair"] and row["label"] == "proper") for leak in leaks]
    assert sum([await passed(row) for row in leaks]) <= 3
    assert sum([await passed(row) for row in proper]) >= 9


def test_no_desk_has_drafts_in_two_parts() -> None:
    folder = next(one for one in FOLDERS if one.name.startswith("5-"))
    sources: list[set[str]] = [
        {json.loads(line)["source"] for line in file.read_text(encoding="utf-8").splitlines()}
        for file in sorted((folder / "drafts").glob("*.jsonl"))
    ]
    assert len(sources) == 3
    assert sum(map(len, sources)) == len(set[str]().union(*sources))


@pytest.mark.slow
@pytest.mark.parametrize(("folder", "expected"), list(cases()))
async def test_its_requests_come_to_what_they_should(
    folder: Path, expected: list[Case], models: ModelSet, tmp_path: Path
) -> None:
    made = opened(folder, models, tmp_path)
    for one in made.workflow.family:
        for name, index in one.config.indexes.items():
            await ingest(indexes_of(one.name) / name, [], index, models, folders=one.folders)
    for case in expected:
        outcome = await made.runner.run(case.text, case.principal)
        assert outcome.path == case.path, [entry["node"] for entry in outcome.state["trail"]]
        scores = {name: value for name, value in measure(outcome, case).items() if name in SCORES}
        assert set(scores.values()) <= {1.0}, (case.text, scores, outcome.text)
        if outcome.path == "refused" and "extraction" not in outcome.state:
            assert "spend" not in outcome.state, "no model wrote before the refusal"
        if folder.name not in SHORT:
            assert not outcome.state.get("spend", {}).get("llm_calls")


@pytest.mark.slow
async def test_the_third_serves_other_words_that_ask_the_same_and_nothing_that_looks_alike(models: ModelSet) -> None:
    made = open_workflow(PATTERNS / "3-rag-slm" / "workflow.yaml", models=models)
    for name, index in made.workflow.config.indexes.items():
        await ingest(indexes_of(made.workflow.name) / name, [], index, models, folders=made.workflow.folders)
    ann, bob = principal("ann", ["employee"]), principal("bob", ["employee"])
    asked = "How do guests get on the wifi?"
    first = await made.runner.run(asked, ann)
    other = await made.runner.run("Please tell me how guests get on the wi-fi.", bob)
    assert (first.path, other.path, other.text) == ("rag-slm", "cache", first.text)
    cache = other.state.get("cache")
    assert cache is not None
    assert (cache.get("kind"), cache.get("question")) == ("semantic", asked)
    for alike in ("How do employees get on the wifi?", "How do guests not get on the wifi?"):
        assert (await made.runner.run(alike, bob)).path != "cache"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "Write a report for the management about the mail outage: what happened, why, and what we changed.",
            {"What happened": "On 14 October", "Cause": "expired certificate", "Measures": "Measures: certificates"},
        ),
        ("Write up the ERP outage.", {"What happened": "06:30", "Cause": "full log disk", "Measures": "is watched"}),
        (
            "Make a plan for the IT of a new colleague, step by step.",
            {"Before": "starter package", "On the day": "collects the laptop", "Afterwards": "Trainings"},
        ),
        (
            "I need a plan for moving our team to another floor",
            {"Before": "Label every device", "On the day": "from 13:00 on", "Afterwards": "Faults are reported"},
        ),
    ],
)
async def test_the_fourth_quotes_each_sentence_once_and_under_its_heading(
    text: str, says: dict[str, str], models: ModelSet, tmp_path: Path
) -> None:
    file = tmp_path / "workflow.yaml"
    quoting = "nodes: {report: {style: quote}, plan: {style: quote}}"
    file.write_text(f"extends: {PATTERNS / '4-rag-llm' / 'workflow.yaml'}\n{quoting}\n", encoding="utf-8")
    made = open_workflow(file, models=models)
    for name, index in made.workflow.config.indexes.items():
        await ingest(indexes_of(made.workflow.name) / name, [], index, models, folders=made.workflow.folders)
    outcome = await made.runner.run(text, principal("ann", ["employee"]))
    assert outcome.path == "rag-llm"
    answer = outcome.state.get("answer")
    assert answer is not None
    sections = parted(answer)
    assert list(sections) == list(says)
    for heading, words in says.items():
        assert words in sections[heading]
        assert not any(words in sections[other] for other in says if other != heading)
    quoted = re.split(r" \[\d+\] ?", " ".join(sections.values()))
    assert len(set(quoted)) == len(quoted)


def test_the_challenger_varies_the_champion_under_a_fixed_plan() -> None:
    folder = PATTERNS / "7-shadow-evaluation"
    champion, challenger = load(folder / "workflow.yaml"), load(folder / "challenger" / "workflow.yaml")
    assert champion.name == challenger.name
    assert champion.digest != challenger.digest
    plan = read_plan(folder / "plan.yaml")
    assert {limit.event for limit in plan.limits} >= {"failed", "must_refuse_answered"}


def test_init_says_what_machines_that_share_a_server_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr("sluicegate.cli.init.find_spec", lambda name: None if name == "dbos" else found(name))
    told = {}
    for server in ("", "postgresql://db.example.org/sluicegate"):
        monkeypatch.setenv("SLUICEGATE_DATABASE_URL", server)
        done = CliRunner().invoke(init, ["shop", "--in", str(tmp_path / f"m{bool(server)}"), "--json"])
        assert done.exit_code == 0, done.output
        told[bool(server)] = json.loads(done.stdout)["next"]
    assert not [step for step in told[False] if "worker" in step or "pip" in step]
    assert told[True][0] == 'pip install "sluicegate[dbos]"'
    assert told[True][-1].startswith("sluicegate worker ")


def test_init_takes_a_folder_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for given, made in (("shop", "configs/shop"), ("./shop", "shop"), (str(tmp_path / "a" / "b"), "a/b")):
        result = CliRunner().invoke(init, [given])
        assert result.exit_code == 0, result.output
        text = (tmp_path / made / "workflow.yaml").read_text(encoding="utf-8")
        assert text.startswith(f"workflow: {Path(made).name}\n")


def test_the_starter_brings_a_router_that_fits_it(tmp_path: Path) -> None:
    """Fitting one needs an extra."""
    result = CliRunner().invoke(init, ["mine", "--in", str(tmp_path)])
    assert "sluicegate router fit" not in result.output
    workflow = check(tmp_path / "mine" / "workflow.yaml").workflow
    assert workflow is not None
    assert not workflow.warnings
    card = read_artifact(tmp_path / "mine" / "router").card
    check_fits(card, intents=set(workflow.config.intents), where=workflow.name)
    (train,) = card["data"]["train"].items()
    examples = tmp_path / "mine" / "examples" / train[0]
    assert hashlib.sha256(examples.read_bytes()).hexdigest() == train[1], "the examples were changed after the fit"


@pytest.mark.slow
@pytest.mark.parametrize("number", list("123456789"))
def test_init_starts_a_workflow_from_a_pattern(number: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(init, ["mine", "--pattern", number, "--in", str(tmp_path)])
    assert result.exit_code == 0, result.output
    # the first looks nothing up, so there is nothing to take in
    assert ("sluicegate ingest" in result.output) == (number != "1")
    assert "sluicegate router fit" not in result.output, "its router came along"
    page = (tmp_path / "mine" / "README.md").read_text(encoding="utf-8")
    assert f"sluicegate run {tmp_path}/mine/workflow.yaml {tmp_path}/mine/examples/requests.jsonl" in page
    assert "configs/patterns" not in page
    assert "../docs" not in page
    if number == "7":
        assert "sluicegate rollback mine --reason" in page
    workflow = check(tmp_path / "mine" / "workflow.yaml").workflow
    assert workflow is not None
    assert workflow.name == "mine"
    if number == "7":
        challenger = check(tmp_path / "mine" / "challenger" / "workflow.yaml").workflow
        assert challenger is not None
        assert challenger.name == "mine"


def test_the_package_holds_the_patterns() -> None:
    from importlib.resources import files

    held = files("sluicegate") / "patterns" / "1-slm-router-tools" / "workflow.yaml"
    assert held.read_text(encoding="utf-8").startswith("workflow: slm-router-tools")


@pytest.mark.slow
def test_a_new_workflow_without_weights_or_router_says_what_to_run(tmp_path: Path) -> None:
    """In processes of their own: this one may hold the model already."""

    def refused(*command: str) -> str:
        own = os.environ | {"OLLAMA_HOST": "127.0.0.1:9", "SLUICEGATE_CACHE": str(tmp_path / "empty"), "COLUMNS": "500"}
        done = subprocess.run(
            [sys.executable, "-m", "sluicegate", *command], env=own, capture_output=True, text=True, check=False
        )
        assert done.returncode
        return done.stderr

    config = tmp_path / "mine" / "workflow.yaml"
    CliRunner().invoke(init, ["mine", "--in", str(tmp_path)])
    for command in (["ingest", str(config)], ["router", "fit", str(config)], ["run", str(config), "Are you open?"]):
        assert "Run `sluicegate models pull all-minilm-l6-v2`" in refused(*command)
    shutil.rmtree(tmp_path / "mine" / "router")
    assert f"Fit it: sluicegate router fit {config}\n" in refused("run", str(config), "Are you open?")
