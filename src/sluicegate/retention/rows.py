"""The stores as rows to delete or to change, in a home and on a server alike. A store that is not there is not made."""

from collections.abc import Generator, Iterable
from contextlib import contextmanager

from sluicegate.home import home
from sluicegate.storage.database import Database, Execute, Place, Rows, is_there, open_database, place
from sluicegate.storage.migrations import Schema
from sluicegate.storage.postgres import Server
from sluicegate.storage.schemas import RESULTS

__all__ = ["changed", "erasing", "reading", "there"]

_FOLDERS = {RESULTS.name: "evals"}
_AT_ONCE = 500
"""Values in one statement; SQLite takes 32,766."""


@contextmanager
def reading(schema: Schema) -> Generator[Execute | None]:
    """None where there is no store. Raises as `Database` does."""
    with _opened(schema) as database:
        if database is None:
            yield None
            return
        with database.reading() as execute:
            yield execute


@contextmanager
def erasing(schema: Schema) -> Generator[Rows | None]:
    """A transaction, after which a file has nothing of what was deleted in it, nor of what was deleted before; None
    where there is no store. Raises as `Database` does."""
    with _opened(schema) as database:
        if database is None:
            yield None
            return
        with database.erasing() as execute:
            yield execute
        database.vacuum()


def changed(execute: Rows, statement: str, values: Iterable[str], *before: object) -> int:
    """Run a statement that ends with ``IN (VALUES)``, with the values in the place of this word; how many rows it has
    changed. `before` are the parameters that stand before them."""
    rows, rest = 0, [*values]
    while rest:
        some, rest = rest[:_AT_ONCE], rest[_AT_ONCE:]
        marks = ", ".join("?" * len(some))
        rows += len(execute(statement.replace("VALUES", marks) + " RETURNING 1 AS one", (*before, *some)))
    return rows


def there(schema: Schema) -> bool:
    """Whether there is such a store; on a server it is made when it is opened."""
    return is_there(_place(schema), schema)


def _place(schema: Schema) -> Place:
    where: Place = home() if schema.local else place()
    return where if isinstance(where, Server) else where / _FOLDERS.get(schema.name, "")


@contextmanager
def _opened(schema: Schema) -> Generator[Database | None]:
    if not there(schema):
        yield None
        return
    database = open_database(_place(schema), schema)
    try:
        yield database
    finally:
        database.close()
