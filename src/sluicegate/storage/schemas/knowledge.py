"""Caches and indexes: answers, documents, embeddings, probes. Only in files."""

from sluicegate.storage.migrations import Migration, Schema

__all__ = ["CACHE", "CATALOG", "EMBEDDINGS", "PROBES"]

CACHE = Schema(
    "cache",
    (
        Migration("""
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL,
    created REAL NOT NULL,
    expires REAL NOT NULL,
    used REAL NOT NULL,
    saved_usd REAL NOT NULL,
    size INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS answers_used ON answers (used);
CREATE TABLE IF NOT EXISTS questions (
    key TEXT PRIMARY KEY REFERENCES answers (key) ON DELETE CASCADE,
    space TEXT NOT NULL,
    text TEXT NOT NULL,
    vector BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS questions_space ON questions (space);
CREATE TABLE IF NOT EXISTS counters (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    hits INTEGER NOT NULL, misses INTEGER NOT NULL, saved_usd REAL NOT NULL, evicted INTEGER NOT NULL,
    size INTEGER NOT NULL
);
INSERT OR IGNORE INTO counters VALUES (1, 0, 0, 0, 0, 0);
"""),
        # no number is used twice, so a process knows what others have added; `epoch` is drawn anew when one has gone
        Migration(
            """
CREATE TABLE asked (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE REFERENCES answers (key) ON DELETE CASCADE,
    space TEXT NOT NULL, text TEXT NOT NULL, vector BLOB NOT NULL
);
INSERT INTO asked (key, space, text, vector)
    SELECT key, space, text, vector FROM questions JOIN answers USING (key) ORDER BY created;
DROP TABLE questions;
ALTER TABLE asked RENAME TO questions;
CREATE INDEX questions_space ON questions (space, seq);
ALTER TABLE counters ADD COLUMN epoch TEXT NOT NULL DEFAULT '';
""",
            on_server=("ALTER TABLE counters ALTER COLUMN size TYPE BIGINT",),
        ),
        # answers are packed from here on, and a table with a row number has no second page for each longer one
        Migration("""
CREATE TABLE packed (
    key TEXT PRIMARY KEY, value BLOB NOT NULL, created REAL NOT NULL, expires REAL NOT NULL, used REAL NOT NULL,
    saved_usd REAL NOT NULL, size INTEGER NOT NULL
);
INSERT INTO packed SELECT key, CAST(value AS BLOB), created, expires, used, saved_usd, size FROM answers;
CREATE TABLE asked (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE REFERENCES packed (key) ON DELETE CASCADE,
    space TEXT NOT NULL, text TEXT NOT NULL, vector BLOB NOT NULL
);
INSERT INTO asked (key, space, text, vector) SELECT key, space, text, vector FROM questions ORDER BY seq;
DROP TABLE questions;
DROP TABLE answers;
ALTER TABLE packed RENAME TO answers;
ALTER TABLE asked RENAME TO questions;
CREATE INDEX answers_used ON answers (used);
CREATE INDEX questions_space ON questions (space, seq);
UPDATE counters SET epoch = 'packed';
"""),
    ),
    secure=True,
)
"""Cached answers, as JSON that zlib has packed or, from before, that it has not, and their questions for semantic
matching."""

CATALOG = Schema(
    "catalog",
    (
        Migration("""
CREATE TABLE IF NOT EXISTS head (
  one INTEGER PRIMARY KEY CHECK (one = 1), format INTEGER NOT NULL,
  table_name TEXT NOT NULL, table_version INTEGER NOT NULL,
  digest TEXT NOT NULL, asked TEXT NOT NULL, embedder TEXT NOT NULL, fingerprint TEXT NOT NULL, language TEXT NOT NULL,
  chunks INTEGER NOT NULL, ingested_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS documents (
  id TEXT PRIMARY KEY, file TEXT NOT NULL UNIQUE, file_hash TEXT NOT NULL, text_hash TEXT NOT NULL,
  named INTEGER NOT NULL, facts TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS passages (
  document TEXT NOT NULL REFERENCES documents(id) ON DELETE CASCADE, hash TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS passages_by_document ON passages(document);
CREATE INDEX IF NOT EXISTS passages_by_hash ON passages(hash);
CREATE TABLE IF NOT EXISTS texts (hash TEXT PRIMARY KEY, text TEXT NOT NULL, left_at TEXT) WITHOUT ROWID;
"""),
        Migration("ALTER TABLE documents ADD COLUMN language TEXT NOT NULL DEFAULT '';"),
    ),
    durable=True,
    local=True,
)
"""Documents and passages of one index, in the folder of that index."""

EMBEDDINGS = Schema(
    "embeddings",
    (Migration("CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB NOT NULL) WITHOUT ROWID;"),),
    local=True,
)
"""Vectors of examples and documents, by content; in the user's cache."""

PROBES = Schema(
    "probes",
    (
        Migration("""
CREATE TABLE IF NOT EXISTS probes (
    identity TEXT NOT NULL, task TEXT NOT NULL, right_ INTEGER NOT NULL, rows INTEGER NOT NULL,
    ms_p50 REAL NOT NULL, probe TEXT NOT NULL, at TEXT NOT NULL, PRIMARY KEY (identity, task)
);
"""),
        Migration("ALTER TABLE probes ADD COLUMN said REAL; ALTER TABLE probes ADD COLUMN prior REAL;"),
    ),
    local=True,
)
"""Probe results, by the identity of the weights; `said` and `prior` are the label probe's `learning.letters.Scale`."""
