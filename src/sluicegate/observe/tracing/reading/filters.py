"""Which runs to read: one description, as a condition on rows of `runs` in SQL, and on a single row in memory."""

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

__all__ = ["RunFilter", "Sight", "matches", "prefix_range", "where"]

_AFTER_ALL = "\U0010ffff"
"""Follows whatever an id may go on with."""
_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">=": operator.ge,
    "IN": lambda value, among: value in among,
}

_WRITTEN: Mapping[str, str] = {
    "usd": "coalesce(usd, 0)",
    # by the index of the workflow's ends all its runs would be found, to be sorted for one page
    "workflow": "workflow || ''",
    "user": '"user"',
}
"""Columns that are written otherwise in SQL."""


class Sight(NamedTuple):
    """The runs of one workflow that somebody may see."""

    workflow: str
    """Empty: of every workflow."""
    users: Sequence[str] | None = None
    """Who asked for them, as traces name users (see `Masking.user`); None: anybody."""


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs to list; empty fields do not filter."""

    workflow: str = ""
    path: str = ""
    intent: str = ""
    status: str = ""
    users: tuple[str, ...] = ()
    """Any of these, as traces name users."""
    session: str = ""
    since_ns: int = 0
    until_ns: int = 0
    shadow: bool = False
    """Shadow runs too."""
    risk: str = ""
    usd_from: float | None = None
    """Runs that cost at least so much."""
    usd_to: float | None = None
    """Runs that cost at most so much; also those that have cost nothing yet."""
    id_prefix: str = ""
    within: tuple[Sight, ...] | None = None
    """Runs in any of these; None: of every workflow and everybody."""


class _Term(NamedTuple):
    column: str
    compare: str
    """One of `_OPERATORS`."""
    value: Any


def where(which: RunFilter) -> tuple[str, list[Any]]:
    """A ``WHERE`` with the values of its marks; empty for all runs."""
    said = [_sql(term) for term in _terms(which)]
    if which.within is not None:
        said.append(_any_of([_sight(sight) for sight in which.within]))
        if which.within and all(sight.users is not None for sight in which.within):
            # said by itself, for the index by user: who may see only their own is spared the rows of all others
            said.append(_sql(_Term("user", "IN", sorted({one for sight in which.within for one in sight.users or ()}))))
    text, values = _all_of(said)
    return (f"WHERE {text}" if text else ""), values


def matches(which: RunFilter, run: Mapping[str, Any]) -> bool:
    """Whether `where` would find this row of `runs`."""
    return all(_holds(term, run) for term in _terms(which)) and (
        which.within is None or any(all(_holds(term, run) for term in _sight(sight)) for sight in which.within)
    )


def prefix_range(prefix: str) -> tuple[str, str]:
    """The first id that starts with `prefix`, and one behind all that do: an index finds what lies between."""
    return prefix, prefix + _AFTER_ALL


def _terms(which: RunFilter) -> list[_Term]:
    names = ("workflow", "path", "intent", "status", "session", "risk")
    found = [_Term(name, "=", wanted) for name in names if (wanted := getattr(which, name))]
    if not which.shadow:
        found.append(_Term("shadow", "=", 0))
    if which.users:
        found.append(_Term("user", "IN", which.users))
    if which.since_ns:
        found.append(_Term("started_ns", ">=", which.since_ns))
    if which.until_ns:
        found.append(_Term("started_ns", "<", which.until_ns))
    if which.usd_from is not None:
        found.append(_Term("usd", ">=", which.usd_from))
    if which.usd_to is not None:
        found.append(_Term("usd", "<=", which.usd_to))
    if which.id_prefix:
        first, behind = prefix_range(which.id_prefix)
        found += [_Term("run_id", ">=", first), _Term("run_id", "<", behind)]
    return found


def _sight(sight: Sight) -> list[_Term]:
    found = [_Term("workflow", "=", sight.workflow)] if sight.workflow else []
    return found if sight.users is None else [*found, _Term("user", "IN", sight.users)]


def _holds(term: _Term, run: Mapping[str, Any]) -> bool:
    value = run[term.column]
    if value is None:
        value = 0 if term.column == "usd" else ""
    return _OPERATORS[term.compare](value, term.value)


def _sql(term: _Term) -> tuple[str, list[Any]]:
    column = _WRITTEN.get(term.column, term.column)
    if term.compare == "IN":
        return f"{column} IN ({', '.join('?' * len(term.value))})", [*term.value]
    return f"{column} {term.compare} ?", [term.value]


def _all_of(said: Iterable[tuple[str, list[Any]]]) -> tuple[str, list[Any]]:
    terms = [*said]
    return " AND ".join(text for text, _ in terms), [value for _, values in terms for value in values]


def _any_of(ways: Iterable[list[_Term]]) -> tuple[str, list[Any]]:
    said = [_all_of(map(_sql, way)) for way in ways]
    text = " OR ".join(f"({text})" if text else "TRUE" for text, _ in said)
    return f"({text or 'FALSE'})", [value for _, values in said for value in values]
