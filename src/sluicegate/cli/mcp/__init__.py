"""`sluicegate mcp CONFIG…`: workflows as tools of an MCP server; `sluicegate mcp COMMAND …` for everything else."""

import click
import typer
from typer.core import TyperGroup

from sluicegate.cli.mcp.proxy import proxy
from sluicegate.cli.mcp.serve import serve

__all__ = ["app"]


class _ServeByDefault(TyperGroup):
    """A group whose first command, `serve`, need not be named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] != "--help" and args[0] not in self.commands:
            args = ["serve", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_ServeByDefault,
    help="Workflows as tools of an MCP server: sluicegate mcp CONFIG… (short for: mcp serve CONFIG…)",
    no_args_is_help=True,
)


@app.callback()
def _group() -> None: ...


app.command()(serve)
app.command()(proxy)
