"""Evaluations on fakes: rows, scores, figures, baselines, taking up, comparing, reports, Langfuse."""

import asyncio
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from sluicegate.errors import ConfigError, ModelError
from sluicegate.evals.evaluation.baselines import baselines_of, changed
from sluicegate.evals.evaluation.cases import Case, data_hash, read_cases
from sluicegate.evals.evaluation.evaluate import conditions, evaluate
from sluicegate.evals.evaluation.judge import admit
from sluicegate.evals.evaluation.result_store import ResultStore, Row
from sluicegate.evals.evaluation.scoring import contains, same
from sluicegate.evals.evaluation.summary import compare, parse_threshold, summarise
from sluicegate.evals.report.markdown import markdown
from sluicegate.evals.report.report import Report, baseline_rows, before_note, html, junit, notes_of, shown
from sluicegate.graphs.config.load import load
from sluicegate.graphs.runtime.run import Runner
from sluicegate.learning.threshold import NEVER
from sluicegate.models.config import ModelConfig
from sluicegate.models.probes.probe_results import Result, keep
from sluicegate.services import AnswerFeatures, Completion, ModelRequest, Services
from tests.support import ROOT
from tests.support.fakes import FakeConfidence, FakeGuards, FakeModels, FakePolicy, FakeRouter, services
from tests.support.flows import ANN, runner
from tests.support.receiver import PUBLIC, SECRET, Receiver, forget_clients

ASKED = Case("c1", "How do I reset it?", ANN, intent="question", facts=("small answer",), citations=("kb-1",),
             refused=False, path="rag-slm")  # fmt: skip


def given(**replaced: Any) -> Services:
    return changed(services(**replaced))


async def one(made: Runner, case: Case = ASKED, **options: Any) -> Row:
    return (await evaluate(made, [case], under="u", **options))[0]


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def test_rows_are_read_with_both_names_of_their_keys(tmp_path: Path) -> None:
    rows = write(tmp_path / "d.jsonl", {"input": "a", "label": "x"}, "", {"text": "a", "intent": "x"}, {"text": "b"})
    cases = read_cases(rows)
    assert [case.text for case in cases] == ["a", "a", "b"]
    assert cases[0].id == cases[1].id
    assert cases[0].expected == {"intent": "x"}
    assert data_hash(cases) == data_hash(cases[::-1]) != data_hash(cases[:1])


def test_every_bad_row_is_named_with_its_line(tmp_path: Path) -> None:
    bad = write(tmp_path / "d.jsonl", {"text": "fine"}, {"fact": ["x"], "text": "a"}, "{no json", {"text": ""})
    with pytest.raises(ConfigError) as raised:
        read_cases(bad)
    said = str(raised.value)
    assert "d.jsonl:2:1: SG140 fact:" in said
    assert "d.jsonl:3:1: SG140" in said
    assert "d.jsonl:4:1: SG140 text:" in said


def test_the_shipped_cases_cover_what_can_be_expected() -> None:
    cases = read_cases(Path("configs/helpdesk/eval/cases.jsonl"))
    assert len(cases) >= 60
    assert len({case.id for case in cases}) == len(cases)
    lines = Path("configs/helpdesk/examples/train.jsonl").read_text(encoding="utf-8").splitlines()
    trained = {json.loads(line)["text"] for line in lines}
    assert not trained & {case.text for case in cases}
    assert {"facts", "citations", "refused", "tool", "path", "intent"} <= {key for c in cases for key in c.expected}


@pytest.mark.parametrize("missing", ["nowhere.jsonl", "empty.jsonl"])
def test_no_rows_is_an_error(tmp_path: Path, missing: str) -> None:
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(ConfigError):
        read_cases(tmp_path / missing)


def test_texts_are_compared_without_case_marks_and_spaces() -> None:
    assert same("It is  done [1].", "it is done")
    assert contains("Call extension 4911 [2], day and night", "EXTENSION 4911, day")
    assert not contains("Call extension 4911", "4912")


async def test_an_answered_row(own_home: Path) -> None:
    row = await one(runner(own_home, given()))
    expected = {
        "intent_right": 1.0, "path_right": 1.0, "facts_found": 1.0, "correct": 1.0, "grounded": 1.0, "without_llm": 1.0,
        "without_human": 1.0, "citation_precision": 1.0, "citation_recall": 1.0, "must_answer_refused": 0.0,
        "answered": 1.0, "failed": 0.0,
    }  # fmt: skip
    assert {name: row.metrics[name] for name in expected} == expected
    assert (row.status, row.path, row.model) == ("answered", "rag-slm", "fake:slm")


