"""What runs is what was proved: each input is read once, is in the digest, and is kept with the version."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sluicegate.errors import ModelError, Problem, RunError
from sluicegate.graphs.config.check import as_json, check
from sluicegate.graphs.config.load import inspect, load, refreshed
from sluicegate.graphs.runtime.factory import open_workflow
from sluicegate.graphs.runtime.versions import keep, kept
from sluicegate.home import home
from sluicegate.learning.artifact import write_folder
from sluicegate.policies.cedar.engine import CedarEngine
from sluicegate.services import Services
from tests.support.receiver import PUBLIC, SECRET, Receiver, forget_clients
from tests.support.wheels import sha256

FOLDER = Path(__file__).parent / "workflow"
FILE = "---\nid: answer\nlangfuse: desk-answer\n---\nFrom the file: {{question}}"
FORBID = '@id("own.{0}")\nforbid (principal, action, resource) when {{ principal == User::"{0}" }};\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return shutil.copytree(FOLDER, tmp_path / "workflow")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    forget_clients()
    with Receiver() as running:
        monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", PUBLIC)
        monkeypatch.setenv("LANGFUSE_SECRET_KEY", SECRET)
        monkeypatch.setenv("LANGFUSE_BASE_URL", running.url)
        yield running
    forget_clients()


@pytest.fixture
def managed(folder: Path, server: Receiver) -> Path:
    """A workflow whose prompt is version 1 of one in Langfuse."""
    (folder / "prompts" / "answer.md").write_text(FILE)
    publish(server, 1, "One: {{question}}")
    return folder / "workflow.yaml"


def publish(server: Receiver, version: int, text: str) -> None:
    prompt: dict[str, Any] = {
        "name": "desk-answer", "version": version, "type": "text", "prompt": text, "config": {},
        "labels": ["production"], "tags": [], "commitMessage": None, "resolutionGraph": None,
    }  # fmt: skip
    server.prompts["desk-answer", "production"] = prompt


def asked(server: Receiver) -> int:
    return sum("prompts" in path for _, path, _ in server.requests)


def said(source: Path | Any) -> str:
    """What the answering prompt says in the run of a workflow."""
    services = open_workflow(source, dry=True).runner.services
    return services.prompts.render("answer", question="Why?").messages[0].content


def problem(file: Path, code: str) -> Problem:
    (found,) = (one for one in inspect(file)[1] if one.code == code)
    return found


@pytest.mark.slow
def test_a_new_version_of_a_managed_prompt_is_a_new_digest(managed: Path, server: Receiver) -> None:
    first = load(managed)
    assert first.resolved.prompts["answer"].version == "langfuse:desk-answer@1"
    assert load(managed).digest == first.digest
    publish(server, 2, "Two: {{question}}")
    second = load(managed)
    assert second.digest != first.digest
    assert second.warnings == ()
    assert (said(first), said(second)) == ("One: Why?", "Two: Why?")


def test_placeholders_of_a_managed_prompt_are_checked_at_its_reference(managed: Path, server: Receiver) -> None:
    publish(server, 2, "{{question}} {{qestion}}")
    found = problem(managed, "SG125")
    assert found.place
    assert (Path(found.place.file).name, found.place.line) == ("answer.md", 3)
    assert "langfuse:desk-answer@2" in found.message
    assert found.suggestion == "question"


@pytest.mark.slow
def test_without_an_answer_the_file_is_used_with_a_warning_and_in_the_digest(
    managed: Path, server: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    server.status = 500
    alone = load(managed)
    assert [(one.code, one.severity) for one in alone.warnings] == [("SG119", "warning")]
    assert "using its file" in alone.warnings[0].message
    assert said(alone) == "From the file: Why?"
    assert alone.warnings[0].message in caplog.messages
    server.status = 0
    reached = load(managed)
    assert reached.digest != alone.digest
    server.status = 500
    # this process knows a text
    again = load(managed)
    assert (again.digest, again.warnings[0].code) == (reached.digest, "SG119")
    assert "using langfuse:desk-answer@1" in again.warnings[0].message


def test_without_keys_the_file_is_used_and_nothing_is_asked(
    managed: Path, server: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANGFUSE_TRACING_ENABLED", "false")
    workflow = load(managed)
    assert workflow.warnings == ()
    assert said(workflow) == "From the file: Why?"
    assert refreshed(workflow) is None
    assert asked(server) == 0


@pytest.mark.slow
@pytest.mark.parametrize("status", [0, 500])
def test_the_kept_copy_has_the_text_that_ran(managed: Path, server: Receiver, status: int) -> None:
    server.status = status
    workflow = load(managed)
    keep(workflow)
    server.status = 0
    publish(server, 2, "Two: {{question}}")
    before = asked(server)
    copy = load(kept(workflow.digest))
    assert copy.digest == workflow.digest
    assert said(copy) == said(workflow)
    assert asked(server) == before
    assert load(managed).digest != workflow.digest


@pytest.mark.slow
def test_a_running_process_follows_a_managed_prompt_and_nothing_else(managed: Path, server: Receiver) -> None:
    workflow = load(managed)
    assert refreshed(workflow) is None
    publish(server, 2, "Two: {{question}}")
    server.status = 500
    assert refreshed(workflow) is None
    server.status = 0
    fresh = refreshed(workflow)
    assert fresh
    assert fresh.resolved.prompts["answer"].version == "langfuse:desk-answer@2"
    managed.write_text(managed.read_text().replace("version: 3", "version: 4"))
    assert refreshed(workflow) is None


def test_a_workflow_without_managed_prompts_asks_nothing(folder: Path, server: Receiver) -> None:
    assert refreshed(load(folder / "workflow.yaml")) is None
    assert server.requests == []


def test_an_edit_after_loading_changes_neither_what_runs_nor_what_is_kept(folder: Path) -> None:
    policy = folder / "policies" / "own.cedar"
    policy.parent.mkdir()
    policy.write_text(FORBID.format("ann"))
    file, prompt = folder / "workflow.yaml", folder / "prompts" / "answer.md"
    workflow, before = load(file), prompt.read_text()
    policy.write_text(FORBID.format("ben"))
    prompt.write_text(before.replace("{{question}}", "Edited: {{question}}"))
    file.write_text(file.read_text().replace("version: 3", "version: 4"))
    opened: list[Services] = []

    def seen(services: Services) -> Services:
        opened.append(services)
        return services

    open_workflow(workflow, dry=True, change=seen)
    (services,) = opened
    assert services.prompts.render("answer", question="Why?").messages[0].content == "Why?"
    assert isinstance(services.policy, CedarEngine)
    assert {"own.ann", "own.ben"} & {rule.id for rule in services.policy.rules} == {"own.ann"}
    copy = load(kept(workflow.digest))
    assert copy.digest == workflow.digest
    assert load(file).digest != workflow.digest


def fit(folder: Path, bias: float) -> None:
    """A confidence in answers, as a fit leaves it."""
    card: dict[str, Any] = {
        "task": "answer", "weights": {}, "bias": bias, "threshold": {"value": 0.5}, "target": {"confidence": 0.9},
        "models": [],
    }  # fmt: skip
    write_folder(folder, card, {"nothing": np.zeros(1)})


@pytest.mark.slow
@pytest.mark.parametrize(("fitted", "place"), [(True, ""), (False, ""), (True, "one"), (False, "one")])
def test_an_artifact_that_changed_after_loading_is_refused(folder: Path, fitted: bool, place: str) -> None:
    file, artifact = folder / "workflow.yaml", folder / "routers" / "answers" / place
    file.write_text(file.read_text().replace("router: {", "router: {answers: routers/answers, "))
    if fitted:
        fit(artifact, 0.0)
    workflow = load(file)
    fit(artifact, 1.0)
    with pytest.raises(ModelError, match=r"SG311.*changed after its workflow was loaded"):
        open_workflow(workflow, dry=True)
    changed = load(file)
    assert changed.digest != workflow.digest
    keep(changed)
    assert load(kept(changed.digest)).digest == changed.digest
    assert open_workflow(changed, dry=True).workflow.digest == changed.digest


def test_a_changed_artifact_is_not_kept_under_the_old_digest(folder: Path) -> None:
    file, artifact = folder / "workflow.yaml", folder / "routers" / "answers"
    file.write_text(file.read_text().replace("router: {", "router: {answers: routers/answers, "))
    fit(artifact, 0.0)
    workflow = load(file)
    fit(artifact, 1.0)
    with pytest.raises(ModelError, match="SG311"):
        keep(workflow)
    with pytest.raises(RunError, match="SG604"):
        kept(workflow.digest)
    assert not list((home() / "versions").glob(f"{workflow.digest[:16]}*"))


@pytest.mark.slow
def test_check_lists_every_input_with_its_hash(managed: Path) -> None:
    (report,) = as_json([check(managed)])["workflows"]
    inputs = {(one["kind"], one["name"]): one for one in report["inputs"]}
    workflow = load(managed)
    answer = inputs["prompt", "answer"]
    assert (answer["source"], answer["managed"]) == ("langfuse:desk-answer@1", True)
    assert answer["hash"] == workflow.resolved.prompts["answer"].hash
    assert inputs["prompt", "synthesize"]["managed"] is False
    assert ("schema", "cedar") in inputs
    assert {name for kind, name in inputs if kind == "policy"} == {file.name for file in workflow.resolved.policies}


@pytest.fixture
def with_model(folder: Path) -> Path:
    """A workflow with a model's file beside it."""
    file = folder / "workflow.yaml"
    named = '"embedded:./my models/small one.gguf"'
    text = file.read_text()
    assert text.count('otherwise: ["embedded:smollm2-135m"]') == 1
    file.write_text(
        text.replace('otherwise: ["embedded:smollm2-135m"]', f'otherwise: [{named}, "embedded:smollm2-135m"]')
    )
    (folder / "my models").mkdir()
    (folder / "my models" / "small one.gguf").write_bytes(b"GGUF one")
    return file


