"""Incidents: what operators must handle, with the fields that a report needs.

`record` counts occurrences and opens an incident by the rule of their kind: at once, or when there are too many.
Further occurrences are counted in an open incident of the same kind, system and source. Fields follow the incident
documentation that NIST AI 600-1 (GV-4.3, MS-3.3) and Article 73 of the EU AI Act ask for: the system, the source, the
time of awareness, the deadline of a report, what happened, its impact, and the range of the audit log that shows it.
"""

import json
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypedDict, get_args

from sluicegate.errors import NotFoundError, NotWaitingError, RunError
from sluicegate.home import home
from sluicegate.observe.audit.log import AuditLog
from sluicegate.storage.database import Execute, Rows, SqliteDatabase, open_database, place
from sluicegate.storage.schemas import INCIDENTS

__all__ = ["RULES", "Incident", "IncidentRule", "Incidents", "Kind", "Severity"]

Kind = Literal[
    "blocked",
    "budget-stop",
    "guard-failure",
    "policy-error",
    "tampering",
    "audit-failure",
    "override",
    "drift",
    "tool-changed",
]
Severity = Literal["minor", "serious", "widespread", "death"]

REPORT_WITHIN_DAYS: dict[str, int | None] = {"minor": None, "serious": 15, "widespread": 2, "death": 10}
"""Days from awareness to the report under Article 73(2) to (4) of the EU AI Act; a minor incident needs none."""


@dataclass(frozen=True, slots=True)
class IncidentRule:
    """An incident opens when something happens `times` within `within_s` seconds in one system from one source."""

    times: int
    within_s: float
    severity: Severity = "minor"


RULES: dict[Kind, IncidentRule] = {
    "blocked": IncidentRule(10, 600),
    "budget-stop": IncidentRule(1, 3600),
    "guard-failure": IncidentRule(3, 600),
    "policy-error": IncidentRule(1, 3600),
    "tampering": IncidentRule(1, 3600, "serious"),
    "audit-failure": IncidentRule(1, 3600, "serious"),
    "override": IncidentRule(1, 3600),
    "drift": IncidentRule(1, 3600),
    "tool-changed": IncidentRule(1, 3600),
}

_MOST_RUNS = 1000


class Note(TypedDict):
    at: str
    by: str
    text: str


LogRange = TypedDict("LogRange", {"from": int, "to": int, "hash": str})


class Incident(TypedDict):
    """Times are ISO 8601 in UTC."""

    id: str
    kind: str
    system: str
    """The workflow."""
    source: str
    """Its source: a rule, a guard, a cap, a file."""
    status: Literal["open", "closed"]
    severity: str
    started_at: str
    """Time of the first counted occurrence."""
    aware_at: str
    """When the incident opened: the time of awareness."""
    deadline: str | None
    """Deadline of the report, by its severity."""
    description: str
    impact: str
    occurrences: int
    last_at: str
    runs: list[str]
    log_from: int
    """First record of the audit log of the machine where it opened that belongs to it; 0 without an audit log."""
    log_to: int
    log_hash: str
    """Hash of the record `log_to`: the range is frozen, and kept from pruning while the incident is open."""
    logs: "dict[str, LogRange]"
    """The same for the log of each machine that counted in it, by the fingerprint of the key that signs it."""
    closed_at: str | None
    resolution: str
    notes: list[Note]


