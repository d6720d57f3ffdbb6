"""Every step leaves an event; risky requests stop when it cannot be written; rules open incidents."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from sluicegate.errors import ModelError, RunError
from sluicegate.observe.audit.log import AuditLog
from sluicegate.observe.audit.proof import records
from sluicegate.observe.audit.verify import verify
from sluicegate.observe.auditor import Auditor
from sluicegate.observe.incidents import IncidentRule, Incidents


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    return AuditLog(tmp_path / "audit", key=tmp_path / "k.pem")


@pytest.fixture
def incidents(tmp_path: Path) -> Incidents:
    return Incidents(
        tmp_path / "incidents.sqlite", rules={"blocked": IncidentRule(2, 60), "guard-failure": IncidentRule(1, 60)}
    )


@pytest.fixture
def auditor(log: AuditLog, incidents: Incidents) -> Auditor:
    return Auditor(log, incidents, workflow="helpdesk", version="3", digest="d", policy_set="p")


def state(risk: str | None = "low", **more: Any) -> Any:
    intent = {"intent": {"label": "x", "risk": risk}} if risk else {}
    run = {"id": "r1", "workflow": "helpdesk", "version": "3", "digest": "d", "status": "running", "shadow": False}
    return {"run": run, "principal": {"id": "alice"}, **intent, **more}


def decided(verdict: str) -> dict[str, str]:
    times = {"asked_at": "2026-01-01T10:00:00+00:00", "decided_at": "2026-01-01T10:01:00+00:00"}
    return {"verdict": verdict, "by": "bob", "reason": "", "draft": "", **times}


def step(auditor: Auditor, of: Any, **update: Any) -> None:
    asyncio.run(auditor.step({**of, **update}, update, node="n", kind="k", visit=1, ms=1.0))


def test_every_step_is_an_event_with_its_branch(auditor: Auditor, log: AuditLog) -> None:
    values = {"cache.hit": True, "request.text": "secret", "extraction.fields": {"name": "Bob"}, "principal.id": "al"}
    branch: Any = {"to": "respond", "condition": "cache.hit", "values": values, "skipped": [], "reason": ""}
    asyncio.run(auditor.step(state(), {}, node="recall", kind="cache-lookup", visit=2, ms=1.0, branch=branch))
    (body, _, _) = next(iter(records(log.folder)))
    assert (body["event"], body["run"], body["risk"], body["facts"]["node"]) == ("node", "r1", "low", "recall")
    assert body["facts"]["branch"]["values"] == {"cache.hit": True}
    assert body["facts"]["policy_set"] == "p"


def test_a_start_records_what_was_waived(auditor: Auditor, log: AuditLog) -> None:
    auditor.opened([("policy-first", "public data only")])
    (body, _, _) = next(iter(records(log.folder)))
    assert body["event"] == "workflow.opened"
    assert body["facts"]["waived"] == [{"guarantee": "policy-first", "reason": "public data only"}]


def test_a_failure_is_recorded_by_code(auditor: Auditor, log: AuditLog) -> None:
    asyncio.run(auditor.failed(state(), ModelError("SG303", "secret words"), node="answer"))
    asyncio.run(auditor.failed(state(), ValueError("secret words"), node="answer"))
    bodies = [body for body, _, _ in records(log.folder)]
    assert [body["facts"]["error"] for body in bodies] == ["SG303", "ValueError"]
    assert "secret" not in str(bodies)


@pytest.mark.parametrize(("risk", "resumes_on"), [("low", True), ("medium", True), ("high", False), (None, False)])
def test_a_risky_request_stops_when_its_event_cannot_be_written(
    auditor: Auditor,
    log: AuditLog,
    incidents: Incidents,
    monkeypatch: pytest.MonkeyPatch,
    risk: str | None,
    resumes_on: bool,
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sluicegate.observe.audit.log.os.write", full)
    if resumes_on:
        step(auditor, state(risk))
    else:
        with pytest.raises(RunError) as caught:
            step(auditor, state(risk))
        assert caught.value.code == "SG607"
    monkeypatch.undo()
    assert [one["kind"] for one in incidents.list()] == ["audit-failure"]
    assert (verify(log.folder).records, verify(log.folder).findings) == (0, ())


def test_a_log_that_was_changed_is_reported_as_tampering(auditor: Auditor, log: AuditLog, incidents: Incidents) -> None:
    step(auditor, state())
    (log.folder / "audit-000001.jsonl").write_bytes(b"")
    step(auditor, state())
    assert [one["kind"] for one in incidents.list()] == ["tampering"]


DENY = {"verdict": "deny", "rules": ["own.no"], "reason": "r", "errors": []}
STOPPED = {"stopped": True, "stopped_by": "SG501 per_day_usd: $1 of $1 used"}
CRASHED = {"guard": "pii", "passed": False, "action": "human", "reason": "SG203 guard pii failed to run", "ms": 1.0}
FAILED = {"failed": True, "action": "human", "failures": ["pii"], "results": []}


@pytest.mark.parametrize(
    ("update", "before", "kind", "source"),
    [
        ({"policy": DENY}, {}, "blocked", "own.no"),
        ({"policy": {**DENY, "rules": []}}, {}, "blocked", "default deny"),
        ({"policy": {**DENY, "rules": [], "errors": ["overflow"]}}, {}, "policy-error", "policies"),
        ({"spend": STOPPED}, {}, "budget-stop", "SG501 per_day_usd"),
        ({"spend": {**STOPPED, "stopped_by": "SG202 own.model: no (m)"}}, {}, "blocked", "SG202 own.model"),
        ({"checks": {**FAILED, "results": [CRASHED]}}, {}, "guard-failure", "pii"),
        ({"approval": decided("approve")}, {"checks": FAILED}, "override", "pii"),
    ],
)
def test_what_happens_opens_incidents_by_their_rules(
    auditor: Auditor, incidents: Incidents, update: Any, before: Any, kind: str, source: str
) -> None:
    for _ in range(2):
        step(auditor, state(**before), **update)
    (one,) = incidents.list()
    assert (one["kind"], one["source"], one["system"], one["runs"]) == (kind, source, "helpdesk", ["r1"])


@pytest.mark.parametrize(
    "update",
    [
        {"policy": {**DENY, "verdict": "allow"}},
        {"spend": {"stopped": False, "stopped_by": ""}},
        {"checks": {**FAILED, "results": [{**CRASHED, "reason": "an address"}]}},
        {"approval": decided("reject")},
    ],
)
def test_ordinary_events_open_none(auditor: Auditor, incidents: Incidents, update: Any) -> None:
    for _ in range(3):
        step(auditor, state(checks=FAILED), **update)
    assert incidents.list() == []
