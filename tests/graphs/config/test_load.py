"""Loading: what a workflow holds, what changes its digest, how a variant is laid over its base."""

import json
import shutil
from pathlib import Path

import pytest

from sluicegate.graphs.config.load import inspect, load
from tests.support import ROOT

FOLDER = Path(__file__).parent / "workflow"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return shutil.copytree(FOLDER, tmp_path / "workflow")


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def _codes(path: Path) -> list[str]:
    return [problem.code for problem in inspect(path)[1]]


def test_a_workflow_holds_what_running_needs() -> None:
    workflow = load(FOLDER / "workflow.yaml")
    assert (workflow.name, workflow.version, workflow.folder) == ("helpdesk", "3", FOLDER)
    assert workflow.flow.start == "classify"
    assert [edge.to for edge in workflow.flow.nodes["gate"].edges] == ["refuse", "act", "recall"]
    assert workflow.flow.nodes["respond"].edges == ()
    assert workflow.settings["facts"].model_dump() == {"index": "kb", "k": 3, "guards": []}
    assert workflow.conditions["tool.ok"].fields == {"tool.ok"}
    assert workflow.flow.intents["access_request"]["risk"] == "high"
    assert workflow.tools == ("create_ticket",)
    assert workflow.warnings == ()
    place = workflow.flow.nodes["gate"].edges[1].place
    assert place is not None
    line = (FOLDER / "workflow.yaml").read_text().split("\n")[place.line - 1]
    assert line[place.column - 1 :].startswith("""{when: "intent.task == 'tool'\"""")


def test_layout_and_comments_do_not_change_the_digest(folder: Path) -> None:
    before = load(folder / "workflow.yaml").digest
    assert before == load(FOLDER / "workflow.yaml").digest
    (folder / "workflow.yaml").write_text("# a comment\n" + (folder / "workflow.yaml").read_text())
    _edit(folder / "workflow.yaml", "purpose: Answer", "purpose: Resolve")
    assert load(folder / "workflow.yaml").digest == before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("workflow.yaml", "answer.confidence < 0.5", "answer.confidence < 0.6"),
        ("workflow.yaml", "max_tokens: 700", "max_tokens: 701"),
        ("workflow.yaml", "index: kb", "index: kb\n    k: 4"),
        ("workflow.yaml", "timeout_s: 20", "timeout_s: 20, options: {repeat_penalty: 1.2}"),
        ("workflow.yaml", "timeout_s: 20", "timeout_s: 20, think: low"),
        ("prompts/answer.md", "{{question}}", "Please: {{question}}"),
    ],
)
def test_what_can_change_a_decision_changes_the_digest(folder: Path, file: str, old: str, new: str) -> None:
    before = load(folder / "workflow.yaml").digest
    _edit(folder / file, old, new)
    assert load(folder / "workflow.yaml").digest != before


def test_a_fitted_confidence_in_answers_changes_the_digest(folder: Path) -> None:
    _edit(folder / "workflow.yaml", "router: {", "router: {answers: routers/answers, ")
    workflow, problems = inspect(folder / "workflow.yaml")
    assert workflow is not None
    assert any(
        problem.code == "SG310" and problem.severity == "warning" and "--task answer" in (problem.hint or "")
        for problem in problems
    )
    card = folder / "routers" / "answers" / "card.json"
    card.parent.mkdir(parents=True)
    card.write_text("{}")
    fitted = load(folder / "workflow.yaml").digest
    card.write_text('{"bias": 1}')
    assert len({workflow.digest, fitted, load(folder / "workflow.yaml").digest}) == 3


@pytest.mark.parametrize(
    ("model", "style", "warned"),
    [
        ("embedded:smollm2-135m", "write", False),
        ("embedded:smollm2-135m", "quote", True),
        ("ollama:other", "write", True),
        ("any", "write", False),
    ],
)
def test_a_node_whose_answers_nothing_was_fitted_to_is_warned_of(
    folder: Path, model: str, style: str, warned: bool
) -> None:
    file = folder / "workflow.yaml"
    _edit(file, "router: {", "router: {answers: routers/answers, ")
    _edit(file, "answer.confidence < 0.5", "answer.confidence < answer.threshold")
    card = folder / "routers" / "answers" / "one" / "card.json"
    card.parent.mkdir(parents=True)
    card.write_text(json.dumps({"models": [model], "style": style}))
    found = [
        problem for problem in load(file).warnings if problem.code == "SG310" and "no confidence" in problem.message
    ]
    assert bool(found) == warned
    if found:
        assert "--task answer" in (found[0].hint or "")
        assert "all of them stay below answer.threshold" in found[0].message