def test_the_digest_covers_a_models_file_wherever_the_workflow_lies(with_model: Path, tmp_path: Path) -> None:
    model = with_model.parent / "my models" / "small one.gguf"
    first = load(with_model)
    moved = shutil.copytree(with_model.parent, tmp_path / "moved")
    assert load(moved / "workflow.yaml").digest == first.digest
    (found,) = (one for one in first.resolved.inputs if one.kind == "model")
    assert (found.name, found.hash) == ("embedded:./my models/small one.gguf", sha256(b"GGUF one"))
    model.write_bytes(b"GGUF another")
    assert load(with_model).digest != first.digest
    with pytest.raises(ModelError, match=r"SG307 .* changed after its workflow was loaded"):
        open_workflow(first, dry=True)


def test_an_absent_models_file_is_a_warning_for_the_next_model_answers(with_model: Path) -> None:
    (with_model.parent / "my models" / "small one.gguf").unlink()
    found = problem(with_model, "SG306")
    assert (found.severity, found.place and found.place.line) == ("warning", 6)
    assert load(with_model).resolved.model_files["embedded:./my models/small one.gguf"].hash is None


def test_a_kept_version_has_its_model_as_long_as_that_is_the_same(with_model: Path) -> None:
    workflow, model = load(with_model), with_model.parent / "my models" / "small one.gguf"
    keep(workflow)
    assert load(kept(workflow.digest)).digest == workflow.digest
    assert model.stat().st_nlink == 1, "linked, not copied"
    model.write_bytes(b"GGUF another")
    assert load(kept(workflow.digest)).digest != workflow.digest
