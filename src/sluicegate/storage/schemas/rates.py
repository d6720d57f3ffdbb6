"""How far ahead rate limits are booked: one row for each, however many calls it has let pass."""

from sluicegate.storage.migrations import Migration, Schema

__all__ = ["RATES"]

RATES = Schema(
    "rates",
    (
        Migration("""
CREATE TABLE rates (
    kind TEXT NOT NULL, name TEXT NOT NULL, workflow TEXT NOT NULL, rate TEXT NOT NULL,
    due BIGINT NOT NULL, at BIGINT NOT NULL,
    PRIMARY KEY (kind, name, workflow, rate)
) WITHOUT ROWID;
CREATE INDEX rates_due ON rates (due);
"""),
    ),
)
"""`due` is when the limit is as if nothing had ever passed, in microseconds since the epoch: a row that is due says the
same as no row. `at` is when it was last written. `name` is a model (`workflow` is empty then) or a person."""
