"""The audit log of many machines: what each has recorded, and what each has signed."""

from sluicegate.storage.migrations import Migration, Schema

__all__ = ["AUDIT"]

AUDIT = Schema(
    "audit",
    (
        Migration("""
CREATE TABLE audit_entries (
    position BIGINT PRIMARY KEY, chain TEXT NOT NULL, kind TEXT NOT NULL, seq BIGINT NOT NULL, hash TEXT NOT NULL,
    statement BLOB NOT NULL
);
CREATE INDEX audit_entries_chain ON audit_entries (chain, position);
CREATE INDEX audit_entries_pruned ON audit_entries (position) WHERE kind = 'pruned';
CREATE TABLE audit_records (
    chain TEXT NOT NULL, seq BIGINT NOT NULL, run TEXT NOT NULL, at TEXT NOT NULL, line BLOB NOT NULL,
    PRIMARY KEY (chain, seq)
);
CREATE INDEX audit_records_run ON audit_records (run) WHERE run <> '';
"""),
    ),
)
"""The records of every chain, byte for byte, and the one sequence of signed statements over all of them; only ever on a
server. The columns repeat what the bytes say, so that it can be looked up; verification compares them."""