WRONG: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, float]]] = [
    ("a fact is missing", {}, {"facts": ("small answer", "never")}, {"facts_found": 0.5, "correct": 0.0}),
    ("either form will do", {}, {"facts": ("never|small answer",)}, {"facts_found": 1.0, "correct": 1.0}),
    ("refused", {"policy": FakePolicy({"ask"})}, {}, {"must_answer_refused": 1.0, "correct": 0.0}),
    ("not refused", {}, {"refused": True, "facts": ()}, {"must_refuse_answered": 1.0, "correct": 0.0}),
    ("rightly refused", {"policy": FakePolicy({"ask"})}, {"refused": True, "facts": ()}, {"correct": 1.0}),
    ("another document", {}, {"citations": ("kb-2",)}, {"citation_precision": 0.0, "citation_recall": 0.0}),
    ("not grounded", {"guards": FakeGuards({"grounded": "human"})}, {}, {"grounded": 0.0, "without_human": 0.0}),
    ("escalated", {"router": FakeRouter(confidence=0.5)}, {"facts": ()}, {"without_llm": 0.0}),
    ("no document says it", {}, {"known": False, "facts": (), "refused": None},
     {"unknown_answered": 1.0, "correct": 0.0}),
    ("left to a person", {"guards": FakeGuards({"grounded": "human"})},
     {"known": False, "facts": (), "refused": None}, {"unknown_answered": 0.0, "correct": 1.0}),
    ("an answer", {}, {"answer": "Small answer", "facts": ()},
     {"answer_exact": 1.0, "answer_contains": 1.0, "answer_similarity": 1.0}),
    ("a longer answer", {}, {"answer": "answer", "facts": ()},
     {"answer_exact": 0.0, "answer_contains": 1.0, "correct": 1.0}),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("name", "replaced", "expects", "metrics"), WRONG, ids=[row[0] for row in WRONG])
async def test_what_else_rows_are_worth(
    own_home: Path, name: str, replaced: dict[str, Any], expects: dict[str, Any], metrics: dict[str, float]
) -> None:
    row = await one(runner(own_home, given(**replaced)), replace(ASKED, **expects))
    assert {key: row.metrics.get(key) for key in metrics} == metrics


async def test_a_tool_call_is_looked_for_in_calls_and_proposals(own_home: Path) -> None:
    from sluicegate.evals.evaluation.cases import ExpectedTool

    made = runner(own_home, given(router=FakeRouter("access")))
    # on these fakes the tool is called with nothing extracted, and a person is asked
    right = replace(ASKED, facts=(), tool=ExpectedTool(name="create_ticket"))
    assert (await one(made, right)).metrics["tool_right"] == 1.0
    wrong = replace(right, tool=ExpectedTool(name="create_ticket", arguments={"category": "access"}))
    row = await one(made, wrong)
    assert (row.metrics["tool_right"], row.metrics["correct"], row.metrics["without_human"]) == (0.0, 0.0, 0.0)


async def test_a_run_that_fails_is_a_row_and_is_tried_again(own_home: Path, each_place: str) -> None:
    kept = ResultStore()
    broken = runner(own_home, given(models=FakeModels(fails=ModelError("SG309", "no model"))))
    row = await one(broken, kept=kept)
    assert (row.status, row.metrics) == ("failed", {"failed": 1.0, "correct": 0.0})
    assert "SG309" in row.error
    assert (await one(runner(own_home, given()), kept=kept)).status == "answered"


async def test_known_rows_are_not_run_again(own_home: Path, each_place: str) -> None:
    kept, models = ResultStore(), FakeModels()
    made = runner(own_home, given(models=models))
    first = await one(made, kept=kept)
    again = await one(made, kept=kept)
    assert again == first
    assert len(models.asked) == 1
    await evaluate(made, [ASKED], under="another version", kept=kept)
    assert len(models.asked) == 2


@pytest.mark.slow
async def test_an_interrupted_evaluation_goes_on_where_it_stopped(own_home: Path) -> None:
    kept, seen = ResultStore(), 0
    cases = [replace(ASKED, id=f"c{n}", text=f"Question {n}") for n in range(6)]

    def stop(_: Row) -> None:
        nonlocal seen
        seen += 1
        if seen == 3:
            raise RuntimeError("cut short")

    with pytest.raises(RuntimeError, match="cut short"):
        await evaluate(runner(own_home, given()), cases, under="u", kept=kept, on_row=stop)
    models = FakeModels()
    rows = await evaluate(runner(own_home, given(models=models)), cases, under="u", kept=kept)
    assert [row.text for row in rows] == [case.text for case in cases]
    assert len(models.asked) <= 3