@pytest.mark.parametrize(
    ("condition", "key"),
    [
        ("answer.confidence < answer.threshold", "answers"),
        ("answer.answerability < 0.5", "answers"),
        ("router.needs_large > 0.5", "escalation"),
        ("answer.confidence < router.escalation_threshold", "escalation"),
    ],
)
def test_what_a_condition_reads_and_nothing_fits_is_an_error_at_its_place(
    folder: Path, condition: str, key: str
) -> None:
    _edit(folder / "workflow.yaml", "answer.confidence < 0.5", condition)
    workflow, problems = inspect(folder / "workflow.yaml")
    assert workflow is None
    (problem,) = (problem for problem in problems if problem.severity == "error")
    assert problem.code == "SG310"
    assert problem.place
    assert problem.place.line > 1
    assert f"router: {{{key}: …}}" in (problem.hint or "")
    _edit(folder / "workflow.yaml", "router: {", f"router: {{{key}: routers/{key}, ")
    assert load(folder / "workflow.yaml").digest


def test_a_policy_changes_the_digest(folder: Path) -> None:
    before = load(folder / "workflow.yaml").digest
    (folder / "policies").mkdir()
    (folder / "policies" / "own.cedar").write_text(
        '@id("no-guests")\nforbid (principal, action, resource) when { principal == User::"guest" };\n'
    )
    assert load(folder / "workflow.yaml").digest != before


def test_a_broken_policy_refuses_the_workflow(folder: Path) -> None:
    (folder / "policies").mkdir()
    (folder / "policies" / "own.cedar").write_text('@id("x")\npermit (principal, action, resource')
    assert _codes(folder / "workflow.yaml") == ["SG201"]


def test_a_missing_router_artifact_is_a_warning_and_its_card_is_in_the_digest(folder: Path) -> None:
    _edit(folder / "workflow.yaml", "{strategy: slm, threshold: 0.8}", "{artifact: routers/helpdesk}")
    unfitted = load(folder / "workflow.yaml")
    assert [(one.code, one.severity) for one in unfitted.warnings] == [("SG310", "warning")]
    (folder / "routers" / "helpdesk").mkdir(parents=True)
    (folder / "routers" / "helpdesk" / "card.json").write_text("{}")
    fitted = load(folder / "workflow.yaml")
    assert fitted.warnings == ()
    assert fitted.digest != unfitted.digest


def test_a_reviewing_head_must_be_fitted_and_its_card_is_in_the_digest(folder: Path) -> None:
    settings = "guards: {slm-review: {engine: head, artifact: guards/reviewer}}\nrouter: {"
    _edit(folder / "workflow.yaml", "router: {", settings)
    (problem,) = inspect(folder / "workflow.yaml")[1]
    assert problem.code == "SG310"
    assert "sluicegate guard fit slm-review" in (problem.hint or "")
    (folder / "guards" / "reviewer").mkdir(parents=True)
    digests: set[str] = set()
    for card in ("{}", '{"format": 1}'):
        (folder / "guards" / "reviewer" / "card.json").write_text(card)
        digests.add(load(folder / "workflow.yaml").digest)
    assert len(digests) == 2
    _edit(folder / "workflow.yaml", ", artifact: guards/reviewer", "")
    (unnamed,) = inspect(folder / "workflow.yaml")[1]
    assert "needs an artifact" in unnamed.message


def test_an_injection_model_must_be_fitted_and_its_card_is_in_the_digest(folder: Path) -> None:
    before = load(folder / "workflow.yaml").digest
    _edit(folder / "workflow.yaml", "router: {", "guards: {injection: {model: guards/own}}\nrouter: {")
    assert _codes(folder / "workflow.yaml") == ["SG310"]
    (folder / "guards" / "own").mkdir(parents=True)
    digests = {before}
    for card in ("{}", '{"bias": 1}'):
        (folder / "guards" / "own" / "card.json").write_text(card)
        digests.add(load(folder / "workflow.yaml").digest)
    assert len(digests) == 3


def test_a_variant_takes_the_rest_from_its_base() -> None:
    base, variant = load(FOLDER / "workflow.yaml"), load(FOLDER / "variant.yaml")
    assert (variant.version, variant.flow.nodes["answer"].max_visits) == ("4", 3)
    assert variant.settings["facts"].model_dump()["k"] == 5
    assert variant.config.budget.per_run_usd is None
    assert variant.config.models == base.config.models
    assert variant.digest != base.digest
    assert variant.source.place(("nodes", "facts", "k")).file.endswith("variant.yaml")
    assert variant.source.place(("nodes", "facts", "index")).file.endswith("workflow.yaml")


