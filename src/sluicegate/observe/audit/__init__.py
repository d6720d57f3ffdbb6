"""The audit log: append-only, hash-chained, signed, and never dropped.

`log.open_audit` gives the home's log; `AuditLog.append` writes one event or raises. `verify.verify` finds an edit, a
deletion, a truncation and a reorder; `proof.prove` gives one run's records in a form that a third party can check
offline.
"""
