"""`sluicegate step`: step through a run node by node, in the terminal."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from sluicegate.cli._support.attachments import Attach, files_in
from sluicegate.cli._support.console import AsJson, console, emit, notes
from sluicegate.errors import RunError, SluicegateError

if TYPE_CHECKING:
    from rich.console import Console

    from sluicegate.graphs.session.session import Session
    from sluicegate.graphs.session.view import Step
    from sluicegate.state import Principal

__all__ = ["app"]

app = typer.Typer(help="Step through a run, node by node.")

CLEARANCES = ("public", "internal", "confidential", "restricted")
_KEYS = (
    "Enter step · r run to the end · u NODE run until NODE · b [NODE] back · s state · t trail · i items · f fork · "
    "a approve · x reject · q quit"
)


@app.command()
def step(
    config: Annotated[str, typer.Argument(help="Workflow file, or the id of a run to open.")],
    request: Annotated[str, typer.Argument(help="The request; omit it when opening a run.")] = "",
    user: Annotated[
        str, typer.Option("--as", help="User id of the requester, or of the reader of a recorded run.")
    ] = "",
    role: Annotated[list[str] | None, typer.Option(help="Role of that user (repeatable).")] = None,
    group: Annotated[list[str] | None, typer.Option(help="Group of that user (repeatable).")] = None,
    clearance: Annotated[
        Literal["public", "internal", "confidential", "restricted"], typer.Option(help="Clearance of that user.")
    ] = "internal",
    decider: Annotated[
        str, typer.Option(help="Approver for the keys a and x, as NAME:ROLE or NAME:ROLE:CLEARANCE.")
    ] = "",
    attach: Attach = None,
    auto: Annotated[bool, typer.Option("--auto", help="Run to the end without prompting.")] = False,
    dry: Annotated[bool, typer.Option("--dry", help="Simulate tools that have effects.")] = False,
    as_json: AsJson = False,
) -> None:
    """Step through a new run, or through a copy of a recorded one.

    Keys: Enter = step, r = run to the end, u NODE = run until NODE, b [NODE] = back, s = state, t = trail, i = items,
    f = fork,
    a = approve, x = reject, q = quit. Keys may be piped in, one per line; it stops at the end of the input.
    """
    from sluicegate.graphs.session.session import Session

    if Path(config).is_file() or Path(config).suffix in {".yaml", ".yml"}:
        if not request:
            raise typer.BadParameter("missing request text", param_hint="REQUEST")
        who: dict[str, Any] = {"as_": user or "me", "role": role or ["employee"]}
        session = Session.start(
            config,
            request,
            **who,
            group=group or [],
            clearance=clearance,
            channel="cli",
            attachments=files_in(attach),
            dry=dry,
        )
    elif request or attach:
        raise typer.BadParameter("do not give a request when opening a recorded run", param_hint="REQUEST")
    else:
        session = Session.open(config, as_=user, role=role or [], group=group or [], clearance=clearance)
    if as_json or auto:
        _to_the_end(session, as_json=as_json)
    else:
        _by_hand(session, decider)


def _to_the_end(session: "Session", *, as_json: bool) -> None:
    steps: list[dict[str, Any]] = []
    while session.node and not session.waiting:
        done = session.step()
        steps.append(done.as_json())
        if not as_json:
            _print_step(done, console())
    if as_json:
        emit({"run": session.run_id, "status": session.status, "steps": steps, "facts": session.facts,
              "waiting": session.waiting})  # fmt: skip
    else:
        _print_end(session, console())


def _by_hand(session: "Session", decider: str) -> None:
    screen = console()
    if sys.stdin.isatty():
        notes().print(_KEYS, style="dim")
    _print_place(session, screen)
    while True:
        if sys.stdin.isatty():
            notes().print("› ", end="", style="bold")
        line = sys.stdin.readline()
        if not line:
            return
        key, _, rest = line.strip().partition(" ")
        if key in {"q", "quit"}:
            return
        try:
            session = _do(session, key, rest.strip(), decider, screen)
        except SluicegateError as error:
            notes().print(str(error), style="red", markup=False)
            if not sys.stdin.isatty():
                raise


def _do(session: "Session", key: str, rest: str, decider: str, screen: "Console") -> "Session":
    """Handle one key; returns the session to continue with."""
    name, role, clearance = (*decider.split(":"), "", "")[:3]
    if key in {"a", "x"} and (not role or clearance not in ("", *CLEARANCES)):
        hint = f"Name the approver: --decider NAME:ROLE, with :CLEARANCE of {', '.join(CLEARANCES)}"
        raise RunError("SG610", "a decision needs an approver", hint=hint)
    person = cast("Principal", {"id": name, "roles": [role], "groups": [], "clearance": clearance or "internal"})
    if key == "":
        _print_step(session.step(), screen)
    elif key == "r":
        session.run()
        _print_trail(session, screen)
    elif key == "u" and rest:
        session.run(until=rest)
        _print_trail(session, screen)
    elif key == "b":
        session.rewind(rest or None)
    elif key == "s":
        _print_state(session, screen)
        return session
    elif key == "t":
        _print_trail(session, screen)
        return session
    elif key == "i":
        screen.print(repr(session.items), markup=False, highlight=False)
        return session
    elif key == "f":
        session = session.fork(rest or None)
    elif key == "a":
        _print_step(session.approve(as_=person, reason=rest), screen)
    elif key == "x":
        _print_step(session.reject(as_=person, reason=rest), screen)
    else:
        raise RunError("SG615", f"no key {key!r}" + (" without a node" if key == "u" else ""), hint=_KEYS)
    _print_place(session, screen)
    return session


def _print_place(session: "Session", screen: "Console") -> None:
    from rich.markup import escape

    if session.waiting or session.node is None:
        _print_end(session, screen)
    else:
        kind = session.workflow.flow.nodes[session.node].kind
        screen.print(f"[dim]next[/dim] [bold]{escape(session.node)}[/bold] [dim]{kind} · run {session.run_id}[/dim]")


def _print_end(session: "Session", screen: "Console") -> None:
    from rich.markup import escape

    waiting, facts = session.waiting, session.facts
    cost = f"{facts['tokens']} tokens, ${facts['usd']:.5f}, {facts['ms'] / 1000:.2f} s"
    if waiting:
        screen.print(f"[magenta]waits[/magenta] for {waiting['approvers']}: {escape(waiting['reason'])}")
        if waiting["draft"]:
            screen.print(f"  draft   {escape(waiting['draft'])}")
        if waiting["proposal"]:
            screen.print(f"  would call {escape(str(waiting['proposal']))}")
    else:
        colour = "green" if session.status == "answered" else "red"
        screen.print(f"[{colour}]{session.status}[/{colour}] by path [bold]{facts['path']}[/bold]")
        screen.print(f"  answer  {escape(facts['answer'] or '')}")
    screen.print(f"  [dim]{cost} · run {session.run_id}[/dim]")


def _print_step(done: "Step", screen: "Console") -> None:
    from rich.markup import escape
    from rich.table import Table

    from sluicegate.graphs.session.view import plain

    if done.entry:
        screen.print(f"[bold]{escape(done.entry['node'])}[/bold]  [dim]{done.entry['ms']:.1f} ms[/dim]")
    table = Table(show_header=False, box=None, pad_edge=False, padding=(0, 2, 0, 2))
    for change in done.changes:
        before = "" if change.before is None else f"[dim strike]{escape(plain(change.before))}[/dim strike] "
        table.add_row(f"[cyan]{escape(change.field)}[/cyan]", before + escape(plain(change.after)))
    if done.changes:
        screen.print(table)
    if done.branch and done.branch["to"]:
        _print_branch(done.branch, screen)


def _print_branch(branch: Any, screen: "Console") -> None:
    from rich.markup import escape

    from sluicegate.graphs.session.view import values_of

    seen = values_of(branch)
    screen.print(f"  → [bold]{escape(branch['to'])}[/bold]  {escape(branch['reason'])}  [dim]{escape(seen)}[/dim]")


def _print_trail(session: "Session", screen: "Console") -> None:
    for entry in session.trail:
        screen.print(f"[bold]{entry['node']}[/bold]  [dim]{entry['ms']:.1f} ms[/dim]")
        if entry["branch"]["to"]:
            _print_branch(entry["branch"], screen)


def _print_state(session: "Session", screen: "Console") -> None:
    from rich.pretty import Pretty

    screen.print(Pretty({key: value for key, value in session.state.items() if key != "trail"}, max_string=200))
