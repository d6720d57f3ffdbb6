"""Options of several commands: since when records are read, and who asks."""

import time
from datetime import datetime
from typing import Annotated

import typer

__all__ = ["Clearance", "Groups", "Roles", "Since", "User", "since_ns"]

User = Annotated[str, typer.Option("--as", help="User id of the requester.")]
Roles = Annotated[list[str] | None, typer.Option("--role", help="Role of the requester (repeatable).")]
Groups = Annotated[list[str] | None, typer.Option("--group", help="Group of the requester (repeatable).")]
Clearance = Annotated[str, typer.Option(help="Clearance: public, internal, confidential or restricted.")]
Since = Annotated[str, typer.Option(help="Only since then: 30m, 12h, 7d or an ISO time.")]


def since_ns(text: str) -> int:
    """Unix nanoseconds of a time given as an age or in ISO 8601; 0 for none, and for anything before 1970."""
    if not text:
        return 0
    try:
        found = time.time() - _age_s(text)
    except ValueError:
        try:
            found = datetime.fromisoformat(text).astimezone().timestamp()
        except (ValueError, OverflowError):
            raise typer.BadParameter(f"{text!r} is neither an age such as 30m, 12h or 7d nor an ISO time") from None
    # SQLite's integers end in the year 2262
    return int(min(max(found, 0.0) * 1e9, 2**63 - 1))


def _age_s(text: str) -> float:
    """Raises `ValueError`."""
    from sluicegate.policies.config import seconds

    return seconds(text)
