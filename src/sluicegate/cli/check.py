"""`sluicegate check`: validate workflows and prove their guarantees."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from sluicegate.cli._support.console import console, emit

__all__ = ["app"]

app = typer.Typer()


@app.command(help="Check workflows and prove their guarantees.")
def check(
    configs: Annotated[list[Path], typer.Argument(help="Workflow files, or folders to search for workflow.yaml.")],
    format: Annotated[Literal["text", "json", "sarif"], typer.Option(help="Output format.")] = "text",
    streaming: Annotated[
        bool,
        typer.Option("--streaming", help="Say of each writing node whether its answer streams, and why not."),
    ] = False,
    proofs: Annotated[
        bool, typer.Option("--proofs", help="Say of each guarantee what was found on every path, or why it is waived.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Same as --format json.")] = False,
) -> None:
    """Exits with 0 when every workflow may start, 1 when one may not, 2 when a file cannot be read."""
    from sluicegate.graphs.config import check as checking

    reports = [checking.check(file) for config in configs for file in checking.workflow_files(config)]
    if as_json or format == "json":
        emit(checking.as_json(reports))
    elif format == "sarif":
        emit(checking.as_sarif(reports))
    else:
        screen = console()
        for report in reports:
            screen.print(checking.as_text(report, streaming=streaming, proofs=proofs), soft_wrap=True)
    raise typer.Exit(checking.exit_status(reports))