class Incidents:
    """The incidents of one home, or of the machines that share a server. Safe to use from any thread and by several
    processes.

    Raises `RunError` SG606, SG607 or SG608 when its file fails, SG625 when the server does, SG603 for an incident that
    does not exist.
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        audit: AuditLog | None = None,
        rules: Mapping[Kind, IncidentRule] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        look: bool = False,
    ) -> None:
        """With `path`, the incidents of that file."""
        self._database = (
            SqliteDatabase(path, INCIDENTS, look=look) if path else open_database(place(), INCIDENTS, look=look)
        )
        self._audit = audit
        self._rules = {**RULES, **(rules or {})}
        self._now = now
        if self._database.remote:
            self._take_over(home() / "incidents.sqlite")

    def record(
        self, kind: Kind, *, system: str, source: str, description: str, run: str = "", impact: str = ""
    ) -> str | None:
        """Count one occurrence; the id of its incident, or None while its rule is not met.

        `description` and `impact` are shown to people and exported: they must not contain requests or answers.
        """
        rule, now = self._rules[kind], self._now()
        at = self._log_position()
        with self._database.alone("incidents") as execute:
            execute.many(
                "INSERT INTO happenings (kind, system, source, at, run, log_seq, log) VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(kind, system, source, now.timestamp(), run, at.seq, at.log)],
            )
            opened = self._count_in(execute, kind, system, source, run, now, at)
            if opened is None:
                recent = execute(
                    "SELECT * FROM happenings WHERE kind = ? AND system = ? AND source = ? AND at > ? ORDER BY seq",
                    (kind, system, source, now.timestamp() - rule.within_s),
                )
                if len(recent) >= rule.times:
                    opened = self._open(execute, kind, system, source, recent, description, impact, now, at)
            longest = max(rule.within_s for rule in self._rules.values())
            execute.many("DELETE FROM happenings WHERE at < ?", [(now.timestamp() - longest,)])
        return opened

    def list(self, *, status: Literal["open", "closed", "all"] = "open") -> "list[Incident]":
        """Newest first."""
        with self._database.reading() as execute:
            rows = execute("SELECT * FROM incidents WHERE ? IN (status, 'all') ORDER BY aware_at DESC, id", (status,))
            return [_incident(execute, row) for row in rows]

    def show(self, id: str) -> Incident:
        """One incident, by its id or a unique prefix."""
        with self._database.reading() as execute:
            rows = execute("SELECT * FROM incidents WHERE substr(id, 1, ?) = ? ORDER BY id = ? DESC", (len(id), id, id))
            if not rows or (len(rows) > 1 and rows[0]["id"] != id):
                what = "no incident" if not rows else "more than one incident"
                raise NotFoundError(f"{what} {id!r}", hint="List them: sluicegate incidents list --all")
            return _incident(execute, rows[0])

    def unannounced(self) -> "list[Incident]":
        """Those that no webhook has, the oldest first."""
        with self._database.reading() as execute:
            rows = execute("SELECT * FROM incidents WHERE announced = 0 ORDER BY aware_at")
            return [_incident(execute, row) for row in rows]

    def announced(self, id: str) -> None:
        with self._database.alone("incidents") as execute:
            execute("UPDATE incidents SET announced = 1 WHERE id = ?", (id,))

    def is_open(self, kind: Kind, *, system: str, source: str) -> bool:
        """Whether there is an open incident of this kind, system and source."""
        with self._database.reading() as execute:
            found = execute(
                "SELECT 1 AS one FROM incidents WHERE kind = ? AND system = ? AND source = ? AND status = 'open'",
                (kind, system, source),
            )
        return bool(found)

    def watch(self, kind: Kind, *, system: str, source: str) -> Callable[[], bool]:
        """`is_open`, to be asked on an event loop as often as wanted. With a server it waits for none: it says what
        was so when somebody last looked, and has a thread look again where that was more than a second ago."""
        look = partial(self.is_open, kind, system=system, source=source)
        return _Watched(look) if self._database.remote else look

    def annotate(
        self,
        id: str,
        text: str,
        *,
        by: str,
        severity: Severity | None = None,
        impact: str = "",
        seen: int | None = None,
    ) -> Incident:
        """Add a note; a new severity resets the deadline, counted from the time of awareness. Raises `RunError` SG605
        when it has other than `seen` notes by now."""
        incident = self.show(id)
        if severity is not None and severity not in get_args(Severity):
            raise ValueError(f"{severity!r} is not one of {', '.join(get_args(Severity))}")
        with self._database.alone("incidents") as execute:
            (row,) = execute("SELECT count(*) AS n FROM notes WHERE incident = ?", (incident["id"],))
            if seen is not None and row["n"] != seen:
                raise NotWaitingError(f"incident {incident['id']} has been annotated since", hint="Read it again")
            self._note(execute, incident["id"], text, by)
            if severity:
                deadline = _deadline(severity, datetime.fromisoformat(incident["aware_at"]))
                execute(
                    "UPDATE incidents SET severity = ?, deadline = ? WHERE id = ?", (severity, deadline, incident["id"])
                )
            if impact:
                execute("UPDATE incidents SET impact = ? WHERE id = ?", (impact, incident["id"]))
        self._audited("incident.annotated", incident, by, {"severity": severity or incident["severity"]})
        return self.show(incident["id"])

    def close(self, id: str, resolution: str, *, by: str) -> Incident:
        """Close an incident with what was done about it. Raises `RunError` SG605 when it is already closed."""
        incident = self.show(id)
        with self._database.alone("incidents") as execute:
            closed = execute(
                "UPDATE incidents SET status = 'closed', closed_at = ?, resolution = ?"
                " WHERE id = ? AND status = 'open' RETURNING 1 AS one",
                (_iso(self._now()), resolution, incident["id"]),
            )
            if not closed:
                raise NotWaitingError(f"incident {incident['id']} is already closed")
            self._note(execute, incident["id"], f"closed: {resolution}", by)
        self._audited("incident.closed", incident, by, {})
        return self.show(incident["id"])

    def disconnect(self) -> None:
        """Close the file."""
        self._database.close()

    def frozen_from(self) -> int | None:
        """The first record of this machine's audit log that an open incident needs; None when none is open."""
        with self._database.reading() as execute:
            rows = execute("SELECT log_from, logs FROM incidents WHERE status = 'open' AND log_to > 0")
        signer = self._audit.signer if self._audit else ""
        needed = list[int]()
        for row in rows:
            logs: dict[str, LogRange] = json.loads(row["logs"])
            if signer in logs:
                needed.append(logs[signer]["from"])
            elif not logs:
                # of a time when there was one log
                needed.append(row["log_from"])
        return min(needed, default=None)

    def _log_position(self) -> "_LogPosition":
        if self._audit is None:
            return _LogPosition("", 0, "")
        return _LogPosition(self._audit.signer, *self._audit.head)

    def _count_in(
        self, execute: Rows, kind: str, system: str, source: str, run: str, now: datetime, at: "_LogPosition"
    ) -> str | None:
        rows = execute(
            "SELECT id, runs, logs, log_from, log_to, log_hash FROM incidents"
            " WHERE kind = ? AND system = ? AND source = ? AND status = 'open'",
            (kind, system, source),
        )
        if not rows:
            return None
        (row,) = rows
        runs: list[str] = json.loads(row["runs"])
        if run and run not in runs and len(runs) < _MOST_RUNS:
            runs.append(run)
        logs: dict[str, LogRange] = json.loads(row["logs"])
        first = next(iter(logs), at.log)
        if at.seq:
            known = logs[at.log]["from"] if at.log in logs else 0 if logs else row["log_from"]
            logs[at.log] = {"from": known or at.seq, "to": at.seq, "hash": at.hash}
        ends = (at.seq, at.hash) if first == at.log else (row["log_to"], row["log_hash"])
        execute(
            "UPDATE incidents SET occurrences = occurrences + 1, last_at = ?, runs = ?, log_to = ?, log_hash = ?,"
            " logs = ? WHERE id = ?",
            (_iso(now), json.dumps(runs), *ends, json.dumps(logs), row["id"]),
        )
        return row["id"]

    def _open(
        self,
        execute: Rows,
        kind: Kind,
        system: str,
        source: str,
        recent: "list[dict[str, Any]]",
        description: str,
        impact: str,
        now: datetime,
        at: "_LogPosition",
    ) -> str:
        severity = self._rules[kind].severity
        opened = f"inc-{now:%Y%m%d}-{secrets.token_hex(4)}"
        runs = list(dict.fromkeys(row["run"] for row in recent if row["run"]))[:_MOST_RUNS]
        started = datetime.fromtimestamp(recent[0]["at"], UTC)
        logs = _ranges(recent, at)
        began = logs[at.log]["from"] if at.seq else 0
        values = (
            *(opened, kind, system, source, "open", severity, _iso(started), _iso(now), _deadline(severity, now)),
            *(description, impact or f"{len(runs)} runs", len(recent), _iso(now), json.dumps(runs)),
            *(began, at.seq, at.hash, None, "", 0, json.dumps(logs)),
        )
        execute.many(_OPENED, [values])
        return opened

    def _take_over(self, file: Path) -> None:
        """Bring here what a home has had before its machine shared a server. Cut short, it is done again."""
        if not file.is_file():
            return
        with closing(SqliteDatabase(file, INCIDENTS)) as own:
            with own.reading() as execute:
                incidents, notes = execute("SELECT * FROM incidents"), execute("SELECT * FROM notes ORDER BY seq")
            with self._database.alone("incidents") as execute:
                taken = "SELECT id FROM incidents WHERE kind = ? AND system = ? AND source = ? AND status = 'open'"
                for row in incidents:
                    if execute("SELECT 1 AS one FROM incidents WHERE id = ?", (row["id"],)):
                        continue
                    if row["status"] == "open" and execute(taken, (row["kind"], row["system"], row["source"])):
                        # another machine has one of its own open
                        row["source"] = f"{row['source']} ({row['id']})"
                    if self._audit and row["log_to"] and row["logs"] == "{}":
                        known = {"from": row["log_from"], "to": row["log_to"], "hash": row["log_hash"]}
                        row["logs"] = json.dumps({self._audit.signer: known})
                    execute.many(_OPENED, [tuple(row[column] for column in _COLUMNS)])
                    told = [(each["incident"], each["at"], each["by"], each["text"]) for each in notes]
                    execute.many(_NOTED, [each for each in told if each[0] == row["id"]])
        file.replace(file.with_name(f"{file.name}.moved"))

    def _note(self, execute: Rows, id: str, text: str, by: str) -> None:
        execute.many(_NOTED, [(id, _iso(self._now()), by, text)])

    def _audited(self, event: str, incident: Incident, by: str, facts: dict[str, Any]) -> None:
        if self._audit:
            self._audit.append(event, actor=by, workflow=incident["system"], facts={"id": incident["id"], **facts})


