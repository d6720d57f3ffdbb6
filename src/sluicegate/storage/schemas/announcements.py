"""What is announced to other systems, and how far that has come."""

from sluicegate.storage.migrations import Migration, Schema

__all__ = ["WEBHOOKS"]

WEBHOOKS = Schema(
    "webhooks",
    (
        Migration("""
CREATE TABLE events (
    id TEXT PRIMARY KEY, type TEXT NOT NULL, workflow TEXT NOT NULL, run TEXT NOT NULL, at TEXT NOT NULL,
    data TEXT NOT NULL, added DOUBLE PRECISION NOT NULL
);
CREATE INDEX events_run ON events (run);
CREATE TABLE deliveries (
    event TEXT NOT NULL, destination TEXT NOT NULL, run TEXT NOT NULL, place INTEGER NOT NULL, state TEXT NOT NULL,
    attempts INTEGER NOT NULL, began DOUBLE PRECISION NOT NULL, due DOUBLE PRECISION NOT NULL,
    leased DOUBLE PRECISION NOT NULL, owner TEXT NOT NULL, failure TEXT NOT NULL,
    PRIMARY KEY (event, destination)
);
CREATE INDEX deliveries_due ON deliveries (destination, state, due);
CREATE INDEX deliveries_run ON deliveries (destination, run, place);
CREATE TABLE switched_off (destination TEXT PRIMARY KEY, reason TEXT NOT NULL, at DOUBLE PRECISION NOT NULL);
"""),
    ),
)
"""The outbox of webhooks: what happened, in the words of each event, and the deliveries that are not done yet. `place`
orders those of one run. An event stays when it is delivered, so that it is not announced again."""
