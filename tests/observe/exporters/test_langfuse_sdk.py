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
from sluicegate.nodes.prompts import PromptFolder
from sluicegate.observe.exporters.experiments import Evaluated, send_experiment
from sluicegate.observe.exporters.export import QueuedExporter
from sluicegate.observe.exporters.langfuse import Keys, LangfuseSender, check_keys
from sluicegate.observe.prompts import langfuse_prompts, reference
from sluicegate.observe.tracing.instrument import TracedModels, TracedPrompts
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


def folder(path: Path, keys: Keys | None, warn: Any = None) -> PromptFolder:
    (path / "answer.md").write_text(FILE)
    return PromptFolder([path], langfuse_prompts(keys, timeout_s=1, warn=warn or (lambda line: None)))


def test_the_front_matter_names_the_prompt() -> None:
    assert reference(FILE) == ("desk-answer", "staging")
    assert reference("---\nid: a\nlangfuse: 'x'\n---\nhi") == ("x", "production")
    assert reference("---\nid: a\n---\nlangfuse: no@no\n---\n") is None


def test_a_managed_prompt_stands_in_for_the_file(server: Receiver, tmp_path: Path) -> None:
    messages = [{"role": "system", "content": "From Langfuse."}, {"role": "user", "content": "{{question}}"}]
    server.prompts["desk-answer", "staging"] = managed_prompt("chat", messages)
    prompt = folder(tmp_path, Keys(PUBLIC, SECRET, server.url)).render("answer", question="Why?")
    assert [(m.role, m.content) for m in prompt.messages] == [("system", "From Langfuse."), ("user", "Why?")]
    assert (prompt.id, prompt.version) == ("answer", "langfuse:desk-answer@7")


def test_a_managed_text_prompt(server: Receiver, tmp_path: Path) -> None:
    server.prompts["desk-answer", "staging"] = managed_prompt("text", "Say it: {{question}}")
    prompt = folder(tmp_path, Keys(PUBLIC, SECRET, server.url)).render("answer", question="Why?")
    assert [(m.role, m.content) for m in prompt.messages] == [("user", "Say it: Why?")]


def test_it_is_cached(server: Receiver, tmp_path: Path) -> None:
    server.prompts["desk-answer", "staging"] = managed_prompt("text", "{{question}}")
    keys = Keys(PUBLIC, SECRET, server.url)
    folder(tmp_path, keys)
    folder(tmp_path, keys)
    assert len([path for _, path, _ in server.requests if "prompts" in path]) == 1


@pytest.mark.parametrize("status", [0, 401, 500])
def test_the_file_is_the_fallback(server: Receiver, tmp_path: Path, status: int) -> None:
    server.status = status
    said: list[str] = []
    prompt = folder(tmp_path, Keys(PUBLIC, SECRET, server.url), said.append).render("answer", question="Why?")
    assert prompt.messages[0].content == "From the file."
    assert prompt.version == "2"
    assert len(said) == 1
    assert "desk-answer@staging of Langfuse is unavailable" in said[0]


def test_a_dead_server_leaves_the_file(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    said: list[str] = []
    prompt = folder(tmp_path, Keys(PUBLIC, SECRET, url), said.append).render("answer", question="Why?")
    assert prompt.version == "2"
    assert said
    forget_clients()


def test_without_keys_the_sdk_is_not_even_imported(tmp_path: Path) -> None:
    (tmp_path / "answer.md").write_text(FILE)
    code = (
        "import sys, pathlib; from sluicegate.observe.prompts import langfuse_prompts; "
        "from sluicegate.observe.exporters.destinations import configured_exporters, destinations; "
        "from sluicegate.observe.tracing.tracer import RecordingTracer; "
        "from sluicegate.observe.tracing.store import Store; "
        f"text = pathlib.Path({str(tmp_path / 'answer.md')!r}).read_text(); "
        "assert langfuse_prompts()('answer', text) is None; assert configured_exporters() == []; "
        f"store = Store({str(tmp_path / 's.sqlite')!r}); tracer = RecordingTracer(store, configured_exporters())\n"
        "with tracer.run('r', workflow='w'): pass\n"
        "tracer.close(); print(destinations()); "
        "heavy = {'langfuse', 'opentelemetry', 'httpx', 'rich'} & set(sys.modules); assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "Traces stay in the local store: neither Langfuse keys nor an OTLP endpoint are set."


async def test_a_generation_links_to_its_managed_prompt(server: Receiver, tmp_path: Path) -> None:
    server.prompts["desk-answer", "staging"] = managed_prompt("text", "{{question}}")
    keys = Keys(PUBLIC, SECRET, server.url)
    store, tracer = open_tracer(tmp_path, QueuedExporter(LangfuseSender(keys)))
    prompts, models = TracedPrompts(folder(tmp_path, keys)), TracedModels(FakeModels(), tracer)
    with tracer.run("r", workflow="w"), tracer.node("answer", "slm-answer", "chain"):
        prompt = prompts.render("answer", question="Why?")
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
            "q1", "Reset?", "password_reset", "password_reset", {"correct": True, "cost_usd": 0.001}, run="run-1"
        ),
        Evaluated("q2", "Down?", "outage", "password_reset", {"correct": False, "path": "slm"}, "run-2"),
    ]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_evaluation_becomes_a_dataset_and_an_experiment(server: Receiver) -> None:
    sent = send_experiment("desk-eval", "v3", evaluated(), keys=Keys(PUBLIC, SECRET, server.url))
    assert (sent.items, sent.warning) == (2, "")
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


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_on_an_older_server_the_scores_of_an_experiment_arrive_too(
    server: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.version = "4.16.0"
    monkeypatch.setattr("sluicegate.observe.exporters.langfuse.version", lambda _: "5.0.4")
    sent = send_experiment("desk-eval", "v3", evaluated(), keys=Keys(PUBLIC, SECRET, server.url))
    assert "takes no scores from SDK 5.0.4" in sent.warning
    assert len(server.scores) == 4


def test_a_server_that_is_not_well_is_said_so(server: Receiver) -> None:
    server.status = 500
    with pytest.raises(RunError) as raised:
        send_experiment("desk-eval", "v3", evaluated(), keys=Keys(PUBLIC, SECRET, server.url))
    assert raised.value.code == "SG614"
    with pytest.raises(RunError) as raised:
        send_experiment("desk-eval", "v3", evaluated())
    assert raised.value.code == "SG613"


def test_keys_are_checked(server: Receiver) -> None:
    assert check_keys(Keys(PUBLIC, SECRET, server.url)) == ""
    forget_clients()
    assert check_keys(Keys(PUBLIC, "sk-wrong", server.url)) == "the keys are refused (401)"
