"""`sluicegate incidents`: list, show, annotate, close and export."""

import getpass
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sluicegate.cli._support.console import AsJson, console, emit, write

if TYPE_CHECKING:
    from sluicegate.observe.incidents import Incident

__all__ = ["app"]

app = typer.Typer(help="List, annotate and close incidents.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(help="Incident id, or a unique prefix.")]
Actor = Annotated[str, typer.Option("--by", help="Acting user; by default the signed-in one.")]


@app.command("list")
def list_incidents(
    everything: Annotated[bool, typer.Option("--all", help="Include closed incidents.")] = False,
    as_json: AsJson = False,
) -> None:
    """List incidents, newest first."""
    from sluicegate.serving.operating import incident_log

    found = incident_log.listed("all" if everything else "open")
    if as_json:
        emit(found)
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table("id", "kind", "system", "source", "severity", "times", "aware since", "report by", "status")
    # the next command needs the whole id
    table.columns[0].no_wrap = True
    table.columns[0].min_width = max((len(one["id"]) for one in found), default=0)
    for one in found:
        cells = [one["id"], one["kind"], one["system"], one["source"], one["severity"], str(one["occurrences"])]
        table.add_row(*map(escape, [*cells, _minute(one["aware_at"]), _minute(one["deadline"] or ""), one["status"]]))
    console().print(table if found else "no incidents" if everything else "no open incidents")


@app.command()
def show(incident: Id, as_json: AsJson = False) -> None:
    """Show one incident with its notes."""
    from sluicegate.serving.operating import incident_log

    _print(incident_log.one(incident), as_json=as_json)


@app.command()
def annotate(
    incident: Id,
    text: Annotated[str, typer.Argument(help="The note.")],
    severity: Annotated[
        str, typer.Option(help="minor, serious, widespread or death; resets the reporting deadline.")
    ] = "",
    impact: Annotated[str, typer.Option(help="Who or what was affected.")] = "",
    by: Actor = "",
    as_json: AsJson = False,
) -> None:
    """Add a note; optionally set severity and impact."""
    from sluicegate.serving.operating import incident_log

    grade: Any = severity or None
    try:
        changed = incident_log.annotated(incident, _said(text, "a note"), by=_actor(by), severity=grade, impact=impact)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    _print(changed, as_json=as_json)


@app.command()
def close(
    incident: Id,
    resolution: Annotated[str, typer.Argument(help="What was done about it.")],
    by: Actor = "",
    as_json: AsJson = False,
) -> None:
    """Close an incident."""
    from sluicegate.serving.operating import incident_log

    _print(incident_log.closed(incident, _said(resolution, "a resolution"), by=_actor(by)), as_json=as_json)


@app.command()
def export(
    out: Annotated[Path | None, typer.Option(help="Output file; standard output by default.")] = None,
    as_json: AsJson = False,
) -> None:
    """Export all incidents, closed ones included, as one JSON document."""
    from sluicegate.serving.operating import incident_log

    del as_json
    text = json.dumps(incident_log.listed("all"), ensure_ascii=False, indent=2) + "\n"
    if out:
        out.write_text(text, encoding="utf-8")
    else:
        write(text)


def _minute(at: str) -> str:
    """``2026-11-24 16:45``, in UTC like all times here."""
    return at[:16].replace("T", " ")


def _said(text: str, what: str) -> str:
    if not text.strip():
        raise typer.BadParameter(f"{what} must not be empty")
    return text


def _actor(by: str) -> str:
    return by or getpass.getuser()


def _print(incident: "Incident", *, as_json: bool) -> None:
    if as_json:
        emit(incident)
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table(show_header=False, box=None)
    span = f"{incident['log_from']} to {incident['log_to']}, {incident['log_hash'][:16]}…"
    shown = {
        "id": incident["id"],
        "status": incident["status"],
        "kind": incident["kind"],
        "system": incident["system"],
        "source": incident["source"],
        "severity": incident["severity"],
        "description": incident["description"],
        "impact": incident["impact"],
        "times": str(incident["occurrences"]),
        "started": incident["started_at"],
        "aware since": incident["aware_at"],
        "last": incident["last_at"],
        "report by": incident["deadline"] or "no report needed",
        "runs": ", ".join(incident["runs"]),
        "audit log": span if incident["log_to"] else "",
        "closed": incident["closed_at"] or "",
        "resolution": incident["resolution"],
    }
    for name, value in shown.items():
        if value:
            table.add_row(f"[dim]{name}[/]", escape(value))
    for note in incident["notes"]:
        table.add_row(f"[dim]{note['at']}[/]", escape(f"{note['by']}: {note['text']}"))
    console().print(table)
