"""`sluicegate chat`: a conversation in the terminal, one turn a line."""

import asyncio
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sluicegate.cli._support.console import AsJson, console, emit, notes
from sluicegate.cli._support.options import Clearance, Groups, Roles, User
from sluicegate.cli._support.outcome import until
from sluicegate.cli.run import requester

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sluicegate.graphs.conversations.turns import Conversations
    from sluicegate.graphs.runtime.factory import Opened
    from sluicegate.graphs.runtime.outcome import Outcome
    from sluicegate.state import Principal

__all__ = ["app"]

app = typer.Typer(help="Hold a conversation in the terminal.")


@app.command()
def chat(
    config: Annotated[Path, typer.Argument(help="The workflow's file; it needs `conversation`.")],
    session: Annotated[str, typer.Option(help="Conversation to go on with; by default a new one.")] = "",
    listed: Annotated[bool, typer.Option("--list", help="List your conversations, or the turns of --session.")] = False,
    user: User = "me",
    role: Roles = None,
    group: Groups = None,
    clearance: Clearance = "internal",
    as_json: AsJson = False,
) -> None:
    """Ask line by line; later lines may refer to earlier ones. An empty line ends it."""
    from sluicegate.errors import RunError
    from sluicegate.graphs.runtime.factory import open_workflow
    from sluicegate.graphs.runtime.intake import session_name

    asker = requester(user, role, group, clearance)
    opened = open_workflow(config)
    talks = opened.runner.conversations
    if talks is None:
        raise RunError("SG640", f"{opened.workflow.name} has no conversations", hint="Add `conversation: {}` to it")
    if listed:
        found = _turns(opened, talks, session_name(session), asker) if session else _conversations(talks, asker)
        emit(found) if as_json else _print_rows(found)
        return
    name = session_name(session) or secrets.token_hex(4)
    asyncio.run(_talk(opened, talks, name, asker, as_json=as_json))
    if not as_json:
        notes().print(f"go on with: sluicegate chat {config} --session {name}", style="dim", soft_wrap=True)


async def _talk(opened: "Opened", talks: "Conversations", name: str, asker: "Principal", *, as_json: bool) -> None:
    from sluicegate.errors import RunError, SluicegateError

    runner = opened.runner
    try:
        last = talks.turns(asker["id"], name)[-1].run
    except RunError:
        last = ""
    if last and runner.unfinished(last) and (runner.asks(last) or not runner.waits(last)):
        if not runner.asks(last):
            notes().print("going on where the last turn was interrupted", style="dim")
        await _show(opened, await runner.resume(last), asker, as_json=as_json)
    for line in _lines():
        try:
            outcome = await runner.run(line, asker, session=name)
        except SluicegateError as error:
            notes().print(f"{error}", style="red", markup=False, soft_wrap=True)
            continue
        await _show(opened, outcome, asker, as_json=as_json)
    opened.tracer.hand_over()


def _lines() -> "Iterator[str]":
    """What is typed, until an empty line or the end of the input."""
    screen, typing = notes(), sys.stdin.isatty()
    while True:
        if typing:
            screen.print("> ", end="", style="bold")
        line = sys.stdin.readline().strip()
        if not line:
            return
        yield line


async def _show(opened: "Opened", outcome: "Outcome", asker: "Principal", *, as_json: bool) -> None:
    from sluicegate.cli._support.outcome import as_json as outcome_json

    runner, screen = opened.runner, console()
    outcome = await runner.call(runner.read_by, outcome, asker)
    said = outcome_json(
        outcome, all_llm_usd=runner.all_llm_usd(outcome.state), answer_text=await runner.shown(outcome, asker)
    )
    if as_json:
        emit(said)
        return
    if (waiting := outcome.waiting) and waiting["waits_for"] == "answer":
        screen.print(waiting["reason"], style="bold", markup=False, soft_wrap=True)
        return
    if waiting and waiting["waits_for"] == "time":
        screen.print(f"waiting until {until(waiting['deadline'])} (run {outcome.run})", style="magenta", markup=False)
        return
    if waiting:
        screen.print(
            f"waiting for {waiting['approvers']} until {until(waiting['deadline'])}: {waiting['reason']} (run "
            f"{outcome.run})",
            style="magenta", markup=False, soft_wrap=True,
        )  # fmt: skip
        return
    screen.print(said.get("withheld") or said["answer"], markup=False, soft_wrap=True)
    if said["citations"]:
        cited = ", ".join(f"{each['marker']} {each['document']}@{each['version']}" for each in said["citations"])
        screen.print(cited, style="dim", markup=False, soft_wrap=True)


def _conversations(talks: "Conversations", asker: "Principal") -> list[dict[str, Any]]:
    return [
        {"session": row.name, "turns": row.turns, "began": row.began_at, "last": row.last_at}
        for row in talks.all(asker["id"])
    ]


def _turns(opened: "Opened", talks: "Conversations", name: str, asker: "Principal") -> list[dict[str, Any]]:
    from sluicegate.graphs.runtime.outcome import Outcome

    runner, found = opened.runner, list[dict[str, Any]]()
    for row in talks.turns(asker["id"], name):
        state = runner.last_state(row.run)
        outcome = state and runner.read_by(Outcome(row.run, state, 0.0, runner.waiting(row.run)), asker)
        found.append(
            {
                "turn": row.number,
                "at": row.at,
                "run": row.run,
                "status": outcome.status if outcome else "deleted",
                "path": outcome.path if outcome else "",
                "question": outcome.state["request"]["text"] if outcome else "",
                "answer": (outcome.withheld or outcome.text) if outcome else "",
            }
        )
    return found


def _print_rows(rows: list[dict[str, Any]]) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in rows[0] if rows else ():
        table.add_column(column)
    for row in rows:
        table.add_row(*(escape(str(value)) for value in row.values()))
    console().print(table if rows else "no conversations")
