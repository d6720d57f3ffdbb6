"""`sluicegate answer`: answer what a run asks its requester."""

import asyncio
import sys
from typing import Annotated

import typer

from sluicegate.cli._support.console import AsJson, emit
from sluicegate.cli._support.continuing import opened_for
from sluicegate.cli._support.options import Clearance, Groups, Roles, User
from sluicegate.cli._support.outcome import as_json as outcome_json
from sluicegate.cli._support.outcome import print_outcome
from sluicegate.cli.approvals import Kept, Migrate
from sluicegate.cli.run import requester

__all__ = ["app"]

app = typer.Typer(help="Answer what a run asks its requester.")


@app.command()
def answer(
    run: Annotated[str, typer.Argument(help="Run id, or a unique prefix.")],
    text: Annotated[str, typer.Argument(help="The answer; `-` reads standard input.")],
    user: User = "me",
    role: Roles = None,
    group: Groups = None,
    clearance: Clearance = "internal",
    kept: Kept = False,
    migrate: Migrate = False,
    as_json: AsJson = False,
) -> None:
    """Add an answer to the request of a waiting run, which goes on with it. In a conversation, the next turn does."""
    from sluicegate.graphs.session.checkpoint_reader import full_id
    from sluicegate.plain_data import clean
    from sluicegate.storage.run_ids import root_run

    person = requester(user, role, group, clearance)
    words, _ = clean(sys.stdin.buffer.read() if text == "-" else text)
    known = root_run(full_id(run))
    opened = opened_for(known, "kept" if kept else "migrate" if migrate else "refuse")
    runner = opened.runner
    outcome = asyncio.run(runner.decide(known, "answer", person, text=words))
    outcome = runner.read_by(outcome, person)
    opened.tracer.hand_over()
    said = outcome_json(
        outcome, all_llm_usd=runner.all_llm_usd(outcome.state), answer_text=asyncio.run(runner.shown(outcome, person))
    )
    emit(said) if as_json else print_outcome(said)
