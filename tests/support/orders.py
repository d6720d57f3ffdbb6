"""The workflow of docs/lists.md: one ticket for each row of a table that comes with the request."""

from pathlib import Path

from sluicegate.graphs.runtime.intake import principal
from tests.support.pages import blocks, page

__all__ = ["ANN", "ROWS", "TABLE", "orders", "tickets"]

ANN = principal("ann", ["employee"])
TABLE = "what;room;price\nBeamer;1.12;480\nBeamer;1.12;480\nDesk;2.07;1250.50\n"
ROWS = [
    {"what": "Beamer", "room": "1.12", "price": "480"},
    {"what": "Beamer", "room": "1.12", "price": "480"},
    {"what": "Desk", "room": "2.07", "price": "1250.50"},
]


def orders(folder: Path) -> Path:
    """The workflow's file, with its policy, in a folder."""
    text = page("docs/lists.md")
    (folder / "policies").mkdir(parents=True)
    (folder / "policies" / "orders.cedar").write_text(blocks(text, "cedar")[0])
    (folder / "orders.yaml").write_text(blocks(text, "yaml")[0])
    (folder / "positions.csv").write_text(TABLE)
    return folder / "orders.yaml"


def tickets(home: Path) -> list[tuple[str, str]]:
    """Title and key of every ticket that was opened."""
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(home / "tickets.sqlite")) as desk:
        return desk.execute("SELECT title, key FROM tickets ORDER BY number").fetchall()
