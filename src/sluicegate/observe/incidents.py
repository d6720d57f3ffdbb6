"""Incidents: what operators must handle, with the fields that a report needs.

`record` counts occurrences and opens an incident by the rule of their kind: at once, or when there are too many.
Further occurrences are counted in an open incident of the same kind, system and source. Fields follow the incident
documentation that NIST AI 600-1 (GV-4.3, MS-3.3) and Article 73 of the EU AI Act ask for: the system, the source, the
time of awareness, the deadline of a report, what happened, its impact, and the range of the audit log that shows it.
"""

import json
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, TypedDict, get_args

from sluicegate.errors import NotFoundError, NotWaitingError
from sluicegate.home import home
from sluicegate.observe.audit.log import AuditLog
from sluicegate.storage.schemas import INCIDENTS
from sluicegate.storage.sqlite import connect, explained, transaction

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
    """First record of the audit log that belongs to it; 0 without an audit log."""
    log_to: int
    log_hash: str
    """Hash of the record `log_to`: the range is frozen, and kept from pruning while the incident is open."""
    closed_at: str | None
    resolution: str
    notes: list[Note]


class Incidents:
    """The incidents of one home. Safe to use from any thread and by several processes.

    Raises `RunError` SG606, SG607 or SG608 when its file fails, SG603 for an incident that does not exist.
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
        self._path = path or home() / "incidents.sqlite"
        self._connection = connect(self._path, INCIDENTS, look=look)
        self._lock = threading.Lock()
        self._audit = audit
        self._rules = {**RULES, **(rules or {})}
        self._now = now

    def record(
        self, kind: Kind, *, system: str, source: str, description: str, run: str = "", impact: str = ""
    ) -> str | None:
        """Count one occurrence; the id of its incident, or None while its rule is not met.

        `description` and `impact` are shown to people and exported: they must not contain requests or answers.
        """
        rule, now = self._rules[kind], self._now()
        log_seq, log_hash = self._audit.head if self._audit else (0, "")
        with self._lock, transaction(self._connection) as connection:
            values = (kind, system, source, now.timestamp(), run, log_seq)
            connection.execute(
                "INSERT INTO happenings (kind, system, source, at, run, log_seq) VALUES (?, ?, ?, ?, ?, ?)", values
            )
            opened = self._count_in(kind, system, source, run, now, log_seq, log_hash)
            if opened is None:
                recent = connection.execute(
                    "SELECT * FROM happenings WHERE kind = ? AND system = ? AND source = ? AND at > ? ORDER BY seq",
                    (kind, system, source, now.timestamp() - rule.within_s),
                ).fetchall()
                if len(recent) >= rule.times:
                    opened = self._open(kind, system, source, recent, description, impact, now, log_seq, log_hash)
            longest = max(rule.within_s for rule in self._rules.values())
            connection.execute("DELETE FROM happenings WHERE at < ?", (now.timestamp() - longest,))
        return opened

    def list(self, *, status: Literal["open", "closed", "all"] = "open") -> "list[Incident]":
        """Newest first."""
        with self._lock, explained(self._path):
            rows = self._connection.execute(
                "SELECT * FROM incidents WHERE ? IN (status, 'all') ORDER BY aware_at DESC, id", (status,)
            ).fetchall()
            return [self._incident(row) for row in rows]

    def show(self, id: str) -> Incident:
        """One incident, by its id or a unique prefix."""
        with self._lock, explained(self._path):
            rows = self._connection.execute(
                "SELECT * FROM incidents WHERE substr(id, 1, ?) = ? ORDER BY id = ? DESC", (len(id), id, id)
            ).fetchall()
            if not rows or (len(rows) > 1 and rows[0]["id"] != id):
                what = "no incident" if not rows else "more than one incident"
                raise NotFoundError(f"{what} {id!r}", hint="List them: sluicegate incidents list --all")
            return self._incident(rows[0])

    def unannounced(self) -> "list[Incident]":
        """Those that no webhook has, the oldest first."""
        with self._lock, explained(self._path):
            rows = self._connection.execute("SELECT * FROM incidents WHERE announced = 0 ORDER BY aware_at").fetchall()
            return [self._incident(row) for row in rows]

    def announced(self, id: str) -> None:
        with self._lock, transaction(self._connection) as connection:
            connection.execute("UPDATE incidents SET announced = 1 WHERE id = ?", (id,))

    def is_open(self, kind: Kind, *, system: str, source: str) -> bool:
        """Whether there is an open incident of this kind, system and source."""
        with self._lock, explained(self._path):
            found = self._connection.execute(
                "SELECT 1 FROM incidents WHERE kind = ? AND system = ? AND source = ? AND status = 'open'",
                (kind, system, source),
            ).fetchone()
        return found is not None

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
        with self._lock, transaction(self._connection) as connection:
            row = connection.execute("SELECT count(*) AS n FROM notes WHERE incident = ?", (incident["id"],)).fetchone()
            if seen is not None and row["n"] != seen:
                raise NotWaitingError(f"incident {incident['id']} has been annotated since", hint="Read it again")
            self._note(incident["id"], text, by)
            if severity:
                deadline = _deadline(severity, datetime.fromisoformat(incident["aware_at"]))
                connection.execute(
                    "UPDATE incidents SET severity = ?, deadline = ? WHERE id = ?", (severity, deadline, incident["id"])
                )
            if impact:
                connection.execute("UPDATE incidents SET impact = ? WHERE id = ?", (impact, incident["id"]))
        self._audited("incident.annotated", incident, by, {"severity": severity or incident["severity"]})
        return self.show(incident["id"])

    def close(self, id: str, resolution: str, *, by: str) -> Incident:
        """Close an incident with what was done about it. Raises `RunError` SG605 when it is already closed."""
        incident = self.show(id)
        with self._lock, transaction(self._connection) as connection:
            closed = connection.execute(
                "UPDATE incidents SET status = 'closed', closed_at = ?, resolution = ?"
                " WHERE id = ? AND status = 'open'",
                (_iso(self._now()), resolution, incident["id"]),
            ).rowcount
            if not closed:
                raise NotWaitingError(f"incident {incident['id']} is already closed")
            self._note(incident["id"], f"closed: {resolution}", by)
        self._audited("incident.closed", incident, by, {})
        return self.show(incident["id"])

    def disconnect(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def frozen_from(self) -> int | None:
        """The first record of the audit log that an open incident needs; None when none is open."""
        with self._lock, explained(self._path):
            row = self._connection.execute(
                "SELECT MIN(log_from) AS first FROM incidents WHERE status = 'open' AND log_to > 0"
            ).fetchone()
        return row["first"]

    def _count_in(
        self, kind: str, system: str, source: str, run: str, now: datetime, log_seq: int, log_hash: str
    ) -> str | None:
        row: Any = self._connection.execute(
            "SELECT id, runs, log_to FROM incidents WHERE kind = ? AND system = ? AND source = ? AND status = 'open'",
            (kind, system, source),
        ).fetchone()
        if row is None:
            return None
        runs: list[str] = json.loads(row["runs"])
        if run and run not in runs and len(runs) < _MOST_RUNS:
            runs.append(run)
        self._connection.execute(
            "UPDATE incidents SET occurrences = occurrences + 1, last_at = ?, runs = ?, log_to = ?, log_hash = ?"
            " WHERE id = ?",
            (_iso(now), json.dumps(runs), log_seq, log_hash, row["id"]),
        )
        return row["id"]

    def _open(
        self,
        kind: Kind,
        system: str,
        source: str,
        recent: "list[Any]",
        description: str,
        impact: str,
        now: datetime,
        log_seq: int,
        log_hash: str,
    ) -> str:
        severity = self._rules[kind].severity
        opened = f"inc-{now:%Y%m%d}-{secrets.token_hex(4)}"
        runs = list(dict.fromkeys(row["run"] for row in recent if row["run"]))[:_MOST_RUNS]
        started = datetime.fromtimestamp(recent[0]["at"], UTC)
        self._connection.execute(
            "INSERT INTO incidents VALUES (?, ?, ?, ?, 'open', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, '', 0)",
            (
                *(opened, kind, system, source, severity, _iso(started), _iso(now), _deadline(severity, now)),
                *(description, impact or f"{len(runs)} runs", len(recent), _iso(now), json.dumps(runs)),
                *(max(1, recent[0]["log_seq"]) if log_seq else 0, log_seq, log_hash),
            ),
        )
        return opened

    def _note(self, id: str, text: str, by: str) -> None:
        self._connection.execute("INSERT INTO notes VALUES (?, ?, ?, ?)", (id, _iso(self._now()), by, text))

    def _incident(self, row: Any) -> Incident:
        notes = self._connection.execute(
            "SELECT at, by, text FROM notes WHERE incident = ? ORDER BY rowid", (row["id"],)
        ).fetchall()
        kept = {key: value for key, value in dict(row).items() if key != "announced"}
        made: Any = {**kept, "runs": json.loads(row["runs"]), "notes": [dict(note) for note in notes]}
        return made

    def _audited(self, event: str, incident: Incident, by: str, facts: dict[str, Any]) -> None:
        if self._audit:
            self._audit.append(event, actor=by, workflow=incident["system"], facts={"id": incident["id"], **facts})


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds")


def _deadline(severity: str, aware: datetime) -> str | None:
    days = REPORT_WITHIN_DAYS[severity]
    return None if days is None else _iso(aware + timedelta(days=days))