@pytest.mark.slow
async def test_concurrency_is_bounded(own_home: Path) -> None:
    running = peak = 0

    class Slow(FakeModels):
        async def chat(self, request: ModelRequest) -> Any:
            nonlocal running, peak
            running += 1
            peak = max(peak, running)
            await asyncio.sleep(0.02)
            running -= 1
            return await super().chat(request)

    cases = [replace(ASKED, id=f"c{n}", text=f"Question {n}") for n in range(8)]
    await evaluate(runner(own_home, given(models=Slow())), cases, under="u", concurrency=3)
    assert peak == 3


async def test_nothing_is_cached_and_the_variant_is_part_of_the_conditions(own_home: Path) -> None:
    base = services()
    made = runner(own_home, changed(base))
    await one(made)
    assert base.cache.kept == {}  # type: ignore[attr-defined]
    assert conditions(made, "workflow") != conditions(made, "all-slm")


BASELINES: list[tuple[Any, float, list[str], float]] = [
    ("workflow", 0.9, ["slm"], 0.0),
    ("workflow", 0.5, ["llm"], 0.001),
    ("all-slm", 0.5, ["slm"], 0.0),
    ("all-llm", 0.9, ["llm"], 0.001),
]


@pytest.mark.parametrize(("variant", "confidence", "roles", "price"), BASELINES)
async def test_baselines_force_the_branch_and_the_model(
    own_home: Path, variant: Any, confidence: float, roles: list[str], price: float
) -> None:
    models = FakeModels()
    made = runner(own_home, changed(services(models=models, router=FakeRouter(confidence=confidence)), variant))
    row = await one(made)
    assert [role for role, _ in models.asked] == roles
    assert row.metrics["list_usd"] == price
    assert row.metrics["without_llm"] == float(roles == ["slm"])


@pytest.mark.parametrize(("variant", "threshold"), [("workflow", 0.6), ("all-slm", 0.0), ("all-llm", NEVER)])
def test_baselines_force_the_threshold_of_answers_too(variant: Any, threshold: float) -> None:
    made = changed(services(confidence=FakeConfidence(0.7, threshold=0.6)), variant)
    asked = AnswerFeatures(Completion("Yes.", "m", "m", 1, 1, "stop", 1.0, 0.0), "Yes.", "How?", ["Yes."])
    judged = made.confidence(asked)
    assert (judged.confidence, judged.threshold) == (0.7, threshold)


async def test_all_slm_asks_no_large_model_where_checks_fail(own_home: Path) -> None:
    models = FakeModels()
    guards = FakeGuards({"grounded": "regenerate"}, {"grounded"})
    row = await one(runner(own_home, changed(services(models=models, guards=guards), "all-slm")))
    assert [role for role, _ in models.asked] == ["slm", "slm"]
    assert row.metrics["without_llm"] == 1.0


async def test_where_the_judge_does_not_answer_its_fallback_does_not_judge_either() -> None:
    class Gone:
        async def identity(self) -> str:
            raise ModelError("SG301", "no server", hint="Start it")

    config = ModelConfig(use="ollama:qwen3:1.7b", otherwise=("embedded:smollm2-135m",))
    with pytest.raises(
        ModelError, match=r"^SG301 the judge ollama:qwen3:1.7b .* a fallback never judges: no server. Start it$"
    ):
        await admit(config, FakeModels(), "slm", provider=Gone())  # type: ignore[arg-type]


async def test_only_a_probed_model_judges(own_home: Path) -> None:
    class Probed:
        async def identity(self) -> str:
            return "weights-1"

    config, provider, models = (
        ModelConfig(use="embedded:smollm2-135m"),
        Probed(),
        FakeModels(parsed={"supported": "yes"}),
    )
    own_home.mkdir()
    with pytest.raises(ModelError, match="was never probed"):
        await admit(config, models, "slm", provider=provider)  # type: ignore[arg-type]
    keep("weights-1", Result("review", 12, 20, 1.0, "h", "now"))
    with pytest.raises(ModelError, match="60% of the probe"):
        await admit(config, models, "slm", provider=provider)  # type: ignore[arg-type]
    keep("weights-1", Result("review", 19, 20, 1.0, "h", "now"))
    judge = await admit(config, models, "slm", provider=provider)  # type: ignore[arg-type]
    row = await one(runner(own_home, given()), judge=judge)
    assert row.metrics["judged"] == 1.0


