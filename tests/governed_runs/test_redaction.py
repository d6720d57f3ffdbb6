"""What guards have redacted, through whole runs: who sees it again, and that it stands nowhere else."""

import json
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest
from typer.testing import CliRunner

from sluicegate.cli import approvals
from sluicegate.cli import run as run_command
from sluicegate.errors import RunError
from sluicegate.evals.evaluation.baselines import opened_variant
from sluicegate.graphs.runtime.intake import principal
from sluicegate.graphs.session.replay import open_for_replay, replay
from sluicegate.home import home
from sluicegate.observe.audit.log import open_audit
from sluicegate.observe.audit.proof import records
from sluicegate.observe.tracing.store import Store
from tests.support.raw_bytes import readable
from tests.support.redacting import ANN, EVE, LEA, LEADS, OWN, WORKFLOW, Desk

DOCUMENT, PHONE = "keeper.of.keys@example.com", "+41 44 123 45 67"


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(tmp_path / "desk", monkeypatch)


def places(value: str, *, vault: bool = False, root: Path | None = None) -> list[str]:
    """The files of the home that hold a value's bytes, packed or not; those of the erasable store only with `vault`."""
    files = [file for file in (root or home()).rglob("*") if file.is_file()]
    return sorted(
        file.name
        for file in files
        if value.encode() in readable(file) and (vault or not file.name.startswith("payloads.sqlite"))
    )


def revealed() -> list[dict[str, Any]]:
    return [body for body, _, _ in records(home() / "audit") if body["event"] == "redaction.revealed"]


@pytest.mark.slow
async def test_who_wrote_it_sees_it_again_and_nobody_else_does(desk: Desk) -> None:
    desk.says("We wrote to <EMAIL_1>.")
    assert await desk.ask(f"Write to {OWN}") == f"We wrote to {OWN}."
    assert await desk.ask(f"Write to {OWN}", to=EVE) == "We wrote to <EMAIL_1>."
    auditor = principal("ada", ["auditor", "operator"])
    assert await desk.ask(f"Write to {OWN}", to=auditor) == "We wrote to <EMAIL_1>."


async def test_no_model_and_no_state_sees_it(desk: Desk) -> None:
    desk.says("We wrote to <EMAIL_1>.")
    opened = desk.opened()
    outcome = await opened.runner.run(f"Write to {OWN}", ANN)
    assert outcome.text == "We wrote to <EMAIL_1>."
    assert OWN not in json.dumps(outcome.state)
    assert OWN not in str(desk.models.asked)


@pytest.mark.slow
async def test_what_an_answer_gave_away_stays_hidden_from_who_asked(desk: Desk) -> None:
    desk.says(f"Ask {DOCUMENT} or {PHONE}.")
    assert await desk.ask("Who has the keys?") == "Ask <EMAIL_1> or <PHONE_1>."
    desk.policies(LEADS)
    assert await desk.ask("Who has the keys?") == "Ask <EMAIL_1> or <PHONE_1>."
    assert await desk.ask("Who has the keys?", to=LEA) == f"Ask {DOCUMENT} or <PHONE_1>."


@pytest.mark.slow
async def test_placeholders_are_the_same_throughout_a_run(desk: Desk) -> None:
    desk.policies(LEADS)
    desk.says(f"You are {OWN}, also known as <EMAIL_1>; the keeper is {DOCUMENT}.")
    said = await desk.ask(f"I am {OWN}. Who is the keeper?")
    assert said == f"You are {OWN}, also known as {OWN}; the keeper is <EMAIL_2>."
    assert DOCUMENT in await desk.ask(f"I am {OWN}. Who is the keeper?", to=LEA)


async def test_a_placeholder_that_was_never_issued_is_not_restored(desk: Desk) -> None:
    desk.says("Not <EMAIL_7>, but <EMAIL_1>.")
    assert await desk.ask(f"Write to {OWN}") == f"Not <EMAIL_7>, but {OWN}."


@pytest.mark.slow
async def test_a_typed_placeholder_comes_to_stand_for_nothing(desk: Desk) -> None:
    """Neither within its own run, whatever is redacted there later, nor for what another run has redacted."""
    desk.policies(LEADS.replace('principal in Role::"lead" && ', ""))
    desk.says("It is <EMAIL_1>.")
    await desk.ask(f"I am {OWN}")
    assert await desk.ask("What is <EMAIL_1>?", EVE) == "It is <EMAIL_1>."
    desk.says(f"It is {DOCUMENT}.")
    opened = desk.opened()
    outcome = await opened.runner.run("Who is <EMAIL_1>?", EVE)
    assert outcome.text == "It is <EMAIL_2>."
    desk.says(f"<EMAIL_1> or {DOCUMENT}?")
    assert await desk.ask("Whose is <EMAIL_1>?", EVE) == f"<EMAIL_1> or {DOCUMENT}?"