def test_a_variant_in_another_folder_finds_its_files_first_and_then_the_bases(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "challenger"
    (other / "prompts").mkdir(parents=True)
    (other / "workflow.yaml").write_text("extends: ../workflow/workflow.yaml\nversion: 4\n")
    (other / "prompts" / "answer.md").write_text("A new prompt. {{question}}")
    base, variant = load(folder / "workflow.yaml"), load(other / "workflow.yaml")
    assert variant.folders == (other, folder)
    assert variant.prompt_folders == (other / "prompts", folder / "prompts")
    assert variant.find("knowledge") == folder / "knowledge"
    assert variant.find("absent") == other / "absent"
    assert variant.digest != base.digest


def test_a_base_that_goes_in_a_circle_is_refused(tmp_path: Path) -> None:
    for name, base in (("a", "b"), ("b", "c"), ("c", "a")):
        (tmp_path / f"{name}.yaml").write_text(f"extends: {base}.yaml\n")
    (problem,) = inspect(tmp_path / "a.yaml")[1]
    assert problem.code == "SG118"
    assert "a.yaml -> b.yaml -> c.yaml -> a.yaml" in problem.message


def test_a_prompt_that_is_not_utf8_is_refused(folder: Path) -> None:
    (folder / "prompts" / "answer.md").write_bytes(b"caf\xe9")
    assert _codes(folder / "workflow.yaml") == ["SG109"]


def test_only_listed_tools_may_be_named(folder: Path) -> None:
    with (folder / "workflow.yaml").open("a") as file:
        file.write("tools: [find_tickets]\n")
    assert _codes(folder / "workflow.yaml") == ["SG117"]


def test_a_condition_cannot_read_what_nothing_has_written(folder: Path) -> None:
    _edit(
        folder / "workflow.yaml",
        "cache.hit && intent.risk == 'low'",
        "cache.hit && intent.risk == 'low' && !checks.failed",
    )
    found = inspect(folder / "workflow.yaml")[1]
    assert [(one.code, one.choices) for one in found if one.severity == "error"] == [("SG124", ("check",))]


def test_branches_without_otherwise_are_total_where_the_field_is_surely_written(folder: Path) -> None:
    # tool.ok is surely written by act, so its two values are all there are
    _edit(folder / "workflow.yaml", "{otherwise: refuse}]}\n  respond", '{when: "!tool.ok", go: refuse}]}\n  respond')
    assert inspect(folder / "workflow.yaml")[1] == []
    # what recall may leave unwritten is not
    _edit(
        folder / "workflow.yaml", "{otherwise: facts}", "{when: \"!(cache.hit && answer.finish == 'stop')\", go: facts}"
    )
    assert "SG132" in _codes(folder / "workflow.yaml")


def test_the_third_guarantee_breaks_by_the_route_through_the_cache(folder: Path) -> None:
    _edit(folder / "workflow.yaml", "cache.hit && intent.risk == 'low'", "cache.hit")
    (problem,) = inspect(folder / "workflow.yaml")[1]
    assert problem.code == "SG134"
    assert "classify, gate, recall, respond" in problem.message


def test_a_retrieve_node_takes_its_indexs_number_of_passages_unless_it_says() -> None:
    root = ROOT / "configs" / "helpdesk" / "workflow.yaml"
    workflow = load(root)
    assert workflow.settings["facts"].k == workflow.config.indexes["kb"].k  # type: ignore[attr-defined]


def test_quoting_needs_its_own_prompt(tmp_path: Path) -> None:
    root = ROOT / "configs" / "helpdesk"
    shutil.copytree(root, tmp_path / "helpdesk")
    (tmp_path / "helpdesk" / "prompts" / "answer-quote.md").unlink()
    _, problems = inspect(tmp_path / "helpdesk" / "workflow.yaml")
    missing = [problem for problem in problems if problem.code == "SG114"]
    assert "answer-quote" in missing[0].message
    assert missing[0].place is not None


def test_a_misspelt_key_is_told_once_and_what_it_holds_is_not_missed(tmp_path: Path) -> None:
    file = tmp_path / "workflow.yaml"
    file.write_text(
        "workflow: x\nverison: 1\npurpose: p\nmodles: {}\nintents: {a: {task: tool}}\nstart: a\nnodes: {}\n"
    )
    problems = inspect(file)[1]
    assert [(problem.code, problem.suggestion) for problem in problems if problem.code != "SG107"] == [
        ("SG105", "version"),
        ("SG105", "models"),
    ]


def test_a_dollar_cap_needs_a_price_for_every_model(folder: Path) -> None:
    """Also for one that only stands in; a price of 0 is a price, and without such a cap none is needed."""
    file = folder / "workflow.yaml"
    _edit(file, ", price_per_mtok: {input: 0.25, output: 2.00}", "")
    (problem,) = inspect(file)[1]
    assert problem.code == "SG106"
    assert problem.message.startswith("openai:gpt-5-mini has no price, so budget.")
    _edit(file, "otherwise: [slm]", 'otherwise: ["openai:gpt-5"], price_per_mtok: {input: 0, output: 0}')
    (problem,) = inspect(file)[1]
    assert problem.message.startswith("openai:gpt-5 has no price")
    _edit(
        file, "budget: {per_run_usd: 0.02, per_principal_day_usd: 1.00, per_day_usd: 50}", "budget: {per_day_tokens: 9}"
    )
    assert not [problem for problem in inspect(file)[1] if problem.severity == "error"]
