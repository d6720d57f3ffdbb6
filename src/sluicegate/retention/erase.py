"""Erasing a person: what is theirs goes from every store, and what must stay stays without them.

Theirs are the runs that they asked for, with all that hangs on a run: checkpoints, decisions, tool results, tickets,
traces, comparisons, texts; their conversations; the feedback they gave; and the answer cache as a whole, whose entries
name nobody. Sums of the ledger, the audit chain and the runs of others that they decided stay, under a name that leads
nowhere.

Documents are not searched: who is named in one is erased by removing it from its index.
"""

import json
import re
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, cast

from sluicegate.graphs.runtime.checkpoints import Checkpoints, open_checkpoints
from sluicegate.graphs.runtime.run_lock import RunBusy, hold
from sluicegate.home import home
from sluicegate.observe.audit.log import open_audit
from sluicegate.observe.tracing.masking import Masking
from sluicegate.observe.tracing.storing.delivery import ON_SERVER
from sluicegate.observe.tracing.storing.packed import packed_with, replace_in_spans
from sluicegate.observe.tracing.storing.shared import open_store
from sluicegate.observe.tracing.storing.writes import Dialect
from sluicegate.policies.cache.cache import AnswerStore
from sluicegate.policies.ledger.rows import scopes_of
from sluicegate.retention.rows import changed, erasing, reading
from sluicegate.state import State
from sluicegate.storage.database import Rows, place
from sluicegate.storage.documents import SmallDocument, documents
from sluicegate.storage.postgres import Server
from sluicegate.storage.promises import forget_promises
from sluicegate.storage.schemas import (
    APPROVALS,
    CONVERSATIONS,
    INCIDENTS,
    LEDGER,
    LEFT_RUNS,
    RATES,
    RECOVERED,
    SHADOW,
    SHARED_TRACES,
    TICKETS,
    TOOL_CALLS,
    TRACES,
    UNSENT,
    WEBHOOKS,
)

__all__ = ["Erasure", "erase", "mentions"]

_OF_RUNS = (
    (
        APPROVALS,
        {
            "decisions": "DELETE FROM decisions WHERE run IN (VALUES)",
            "approval links": "DELETE FROM links WHERE run IN (VALUES)",
        },
    ),
    (TOOL_CALLS, {"tool results": "DELETE FROM tool_calls WHERE run IN (VALUES)"}),
    (RECOVERED, {"recoveries": "DELETE FROM recovered WHERE run IN (VALUES)"}),
    (
        WEBHOOKS,
        {
            "deliveries of webhooks": "DELETE FROM deliveries WHERE run IN (VALUES)",
            "events of webhooks": "DELETE FROM events WHERE run IN (VALUES)",
        },
    ),
    (TICKETS, {"tickets of the example desk": "DELETE FROM tickets WHERE run IN (VALUES)"}),
    (
        SHADOW,
        {
            "comparisons": "DELETE FROM pairs WHERE champion_run IN (VALUES)",
            "claims of comparisons": "DELETE FROM claims WHERE champion_run IN (VALUES)",
            "comparisons in work": "DELETE FROM working WHERE champion_run IN (VALUES)",
        },
    ),
)
"""What hangs on a run, by store."""

_ACCEPTED = (RECOVERED, {"accepted requests": "DELETE FROM accepted WHERE run IN (VALUES)"})
_LEFT = (LEFT_RUNS, {"accepted requests": "DELETE FROM left_runs WHERE run IN (VALUES)"})
"""Accepted requests of a home, and of a server."""

_TRACES = ((TRACES, Dialect()), (SHARED_TRACES, ON_SERVER))
"""Where traces may be: in the home, also from before its machine shared a server, and there."""


@dataclass(frozen=True, slots=True)
class Erasure:
    person: str
    removed: Mapping[str, int]
    """How much of what was deleted."""
    renamed: Mapping[str, int]
    """How much of what stays, without the person."""
    in_progress: Sequence[str]
    """Runs of theirs that a process is working on: they were left, and go when the erasure is repeated."""
    copies: Sequence[str]
    """Destinations that have received traces of them, which keep their copies until they are deleted there."""
    traced_as: str
    """The person's name in these copies."""
    mentioned: Sequence[str]
    """Files of the home that still contain the person's id, such as documents or another person's words."""


