"""The rows of the ledger's file or server: reservations (`calls`) and the sums of what they hold and have spent."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sluicegate.policies.ledger.calls import Limit, Over, scopes
from sluicegate.storage.database import Execute

__all__ = [
    "Backing",
    "Room",
    "Totals",
    "add",
    "backing_of",
    "calls_of_tools",
    "end",
    "held_by",
    "scopes_of",
    "totals_of",
]


def scopes_of(call: Mapping[str, Any]) -> list[str]:
    """The keys of the totals that a reservation counts towards; a server's row has them."""
    if call.get("scopes"):
        return list(call["scopes"])
    day, within = call["day"], [(call["workflow"], call["run"], call["intent"]), *json.loads(call["within"])]
    return [
        key
        for workflow, run, intent in within
        for key in scopes(workflow, run, call["principal"], intent, day, day[:7]).values()
    ]


def held_by(call: Mapping[str, Any]) -> tuple[int, int]:
    return int(call["estimated_micros"]), int(call["estimated_tokens"])


def end(execute: Execute, call: Mapping[str, Any], state: str, now: float) -> None:
    held = held_by(call)
    execute("UPDATE calls SET state = ?, ended_at = ? WHERE id = ?", (state, now, call["id"]))
    add(execute, scopes_of(call), held=(-held[0], -held[1]))


def add(
    execute: Execute,
    scopes: Iterable[str],
    *,
    held: tuple[int, int] = (0, 0),
    spent: tuple[int, int] = (0, 0),
) -> None:
    rows = [(scope, held[0], spent[0], held[1], spent[1]) for scope in scopes]
    values = ", ".join(["(?, ?, ?, ?, ?)"] * len(rows))
    execute(
        # only placeholders are put in
        f"INSERT INTO totals (scope, held_micros, spent_micros, held_tokens, spent_tokens) VALUES {values}"  # noqa: S608
        " ON CONFLICT (scope) DO UPDATE SET held_micros = totals.held_micros + excluded.held_micros,"
        " spent_micros = totals.spent_micros + excluded.spent_micros,"
        " held_tokens = totals.held_tokens + excluded.held_tokens,"
        " spent_tokens = totals.spent_tokens + excluded.spent_tokens",
        [value for row in rows for value in row],
    )


class Totals(NamedTuple):
    spent_micros: int = 0
    held_micros: int = 0
    spent_tokens: int = 0
    held_tokens: int = 0

    def of(self, unit: str) -> tuple[int, int]:
        """Spent and held."""
        return (self.spent_micros, self.held_micros) if unit == "usd" else (self.spent_tokens, self.held_tokens)


def totals_of(execute: Execute, scopes: Sequence[str]) -> dict[str, Totals]:
    """The sums of these scopes; a scope without any has zeros."""
    marks = ", ".join("?" * len(scopes))
    rows = execute(f"SELECT * FROM totals WHERE scope IN ({marks})", scopes)  # noqa: S608
    found = {row["scope"]: Totals(*(int(row[column]) for column in Totals._fields)) for row in rows}
    return {scope: found.get(scope, Totals()) for scope in scopes}


def calls_of_tools(execute: Execute, day: str, workflow: str, principal: str = "") -> int:
    """How many were booked in this workflow on a day; those of runs within it count too."""
    whose, named = " AND principal = ?" if principal else "", workflow.replace("_", r"\_")
    asked = (
        "SELECT COUNT(*) AS calls FROM calls WHERE model LIKE 'tool:%' AND state = 'settled' AND day = ?"
        r" AND (workflow = ? OR within LIKE ? ESCAPE '\')"
    )
    (row,) = execute(asked + whose, (day, workflow, f'%["{named}", %', *([principal] if principal else [])))
    return int(row["calls"])


class Backing(NamedTuple):
    """A reservation for branches or items, of which their calls are paid."""

    id: str
    micros: int
    """What is left of it."""
    tokens: int
    scopes: frozenset[str]

    def covers(self, micros: int, tokens: int) -> tuple[int, int]:
        return min(self.micros, micros), min(self.tokens, tokens)

    def give_back(self, execute: Execute, micros: int, tokens: int) -> None:
        """Hold again what a call held that counts towards all of the same totals."""
        add(execute, self.scopes, held=(micros, tokens))
        execute(
            "UPDATE calls SET estimated_micros = estimated_micros + ?, estimated_tokens = estimated_tokens + ?"
            " WHERE id = ?",
            (micros, tokens, self.id),
        )


def backing_of(execute: Execute, id: str) -> Backing | None:
    """What a call may draw on; None where nothing is left of it."""
    rows = execute("SELECT * FROM calls WHERE id = ? AND state = 'held'", (id,)) if id else ()
    return next((Backing(row["id"], *held_by(row), frozenset(scopes_of(row))) for row in rows), None)


class Room(NamedTuple):
    """What the limits leave, in one transaction; what a call draws on its reservation is not asked for twice."""

    limits: Sequence[Limit]
    keys: Mapping[str, str]
    totals: Mapping[str, Totals]
    backing: Backing | None
    of_tool: bool = False
    calls: Mapping[str, int] = {}
    """For the call of a tool: how many were made, by the keys of the scopes that limit them."""

    def asked(self, limit: Limit, micros: int, tokens: int) -> int:
        return int(self.of_tool) if limit.unit == "calls" else micros if limit.unit == "usd" else tokens

    def over(self, micros: int, tokens: int) -> Over | None:
        """The first limit that has no room for these amounts."""
        covered = self.backing.covers(micros, tokens) if self.backing else (0, 0)
        for limit in self.limits:
            asked, key = self.asked(limit, micros, tokens), self.keys[limit.scope]
            if limit.unit == "calls":
                if asked and self.calls[key] + asked > limit.limit:
                    return Over(limit, self.calls[key])
                continue
            drawn = covered[0] if limit.unit == "usd" else covered[1]
            used = sum(self.totals[key].of(limit.unit)) - (drawn if self.backing and key in self.backing.scopes else 0)
            if asked and used + asked > limit.limit:
                return Over(limit, used)
        return None

    def take(self, execute: Execute, micros: int, tokens: int, *, until: float) -> None:
        """Hold these amounts; what is drawn on a reservation it no longer holds, and its lease begins anew."""
        add(execute, self.keys.values(), held=(micros, tokens))
        if self.backing:
            covered = self.backing.covers(micros, tokens)
            add(execute, self.backing.scopes, held=(-covered[0], -covered[1]))
            execute(
                "UPDATE calls SET estimated_micros = estimated_micros - ?, estimated_tokens = estimated_tokens - ?,"
                " expires_at = ? WHERE id = ?",
                (*covered, until, self.backing.id),
            )
