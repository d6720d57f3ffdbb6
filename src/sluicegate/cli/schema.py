"""`sluicegate schema`: the JSON Schema of workflow files, for editors."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from sluicegate.cli._support.console import AsJson, notes
from sluicegate.errors import UnwritableError

__all__ = ["app"]

app = typer.Typer()


@app.command(help="Print the JSON Schema of workflow files, or the config reference.")
def schema(
    out: Annotated[Path | None, typer.Option(help="Output file.")] = None,
    reference: Annotated[bool, typer.Option(help="Print the config reference in Markdown instead.")] = False,
    firewall: Annotated[bool, typer.Option(help="Print the JSON Schema of firewall files instead.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print the JSON Schema of workflow files. `--json` is accepted for scripts that always pass it."""
    del as_json
    from sluicegate.graphs.config.reference import reference_page
    from sluicegate.graphs.config.schema import workflow_schema
    from sluicegate.serving.firewall.config import firewall_schema

    made = firewall_schema() if firewall else workflow_schema()
    text = reference_page() if reference else json.dumps(made, ensure_ascii=False, indent=2) + "\n"
    if out is None:
        sys.stdout.write(text)
        return
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UnwritableError(f"cannot write {out}: {error.strerror}", hint="Choose another output file") from error
    notes().print(f"wrote {out}", markup=False)
