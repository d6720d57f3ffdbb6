"""`sluicegate graph`: draw a workflow's graph."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sluicegate.cli._support.console import AsJson, emit, notes, write
from sluicegate.errors import UnwritableError

if TYPE_CHECKING:
    from sluicegate.graphs.proofs.flow import Flow

__all__ = ["app"]

app = typer.Typer(help="Draw a workflow's graph.")


class PictureFormat(StrEnum):
    """Output format of a picture."""

    svg = "svg"
    png = "png"
    mermaid = "mermaid"


@app.command()
def graph(
    config: Annotated[Path, typer.Argument(help="The workflow's file.")],
    format: Annotated[
        PictureFormat | None,
        typer.Option(
            "--format", help="SVG, PNG (the extra `png`), or Mermaid text; by default chosen by the ending of --out."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Output file; standard output by default.")] = None,
    as_json: AsJson = False,
) -> None:
    """Draw a workflow's graph. Works offline; any browser shows the picture."""
    from sluicegate.graphs.config.load import load
    from sluicegate.graphs.picture.picture import mermaid, svg
    from sluicegate.graphs.picture.raster import png

    written = format or _format_of(out)
    workflow = load(config)
    title = f"{workflow.name}, version {workflow.version}"
    if written is PictureFormat.png and out is None:
        raise typer.BadParameter("a PNG needs a file to go to", param_hint="--out")
    drawn = mermaid(workflow.flow) if written is PictureFormat.mermaid else svg(workflow.flow, title=title)
    if out is not None:
        content = png(drawn) if written is PictureFormat.png else drawn.encode()
        try:
            out.write_bytes(content)
        except OSError as error:
            raise UnwritableError(f"cannot write {out}: {error.strerror}", hint="Choose another output file") from error
    if as_json:
        where: dict[str, Any] = {"file": str(out)} if out is not None else {"picture": drawn}
        emit({"workflow": workflow.name, "version": workflow.version, "format": written.value, **where,
              **_described(workflow.flow)})  # fmt: skip
    elif out is not None:
        nodes = len(workflow.flow.nodes)
        notes().print(f"{out}: {nodes} nodes, {sum(len(node.ways) for node in workflow.flow.nodes.values())} branches")
    else:
        write(drawn)


_ENDINGS = {
    ".svg": PictureFormat.svg,
    ".png": PictureFormat.png,
    ".mmd": PictureFormat.mermaid,
    ".mermaid": PictureFormat.mermaid,
    ".md": PictureFormat.mermaid,
}


def _format_of(out: Path | None) -> PictureFormat:
    if out is None:
        return PictureFormat.svg
    try:
        return _ENDINGS[out.suffix.lower()]
    except KeyError:
        endings = ", ".join(_ENDINGS)
        raise typer.BadParameter(f"{out} ends in none of {endings}; give --format", param_hint="--out") from None


def _described(flow: "Flow") -> dict[str, Any]:
    return {
        "start": flow.start,
        "nodes": [
            {
                "name": node.name,
                "kind": node.kind,
                "max_visits": node.max_visits,
                "branches": [{"to": edge.to, "when": edge.condition} for edge in node.edges],
                "on_error": node.on_error and node.on_error.to,
            }
            for node in flow.nodes.values()
        ],
    }
