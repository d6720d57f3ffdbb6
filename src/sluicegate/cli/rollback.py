"""`sluicegate rollback`: let the version before serve again."""

import getpass
from typing import Annotated

import typer

from sluicegate.cli._support.console import AsJson, console, emit, this_machine_only

__all__ = ["app"]

app = typer.Typer(help="Let the version before serve again.")


@app.command()
def rollback(
    workflow: Annotated[str, typer.Argument(help="The workflow's name.")],
    reason: Annotated[str, typer.Option(help="Why, for the audit log.")],
    by: Annotated[str, typer.Option(help="Who decides, for the audit log; by default who is signed in.")] = "",
    as_json: AsJson = False,
) -> None:
    """Undo the last promotion. Running processes see it at their next request."""
    from sluicegate.evals.promotion import champions

    entry = champions.rollback(workflow, by=by or getpass.getuser(), reason=reason)
    this_machine_only("Rolled back")
    if as_json:
        emit(entry)
    else:
        console().print(f"version {entry['version']} of {workflow} serves: {entry['path']}", soft_wrap=True)