async def erase(person: str, *, by: str) -> Erasure:
    """Erase a person, by the id that requests gave. Repeating it is safe, also after one that was cut short.

    Raises `RunError` as the stores do: SG606, SG607, SG608 (another process holds a file for long) or SG625.
    """
    traced_as = Masking().user(person)
    names = sorted({person, traced_as})
    removed, renamed = dict[str, int](), dict[str, int]()
    alias = f"erased-{secrets.token_hex(6)}"
    rename = _renaming(person, alias)
    with closing(open_audit()) as log:
        with closing(open_checkpoints(place())) as checkpoints:
            states = {run: state for run in checkpoints.threads() if (state := checkpoints.state(run))}
            runs = {run for run, state in states.items() if state["principal"]["id"] == person}
            runs |= {*_recorded_runs(person, names), *log.payloads.runs(person)}
            in_progress = await _delete_checkpoints(checkpoints, {run: states.get(run) for run in runs}, removed)
            runs -= {*in_progress}
            _erase_what_hangs_on(runs, removed)
            copies = _erase_traces(runs, names, alias, removed, renamed)
            removed["cached answers"] = _forget_answers()
            others = [run for run, state in states.items() if run not in runs and rename(state) != state]
            renamed["runs of others"] = sum(bool(checkpoints.rewrite(run, rename)) for run in others)
            checkpoints.vacuum()
        with erasing(CONVERSATIONS) as execute:
            if execute:
                removed["turns of conversations"] = len(
                    execute("DELETE FROM turns WHERE person = ? RETURNING 1 AS one", (person,))
                )
        _rename_elsewhere(person, alias, rename, renamed)
        removed, renamed = ({what: one for what, one in each.items() if one} for each in (removed, renamed))
        # last, since until then the log's people say whose runs these are
        texts = log.erase(person, by=by, facts={"removed": removed, "renamed": renamed})
        log.payloads.vacuum()
    if texts:
        removed["texts"] = texts
    return Erasure(person, removed, renamed, sorted(in_progress), copies, traced_as, mentions(person))


def mentions(person: str) -> list[str]:
    """The files of the home that contain this id as a word of its own, by a search of their bytes, and of the
    observations that are packed in one of them."""
    forms = {person.encode("utf-8", "replace"), json.dumps(person)[1:-1].encode()}
    pattern = re.compile(rb"(?<![\w.@-])(?:" + b"|".join(map(re.escape, sorted(forms))) + rb")(?![\w@-])")
    files = (path for path in sorted(home().rglob("*")) if path.is_file() and not path.is_symlink())
    found = {str(path.relative_to(home())) for path in files if pattern.search(path.read_bytes())}
    with reading(TRACES) as execute:
        packed = packed_with(execute, json.dumps(person, ensure_ascii=False)[1:-1]) if execute else ()
        if any(pattern.search(spans.encode()) for _, spans in packed):
            found.add(f"{TRACES.name}.sqlite")
    return sorted(found)


def _recorded_runs(person: str, names: Sequence[str]) -> set[str]:
    """Runs of which only the trace or the bookings are left, or were ever made here."""
    runs: set[str] = set()
    if isinstance(place(), Server):
        with closing(open_store()) as store:
            store.settle()
        with erasing(UNSENT):
            # vacuumed when it is closed: what was sent stood there
            pass
    for schema, _ in _TRACES:
        with reading(schema) as execute:
            if execute:
                marks = ", ".join("?" * len(names))
                rows = execute(f'SELECT run_id FROM runs WHERE "user" IN ({marks})', names)  # noqa: S608
                runs |= {row["run_id"] for row in rows}
    with reading(LEDGER) as execute:
        if execute:
            runs |= {row["run"] for row in execute("SELECT DISTINCT run FROM calls WHERE principal = ?", (person,))}
    return runs


def _forget_answers() -> int:
    """Every cached answer, also those that a home has kept from before its machine shared a server."""
    gone, file = 0, home() / "cache.sqlite"
    for path in (None, file) if isinstance(place(), Server) else (file,):
        if path is None or path.is_file():
            with closing(AnswerStore(path)) as cache:
                gone += cache.clear()
    return gone


def _erase_what_hangs_on(runs: Iterable[str], removed: dict[str, int]) -> None:
    where = place()
    for schema, statements in (*_OF_RUNS, _LEFT if isinstance(where, Server) else _ACCEPTED):
        with erasing(schema) as execute:
            for what, statement in statements.items() if execute else ():
                removed[what] = changed(cast("Rows", execute), statement, runs)
    if isinstance(where, Server):
        removed["stretches of runs"] = forget_promises(where, {*runs})


def _rename_elsewhere(person: str, alias: str, rename: Callable[[Any], Any], renamed: dict[str, int]) -> None:
    """What the person did, in the stores that keep it."""
    with erasing(APPROVALS) as execute:
        if execute:
            renamed["decisions on runs of others"] = _replace(execute, "decisions", "verdict", [person], alias)
            # a link to a person who is gone is nobody's to use
            execute("DELETE FROM links WHERE person = ?", (person,))
            execute("UPDATE links SET made_by = ? WHERE made_by = ?", (alias, person))
    with erasing(RATES) as execute:
        if execute:
            # it says how often they have asked lately, and nothing that must stay
            execute("DELETE FROM rates WHERE kind = 'principal' AND name = ?", (person,))
    with erasing(WEBHOOKS) as execute:
        if execute:
            renamed["events of webhooks"] = _replace(execute, "events", "data", [person], alias)
    with erasing(INCIDENTS) as execute:
        if execute:
            rows = execute('UPDATE notes SET "by" = ? WHERE "by" = ? RETURNING 1 AS one', (alias, person))
            rows += execute("UPDATE incidents SET source = ? WHERE source = ? RETURNING 1 AS one", (alias, person))
            rows += execute("UPDATE happenings SET source = ? WHERE source = ? RETURNING 1 AS one", (alias, person))
            renamed["notes and sources of incidents"] = len(rows)
    renamed["promotions and switches"] = sum(_rewrite(each, rename) for each in documents())
    with erasing(LEDGER) as execute:
        if execute:
            renamed["bookings"] = _rename_bookings(execute, person, alias)


