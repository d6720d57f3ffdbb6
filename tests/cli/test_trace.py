"""`sluicegate trace` on a home with two runs in it."""

import io
import json
import threading
from contextlib import closing
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from sluicegate.errors import RunError
from sluicegate.observe.tracing.masking import Masking
from sluicegate.observe.tracing.settings import TraceSettings
from sluicegate.observe.tracing.spans import trace_id
from sluicegate.observe.tracing.store import Store
from sluicegate.observe.tracing.tracer import RecordingTracer
from sluicegate.observe.views.tree import span_tree
from tests.support.receiver import PUBLIC, SECRET, Receiver
from tests.support.scenario import first_stretch, last_stretch

# typer imports a name that its newest click announces to remove
pytestmark = pytest.mark.filterwarnings("ignore:.*will be removed in Click:DeprecationWarning")


@pytest.fixture
async def home_with_runs(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # its runs are of no workflow that was kept, so nobody could read what they retrieved
    monkeypatch.setattr("sluicegate.graphs.session.reading_rights.ReadingRights.withheld", lambda *_: "")
    own_home.mkdir()
    store = Store(own_home / "store.sqlite")
    tracer = RecordingTracer(store, (), Masking(TraceSettings(environment="staging", release="r1")))
    await first_stretch(tracer)
    await last_stretch(tracer)
    await first_stretch(tracer, run="run-2", text="<b>Second</b> question")
    tracer.close()
    store.close()
    return own_home


def call(*words: str) -> Any:
    from typer.testing import CliRunner

    from sluicegate.cli.trace import app

    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, words)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def test_list_shows_runs_newest_first(home_with_runs: Path) -> None:
    lines = call("list").splitlines()
    assert lines[1].split()[0] == "run-2"
    assert lines[2].split()[0] == "run-1"
    assert "workflow" not in lines[0].split()  # one and the same in every row
    assert {"answered", "rag-slm", "password_reset", "0.83", "$0.0012"} <= set(lines[2].split())
    assert [run["run_id"] for run in json.loads(call("list", "--json", "--status", "waiting"))] == ["run-2"]
    assert len(json.loads(call("list", "--json", "--user", "ann", "--since", "1h"))) == 2
    assert json.loads(call("list", "--json", "--since", "2300-01-01")) == []
    assert call("list", "--user", "bob").strip() == "no runs"


@pytest.mark.parametrize("width", ["100", "120", "200"])
def test_an_id_is_never_cut(home_with_runs: Path, width: str) -> None:
    from rich.console import Console

    from sluicegate.observe.views.render import runs_table

    run = json.loads(call("list", "--json"))[0]
    runs = [run | {"run_id": f"{number:024x}", "workflow": name} for number, name in enumerate(["helpdesk", "shop"])]
    screen = Console(width=int(width), file=io.StringIO())
    screen.print(runs_table(runs))
    assert isinstance(screen.file, io.StringIO)
    assert all(each["run_id"] in screen.file.getvalue() for each in runs)


def test_show_is_a_tree_with_decisions_and_the_model_that_answered(home_with_runs: Path) -> None:
    text = call("show", "run-1")
    for expected in (
        "helpdesk v3 · answered · rag-slm · password_reset 0.83 against 0.71",
        "gate→recall  policy.verdict == 'allow'",
        "confidence 0.83 against 0.71 · not taken: refuse",
        "embedded:smollm2-135m · instead of ollama:qwen3:1.7b: ollama:qwen3:1.7b is",
        "120 → 9 tokens",
        "kb-1@2 (0.80)",
        "✓ pii ✗ tone · too curt",
        "allow by yes",
        "done · key key-1",
        "invoke_agent helpdesk (resume)",
        "for a person, decision: approve",
        "with only the large model $0.0200",
        "route_confidence 0.83",
    ):
        assert expected in text, expected
    found = json.loads(call("show", "run-1", "--json"))
    assert set(found) == {"run", "spans", "scores"}
    assert found["run"]["trace_id"] == trace_id("run-1")
    assert call("show", "last").startswith("run-2")


def test_an_embedding_names_the_model_that_answered() -> None:
    said = {"asked": "ollama:all-minilm", "model": "embedded:all-minilm-l6-v2", "texts": 1}
    span = {"span_id": "1", "parent": None, "name": "embeddings all-minilm", "type": "embedding", "level": "DEFAULT",
            "message": "", "attributes": said, "start_ns": 0, "end_ns": 1}  # fmt: skip
    assert [item.words for item in span_tree([span])] == ["1 text by embedded:all-minilm-l6-v2"]


def test_an_unknown_run_is_said_so(home_with_runs: Path) -> None:
    with pytest.raises(RunError, match="no run 'nobody'"):
        call("show", "nobody")


