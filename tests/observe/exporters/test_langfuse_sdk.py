"""What Langfuse's SDK is used for, on its installed version: prompts by label, experiments, the check of keys."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sluicegate.errors import RunError
from sluicegate.nodes.prompts import PromptSet
from sluicegate.observe.exporters.experiments import Evaluated, send_experiment
from sluicegate.observe.exporters.export import QueuedExporter
from sluicegate.observe.exporters.langfuse import Keys, LangfuseSender, check_keys
from sluicegate.observe.prompts import Fetched, langfuse_prompts, reference
from sluicegate.observe.tracing.instrument import TracedModels, TracedPrompts
from sluicegate.observe.tracing.spans import trace_id
from sluicegate.services import ModelRequest
from tests.support.fakes import FakeModels
from tests.support.receiver import PUBLIC, SECRET, Receiver, forget_clients
from tests.support.scenario import open_tracer

FILE = """---
id: answer
version: 2
langfuse: desk-answer@staging
---
# system
From the file.

# user
{{question}}
"""


@pytest.fixture
def server() -> Iterator[Receiver]:
    forget_clients()  # another test's server may have had the same key
    with Receiver() as running:
        yield running
        forget_clients()


def managed_prompt(kind: str, prompt: Any, version: int = 7) -> dict[str, Any]:
    return {
        "name": "desk-answer", "version": version, "type": kind, "prompt": prompt, "config": {}, "labels": ["staging"],
        "tags": [], "commitMessage": None, "resolutionGraph": None,
    }  # fmt: skip


def fetched(keys: Keys) -> Fetched:
    fetch, named = langfuse_prompts(keys, timeout_s=1), reference(FILE)
    assert fetch
    assert named
    return fetch("answer", named)


def prompts(keys: Keys) -> PromptSet:
    return PromptSet({"answer": fetched(keys).text or ""})


def test_the_front_matter_names_the_prompt() -> None:
    named = reference(FILE)
    assert named
    assert (str(named), named.line) == ("desk-answer@staging", 4)
    assert named.without == FILE.replace("langfuse: desk-answer@staging", "")
    assert str(reference("---\nid: a\nlangfuse: 'x'\n---\nhi")) == "x@production"
    assert reference("---\nid: a\n---\nlangfuse: no@no\n---\n") is None


def test_a_managed_prompt_replaces_the_file(server: Receiver) -> None:
    messages = [{"role": "system", "content": "From Langfuse."}, {"role": "user", "content": "{{question}}"}]
    server.prompts["desk-answer", "staging"] = managed_prompt("chat", messages)
    prompt = prompts(Keys(PUBLIC, SECRET, server.url)).render("answer", question="Why?")
    assert [(m.role, m.content) for m in prompt.messages] == [("system", "From Langfuse."), ("user", "Why?")]
    assert (prompt.id, prompt.version) == ("answer", "langfuse:desk-answer@7")


def test_a_managed_text_prompt(server: Receiver) -> None:
    server.prompts["desk-answer", "staging"] = managed_prompt("text", "Say it: {{question}}")
    prompt = prompts(Keys(PUBLIC, SECRET, server.url)).render("answer", question="Why?")
    assert [(m.role, m.content) for m in prompt.messages] == [("user", "Say it: Why?")]


@pytest.mark.slow
@pytest.mark.parametrize("status", [401, 404, 500])
def test_what_was_fetched_last_continues_while_the_server_fails(server: Receiver, status: int) -> None:
    keys = Keys(PUBLIC, SECRET, server.url)
    server.status = status
    assert fetched(keys).text is None
    assert fetched(keys).fault
    server.status = 0
    server.prompts["desk-answer", "staging"] = managed_prompt("text", "{{question}}")
    known = fetched(keys)
    assert (known.version, known.fault) == ("langfuse:desk-answer@7", "")
    server.status = status
    stale = fetched(keys)
    assert (stale.text, stale.version) == (known.text, known.version)
    assert stale.fault
    server.status = 0
    server.prompts["desk-answer", "staging"] = managed_prompt("text", "New: {{question}}", version=8)
    assert fetched(keys).version == "langfuse:desk-answer@8"


@pytest.mark.slow
def test_a_dead_server_is_asked_once() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        keys = Keys(PUBLIC, SECRET, f"http://127.0.0.1:{listening.getsockname()[1]}")
        fetch, named = langfuse_prompts(keys, timeout_s=1), reference(FILE)
        assert fetch
        assert named
        assert all(fetch(name, named).fault for name in ("answer", "facts", "draft"))
        listening.settimeout(0.1)
        listening.accept()[0].close()
        with pytest.raises(TimeoutError):
            listening.accept()
    forget_clients()


@pytest.mark.slow
def test_without_keys_the_sdk_is_not_even_imported(tmp_path: Path) -> None:
    code = (
        "import sys; from sluicegate.observe.prompts import langfuse_prompts; "
        "from sluicegate.observe.exporters.destinations import configured_exporters, destinations; "
        "from sluicegate.observe.tracing.tracer import RecordingTracer; "
        "from sluicegate.observe.tracing.store import Store; "
        "assert langfuse_prompts() is None; assert configured_exporters(bool) == []; "
        f"store = Store({str(tmp_path / 's.sqlite')!r}); tracer = RecordingTracer(store, configured_exporters(bool))\n"
        "with tracer.run('r', workflow='w'): pass\n"
        "tracer.close(); print(destinations()); "
        "heavy = {'langfuse', 'opentelemetry', 'httpx', 'rich'} & set(sys.modules); assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "Traces stay in the local store: neither Langfuse keys nor an OTLP endpoint are set."


@pytest.mark.slow
async def test_a_generation_links_to_its_managed_prompt(server: Receiver, tmp_path: Path) -> None:
    server.prompts["desk-answer", "staging"] = managed_prompt("text", "{{question}}")
    keys = Keys(PUBLIC, SECRET, server.url)
    store, tracer = open_tracer(tmp_path, QueuedExporter(LangfuseSender(keys)))
    traced, models = TracedPrompts(prompts(keys)), TracedModels(FakeModels(), tracer)
    with tracer.run("r", workflow="w"), tracer.node("answer", "slm-answer", "chain"):
        prompt = traced.render("answer", question="Why?")
        await models.chat(ModelRequest("slm", prompt.messages, 10, prompt=prompt.reference, prompt_hash=prompt.hash))
    assert tracer.flush(5)
    tracer.close()
    store.close()
    said = server.named("chat slm").attributes
    assert said["langfuse.observation.prompt.name"] == "desk-answer"
    assert said["langfuse.observation.prompt.version"] == 7


def evaluated() -> list[Evaluated]:
    return [
        Evaluated(
            "q1",
            "Reset?",
            "password_reset",
            "password_reset",
            {"correct": True, "cost_usd": 0.001},
            run="run-1",
            seconds=2.5,
            usd=0.001,
            model="openai:large",
        ),
        Evaluated("q2", "Down?", "outage", "password_reset", {"correct": False, "path": "slm"}, "run-2"),
    ]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_evaluation_becomes_a_dataset_and_an_experiment(server: Receiver) -> None:
    sent = send_experiment("desk-eval", "v3", evaluated(), keys=Keys(PUBLIC, SECRET, server.url))
    assert sent.items == 2
    assert set(server.datasets) == {"desk-eval"}
    assert {item["id"]: item["expectedOutput"] for item in server.items} == {"q1": "password_reset", "q2": "outage"}
    runs = [span for span in server.spans if span.name == "experiment-item-run"]
    assert sorted(json.loads(span.attributes["langfuse.observation.output"]) if '"' in
                  span.attributes["langfuse.observation.output"] else span.attributes["langfuse.observation.output"]
                  for span in runs) == ["password_reset", "password_reset"]  # fmt: skip
    scores = {(score["name"], score["value"], score["dataType"]) for score in server.scores}
    assert scores == {
        ("correct", 1, "BOOLEAN"), ("correct", 0, "BOOLEAN"), ("cost_usd", 0.001, "NUMERIC"),
        ("path", "slm", "CATEGORICAL"),
    }  # fmt: skip
    assert {score["traceId"] for score in server.scores} == {span.trace_id for span in runs}
    items = {span.span_id: span for span in server.spans if "langfuse.observation.metadata.trace" in span.attributes}
    assert {score["observationId"] for score in server.scores} == set(items)
    [took] = (
        span
        for span in server.spans
        if span.name == "recorded run" and span.attributes["langfuse.observation.model.name"] == "openai:large"
    )
    assert took.parent in items
    assert (took.end_ns - took.start_ns) / 1e9 == 2.5
    assert json.loads(took.attributes["langfuse.observation.cost_details"]) == {"total": 0.001}
    assert took.attributes["langfuse.environment"] == "sdk-experiment"
    link = items[took.parent].attributes["langfuse.observation.metadata.trace"]
    assert str(link).strip('"') == f"{server.url}/project/proj1/traces/{trace_id('run-1')}"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_on_an_older_server_the_scores_of_an_experiment_arrive_too(
    server: Receiver,
) -> None:
    server.version = "4.16.0"
    send_experiment("desk-eval", "v3", evaluated(), keys=Keys(PUBLIC, SECRET, server.url))
    assert len(server.scores) == 4


def test_a_server_that_is_not_well_is_said_so(server: Receiver) -> None:
    server.status = 500
    with pytest.raises(RunError) as raised:
        send_experiment("desk-eval", "v3", evaluated(), keys=Keys(PUBLIC, SECRET, server.url))
    assert raised.value.code == "SG614"
    with pytest.raises(RunError) as raised:
        send_experiment("desk-eval", "v3", evaluated())
    assert raised.value.code == "SG613"


@pytest.mark.slow
def test_keys_are_checked(server: Receiver) -> None:
    assert check_keys(Keys(PUBLIC, SECRET, server.url)) == ""
    forget_clients()
    assert check_keys(Keys(PUBLIC, "sk-wrong", server.url)) == "the keys are refused (401)"