@dataclass(frozen=True, slots=True)
class _LogPosition:
    """The last record of a machine's audit log, and who signs it."""

    log: str
    seq: int
    hash: str


class _Watched:
    """The answer to a question that waits for a server, a second old or one look late."""

    def __init__(self, look: Callable[[], bool]) -> None:
        self._look, self._known, self._at = look, look(), time.monotonic()
        self._looking = threading.Lock()

    def __call__(self) -> bool:
        if time.monotonic() - self._at > _WATCHED_S and self._looking.acquire(blocking=False):
            threading.Thread(target=self._again, name="sluicegate-incidents", daemon=True).start()
        return self._known

    def _again(self) -> None:
        try:
            # a server that is away changes nothing about what was known
            with suppress(RunError):
                self._known = self._look()
            self._at = time.monotonic()
        finally:
            self._looking.release()


_WATCHED_S = 1.0
_COLUMNS = (
    *("id", "kind", "system", "source", "status", "severity", "started_at", "aware_at", "deadline", "description"),
    *("impact", "occurrences", "last_at", "runs", "log_from", "log_to", "log_hash", "closed_at", "resolution"),
    *("announced", "logs"),
)
_OPENED = f"INSERT INTO incidents ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608 - constants
_NOTED = "INSERT INTO notes (incident, at, by, text) VALUES (?, ?, ?, ?)"


