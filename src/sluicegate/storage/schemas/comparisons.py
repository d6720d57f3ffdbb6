"""Evaluations and shadow comparisons."""

from sluicegate.storage.migrations import Migration, Schema

__all__ = ["RESULTS", "SHADOW"]

RESULTS = Schema(
    "results",
    (
        Migration("""
CREATE TABLE IF NOT EXISTS results (
    under TEXT NOT NULL, row TEXT NOT NULL, result TEXT NOT NULL, at TEXT NOT NULL, PRIMARY KEY (under, row)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS evaluations (
    number INTEGER PRIMARY KEY, workflow TEXT NOT NULL, variant TEXT NOT NULL, data TEXT NOT NULL, digest TEXT NOT NULL,
    under TEXT NOT NULL, at TEXT NOT NULL, metrics TEXT NOT NULL, rows TEXT NOT NULL
);
"""),
    ),
)
"""Rows of evaluations by what they depend on; in ``evals/`` of a home."""

SHADOW = Schema(
    "shadow",
    (
        Migration("""
CREATE TABLE IF NOT EXISTS shadows (
    number INTEGER PRIMARY KEY, workflow TEXT NOT NULL, champion TEXT NOT NULL, champion_digest TEXT NOT NULL,
    challenger TEXT NOT NULL, challenger_digest TEXT NOT NULL, labels TEXT NOT NULL, plan TEXT NOT NULL,
    plan_digest TEXT NOT NULL, started_at TEXT NOT NULL, stopped_at TEXT
);
CREATE TABLE IF NOT EXISTS claims (
    shadow INTEGER NOT NULL, champion_run TEXT NOT NULL, day TEXT NOT NULL, PRIMARY KEY (shadow, champion_run)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS working (
    shadow INTEGER NOT NULL, champion_run TEXT NOT NULL, until REAL NOT NULL, PRIMARY KEY (shadow, champion_run)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pairs (
    number INTEGER PRIMARY KEY, shadow INTEGER NOT NULL, champion_run TEXT NOT NULL, day TEXT NOT NULL,
    usd REAL NOT NULL, pair TEXT NOT NULL, UNIQUE (shadow, champion_run)
);
CREATE INDEX IF NOT EXISTS claims_by_day ON claims (shadow, day);
CREATE INDEX IF NOT EXISTS pairs_by_day ON pairs (shadow, day, usd);
CREATE TABLE IF NOT EXISTS shed (
    shadow INTEGER NOT NULL, reason TEXT NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (shadow, reason)
) WITHOUT ROWID;
"""),
    ),
)
"""Comparisons, what they have claimed, and their pairs."""
