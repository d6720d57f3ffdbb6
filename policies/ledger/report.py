"""What was spent, by whatever it was spent for."""

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from sluicegate.storage.database import Execute

__all__ = ["Group", "spending"]

Group: TypeAlias = Literal["workflow", "model", "intent", "principal", "day", "run"]


def spending(execute: Execute, *, by: Group, since: str, daily: bool, of: Mapping[Group, str]) -> list[dict[str, Any]]:
    """What was spent, most expensive first: rows of the group's name, `calls`, `usd`, `estimated_usd` (of settled
    calls), `held_usd`, `tokens` and `expired` (released because their process died), from a day on.

    `daily`: a row for each `day` of the group, the first day first. `of`: only these, such as ``{"principal": "ann"}``.
    """
    named = f"day, {by} AS name" if daily else f"{by} AS name"
    terms = " AND ".join(["day >= ?", *(f"{column} = ?" for column in of)])
    rows = execute(
        # `by` and the columns of `of` are from the literals above
        f"SELECT {named}, COUNT(NULLIF(model, '')) AS calls,"  # noqa: S608
        " COALESCE(SUM(real_micros), 0) AS real_micros,"
        " COALESCE(SUM(CASE WHEN state = 'settled' THEN estimated_micros END), 0) AS estimated_micros,"
        " COALESCE(SUM(CASE WHEN state = 'held' THEN estimated_micros END), 0) AS held_micros,"
        " COALESCE(SUM(real_tokens), 0) AS tokens,"
        " COALESCE(SUM(CASE WHEN state = 'expired' THEN 1 ELSE 0 END), 0) AS expired"
        f" FROM calls WHERE {terms} GROUP BY {'day, ' if daily else ''}{by}"
        f" ORDER BY {'day, ' if daily else ''}real_micros DESC, name",
        (since, *of.values()),
    )
    return [
        {
            **({"day": row["day"]} if daily else {}),
            by: row["name"],
            "calls": int(row["calls"]),
            "usd": int(row["real_micros"]) / 1_000_000,
            "estimated_usd": int(row["estimated_micros"]) / 1_000_000,
            "held_usd": int(row["held_micros"]) / 1_000_000,
            "tokens": int(row["tokens"]),
            "expired": int(row["expired"]),
        }
        for row in rows
    ]
