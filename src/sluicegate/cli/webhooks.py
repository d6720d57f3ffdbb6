"""`sluicegate webhooks`: what a server's webhooks have not delivered, and the tools to set them up."""

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sluicegate.cli._support.console import AsJson, console, emit

if TYPE_CHECKING:
    from sluicegate.serving.webhooks.outbox import Outbox

__all__ = ["app"]

app = typer.Typer(help="Show, retry and test the webhooks of a server.", no_args_is_help=True)

What = Annotated[str, typer.Argument(help="A destination, or the id of an event.")]


@app.command("list")
def list_deliveries(as_json: AsJson = False) -> None:
    """List the events that are not delivered: those that wait to be sent, and dead ones."""
    outbox = _outbox()
    found, off = outbox.deliveries(), outbox.off()
    if as_json:
        rows = [{key: value for key, value in asdict(each).items() if key != "data"} for each in found]
        emit({"deliveries": rows, "off": off})
        return
    for name, reason in off.items():
        console().print(f"{name} is switched off: {reason}", markup=False)
    if not found:
        console().print("every event is delivered")
        return
    from rich.table import Table

    table = Table("event", "type", "run", "destination", "state", "attempts", "next attempt", "last failure", box=None)
    for one in found:
        due = datetime.fromtimestamp(one.due, UTC).strftime("%Y-%m-%d %H:%M:%S") if one.state == "waiting" else ""
        table.add_row(one.event, one.type, one.run, one.destination, one.state, str(one.attempts), due, one.failure)
    for column in table.columns:
        column.overflow = "fold"
    table.columns[0].no_wrap = True
    console().print(table)


@app.command()
def retry(what: What, as_json: AsJson = False) -> None:
    """Send what waits or is dead again, at once, by the server that runs or the next one; a destination that is
    switched off is switched on."""
    count = _outbox().retry(what)
    _said({"retried": count}, f"{count} deliveries are due now", as_json=as_json)


@app.command()
def drop(what: What, as_json: AsJson = False) -> None:
    """Give up what is not delivered to a destination, or one event."""
    count = _outbox().drop(what)
    _said({"dropped": count}, f"{count} deliveries dropped", as_json=as_json)


@app.command("test")
def send_test(
    file: Annotated[Path, typer.Argument(help="File of webhooks.")],
    destination: Annotated[str, typer.Argument(help="The destination to send a test event to.")],
    as_json: AsJson = False,
) -> None:
    """Send one test event, signed and in the destination's shape, and report what came of it."""
    from sluicegate.errors import NotFoundError, nearest
    from sluicegate.serving.webhooks.config import read_webhooks
    from sluicegate.serving.webhooks.events import Tested
    from sluicegate.serving.webhooks.outbox import Announcement, Delivery
    from sluicegate.serving.webhooks.worker import delivered

    known = read_webhooks(file).destinations
    if destination not in known:
        near = nearest(destination, known)
        hint = f"Did you mean {near!r}?" if near else f"One of: {', '.join(known)}"
        raise NotFoundError(f"{file} has no destination {destination!r}", hint=hint)
    now = time.time()
    at = datetime.fromtimestamp(now, UTC).isoformat()
    data = Tested(message="This is a test of a Sluicegate webhook.").model_dump()
    event = Announcement("webhook.test", (str(now), destination), "", "", at, data)
    made = Delivery(event.id, event.type, "", "", at, data, destination, "waiting", 1, now, now, "")
    answer = asyncio.run(delivered(known[destination], made))
    facts = {"event": event.id, "status": answer.status, "failure": answer.failure}
    _said(facts, answer.failure or f"delivered: HTTP {answer.status}", as_json=as_json)
    if answer.failure:
        raise typer.Exit(1)


@app.command()
def secret(as_json: AsJson = False) -> None:
    """Make a secret to sign messages with; it is kept nowhere."""
    from sluicegate.serving.webhooks.signing import new_secret

    made = new_secret()
    _said({"secret": made}, made, as_json=as_json)


@app.command()
def schema(
    events: Annotated[bool, typer.Option("--events", help="Of the events that are sent, instead.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print the JSON Schema of files of webhooks. `--json` is accepted for scripts that always pass it."""
    del as_json
    from sluicegate.serving.webhooks.config import file_schema
    from sluicegate.serving.webhooks.events import events_schema

    typer.echo(json.dumps(events_schema() if events else file_schema(), ensure_ascii=False, indent=2))


def _outbox() -> "Outbox":
    from sluicegate.serving.webhooks.outbox import Outbox

    return Outbox()


def _said(facts: Mapping[str, object], text: str, *, as_json: bool) -> None:
    if as_json:
        emit(facts)
    else:
        console().print(text, markup=False, soft_wrap=True)
