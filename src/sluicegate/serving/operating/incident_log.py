"""The incidents of a home: read also where the audit log is what broke, changed on record."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Literal

from sluicegate.observe.audit.log import open_audit
from sluicegate.observe.incidents import Incident, Incidents, Severity

__all__ = ["annotated", "closed", "listed", "one"]


def listed(status: Literal["open", "closed", "all"] = "open") -> list[Incident]:
    """As `Incidents.list`."""
    with _reading() as incidents:
        return incidents.list(status=status)


def one(id: str) -> Incident:
    """As `Incidents.show`."""
    with _reading() as incidents:
        return incidents.show(id)


def annotated(
    id: str, text: str, *, by: str, severity: Severity | None = None, impact: str = "", seen: int | None = None
) -> Incident:
    """As `Incidents.annotate`."""
    with _changing() as incidents:
        return incidents.annotate(id, text, by=by, severity=severity, impact=impact, seen=seen)


def closed(id: str, resolution: str, *, by: str) -> Incident:
    """As `Incidents.close`."""
    with _changing() as incidents:
        return incidents.close(id, resolution, by=by)


@contextmanager
def _reading() -> Generator[Incidents]:
    incidents = Incidents(look=True)
    try:
        yield incidents
    finally:
        incidents.disconnect()


@contextmanager
def _changing() -> Generator[Incidents]:
    log = open_audit()
    try:
        incidents = Incidents(audit=log)
        try:
            yield incidents
        finally:
            incidents.disconnect()
    finally:
        log.close()