@pytest.mark.slow
async def test_a_cached_answer_restores_nothing(desk: Desk) -> None:
    """Eve plants an answer with a placeholder; Ann's own address does not come to stand in it, nor Eve see Ann's."""
    desk.says("Is it <EMAIL_1>?")
    await desk.ask("Is <EMAIL_1> right?", EVE)
    again = desk.opened()
    hit = await again.runner.run("Is <EMAIL_1> right?", EVE)
    assert (hit.path, await again.runner.shown(hit, EVE)) == ("cache", "Is it <EMAIL_1>?")
    own = desk.opened()
    outcome = await own.runner.run(f"Is {OWN} right?", ANN)
    assert outcome.path == "rag-slm"
    after = desk.opened()
    assert await after.runner.shown(await after.runner.run("Is <EMAIL_1> right?", EVE), EVE) == "Is it <EMAIL_1>?"


@pytest.mark.slow
async def test_its_bytes_are_in_the_erasable_store_alone(desk: Desk) -> None:
    """Neither the request as it came in nor a draft as it was before its check is left in a checkpoint."""
    desk.says(f"Ask {DOCUMENT}, not {OWN}.")
    await desk.ask(f"I am {OWN}. Who has the keys?")
    assert places(OWN) == places(DOCUMENT) == []
    assert places(OWN, vault=True)


@pytest.mark.slow
async def test_a_run_that_fails_or_waits_is_clean_too(desk: Desk) -> None:
    desk.router.label = "risky"
    desk.says(f"Ask {DOCUMENT}.")
    await desk.ask(f"I am {OWN}")
    desk.models.fails = KeyError("broken")
    with pytest.raises(RunError, match="answer"):
        await desk.ask(f"I am {OWN}")
    assert places(OWN) == places(DOCUMENT) == []