async def _delete_checkpoints(
    checkpoints: Checkpoints, runs: Mapping[str, State | None], removed: dict[str, int]
) -> list[str]:
    """Those that somebody is working on."""
    in_progress: list[str] = []
    for run, state in runs.items():
        if state is None:
            continue
        try:
            async with hold(place(), state):
                checkpoints.delete_thread(run)
        except RunBusy:
            in_progress.append(run)
    removed["runs"] = len(runs) - len(in_progress)
    return in_progress


def _erase_traces(
    runs: Iterable[str], names: Sequence[str], alias: str, removed: dict[str, int], renamed: dict[str, int]
) -> list[str]:
    """The destinations that have copies."""
    sent, run_ids = set[str](), sorted(runs)
    done: Counter[str] = Counter()
    for schema, words in _TRACES:
        with erasing(schema) as execute:
            if not execute:
                continue
            rows = execute(f"SELECT destination, run_id FROM {words.deliveries}")  # noqa: S608
            sent |= {row["destination"] for row in rows if row["run_id"] in {*run_ids}}
            for table in (words.spans, "scores", words.deliveries, "changes"):
                changed(execute, f"DELETE FROM {table} WHERE run_id IN (VALUES)", run_ids)  # noqa: S608
            done["traces"] += changed(execute, "DELETE FROM runs WHERE run_id IN (VALUES)", run_ids)
            given = "DELETE FROM scores WHERE source = 'feedback' AND \"by\" IN (VALUES)"
            done["feedback"] += changed(execute, given, names)
            changed(execute, 'UPDATE scores SET "by" = ? WHERE "by" IN (VALUES)', names, alias)
            if schema is TRACES:
                done["observations"] += sum(replace_in_spans(execute, *each) for each in _replacements(names, alias))
            else:
                done["observations"] += _replace(execute, "spans", "attributes", names, alias)
    removed |= {what: done[what] for what in ("traces", "feedback")}
    renamed["observations"] = done["observations"]
    return sorted(sent)


def _replace(execute: Rows, table: str, column: str, names: Sequence[str], alias: str) -> int:
    """Give the alias to what names the person in a column of JSON."""
    rows = 0
    for old, new in _replacements(names, alias):
        rows += len(
            execute(
                f"UPDATE {table} SET {column} = replace({column}, ?, ?)"  # noqa: S608
                f" WHERE replace({column}, ?, '') != {column} RETURNING 1 AS one",
                (old, new, old),
            )
        )
    return rows


def _replacements(names: Sequence[str], alias: str) -> list[tuple[str, str]]:
    """A person's names as JSON, each way to write them, with the alias."""
    forms = {form for name in names for form in (json.dumps(name), json.dumps(name, ensure_ascii=False))}
    return [(form, json.dumps(alias)) for form in sorted(forms)]


def _rename_bookings(execute: Rows, person: str, alias: str) -> int:
    """The bookings and the days' sums that they count towards, under the alias: no total changes."""
    booked: dict[str, str] = {}
    for row in execute("SELECT * FROM calls WHERE principal = ?", (person,)):
        # what a run spends counts for those that it lies within, too
        ends = f" {person!r} {row['day']}"
        own = (key for key in scopes_of(row) if key.startswith("principal ") and key.endswith(ends))
        booked |= {key: f"{key.removesuffix(ends)} {alias!r} {row['day']}" for key in own}
    for old, new in booked.items():
        execute("UPDATE totals SET scope = ? WHERE scope = ?", (new, old))
        if isinstance(place(), Server):
            execute("UPDATE calls SET scopes = array_replace(scopes, ?, ?) WHERE principal = ?", (old, new, person))
    return len(execute("UPDATE calls SET principal = ? WHERE principal = ? RETURNING 1 AS one", (alias, person)))


def _renaming(person: str, alias: str) -> Callable[[Any], Any]:
    """Plain data with the alias where it names the person, and nothing else changed."""
    forms = {person: alias, f"user:{person}": f"user:{alias}"}

    def renamed(value: Any) -> Any:
        match value:
            case str():
                return forms.get(value, value)
            case Mapping():
                return {key: renamed(one) for key, one in cast("Mapping[str, Any]", value).items()}
            case list():
                return [renamed(one) for one in cast("list[Any]", value)]
            case _:
                return value

    return renamed


def _rewrite(at: SmallDocument, rename: Callable[[Any], Any]) -> bool:
    """Whether a document named the person; it is changed while nobody else changes it."""
    with at.changing() as draft:
        before = None if draft.text is None else json.loads(draft.text)
        after = rename(before)
        if after != before:
            draft.text = json.dumps(after, ensure_ascii=False, indent=2)
    return after != before