def _ranges(recent: list[dict[str, Any]], at: _LogPosition) -> dict[str, LogRange]:
    """By log, the records from the first of these occurrences on; first the log of this machine, up to now."""
    logs: dict[str, LogRange] = {}
    if at.seq:
        # what was counted before machines shared a server names no log
        began = next(row["log_seq"] for row in recent if row["log"] in (at.log, ""))
        logs[at.log] = {"from": max(1, began), "to": at.seq, "hash": at.hash}
    for row in recent:
        if row["log_seq"] and row["log"] not in (at.log, ""):
            known = logs.get(row["log"], {"from": row["log_seq"]})
            logs[row["log"]] = {"from": known["from"], "to": row["log_seq"], "hash": ""}
    return logs


def _incident(execute: Execute, row: dict[str, Any]) -> Incident:
    notes = execute("SELECT at, by, text FROM notes WHERE incident = ? ORDER BY seq", (row["id"],))
    kept = {key: value for key, value in row.items() if key != "announced"}
    made: Any = {**kept, "runs": json.loads(row["runs"]), "logs": json.loads(row["logs"]), "notes": notes}
    return made


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds")


def _deadline(severity: str, aware: datetime) -> str | None:
    days = REPORT_WITHIN_DAYS[severity]
    return None if days is None else _iso(aware + timedelta(days=days))
