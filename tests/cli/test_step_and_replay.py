"""`sluicegate step` and `sluicegate replay`: by keys, piped, to the end, and as JSON."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sluicegate.cli import replay as replay_command
from sluicegate.cli import step as step_command
from sluicegate.errors import RunError
from sluicegate.graphs.runtime import factory as opening
from tests.support.helpdesk import ANSWERED, HELPDESK, fakes, production, start

QUESTION = "How do I reset it?"


@pytest.fixture
def label() -> str:
    return "password_reset"


@pytest.fixture(autouse=True)
def faked(monkeypatch: pytest.MonkeyPatch, label: str) -> None:
    """The commands' workflows run on fakes."""
    real = opening.open_workflow
    fake = fakes(label)

    def opened(config: Any, *, change: Any = lambda services: services, **more: Any) -> Any:
        return real(config, change=lambda services: change(fake(services)), **more)

    for module in ("opening", "replay"):
        monkeypatch.setattr(f"sluicegate.graphs.session.{module}.open_workflow", opened)


def step(*given: str, keys: str = "") -> str:
    done = CliRunner().invoke(step_command.app, list(given), input=keys, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.slow
def test_keys_step_run_back_and_quit() -> None:
    said = step(str(HELPDESK), QUESTION, keys="\n\nu facts\nb gate\ns\nr\nt\nq\nr\n")
    assert "next classify" in said
    assert "intent.label" in said
    assert "→ recall" in said
    assert "next facts" in said
    assert "next gate" in said
    assert "'password_reset'" in said, "the state"
    assert "answered by path rag-slm" in said
    assert said.count("answered by path") == 1, "nothing runs after q"


def test_the_end_of_the_input_stops_it() -> None:
    assert "next gate" in step(str(HELPDESK), QUESTION, keys="\n")


@pytest.mark.slow
def test_auto_goes_to_the_end() -> None:
    said = step(str(HELPDESK), QUESTION, "--auto")
    assert [line.split()[0] for line in said.splitlines() if line.endswith(" ms")] == ANSWERED


@pytest.mark.slow
def test_json_says_every_step() -> None:
    said = json.loads(step(str(HELPDESK), QUESTION, "--json"))
    assert [one["node"] for one in said["steps"]] == ANSWERED
    assert said["steps"][0]["changes"]["intent.label"] == {"before": None, "after": "password_reset"}
    assert said["steps"][0]["branch"]["to"] == "gate"
    assert (said["status"], said["facts"]["path"]) == ("answered", "rag-slm")


@pytest.mark.slow
@pytest.mark.parametrize("label", ["hr_confidential"])
def test_a_person_decides_by_key(label: str) -> None:
    said = step(str(HELPDESK), QUESTION, "--decider", "lea:helpdesk-lead", keys="r\na fine\nr\n")
    assert "waits for role:helpdesk-lead" in said
    assert "answered by path human" in said
    with pytest.raises(RunError, match="a decision needs an approver"):
        step(str(HELPDESK), QUESTION, keys="r\na\n")


@pytest.mark.slow
@pytest.mark.parametrize("keys", ["z\n", "u\n", "u nowhere\n", "b nowhere\n"])
def test_a_wrong_key_is_an_error_for_scripts(keys: str) -> None:
    with pytest.raises(RunError) as raised:
        step(str(HELPDESK), QUESTION, keys=keys)
    assert raised.value.code == "SG615"


@pytest.mark.slow
def test_a_recorded_run_is_opened_by_its_id() -> None:
    session = start().run()
    assert "answered by path rag-slm" in step(session.run_id, keys="q\n")
    with pytest.raises(RunError, match="no run nope"):
        step("nope")
    with pytest.raises(RunError) as raised:
        step(session.run_id, "--as", "eve", "--role", "employee")
    assert raised.value.code == "SG610"


# --- replay ---


def stricter(folder: Path) -> str:
    file = folder / "stricter.yaml"
    branches = '[{when: "intent.confidence < 0.99", go: synthesize}, {otherwise: check}]'
    file.write_text(f"extends: {HELPDESK.resolve()}\nversion: 2\nnodes: {{answer: {{then: {branches}}}}}\n")
    return str(file)


def replay(*given: str) -> str:
    done = CliRunner().invoke(replay_command.app, list(given), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.slow
async def test_replay_says_what_would_have_changed(tmp_path: Path) -> None:
    outcome, _ = await production()

    def both() -> tuple[str, dict[str, Any]]:
        table = replay(outcome.run, "--with", stricter(tmp_path))
        return table, json.loads(replay("--since", "1h", "--with", stricter(tmp_path), "--json"))

    import asyncio

    table, data = await asyncio.to_thread(both)
    assert "rag-slm" in table
    assert "1 of 1 would have changed on helpdesk 2" in table
    (change,) = data["changes"]
    assert change["run"] == outcome.run, "replays of before are shadows and not replayed"
    assert data["summary"]["paths"] == {"rag-slm → rag-llm": 1}
    assert {"usd", "ms", "changed", "replayed", "fields", "paths"} == set(data["summary"])


@pytest.mark.slow
async def test_replay_asks_policy_who_may_see() -> None:
    import asyncio

    outcome, _ = await production()
    with pytest.raises(RunError) as raised:
        await asyncio.to_thread(replay, outcome.run, "--with", str(HELPDESK), "--as", "eve", "--role", "employee")
    assert raised.value.code == "SG610"
    with pytest.raises(RunError, match="no run of helpdesk since"):
        await asyncio.to_thread(replay, "--since", "1h", "--with", str(HELPDESK), "--as", "eve")


@pytest.mark.slow
def test_replay_of_an_unknown_run() -> None:
    with pytest.raises(RunError) as raised:
        replay("nope", "--with", str(HELPDESK))
    assert raised.value.code == "SG603"
