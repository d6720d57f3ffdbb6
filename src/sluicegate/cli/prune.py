"""`sluicegate prune`: delete what a workflow's retention no longer keeps."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from sluicegate.cli._support.console import AsJson, console, emit

__all__ = ["app"]

app = typer.Typer(help="Delete what a workflow's retention no longer keeps.")


@app.command()
def prune(
    workflow: Annotated[Path, typer.Argument(help="A workflow file; its `retention` says how long things are kept.")],
    as_json: AsJson = False,
) -> None:
    """Delete old checkpoints, traces, results and expired answers. Runs that wait for a person are kept."""
    from sluicegate.graphs.config.load import load
    from sluicegate.retention.prune import prune as pruned

    found = pruned(load(workflow).config)
    if as_json:
        emit(asdict(found))
        return
    parts = ", ".join(f"{count} {what}" for what, count in asdict(found).items())
    console().print(f"deleted: {parts}")
