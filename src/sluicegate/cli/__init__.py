"""The command line. Commands are loaded when they are called, so that `--help` answers at once."""

import importlib
import os
import sqlite3
import sys
from typing import TYPE_CHECKING, Annotated, Any

import click
import typer
from typer.core import TyperArgument, TyperGroup

if TYPE_CHECKING:
    from sluicegate.errors import SluicegateError

__all__ = ["main"]

COMMANDS: dict[str, str] = {
    "init": "Start a new workflow, or a plug-in package.",
    "check": "Check workflows and prove their guarantees.",
    "graph": "Draw a workflow's graph.",
    "ingest": "Ingest documents into a workflow's indexes.",
    "run": "Send requests through a workflow.",
    "batch": "Run millions of rows, resumable after a crash.",
    "chat": "Hold a conversation in the terminal.",
    "answer": "Answer what a run asks its requester.",
    "demo": "Fetch weights, ingest documents and run a workflow's example requests.",
    "step": "Step through a run, node by node.",
    "serve": "Serve workflows over HTTP.",
    "worker": "Carry the runs of workflows that servers accept, from their queues.",
    "mcp": "Serve workflows as tools of an MCP server.",
    "token": "Create, list and revoke API tokens of a server.",
    "approvals": "List, show and decide runs that wait for approval.",
    "webhooks": "Show, retry and test the webhooks of a server.",
    "trace": "List, show and export runs.",
    "replay": "Replay recorded requests on another version.",
    "router": "Fit, evaluate and explain routers.",
    "models": "List, fetch and probe models.",
    "bundle": "Write an archive that installs without a network.",
    "policy": "Test and explain policies.",
    "guard": "Measure guards.",
    "cache": "Show, clear and measure the answer cache.",
    "budget": "Show spending; switch models, intents and workflows off and on.",
    "audit": "Verify and export the audit log; erase a person.",
    "prune": "Delete what a workflow's retention no longer keeps.",
    "incidents": "List, annotate and close incidents.",
    "task": "Run one small task: classify, extract, tag, summarise, route, check.",
    "eval": "Score a workflow on a labelled file.",
    "shadow": "Run a challenger in shadow mode.",
    "promote": "Evaluate a challenger against its plan and promote it.",
    "rollback": "Roll back to the previous version.",
    "doctor": "Check the installation: models, keys, servers, indexes.",
    "schema": "Print the JSON Schema of workflow files.",
}
"""Every command with its one-line help; each lives in the module of its name."""


class _Argument(TyperArgument):
    """An argument that shows its help: click 8.5 clears what typer before 0.20 (guardrails-ai's bound) has set."""

    def __init__(self, *, help: str | None = None, **rest: Any) -> None:
        super().__init__(help=help, **rest)
        self.help = help


typer.main.TyperArgument = _Argument  # pyright: ignore[reportPrivateImportUsage, reportAttributeAccessIssue]


class LazyGroup(TyperGroup):
    """Lists commands by name and help line, and imports a command only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        if ctx.resilient_parsing:
            return click.Command(cmd_name, help=COMMANDS[cmd_name])
        module = importlib.import_module(f"sluicegate.cli.{cmd_name}")
        command = typer.main.get_command(module.app)
        command.name = cmd_name
        # typer adds its completion options to every app; ours are subcommands
        command.params = [one for one in command.params if one.name not in ("install_completion", "show_completion")]
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Like click's, but suggests the nearest command for an unknown one."""
        from sluicegate.errors import nearest

        if args and not args[0].startswith("-") and args[0] not in COMMANDS and (near := nearest(args[0], COMMANDS)):
            ctx.fail(f"No such command {args[0]!r}. Did you mean {near!r}?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands by their help lines, without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


app = typer.Typer(
    cls=LazyGroup,
    help="Governed workflows of small and large language models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    # rich's renderer would double the time to the first line of help
    rich_markup_mode=None,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from sluicegate import __version__

        typer.echo(f"sluicegate {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None: ...


def main() -> None:
    """Run the command line. Exits with 0, 1 (failed), 2 (usage or config error) or 130 (interrupted)."""
    from sluicegate.cli._support.console import fail, show_warnings
    from sluicegate.errors import SluicegateError

    show_warnings()
    try:
        app()
    except SluicegateError as error:
        sys.exit(fail(error, as_json="--json" in sys.argv))
    except SystemExit as left:
        # click turns Ctrl-C into this status, without a message
        if left.code == 130:
            sys.stderr.write("interrupted\n")
        raise
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)
    except BrokenPipeError:
        # the reader of our output is gone; Python would complain again when it flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (OSError, MemoryError, sqlite3.DatabaseError) as error:
        sys.exit(fail(_disk_fault(error), as_json="--json" in sys.argv))


def _disk_fault(error: Exception) -> "SluicegateError":
    """The error for a fault of the machine: no space, no permission, no memory, a damaged file."""
    import errno

    from sluicegate.errors import CorruptError, NodeFailedError, RunError, UnwritableError
    from sluicegate.storage.sqlite import explained

    if isinstance(error, sqlite3.DatabaseError):
        try:
            with explained("the database"):
                raise error
        except RunError as known:
            return known
        except sqlite3.DatabaseError:
            return CorruptError(f"database error: {error}", hint="Restore it from a backup")
    if isinstance(error, OSError):
        full = error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
        hint = (
            "Free space"
            if full
            else "Check that it exists, that its permissions allow it, and that the disk is writable"
        )
        where = f" {error.filename}" if error.filename else ""
        return UnwritableError(f"cannot read or write{where}: {error.strerror or error}", hint=hint)
    return NodeFailedError("this machine is out of memory", hint="Close other programs, or use smaller models")
