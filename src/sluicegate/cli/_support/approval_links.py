"""`sluicegate approvals link` and `links`: links by which one person decides on one run, without signing in."""

import asyncio
import getpass
from typing import Annotated, Any, Literal

import typer

from sluicegate.cli._support.console import AsJson, console, emit

__all__ = ["link", "links"]


def link(
    run: Annotated[str, typer.Argument(help="Run id, or a unique prefix; not with --revoke and --rotate.")] = "",
    person: Annotated[str, typer.Option("--for", help="User id of the person who may decide by it.")] = "",
    role: Annotated[list[str] | None, typer.Option(help="Role of that person (repeatable).")] = None,
    group: Annotated[list[str] | None, typer.Option(help="Group of that person (repeatable).")] = None,
    clearance: Annotated[
        Literal["public", "internal", "confidential", "restricted"], typer.Option(help="Their clearance.")
    ] = "internal",
    hours: Annotated[
        float, typer.Option(min=0.01, max=720, help="Hours that it may be used; not longer than the run waits.")
    ] = 24,
    url: Annotated[
        str, typer.Option(help="Address of the server as that person reaches it.")
    ] = "http://127.0.0.1:8080",
    revoke: Annotated[str, typer.Option(help="Revoke the link with this id, or a unique prefix of it.")] = "",
    rotate: Annotated[
        bool, typer.Option("--rotate", help="Sign with a new key; links of the key before the present one end.")
    ] = False,
    by: Annotated[str, typer.Option("--by", help="Acting user; by default the signed-in one.")] = "",
    as_json: AsJson = False,
) -> None:
    """Make a link by which one person decides on one waiting run, once, without signing in.

    It is shown once. Opening it shows the evidence and changes nothing; the policies are asked again at each use.
    """
    from sluicegate.cli._support.continuing import opened_for
    from sluicegate.graphs.runtime.intake import principal
    from sluicegate.graphs.session.checkpoint_reader import full_id
    from sluicegate.serving.links.keys import rotate_link_keys
    from sluicegate.serving.links.links import address, make_link, revoke_link
    from sluicegate.storage.run_ids import root_run

    if sum(map(bool, (run, revoke, rotate))) != 1 or (run and not person):
        raise typer.BadParameter("give a run and --for, or --revoke, or --rotate", param_hint="RUN")
    by = by or getpass.getuser()
    if rotate:
        rotate_link_keys(by=by)
        _said({"rotated": True}, "new links are signed with a new key", as_json=as_json)
        return
    if revoke:
        ended = revoke_link(revoke, by=by)
        _said({"revoked": ended.id, "run": ended.run}, f"link {ended.id} is revoked", as_json=as_json)
        return
    run = root_run(full_id(run))
    runner = opened_for(run, "refuse").runner
    who = principal(person, role, group, clearance)
    made = asyncio.run(make_link(runner, run, who, by=by, hours=hours))
    shown = {"link": made.id, "url": address(url, made), "for": person, "run": run, "until": made.expires_at}
    _said(shown, shown["url"], as_json=as_json)


def links(
    run: Annotated[str, typer.Argument(help="Only those of this run: its id, or a unique prefix.")] = "",
    as_json: AsJson = False,
) -> None:
    """List approval links, the newest first: for whom, until when, and how each ended; never the links themselves."""
    from rich.table import Table

    from sluicegate.graphs.session.checkpoint_reader import full_id
    from sluicegate.serving.links.rows import LinkRows
    from sluicegate.storage.run_ids import root_run

    found = LinkRows().find(root_run(full_id(run)) if run else "")
    if as_json:
        emit(
            [
                {"link": one.id, "run": one.run, "for": one.person, "until": one.expires_at, "made_at": one.made_at,
                 "made_by": one.made_by, "ended": one.ended}
                for one in found
            ]
        )  # fmt: skip
        return
    table = Table("link", "run", "for", "until", "made by", "ended", box=None)
    for one in found:
        table.add_row(one.id[:12], one.run, one.person["id"], one.expires_at[:16], one.made_by, one.ended)
    for column in table.columns:
        column.overflow = "fold"
    console().print(table)


def _said(facts: dict[str, Any], text: str, *, as_json: bool) -> None:
    if as_json:
        emit(facts)
    else:
        console().print(text, markup=False, soft_wrap=True)
