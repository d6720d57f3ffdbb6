"""`sluicegate rollback`: roll back to the previous version."""

import getpass
from typing import Annotated

import typer

from sluicegate.cli._support.console import AsJson, console, emit

__all__ = ["app"]

app = typer.Typer(help="Roll back to the previous version.")


@app.command()
def rollback(
    workflow: Annotated[str, typer.Argument(help="Name of the workflow.")],
    reason: Annotated[str, typer.Option(help="Reason, for the audit log.")],
    by: Annotated[str, typer.Option(help="Deciding user, for the audit log; by default the signed-in one.")] = "",
    as_json: AsJson = False,
) -> None:
    """Undo the last promotion. Running services follow at their next request."""
    from sluicegate.evals.promotion import champions

    entry = champions.rollback(workflow, by=by or getpass.getuser(), reason=reason)
    if as_json:
        emit(entry)
    else:
        console().print(f"now serving version {entry['version']} of {workflow}: {entry['path']}", soft_wrap=True)
