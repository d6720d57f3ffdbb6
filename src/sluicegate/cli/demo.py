"""`sluicegate demo`: everything a newcomer needs to see a workflow run, in one command."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from sluicegate.cli._support.console import AsJson, emit, notes
from sluicegate.cli._support.outcome import print_summary, summary
from sluicegate.cli.run import requests_in, run_all
from sluicegate.errors import RunError

__all__ = ["app"]

app = typer.Typer(help="Fetch weights, ingest documents and run a workflow's example requests.")


@app.command()
def demo(
    config: Annotated[Path, typer.Argument(help="The workflow's file.")] = Path("configs/helpdesk/workflow.yaml"),
    as_json: AsJson = False,
) -> None:
    """Fetch what is missing, ingest the workflow's knowledge, and send its example requests through it."""
    from sluicegate.graphs.config.load import load
    from sluicegate.graphs.runtime.intake import principal

    workflow = load(config)
    requests = workflow.config.examples.requests
    if requests is None:
        raise RunError(
            "SG601",
            f"{workflow.name} has no example requests",
            hint="Name a file of requests: `examples: {requests: FILE}`",
        )
    if not as_json:
        _prepare(config)
    outcomes = asyncio.run(
        _run(workflow, requests_in(str(workflow.find(requests)), principal("me", ["employee"])), as_json)
    )
    if as_json:
        emit({"outcomes": outcomes, "summary": summary(outcomes)})
        return
    print_summary(outcomes)
    done = [said for said in outcomes if "error" not in said]
    if not done:
        raise typer.Exit(1)
    screen = notes()
    screen.print("\nIn your own shell: . .venv/bin/activate", soft_wrap=True)
    screen.print(f"Look at one run:       sluicegate trace show {done[0]['run']}", soft_wrap=True)
    waiting = next((said for said in done if said.get("waiting")), None)
    if waiting:
        screen.print(
            f"Decide on one:         sluicegate approvals approve {waiting['run']} --as lea --role helpdesk-lead",
            soft_wrap=True,
        )
    screen.print(
        "Try your own request:  sluicegate run configs/helpdesk/workflow.yaml 'your request' --as ann", soft_wrap=True
    )


def _prepare(config: Path) -> None:
    """Fetch weights and build the index, with the commands a user would type."""
    from sluicegate.cli.ingest import ingest
    from sluicegate.cli.models import pull

    pull()
    ingest(config)


async def _run(workflow: Any, requests: Any, as_json: bool) -> list[dict[str, Any]]:
    from sluicegate.graphs.runtime.factory import open_workflow

    opened = open_workflow(workflow)
    opened.warm()
    return await run_all(opened, requests, channel="demo", show=not as_json)
