"""When the audit log was last verified, and with what result; tampering opens an incident. On a server that machines
share it is every machine's, otherwise the home's."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sluicegate.errors import NotWaitingError
from sluicegate.home import home, write_private
from sluicegate.observe.audit.shared.store import SharedAudit
from sluicegate.observe.audit.shared.trust import pinned
from sluicegate.observe.audit.shared.verify_all import verify_all
from sluicegate.observe.audit.verify import AuditFinding, AuditVerdict, verify
from sluicegate.observe.incidents import Incidents
from sluicegate.storage.file_lock import locked_file
from sluicegate.storage.postgres import configured

__all__ = ["Verified", "latest", "verified", "verified_once"]

_MOST = 50
"""Findings that are kept."""


@dataclass(frozen=True, slots=True)
class Verified:
    at: str
    """ISO 8601 in UTC."""
    verdict: AuditVerdict


def latest() -> Verified | None:
    """The last verification of this home's log; None when there was none."""
    try:
        told: dict[str, Any] = json.loads(_file().read_text(encoding="utf-8"))
        verdict: dict[str, Any] = told["verdict"]
        verdict["findings"] = tuple(AuditFinding(**each) for each in verdict["findings"])
        return Verified(told["at"], AuditVerdict(**verdict))
    except (OSError, ValueError, KeyError, TypeError):
        # what can be found out again at any time
        return None


def verified(
    *,
    public_key: bytes | None = None,
    witnessed: Sequence[dict[str, Any]] = (),
    everywhere: bool = False,
    trusted: Path | None = None,
) -> AuditVerdict:
    """Verify this home's log, as `verify`, or with `everywhere` every chain on the server too, as `verify_all`, and
    keep the result as far as the disk takes it. `trusted` is a file of pinned keys, by default the home's."""
    server = configured() if everywhere else None
    if server:
        keys = pinned(trusted)
        with SharedAudit(server).snapshot() as rows:
            verdict = verify_all(rows, home() / "audit", trusted=keys, public_key=public_key, witnessed=witnessed)
    else:
        verdict = verify(home() / "audit", public_key=public_key, witnessed=witnessed)
    at = datetime.now(UTC).isoformat()
    kept = replace(verdict, findings=verdict.findings[:_MOST])
    # a log can be verified where nothing can be written
    with suppress(OSError):
        staged = _file().with_suffix(".new")
        write_private(staged, json.dumps({"at": at, "verdict": asdict(kept)}))
        staged.replace(_file())
    if verdict.tampered:
        _report(verdict)
    return verdict


def verified_once(seen: str) -> AuditVerdict:
    """The same, unless it was verified since the verification of the time `seen`, empty for none. Raises `RunError`
    SG605 then, SG603 when there is no log."""
    with locked_file(_file().with_suffix(".lock")):
        known = latest()
        if (known.at if known else "") != seen:
            raise NotWaitingError("the log has been verified since", hint="Look at the result")
        return verified(everywhere=True)


def _file() -> Path:
    return home() / "audit" / "verified.json"


def _report(verdict: AuditVerdict) -> None:
    first = next(finding for finding in verdict.findings if finding.tampering)
    count, what = len(verdict.findings), f"{first.message} ({first.place})"
    incidents = Incidents()
    try:
        incidents.record(
            "tampering",
            system="audit log",
            source=f"{first.kind} at record {first.seq}" + (f" of chain {first.chain}" if first.chain else ""),
            description=f"verification found {count} faults; the first: {what}",
            impact=f"records from {first.seq} on cannot be trusted",
        )
    finally:
        incidents.disconnect()
