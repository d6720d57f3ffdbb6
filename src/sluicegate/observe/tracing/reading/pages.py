"""Runs a page at a time, newest first. A page begins where the one before ended, however many runs came since."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sluicegate.observe.tracing.reading.filters import RunFilter, where
from sluicegate.observe.tracing.store import Store, decoded_run

__all__ = ["RunPage", "last_change", "page_of_runs", "requesters"]

_MOST_READ = 500
"""Rows that one page reads at most, where many are not shown."""


@dataclass(frozen=True, slots=True)
class RunPage:
    rows: list[dict[str, Any]]
    """Of `runs`, newest first, with `tags` and `metadata` decoded."""
    next: str
    """Where the next page begins; empty when there is none."""


def page_of_runs(
    store: Store,
    which: RunFilter,
    *,
    limit: int = 50,
    after: str = "",
    shown: Callable[[Mapping[str, Any]], bool] = lambda _: True,
) -> RunPage:
    """At most `limit` runs from behind `after`, the `next` of another page; one that cannot be read begins anew.

    Rows that are not `shown` are passed over. A page can be short, or empty, although more follow, since it reads 500
    rows at most. Raises `RunError` SG606, SG608.
    """
    rows, read, behind = list[dict[str, Any]](), 0, _place(after)
    while read < _MOST_READ:
        wanted = limit - len(rows) + 1
        batch = _rows(store, which, behind, wanted)
        read += len(batch)
        for row in batch:
            if not shown(row):
                behind = row["started_ns"], row["run_id"]
            elif len(rows) < limit:
                behind = row["started_ns"], row["run_id"]
                rows.append(decoded_run(row))
            else:
                return RunPage(rows, _cursor(behind))
        if len(batch) < wanted:
            return RunPage(rows, "")
    return RunPage(rows, _cursor(behind))


def requesters(store: Store) -> list[str]:
    """Everybody who has asked for a run, as traces name users; as many look-ups as there are people, however many runs
    they have asked for."""
    rows = store.query(
        'WITH RECURSIVE people ("user") AS (SELECT min("user") FROM runs UNION ALL '
        'SELECT (SELECT min(runs."user") FROM runs WHERE runs."user" > people."user") FROM people '
        'WHERE people."user" IS NOT NULL) SELECT "user" FROM people WHERE "user" IS NOT NULL'
    )
    return [row["user"] for row in rows]


def last_change(store: Store) -> int:
    """The number of the newest change of a run (see `RunFeed`); a page that is read after it shows it."""
    return store.query(store.sql.last_change)[0]["seq"]


def _rows(store: Store, which: RunFilter, behind: tuple[int, str] | None, limit: int) -> list[dict[str, Any]]:
    terms, values = where(which)
    if behind:
        terms += (" AND " if terms else "WHERE ") + "(started_ns, run_id) < (?, ?)"
        values += behind
    return store.query(
        f"SELECT * FROM runs {terms} ORDER BY started_ns DESC, run_id DESC LIMIT ?",  # noqa: S608
        [*values, limit],
    )


def _cursor(behind: tuple[int, str] | None) -> str:
    return f"{behind[0]}.{behind[1]}" if behind else ""


def _place(after: str) -> tuple[int, str] | None:
    at, _, run_id = after.partition(".")
    # an address may hold anything, and SQLite's integers end here
    known = at.isascii() and at.isdecimal() and len(at) < 20 and int(at) < 2**63
    return (int(at), run_id) if known else None