def test_policy_decides_who_sees_a_run(home_with_runs: Path) -> None:
    assert "run-1" in call("show", "run-1", "--as", "ann")
    assert "run-1" in call("show", "run-1", "--as", "carol", "--role", "auditor")
    with pytest.raises(RunError) as raised:
        call("show", "run-1", "--as", "bob")
    assert raised.value.code == "SG610"
    assert call("list", "--as", "bob").strip() == "no runs"
    assert len(json.loads(call("list", "--as", "ann", "--json"))) == 2


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]


def test_the_page_is_self_contained_and_escaped(home_with_runs: Path, tmp_path: Path) -> None:
    file = tmp_path / "run.html"
    call("show", "run-2", "--html", str(file))
    text = file.read_text()
    parser = _Links()
    parser.feed(text)
    assert parser.links == []
    assert not {"script", "link", "iframe", "img"} & set(parser.tags)
    assert "&lt;b&gt;Second&lt;/b&gt; question" in text
    assert "<b>Second</b>" not in text
    assert "url(" not in text
    for expected in ("gate → <b>recall</b>", "policy.verdict == &#x27;allow&#x27;", "smollm2-135m", "refuse"):
        assert expected in text


def test_export_writes_whole_runs(home_with_runs: Path, tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    call("export", "--out", str(file))
    runs = [json.loads(line) for line in file.read_text().splitlines()]
    assert [run["run"]["run_id"] for run in runs] == ["run-1", "run-2"]
    assert len(runs[0]["spans"]) > 20
    [line] = call("export", "run-1", "--format", "otlp").splitlines()
    [resource_spans] = json.loads(line)["resourceSpans"]
    spans = resource_spans["scopeSpans"][0]["spans"]
    assert {span["traceId"] for span in spans} == {trace_id("run-1")}
    assert len(spans) == len(runs[0]["spans"])
    assert spans[0]["attributes"][0].keys() == {"key", "value"}


@pytest.mark.slow
def test_feedback_is_kept_and_mirrored(home_with_runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Receiver() as server:
        monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", PUBLIC)
        monkeypatch.setenv("LANGFUSE_SECRET_KEY", SECRET)
        monkeypatch.setenv("LANGFUSE_HOST", server.url)
        call(
            "feedback", "run-1", "--score", "thumb=true", "--score", "stars=4", "--score",
            "correct_intent=outage", "--comment", "wrong class", "--as", "ann",
        )  # fmt: skip
        assert {score["name"]: score["value"] for score in server.scores} == {
            "thumb": 1,
            "stars": 4.0,
            "correct_intent": "outage",
        }
    store = Store(home_with_runs / "store.sqlite")
    [correction] = store.corrections("helpdesk")
    assert (correction["label"], correction["predicted"]) == ("outage", "password_reset")
    store.close()


@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "1e999"])
def test_a_score_is_a_finite_number(value: str, home_with_runs: Path) -> None:
    with pytest.raises(RunError, match=r"SG631 the score stars is -?(inf|nan)"):
        call("feedback", "run-1", "--score", "thumb=true", "--score", f"stars={value}")
    with closing(Store(home_with_runs / "store.sqlite")) as store:
        assert store.feedback() == [], "nor is anything else of the same call kept"


@pytest.mark.slow
def test_push_sends_what_was_not_confirmed(home_with_runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RunError) as raised:
        call("push")
    assert raised.value.code == "SG613"
    with Receiver() as server:
        monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", PUBLIC)
        monkeypatch.setenv("LANGFUSE_SECRET_KEY", SECRET)
        monkeypatch.setenv("LANGFUSE_HOST", server.url)
        assert f"langfuse {server.url}: 2 runs sent" in call("push", "--since", "1h")
        assert {span.trace_id for span in server.spans} == {trace_id("run-1"), trace_id("run-2")}
        assert json.loads(call("push", "--json"))[0]["runs"] == 0


def test_tail_follows_a_run_of_another_process(home_with_runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(home_with_runs / "store.sqlite")
    tracer = RecordingTracer(store)

    began, last = threading.Event(), Store.last

    def begin(self: Store) -> int:
        seen = last(self)
        began.set()
        return seen

    def work() -> None:
        began.wait(100)
        with tracer.run("live-1", workflow="helpdesk"), tracer.node("gate", "policy-check", "guardrail"):
            pass

    monkeypatch.setattr(Store, "last", begin)
    worker = threading.Thread(target=work)
    worker.start()
    lines = call("tail", "--count", "2", "--workflow", "helpdesk").splitlines()
    worker.join()
    assert "gate" in lines[0]
    assert "invoke_agent helpdesk" in lines[1]
    tracer.close()
    store.close()


def test_usage(home_with_runs: Path) -> None:
    assert "1 answered without the large model" in call("usage")
    usage = json.loads(call("usage", "--json"))
    assert usage["paths"]["rag-slm"]["runs"] == 1