def rows(right: list[int], *, usd: float = 0.001, tag: str = "knowledge") -> list[Row]:
    return [
        Row(f"c{n}", f"r{n}", f"text {n}", "answered", "rag-slm", "question", "answer", "fake:slm", "", (tag,),
            {"correct": float(hit), "intent_right": float(hit), "confidence": 0.8, "seconds": 0.1 * (n + 1),
             "without_llm": float(n % 4 > 0), "list_usd": usd, "usd": 0.0, "failed": 0.0})
        for n, hit in enumerate(right)
    ]  # fmt: skip


@pytest.mark.slow
def test_figures_have_intervals_and_slices() -> None:
    found = summarise([*rows([1] * 15 + [0] * 5), *rows([1] * 4, tag="tool")])
    assert list(found) == ["all", "knowledge", "tool"]
    right = found["knowledge"]["correct"]
    # Wilson's interval of 15 of 20
    assert (right.value, right.n, right.by) == (0.75, 20, "wilson")
    assert (right.low, right.high) == pytest.approx((0.5313, 0.8881), abs=1e-4)
    assert found["knowledge"]["escalation_rate"].value == 0.25
    assert found["knowledge"]["calibration_error"].value == pytest.approx(0.05)
    assert found["knowledge"]["latency_p50"].value == pytest.approx(1.05)
    assert found["tool"]["correct"].n == 4
    assert "tool_right" not in found["all"]


@pytest.mark.slow
def test_change_is_paired_row_by_row() -> None:
    changes = compare(rows([1] * 18 + [0] * 2), rows([1] * 10 + [0] * 10))
    difference = changes["correct"].difference
    assert difference is not None
    assert difference.value == pytest.approx(0.4)
    assert difference.low > 0.1
    assert changes["latency_p95"].difference is None


def test_last_evaluation_of_the_same_data_is_found(own_home: Path, each_place: str) -> None:
    kept = ResultStore()
    kept.evaluated("desk", "workflow", "data", "d1", "u1", {}, rows([1, 0]))
    kept.evaluated("desk", "workflow", "other data", "d2", "u2", {}, [replace(rows([1])[0], case="another")])
    assert kept.last("desk", "workflow", ["c0", "c1"], other_than="u1") is None
    found = kept.last("desk", "workflow", ["c0", "c1"], other_than="u3")
    assert found is not None
    assert found["rows"] == rows([1, 0])
    # the file has grown: what both have is compared, as long as it is half of it
    grown = kept.last("desk", "workflow", ["c0", "c1", "c2", "c3"], other_than="u3")
    assert grown is not None
    assert (grown["digest"], grown["shared"]) == ("d1", 2)
    assert kept.last("desk", "workflow", ["c0", "c2", "c3"], other_than="u3") is None


def test_results_of_two_homes_move_to_the_server_once(
    own_home: Path, postgres: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    homes = [own_home, tmp_path / "other"]
    for number, home in enumerate(homes):
        monkeypatch.setenv("SLUICEGATE_HOME", str(home))
        kept = ResultStore()
        kept.keep("u", rows([1, 1])[number])
        kept.evaluated("desk", "workflow", "data", f"d{number}", f"u{number}", {}, rows([1, 0]))
        kept.close()
        file = home / "evals" / "results.sqlite"
        (home / "copy").write_bytes(file.read_bytes())
    monkeypatch.setenv("SLUICEGATE_DATABASE_URL", postgres)
    for home in homes:
        monkeypatch.setenv("SLUICEGATE_HOME", str(home))
        ResultStore().close()
        # as one that was killed before it had set the file aside
        (home / "copy").rename(home / "evals" / "results.sqlite")
        kept = ResultStore()
    assert [one.digest for one in kept.evaluations("desk")] == ["d1", "d0"]
    assert kept.evaluation(kept.evaluations("desk")[0].number)[1] == rows([1, 0])
    assert [kept.row("u", case) for case in ("c0", "c1")] == rows([1, 1])
    assert not [*tmp_path.rglob("results.sqlite")]


@pytest.mark.slow
def test_a_file_that_has_grown_is_compared_on_the_rows_that_both_have() -> None:
    before = {"rows": rows([0, 0, 1]), "digest": "b" * 64, "at": "2026-11-23T12:00:00+00:00", "shared": 2}
    before["rows"] = before["rows"][:2]
    now = report(before=before)
    change = now.changes()["correct"]
    assert (change.now, change.before) == (1.0, 0.0)
    assert before_note(now) == "version bbbbbbbbbbbb on 2 of the 10 rows, 2026-11-23 12:00 UTC"
    assert before_note(now) in html(now)


def test_rows_that_were_run_side_by_side_are_said_so() -> None:
    together = [replace(row, at_once=4) for row in rows([1])]
    assert any("up to 4 concurrent runs" in note for note in notes_of(report(rows={"workflow": together})))
    assert not any("concurrent runs" in note for note in notes_of(report()))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "holds"),
    [("correct>=0.7", True), ("correct >= 0.8", False), ("list_usd<=0.01", True), ("judged>=0", False)],
)
def test_thresholds(text: str, holds: bool) -> None:
    assert parse_threshold(text).holds(summarise(rows([1, 1, 1, 0]))["all"]) is holds