@pytest.mark.slow
async def test_what_a_killed_process_left_is_cleaned_when_the_run_is_taken_up(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = desk.opened()
    monkeypatch.setattr(opened.runner, "_clean", AsyncMock())
    outcome = await opened.runner.run(f"I am {OWN}", ANN)
    opened.tracer.close()
    assert places(OWN)
    await desk.opened().runner.resume(outcome.run)
    assert places(OWN) == []


async def test_erasing_a_person_erases_what_placeholders_stand_for(desk: Desk) -> None:
    desk.says("We wrote to <EMAIL_1>.")
    opened = desk.opened()
    outcome = await opened.runner.run(f"Write to {OWN}", ANN)
    assert await opened.runner.shown(outcome, ANN) == f"We wrote to {OWN}."
    opened.tracer.close()
    assert open_audit().erase("ann", by="olga") == 1
    assert await opened.runner.shown(outcome, ANN) == "We wrote to <EMAIL_1>."
    assert places(OWN, vault=True) == []


@pytest.mark.slow
async def test_who_saw_it_is_on_record_and_without_a_record_nobody_does(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.says("We wrote to <EMAIL_1>.")
    await desk.ask(f"Write to {OWN}", to=EVE)
    assert revealed() == []
    await desk.ask(f"Write to {OWN}")
    [event] = revealed()
    assert event["facts"]["placeholders"] == ["<EMAIL_1>"]
    assert event["facts"]["rules"] == ["base.redacted.own"]
    assert open_audit().payloads.names()[event["actor"]] == "ann"
    opened = desk.opened()
    outcome = await opened.runner.run(f"Write to {OWN}", ANN)

    def full(*_: Any, **__: Any) -> int:
        raise RunError("SG607", "no space")

    monkeypatch.setattr("sluicegate.observe.audit.log.AuditLog.append", full)
    assert await opened.runner.shown(outcome, ANN) == "We wrote to <EMAIL_1>."


async def test_what_cannot_be_kept_does_not_go_on(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise RunError("SG607", "no space")

    monkeypatch.setattr("sluicegate.observe.tracing.pseudonyms.Payloads.hide", full)
    with pytest.raises(RunError, match="no space"):
        await desk.ask(f"I am {OWN}")
    assert desk.models.asked == []


@pytest.mark.slow
async def test_a_credential_is_restored_for_nobody_and_kept_nowhere(desk: Desk) -> None:
    desk.file.write_text(WORKFLOW.replace("[pii]", "[pii, secrets]"), encoding="utf-8")
    desk.policies(LEADS.replace(' && context.kind == "email"', "").replace('principal in Role::"lead"', "true"))
    desk.says("Is <PASSWORD_1> yours, <EMAIL_1>?")
    secret = "Xy12zz9QqWw"
    assert await desk.ask(f"I am {OWN}, password: {secret}") == f"Is <PASSWORD_1> yours, {OWN}?"
    assert places(secret, vault=True) == []
    assert OWN not in str(places(OWN))


@pytest.mark.slow
async def test_a_replay_has_placeholders_only(desk: Desk) -> None:
    desk.policies(LEADS.replace('principal in Role::"lead" && ', ""))
    desk.says("We wrote to <EMAIL_1>.")
    opened = desk.opened()
    recorded = await opened.runner.run(f"Write to {OWN}", ANN)
    opened.tracer.close()
    desk.says(f"We wrote to <EMAIL_1> and {DOCUMENT}.")
    other = open_for_replay(desk.file)
    [change] = await replay([recorded.run], other)
    other.tracer.close()
    assert change.request == "Write to <EMAIL_1>"
    assert OWN not in str(desk.models.asked)
    again = await other.runner.run("What is <EMAIL_1>?", ANN)
    assert await other.runner.shown(again, ANN) == "We wrote to <EMAIL_1> and <EMAIL_2>."
    assert places(OWN) == places(DOCUMENT) == []
    assert len(revealed()) == 0


async def test_a_shadow_leaves_no_bytes_either(desk: Desk, tmp_path: Path) -> None:
    desk.says(f"Ask {DOCUMENT}.")
    shadow = opened_variant(desk.file, tmp_path / "shadow")
    outcome = await shadow.runner.run(f"I am {OWN}", ANN)
    shadow.tracer.close()
    assert (outcome.text, await shadow.runner.shown(outcome, ANN)) == ("Ask <EMAIL_2>.", "Ask <EMAIL_2>.")
    for root in (home(), tmp_path / "shadow"):
        assert places(OWN, vault=True, root=root) == places(DOCUMENT, vault=True, root=root) == []


async def test_the_trace_has_placeholders(desk: Desk) -> None:
    desk.says(f"Ask {DOCUMENT}.")
    opened = desk.opened()
    outcome = await opened.runner.run(f"I am {OWN}", ANN)
    opened.tracer.close()
    store = Store(home() / "store.sqlite")
    told = json.dumps([store.run(outcome.run), store.spans(outcome.run), store.scores(outcome.run)], default=str)
    assert "<EMAIL_1>" in told
    assert OWN not in told
    assert DOCUMENT not in told


def _said(app: Any, *arguments: str) -> Any:
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output or result.exception
    return json.loads(result.stdout)


@pytest.mark.slow
def test_the_commands_show_each_what_they_may_see(desk: Desk) -> None:
    desk.policies(LEADS)
    desk.router.label = "risky"
    desk.says(f"Ask {DOCUMENT}, <EMAIL_1>.")
    asked = _said(run_command.app, str(desk.file), f"I am {OWN}", "--as", "ann")
    assert (asked["status"], asked["answer"]) == ("waiting", "")
    run = asked["run"]
    assert _said(approvals.app, "show", run)["draft"] == "Ask <EMAIL_2>, <EMAIL_1>."
    lead = ("--as", "lea", "--role", "lead")
    shown = _said(approvals.app, "show", run, *lead)
    assert shown["draft"] == f"Ask {DOCUMENT}, {OWN}."
    assert shown["request"] == f"I am {OWN}"
    assert _said(approvals.app, "show", run, "--as", "eve")["request"] == "I am <EMAIL_1>"
    # what a lead has seen and sends on is stored as it was: with placeholders
    edited = _said(approvals.app, "edit", run, f"Do ask {DOCUMENT}, {OWN}.", *lead, "--reason", f"for {OWN}")
    assert edited["answer"] == f"Do ask {DOCUMENT}, {OWN}."
    assert places(OWN) == places(DOCUMENT) == []
    assert len(revealed()) == 2


def test_who_asked_reads_their_own_on_the_screen(desk: Desk) -> None:
    desk.says(f"We wrote to <EMAIL_1>, not to {DOCUMENT}.")
    result = CliRunner().invoke(run_command.app, [str(desk.file), f"Write to {OWN}", "--as", "ann"])
    assert f"We wrote to {OWN}, not to <EMAIL_2>." in result.stdout
