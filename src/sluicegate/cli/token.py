"""`sluicegate token`: API tokens of the callers of a server."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from sluicegate.cli._support.console import AsJson, console, emit
from sluicegate.cli._support.options import Clearance

__all__ = ["app"]

app = typer.Typer(help="Create, list and revoke API tokens of a server.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of the token.")]
File = Annotated[Path, typer.Option("--tokens", help="Token file of the server.")]


@app.command()
def add(
    name: Name,
    tokens: File = Path("tokens.json"),
    user: Annotated[str, typer.Option("--as", help="User id of the caller; by default the token's name.")] = "",
    role: Annotated[list[str] | None, typer.Option(help="Role of that user (repeatable).")] = None,
    group: Annotated[list[str] | None, typer.Option(help="Group of that user (repeatable).")] = None,
    clearance: Clearance = "internal",
    days: Annotated[int, typer.Option(min=0, help="Days until it expires; 0 for never.")] = 90,
    on_behalf: Annotated[
        bool, typer.Option("--on-behalf", help="For an application that names the user it acts for in each call.")
    ] = False,
    claim_role: Annotated[
        list[str] | None, typer.Option(help="With --on-behalf: a role that those users may have (repeatable).")
    ] = None,
    claim_group: Annotated[
        list[str] | None, typer.Option(help="With --on-behalf: a group that those users may be in (repeatable).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Create a token. It is shown once; the file holds only its hash.

    An application's token claims for its users no role and no group that is not listed, and no clearance above its own.
    """
    from sluicegate.cli.run import CLEARANCES
    from sluicegate.serving.http.callers import Claims, Named, TokenFile

    if clearance not in CLEARANCES:
        raise typer.BadParameter(f"must be one of {', '.join(CLEARANCES)}", param_hint="--clearance")
    if not on_behalf and (claim_role or claim_group):
        raise typer.BadParameter("is required with --claim-role and --claim-group", param_hint="--on-behalf")
    claims = Claims(roles=claim_role or [], groups=claim_group or []) if on_behalf else None
    principal = Named(id=user or name, roles=role or [], groups=group or [], clearance=clearance)  # pyright: ignore[reportArgumentType]
    valid = timedelta(days=days) if days else None
    token = TokenFile(tokens).add(name, principal, claims=claims, valid=valid)
    if as_json:
        emit({"name": name, "token": token, "file": str(tokens)})
    else:
        console().print(token, markup=False, soft_wrap=True)


@app.command("list")
def list_tokens(tokens: File = Path("tokens.json"), as_json: AsJson = False) -> None:
    """List the tokens and their users."""
    from rich.table import Table

    from sluicegate.serving.http.callers import TokenFile

    found = TokenFile(tokens).tokens()
    rows: list[dict[str, Any]] = [each.model_dump(mode="json", exclude={"sha256"}) for each in found]
    if as_json:
        emit(rows)
        return
    table = Table("name", "who", "roles", "groups", "clearance", "until", "on behalf", box=None, pad_edge=False)
    for row in rows:
        who = row["principal"]
        table.add_row(
            row["name"],
            who["id"],
            ", ".join(who["roles"]),
            ", ".join(who["groups"]),
            who["clearance"],
            (row["expires"] or "-")[:10],
            "; ".join((", ".join(row["claims"]["roles"]) or "no role", *row["claims"]["groups"]))
            if row["on_behalf"]
            else "",
        )
    console().print(table)


@app.command()
def revoke(name: Name, tokens: File = Path("tokens.json"), as_json: AsJson = False) -> None:
    """Revoke a token; running servers reject it immediately."""
    from sluicegate.errors import RunError
    from sluicegate.serving.http.callers import TokenFile

    if not TokenFile(tokens).revoke(name):
        raise RunError("SG623", f"{tokens} has no token {name!r}", hint="List them: sluicegate token list")
    if as_json:
        emit({"revoked": name})
    else:
        console().print(f"{name} revoked", markup=False)
