"""What runs cost together: by path, and by the day."""

from datetime import date
from typing import Any, Literal, NamedTuple

from sluicegate.observe.tracing.reading.filters import RunFilter, where
from sluicegate.observe.tracing.store import Store

__all__ = ["DailyUse", "daily_use", "usage"]


class DailyUse(NamedTuple):
    """What the runs that began on one day (UTC) have cost, of one path or workflow."""

    day: date
    name: str
    """Of the path or workflow; ``none`` for runs without a path yet."""
    runs: int
    usd: float
    tokens: int


def usage(store: Store, which: RunFilter | None = None) -> dict[str, Any]:
    """Totals over finished runs: runs and share per path, cost, cost with only the large model, calls avoided.

    ``llm_calls_avoided`` counts the runs that were answered without any call of the large model.
    """
    terms, values = where(which or RunFilter())
    terms += (" AND" if terms else "WHERE") + " status IN ('answered', 'refused')"
    sums = ", ".join(
        f"coalesce(sum({column}), 0) AS {column}"
        for column in ("usd", "prompt_tokens", "completion_tokens", "slm_calls", "llm_calls")
    )
    avoided = (
        "coalesce(sum(CASE WHEN status = 'answered' AND coalesce(llm_calls, 0) = 0 THEN 1 ELSE 0 END), 0) "
        "AS llm_calls_avoided"
    )
    columns = f"count(*) AS runs, {sums}, {avoided}, sum(all_llm_usd) AS all_llm_usd, avg(ms) AS mean_ms"
    total = store.query(f"SELECT {columns} FROM runs {terms}", values)[0]  # noqa: S608
    paths = store.query(
        f"SELECT path, count(*) AS runs, coalesce(sum(usd), 0) AS usd, avg(ms) AS mean_ms FROM runs {terms} "  # noqa: S608
        "GROUP BY path ORDER BY runs DESC",
        values,
    )
    share = {row["path"] or "none": row | {"share": row["runs"] / total["runs"]} for row in paths}
    return total | {"paths": share}


def daily_use(store: Store, which: RunFilter, *, by: Literal["path", "workflow"] = "path") -> list[DailyUse]:
    """Dollars and tokens of the days on which a run began, the first day first, of every run, also of those that
    failed or still wait: what they have cost is spent."""
    terms, values = where(which)
    rows = store.query(
        # `by` is one of the literals above
        f"SELECT {store.sql.day} AS day, coalesce({by}, 'none') AS name, "  # noqa: S608
        "count(*) AS runs, coalesce(sum(usd), 0) AS usd, "
        "coalesce(sum(prompt_tokens), 0) + coalesce(sum(completion_tokens), 0) AS tokens "
        f"FROM runs {terms} GROUP BY day, name ORDER BY day, name",
        values,
    )
    return [
        DailyUse(date.fromisoformat(row["day"]), row["name"], row["runs"], row["usd"], row["tokens"]) for row in rows
    ]