@pytest.mark.parametrize(
    ("text", "said"), [("corect>=0.7", "did you mean 'correct'"), ("correct=0.7", "does not have the form")]
)
def test_bad_thresholds(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_threshold(text)


def report(**changed: Any) -> Report:
    base: dict[str, Any] = {
        "workflow": "desk", "version": "1", "digest": "d" * 64, "data": "cases.jsonl", "data_hash": "h",
        "rows": {"workflow": rows([1] * 9 + [0]), "all-slm": rows([1] * 7 + [0] * 3, usd=0.0),
                 "all-llm": rows([1] * 10, usd=0.004)},
        "thresholds": [parse_threshold("correct>=0.8"), parse_threshold("correct>=0.95")],
        "before": {"rows": rows([0] * 10), "digest": "b" * 64, "at": "2026-11-23T12:00:00+00:00", "shared": 10},
    }  # fmt: skip
    return Report(**{**base, **changed})


@pytest.mark.slow
def test_what_the_routing_saves_is_one_table() -> None:
    lines = baseline_rows(report())
    assert [line[0] for line in lines] == ["workflow", "all-slm", "all-llm"]
    assert lines[1][-1].startswith("+20.0%")
    assert lines[2][-1].startswith("-10.0%")
    assert lines[2][3].startswith("$0.004")
    assert shown("list_usd", -0.004, signed=True) == "-$0.004000"


def test_a_workflow_without_a_large_model_has_no_baseline_of_one() -> None:
    root = ROOT / "configs"
    assert baselines_of(load(root / "patterns" / "3-rag-slm" / "workflow.yaml")) == ("all-slm",)
    assert baselines_of(load(root / "helpdesk" / "workflow.yaml")) == ("all-slm", "all-llm")
    notes = notes_of(report(rows={"workflow": rows([1]), "all-slm": rows([1])}))
    assert "all-llm was not run: the workflow has no model of the role llm." in notes


@pytest.mark.slow
def test_what_was_wrong_is_shown_on_the_screen(capsys: pytest.CaptureFixture[str]) -> None:
    from sluicegate.cli.eval import _print  # pyright: ignore[reportPrivateUsage]

    broken = replace(rows([1])[0], case="cx", run="", error="SG309 no model", metrics={"failed": 1.0, "correct": 0.0})
    found = report(rows={"workflow": [*rows([1, 0]), broken]})
    _print(found, found.failed_thresholds(), None)
    said = capsys.readouterr().out
    assert "r1  answered, question, rag-slm  text 1" in said
    assert "SG309 no model  answered, question, rag-slm  text 0" in said
    assert "knowledge (3)" in said
    assert "workflow: 1 of 3 runs failed, the first with: SG309 no model" in said
    assert "✗ correct>=0.8" in said


async def test_a_row_that_expects_the_cache_is_not_scored_by_its_path(own_home: Path) -> None:
    row = await one(runner(own_home, given()), replace(ASKED, path="cache"))
    assert "path_right" not in row.metrics
    assert row.metrics["correct"] == 1.0


@pytest.mark.slow
def test_html_is_whole_and_self_contained() -> None:
    page = html(report(rows={"workflow": [replace(r, text="<b>&") for r in rows([0, 1])], "all-slm": rows([1])}))
    assert "<b>&" not in page
    assert "&lt;b&gt;&amp;" in page
    assert "<script" not in page
    assert "src=" not in page
    assert page.count("<svg") == 1
    # every figure of every slice, with its interval
    assert "<details><summary>knowledge</summary>" in page
    assert page.count("<td>list_usd</td>") == 3
    ElementTree.fromstring(page[page.index("<svg") : page.index("</svg>") + 6])
    assert "correct&gt;=0.95" in page


@pytest.mark.slow
def test_a_comment_says_thresholds_figures_and_wrong_rows_and_nothing_else() -> None:
    harm = "| @ann [x](y) <img src=x> `a`\nb"
    text = markdown(report(rows={"workflow": [replace(each, text=harm) for each in rows([0, 1])]}))
    head, *lines = text.splitlines()
    assert head.endswith("thresholds missed")
    assert sum(line.startswith("- ❌ `") for line in lines) + sum(line.startswith("- ✅ `") for line in lines) > 0
    assert any(line.startswith("| `correct` | ") for line in lines)
    (listed,) = [line for line in lines if "img" in line]
    # one row of four cells, in which nothing is a link, an element, code or a mention
    assert len(re.split(r"(?<!\\)\|", listed)) == 6
    assert not re.search(r"(?<!\\)[<\[`]", listed)
    assert "@ann" not in listed


@pytest.mark.slow
def test_junit_counts_rows_and_thresholds() -> None:
    broken = replace(rows([1])[0], case="cx", error="SG309 no\x00model", metrics={"failed": 1.0})
    suite = ElementTree.fromstring(junit(report(rows={"workflow": [*rows([1, 0]), broken]})))
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("5", "3", "1")


def test_without_keys_nothing_is_run_for_langfuse(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sluicegate.cli.eval import app

    for name in ("LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)
    folder = ROOT / "configs" / "patterns" / "1-slm-router-tools"
    asked = [str(folder / "workflow.yaml"), str(folder / "examples" / "requests.jsonl"), "--langfuse"]
    result = CliRunner().invoke(app, asked)
    assert "no Langfuse keys are set" in str(result.exception)
    assert not (own_home / "evals").exists()


def keys(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    forget_clients()
    monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", PUBLIC)
    monkeypatch.setenv("LANGFUSE_SECRET_KEY", SECRET)
    monkeypatch.setenv("LANGFUSE_BASE_URL", url)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("option", "sent"), [([], True), (["--langfuse"], True), (["--no-langfuse"], False)])
def test_where_keys_are_set_results_go_to_langfuse_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, option: list[str], sent: bool
) -> None:
    with Receiver() as server:
        keys(monkeypatch, server.url)
        result = evaluated(monkeypatch, report(), *option)
        assert ("desk/cases" in server.datasets) is sent
    assert result.exit_code == 0, result.output
    assert ((json.loads(result.stdout)["langfuse"] or {}).get("items") == 1) is sent


@pytest.mark.slow
def test_a_server_that_is_down_costs_no_evaluation_unless_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    keys(monkeypatch, "http://127.0.0.1:9")
    result = evaluated(monkeypatch, report())
    assert result.exit_code == 0
    assert "not sent: SG614" in result.stderr
    assert "SG614" in str(evaluated(monkeypatch, report(), "--langfuse").exception)


@pytest.mark.slow
def test_an_evaluation_in_which_every_run_failed_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = [replace(row, error="SG401 the index is empty") for row in rows([1, 1])]
    result = evaluated(monkeypatch, report(rows={"workflow": broken}, thresholds=[]))
    assert result.exit_code == 1
    plotless = [replace(row, metrics={"correct": 0.0, "failed": 1.0}) for row in broken]
    assert "<svg" not in html(report(rows={"workflow": plotless, "all-slm": plotless}))


def evaluated(monkeypatch: pytest.MonkeyPatch, made: Report, *options: str) -> Any:
    """The command, with `made` for what it found."""
    from sluicegate.cli import eval as command

    async def run(*_: Any, **__: Any) -> Any:
        return replace(made, thresholds=[]), [replace(ASKED, id="c0")]

    monkeypatch.setattr(command, "_run", run)
    return CliRunner().invoke(command.app, ["workflow.yaml", "cases.jsonl", "--json", *options])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_evaluation_goes_to_langfuse(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sluicegate.cli.eval import send

    case = replace(ASKED, id="c0")
    with Receiver() as server:
        keys(monkeypatch, server.url)
        sent = send(report(rows={"workflow": rows([1])}), [case])
    assert sent["items"] == 1
    assert "desk/cases" in server.datasets
    assert server.items[0]["input"] == case.text
    assert server.items[0]["expectedOutput"]["facts"] == ["small answer"]
