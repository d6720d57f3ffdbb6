"""The ticket desk: an example tool that is real, a SQLite table of tickets in the home folder."""

from typing import Annotated, Literal, TypedDict

from pydantic import Field

from sluicegate.nodes.tools.tool import ToolContext, tool
from sluicegate.storage.schemas import TICKETS
from sluicegate.storage.sqlite import connect, transaction

__all__ = ["CREATE_TICKET", "FIND_TICKETS"]


class Ticket(TypedDict):
    id: str
    title: str
    category: str
    urgency: str
    status: str


class Found(TypedDict):
    """Tickets; `list` has them as one text."""

    count: int
    tickets: list[dict[str, str]]
    list: str


@tool("create_ticket")
def create_ticket(
    context: ToolContext,
    title: Annotated[str, Field(min_length=3, max_length=120, description="what is wanted, in a few words")],
    category: Annotated[
        Literal["access", "hardware", "software", "network", "other"], Field(description="the team it goes to")
    ] = "other",
    urgency: Annotated[
        Literal["low", "normal", "high"], Field(description="high only when work has stopped")
    ] = "normal",
    details: Annotated[str, Field(max_length=2000, description="what else matters")] = "",
) -> Ticket:
    """Open a ticket. The same idempotency key gives the same ticket, also after a crash before the answer."""
    connection = connect(context.home / "tickets.sqlite", TICKETS)
    try:
        with transaction(connection):
            connection.execute(
                "INSERT INTO tickets (key, run, title, category, urgency, details) VALUES (?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (key) DO NOTHING",
                (context.key, context.run, title, category, urgency, details),
            )
            row = connection.execute("SELECT * FROM tickets WHERE key = ?", (context.key,)).fetchone()
        return {
            "id": f"T-{row['number']:05}",
            "title": row["title"],
            "category": row["category"],
            "urgency": row["urgency"],
            "status": row["status"],
        }
    finally:
        connection.close()


@tool("find_tickets", effects=False, retries=1)
def find_tickets(
    context: ToolContext,
    words: Annotated[str, Field(min_length=2, max_length=100, description="words of the title")],
) -> Found:
    """Find open tickets by words of their title, newest first, ten at most."""
    connection = connect(context.home / "tickets.sqlite", TICKETS)
    try:
        pattern = "%" + words.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        rows = connection.execute(
            "SELECT number, title, status FROM tickets WHERE status = 'open' AND title LIKE ? ESCAPE '\\'"
            " ORDER BY number DESC LIMIT 10",
            (pattern,),
        ).fetchall()
        found = [{"id": f"T-{row['number']:05}", "title": row["title"]} for row in rows]
        return {
            "count": len(found),
            "tickets": found,
            "list": "; ".join(f"{one['id']} {one['title']}" for one in found),
        }
    finally:
        connection.close()


CREATE_TICKET = create_ticket
FIND_TICKETS = find_tickets
