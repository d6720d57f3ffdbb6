"""The audit log: append-only, hash-chained, signed, and never dropped.

`open_audit` gives the home's log; `AuditLog.append` writes one event or raises. `verify` finds an edit, a deletion, a
truncation and a reorder; `prove` gives one run's records in a form that a third party can check offline.
"""

from sluicegate.observe.audit.auditor import Auditor
from sluicegate.observe.audit.events import node_event
from sluicegate.observe.audit.log import AuditLog, AuditSettings, open_audit
from sluicegate.observe.audit.proof import check_proof, prove
from sluicegate.observe.audit.verify import Finding, Verdict, verify

__all__ = [
    "AuditLog",
    "AuditSettings",
    "Auditor",
    "Finding",
    "Verdict",
    "check_proof",
    "node_event",
    "open_audit",
    "prove",
    "verify",
]
