"""Incidents open by rule, carry what a report needs, and freeze the log that shows them."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sluicegate.errors import RunError
from sluicegate.observe.audit.log import AuditLog
from sluicegate.observe.audit.proof import records
from sluicegate.observe.incidents import RULES, IncidentRule, Incidents, Kind


class Clock:
    def __init__(self) -> None:
        self.at = datetime(2026, 11, 23, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    return AuditLog(tmp_path / "audit", key=tmp_path / "k.pem")


@pytest.fixture
def incidents(each_place: str, clock: Clock, log: AuditLog) -> Incidents:
    return Incidents(audit=log, now=clock)


def record(incidents: Incidents, kind: Kind = "budget-stop", **change: str) -> str | None:
    values = {"system": "helpdesk", "source": "per_day_usd", "description": "the cap was reached", **change}
    return incidents.record(kind, **values)


@pytest.mark.parametrize("kind", [*RULES])
def test_each_kind_opens_by_its_rule(incidents: Incidents, kind: Kind) -> None:
    for _ in range(RULES[kind].times - 1):
        assert record(incidents, kind) is None
    assert record(incidents, kind)
    assert len(incidents.list()) == 1


def test_blocked_requests_open_one_above_the_rate_only(incidents: Incidents, clock: Clock) -> None:
    for _ in range(30):
        assert record(incidents, "blocked") is None
        clock.at += timedelta(seconds=70)
    clock.at += timedelta(hours=1)
    opened = [record(incidents, "blocked", run=f"r{number}") for number in range(10)]
    assert opened[0] is None
    assert opened[-1] is not None
    assert incidents.show(opened[-1])["occurrences"] == 10


def test_what_goes_on_is_counted_in_the_open_incident(incidents: Incidents, clock: Clock) -> None:
    first = record(incidents, run="r1")
    clock.at += timedelta(days=1)
    assert record(incidents, run="r2") == first
    assert record(incidents, run="r2") == first
    (one,) = incidents.list()
    assert (one["occurrences"], one["runs"]) == (3, ["r1", "r2"])
    assert (one["aware_at"], one["last_at"]) == ("2026-11-23T12:00:00+00:00", "2026-11-24T12:00:00+00:00")


@pytest.mark.parametrize("change", [{"system": "triage"}, {"source": "per_run_usd"}])
def test_other_systems_and_sources_are_other_incidents(incidents: Incidents, change: dict[str, str]) -> None:
    assert record(incidents) != record(incidents, **change)


def test_rules_can_be_set(each_place: str) -> None:
    incidents = Incidents(rules={"budget-stop": IncidentRule(2, 60, "serious")})
    assert record(incidents) is None
    opened = record(incidents)
    assert opened is not None
    assert incidents.show(opened)["severity"] == "serious"


@pytest.mark.parametrize(
    ("severity", "deadline"),
    [
        ("serious", "2026-12-08T12:00:00+00:00"),
        ("widespread", "2026-11-25T12:00:00+00:00"),
        ("death", "2026-12-03T12:00:00+00:00"),
        ("minor", None),
    ],
)
def test_severity_sets_the_deadline_from_awareness(
    incidents: Incidents, clock: Clock, severity: Any, deadline: str | None
) -> None:
    opened = record(incidents)
    assert opened is not None
    assert incidents.show(opened)["deadline"] is None
    clock.at += timedelta(days=1)
    changed = incidents.annotate(opened, "looked into it", by="op", severity=severity, impact="12 people")
    assert (changed["severity"], changed["deadline"], changed["impact"]) == (severity, deadline, "12 people")
    assert changed["notes"] == [{"at": "2026-11-24T12:00:00+00:00", "by": "op", "text": "looked into it"}]


def test_tampering_is_serious_from_the_start(incidents: Incidents) -> None:
    opened = record(incidents, "tampering")
    assert opened is not None
    assert incidents.show(opened)["deadline"] == "2026-12-08T12:00:00+00:00"


def test_the_range_of_the_audit_log_is_frozen(incidents: Incidents, log: AuditLog) -> None:
    for _ in range(3):
        log.append("node")
    opened = record(incidents)
    log.append("node")
    record(incidents)
    assert opened is not None
    one = incidents.show(opened)
    assert (one["log_from"], one["log_to"]) == (3, 4)
    assert one["log_hash"] == log.head[1]
    assert incidents.frozen_from() == 3
    incidents.close(opened, "raised the cap", by="op")
    assert incidents.frozen_from() is None


def test_closing_is_for_good_and_then_a_new_one_opens(incidents: Incidents) -> None:
    opened = record(incidents)
    assert opened is not None
    closed = incidents.close(opened, "raised the cap", by="op")
    assert (closed["status"], closed["resolution"]) == ("closed", "raised the cap")
    with pytest.raises(RunError) as caught:
        incidents.close(opened, "again", by="op")
    assert caught.value.code == "SG605"
    assert incidents.list() == []
    assert record(incidents) != opened
    assert len(incidents.list(status="all")) == 2


def test_what_operators_do_is_in_the_audit_log(incidents: Incidents, log: AuditLog) -> None:
    opened = record(incidents)
    assert opened is not None
    incidents.annotate(opened, "note", by="op")
    incidents.close(opened, "done", by="op")
    events = [(body["event"], body["facts"]["id"]) for body, _, _ in records(log.folder)]
    assert events == [("incident.annotated", opened), ("incident.closed", opened)]


@pytest.mark.parametrize("act", [lambda i: i.show("inc-x"), lambda i: i.close("inc-x", "", by="")])
def test_an_incident_that_is_not_there(incidents: Incidents, act: Callable[[Incidents], Any]) -> None:
    with pytest.raises(RunError) as caught:
        act(incidents)
    assert caught.value.code == "SG603"


def test_the_start_of_an_id_is_enough_while_it_is_unambiguous(incidents: Incidents) -> None:
    opened = record(incidents)
    assert opened is not None
    assert incidents.show(opened[:-2])["id"] == opened
    record(incidents, source="other")
    with pytest.raises(RunError, match="more than one"):
        incidents.show("inc-")


def test_two_processes_share_one_open_incident(each_place: str, clock: Clock) -> None:
    one, other = (Incidents(now=clock) for _ in range(2))
    assert record(one) == record(other)
    assert one.list()[0]["occurrences"] == 2


def test_what_happens_on_many_machines_at_a_time_opens_one_incident(each_place: str) -> None:
    def happens() -> None:
        own = Incidents()
        for _ in range(5):
            record(own, "blocked")
        own.disconnect()

    threads = [threading.Thread(target=happens) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (one,) = Incidents().list()
    assert one["occurrences"] == 20


def test_each_machine_keeps_what_an_incident_needs_of_its_own_log(
    postgres: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own_home: Path
) -> None:
    monkeypatch.setenv("SLUICEGATE_DATABASE_URL", postgres)
    logs = [AuditLog(tmp_path / name / "audit", key=tmp_path / name / "k.pem") for name in "ab"]
    one, other = (Incidents(audit=log) for log in logs)
    for log, events in zip(logs, (2, 7), strict=True):
        for _ in range(events):
            log.append("node")
    opened = record(one)
    assert record(other) == opened
    assert opened
    assert [each.frozen_from() for each in (one, other)] == [2, 7]
    shown = other.show(opened)
    assert (shown["log_from"], shown["log_to"], shown["log_hash"]) == (2, 2, logs[0].head[1])
    assert shown["logs"] == {
        log.signer: {"from": events, "to": events, "hash": log.head[1]}
        for log, events in zip(logs, (2, 7), strict=True)
    }
    other.close(opened, "raised the cap", by="op")
    assert [each.frozen_from() for each in (one, other)] == [None, None]
    with pytest.raises(RunError) as caught:
        one.close(opened, "again", by="op")
    assert caught.value.code == "SG605"


def test_incidents_of_two_homes_move_to_the_server_and_none_is_lost(
    postgres: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own_home: Path
) -> None:
    homes = [own_home, tmp_path / "other"]
    for number, home in enumerate(homes):
        monkeypatch.setenv("SLUICEGATE_HOME", str(home))
        own = Incidents(audit=AuditLog(home / "audit", key=home / "k.pem"))
        record(own)
        closed = record(own, source=f"only {number}")
        own.close(closed or "", "done", by="op")
        own.disconnect()
    monkeypatch.setenv("SLUICEGATE_DATABASE_URL", postgres)
    for home in (*homes, *homes):
        monkeypatch.setenv("SLUICEGATE_HOME", str(home))
        Incidents(audit=AuditLog(home / "audit", key=home / "k.pem")).disconnect()
    found = Incidents().list(status="all")
    assert [one["status"] for one in found].count("open") == 2
    assert {one["source"].split(" (")[0] for one in found} == {"per_day_usd", "only 0", "only 1"}
    assert [note["text"] for one in found for note in one["notes"]] == ["closed: done"] * 2
    assert not [*tmp_path.rglob("incidents.sqlite")]
