"""Records of runs: traces, the people behind the audit log, incidents."""

from sluicegate.storage.migrations import Migration, Schema

__all__ = ["INCIDENTS", "PAYLOADS", "SHARED_TRACES", "TRACES", "UNSENT"]

TRACES = Schema(
    "store",
    (
        Migration("""
CREATE TABLE IF NOT EXISTS runs (
  run_id TEXT PRIMARY KEY, trace_id TEXT NOT NULL, workflow TEXT NOT NULL, version TEXT NOT NULL, digest TEXT NOT NULL,
  user TEXT NOT NULL, session TEXT NOT NULL, environment TEXT NOT NULL, release TEXT NOT NULL, shadow INTEGER NOT NULL,
  status TEXT NOT NULL, started_ns INTEGER NOT NULL, ended_ns INTEGER, ms REAL NOT NULL DEFAULT 0,
  request TEXT NOT NULL DEFAULT '', metadata TEXT NOT NULL DEFAULT '{}', tags TEXT NOT NULL DEFAULT '[]',
  path TEXT, intent TEXT, risk TEXT, confidence REAL, threshold REAL, classified_by TEXT, artifact TEXT,
  usd REAL, prompt_tokens INTEGER, completion_tokens INTEGER, slm_calls INTEGER, llm_calls INTEGER, all_llm_usd REAL,
  answer TEXT, model TEXT, prompt TEXT, approval TEXT, waited_s REAL, error TEXT
);
CREATE INDEX IF NOT EXISTS runs_by_start ON runs (started_ns);
CREATE INDEX IF NOT EXISTS runs_by_end ON runs (workflow, ended_ns);
CREATE TABLE IF NOT EXISTS spans (
  seq INTEGER PRIMARY KEY, span_id TEXT NOT NULL UNIQUE, run_id TEXT NOT NULL, parent TEXT NOT NULL, name TEXT NOT NULL,
  type TEXT NOT NULL, start_ns INTEGER NOT NULL, end_ns INTEGER NOT NULL, level TEXT NOT NULL, message TEXT NOT NULL,
  attributes TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS spans_by_run ON spans (run_id);
CREATE TABLE IF NOT EXISTS scores (
  score_id TEXT PRIMARY KEY, run_id TEXT NOT NULL, name TEXT NOT NULL, data_type TEXT NOT NULL, value ANY NOT NULL,
  comment TEXT NOT NULL, at_ns INTEGER NOT NULL, observation TEXT NOT NULL, source TEXT NOT NULL, by TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS scores_by_run ON scores (run_id);
CREATE TABLE IF NOT EXISTS deliveries (
  destination TEXT NOT NULL, run_id TEXT NOT NULL, records INTEGER NOT NULL, PRIMARY KEY (destination, run_id)
);
CREATE VIEW IF NOT EXISTS steps AS
  SELECT seq, span_id, run_id, name AS node, attributes ->> 'kind' AS kind, attributes ->> 'visit' AS visit, start_ns,
    (end_ns - start_ns) / 1e6 AS ms, level, message
  FROM spans WHERE attributes ->> 'node' IS NOT NULL;
CREATE VIEW IF NOT EXISTS decisions AS
  SELECT seq, span_id, run_id, attributes ->> 'from' AS node, attributes ->> 'to' AS taken,
    attributes -> 'not_taken' AS not_taken, attributes ->> 'condition' AS condition, attributes -> 'values' AS "values",
    attributes ->> 'confidence' AS confidence, attributes ->> 'threshold' AS threshold,
    attributes ->> 'reason' AS reason, start_ns
  FROM spans WHERE type = 'event' AND attributes ->> 'to' IS NOT NULL;
CREATE VIEW IF NOT EXISTS model_calls AS
  SELECT seq, span_id, run_id, type, attributes ->> 'role' AS role, attributes ->> 'model' AS model,
    attributes ->> 'asked' AS asked, attributes ->> 'fallback' AS fallback, attributes ->> 'prompt' AS prompt,
    attributes ->> 'prompt_hash' AS prompt_hash, attributes ->> 'prompt_tokens' AS prompt_tokens,
    attributes ->> 'completion_tokens' AS completion_tokens, attributes ->> 'usd' AS usd,
    attributes ->> 'finish' AS finish, attributes ->> 'confidence' AS confidence, start_ns,
    (end_ns - start_ns) / 1e6 AS ms, level, message
  FROM spans WHERE type IN ('generation', 'embedding') AND attributes ->> 'asked' IS NOT NULL;
"""),
        # ids are random but for that of a run's root: an index over all of them was a tenth of a trace
        Migration("""
CREATE TABLE observations (
  seq INTEGER PRIMARY KEY, span_id TEXT NOT NULL, run_id TEXT NOT NULL, parent TEXT NOT NULL, name TEXT NOT NULL,
  type TEXT NOT NULL, start_ns INTEGER NOT NULL, end_ns INTEGER NOT NULL, level TEXT NOT NULL, message TEXT NOT NULL,
  attributes TEXT NOT NULL
);
INSERT INTO observations SELECT * FROM spans;
DROP TABLE spans;
PRAGMA legacy_alter_table = ON;
ALTER TABLE observations RENAME TO spans;
PRAGMA legacy_alter_table = OFF;
CREATE INDEX spans_by_run ON spans (run_id);
CREATE UNIQUE INDEX roots ON spans (span_id) WHERE parent = '';
CREATE INDEX runs_at_work ON runs (workflow, started_ns) WHERE status = 'running';
"""),
        # a page of runs is found, and a month added up, in an index alone: a run's row may hold long texts. The number
        # of a run's last change is never used twice, so whoever follows them knows what is new
        Migration("""
DROP INDEX runs_by_start;
CREATE INDEX runs_listed ON runs (
  started_ns, run_id, shadow, workflow, status, path, intent, risk, user, session, usd, prompt_tokens, completion_tokens
);
CREATE INDEX runs_by_user ON runs (user, started_ns, run_id);
CREATE TABLE changes (seq INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT NOT NULL UNIQUE);
"""),
        # as for spans: ids are random, and nobody looks for a score by its id
        Migration("""
CREATE TABLE given (
  score_id TEXT NOT NULL, run_id TEXT NOT NULL, name TEXT NOT NULL, data_type TEXT NOT NULL, value ANY NOT NULL,
  comment TEXT NOT NULL, at_ns INTEGER NOT NULL, observation TEXT NOT NULL, source TEXT NOT NULL, by TEXT NOT NULL
);
INSERT INTO given SELECT * FROM scores ORDER BY rowid;
DROP TABLE scores;
ALTER TABLE given RENAME TO scores;
CREATE INDEX scores_by_run ON scores (run_id);
"""),
        # a run's observations repeat each other's words, and each had names of its own to be found by: one block of
        # them, packed, is a third. The functions are those of SQLite's shell, which reads the view as any other,
        # and the views over it go on by its name. What a query over many runs wants is a column of theirs
        Migration("""
ALTER TABLE runs ADD COLUMN needs_large REAL;
UPDATE runs SET needs_large = (
  SELECT attributes ->> 'needs_large' FROM spans
  WHERE spans.run_id = runs.run_id AND attributes ->> 'needs_large' IS NOT NULL ORDER BY seq LIMIT 1
);
CREATE TABLE packed_spans (
  seq INTEGER PRIMARY KEY, run_id TEXT NOT NULL, count INTEGER NOT NULL, root INTEGER NOT NULL, size INTEGER NOT NULL,
  content BLOB NOT NULL
);
INSERT INTO packed_spans
  SELECT sum(count) OVER (ORDER BY first), run_id, count, root, length(content), sqlar_compress(content) FROM (
    SELECT run_id, min(seq) AS first, count(*) AS count, max(parent = '') AS root, CAST(json_group_array(
      json_array(span_id, parent, name, type, start_ns, end_ns, level, message, json(attributes))
    ) AS BLOB) AS content
    FROM (SELECT * FROM spans ORDER BY run_id, seq) GROUP BY run_id
  );
CREATE INDEX packed_spans_by_run ON packed_spans (run_id);
DROP TABLE spans;
CREATE VIEW spans AS
  SELECT seq - count + 1 + key AS seq, value ->> 0 AS span_id, run_id, value ->> 1 AS parent, value ->> 2 AS name,
    value ->> 3 AS type, value ->> 4 AS start_ns, value ->> 5 AS end_ns, value ->> 6 AS level, value ->> 7 AS message,
    value -> 8 AS attributes
  FROM packed_spans, json_each(CAST(sqlar_uncompress(content, size) AS TEXT));
"""),
    ),
    local=True,
)
"""Every run with its observations and scores, masked; `spans`, `steps`, `decisions` and `model_calls` are views. Only a
file. A row of `packed_spans` has `count` observations that one commit wrote of a run, as a JSON array of arrays; `seq`
is the number of the last one, `root` says that the run's root is among them, `size` is that of the JSON."""

SHARED_TRACES = Schema(
    "traces",
    (
        Migration("""
CREATE TABLE runs (
  run_id TEXT PRIMARY KEY, trace_id TEXT NOT NULL, workflow TEXT NOT NULL, version TEXT NOT NULL, digest TEXT NOT NULL,
  "user" TEXT NOT NULL, session TEXT NOT NULL, environment TEXT NOT NULL, release TEXT NOT NULL,
  shadow INTEGER NOT NULL, status TEXT NOT NULL, started_ns BIGINT NOT NULL, ended_ns BIGINT,
  ms REAL NOT NULL DEFAULT 0, request TEXT NOT NULL DEFAULT '', metadata TEXT NOT NULL DEFAULT '{}',
  tags TEXT NOT NULL DEFAULT '[]', path TEXT, intent TEXT, risk TEXT, confidence REAL, threshold REAL,
  classified_by TEXT, artifact TEXT, usd REAL, prompt_tokens INTEGER, completion_tokens INTEGER, slm_calls INTEGER,
  llm_calls INTEGER, all_llm_usd REAL, answer TEXT, model TEXT, prompt TEXT, approval TEXT, waited_s REAL, error TEXT
);
CREATE INDEX runs_listed ON runs (started_ns, run_id);
CREATE INDEX runs_by_user ON runs ("user", started_ns, run_id);
CREATE INDEX runs_by_end ON runs (workflow, ended_ns);
CREATE TABLE spans (
  seq INTEGER PRIMARY KEY, span_id TEXT NOT NULL, run_id TEXT NOT NULL, parent TEXT NOT NULL, name TEXT NOT NULL,
  type TEXT NOT NULL, start_ns BIGINT NOT NULL, end_ns BIGINT NOT NULL, level TEXT NOT NULL, message TEXT NOT NULL,
  attributes TEXT NOT NULL
);
CREATE INDEX spans_by_run ON spans (run_id);
CREATE UNIQUE INDEX roots ON spans (span_id) WHERE parent = '';
CREATE TABLE scores (
  seq INTEGER PRIMARY KEY, score_id TEXT NOT NULL UNIQUE, run_id TEXT NOT NULL, name TEXT NOT NULL,
  data_type TEXT NOT NULL, value JSON NOT NULL, comment TEXT NOT NULL, at_ns BIGINT NOT NULL, observation TEXT NOT NULL,
  source TEXT NOT NULL, "by" TEXT NOT NULL
);
CREATE INDEX scores_by_run ON scores (run_id);
CREATE INDEX scores_given ON scores (at_ns) WHERE source = 'feedback';
CREATE TABLE changes (seq INTEGER PRIMARY KEY, run_id TEXT NOT NULL UNIQUE);
CREATE TABLE trace_deliveries (
  destination TEXT NOT NULL, run_id TEXT NOT NULL, records INTEGER NOT NULL, PRIMARY KEY (destination, run_id)
);
CREATE TABLE trace_senders (sender TEXT PRIMARY KEY, sent BIGINT NOT NULL);
CREATE TABLE trace_key (id INTEGER PRIMARY KEY, key BLOB NOT NULL);
CREATE VIEW steps AS
  SELECT seq, span_id, run_id, name AS node, CAST(attributes AS JSON) ->> 'kind' AS kind,
    CAST(CAST(attributes AS JSON) ->> 'visit' AS BIGINT) AS visit, start_ns, (end_ns - start_ns) / 1e6 AS ms, level,
    message
  FROM spans WHERE CAST(attributes AS JSON) ->> 'node' IS NOT NULL;
CREATE VIEW run_decisions AS
  SELECT seq, span_id, run_id, said ->> 'from' AS node, said ->> 'to' AS taken,
    CAST(said -> 'not_taken' AS text) AS not_taken, said ->> 'condition' AS condition,
    CAST(said -> 'values' AS text) AS "values", CAST(said ->> 'confidence' AS DOUBLE PRECISION) AS confidence,
    CAST(said ->> 'threshold' AS DOUBLE PRECISION) AS threshold, said ->> 'reason' AS reason, start_ns
  FROM (SELECT *, CAST(attributes AS JSON) AS said FROM spans) AS spans
  WHERE type = 'event' AND said ->> 'to' IS NOT NULL;
CREATE VIEW model_calls AS
  SELECT seq, span_id, run_id, type, said ->> 'role' AS role, said ->> 'model' AS model, said ->> 'asked' AS asked,
    said ->> 'fallback' AS fallback, said ->> 'prompt' AS prompt, said ->> 'prompt_hash' AS prompt_hash,
    CAST(said ->> 'prompt_tokens' AS BIGINT) AS prompt_tokens,
    CAST(said ->> 'completion_tokens' AS BIGINT) AS completion_tokens,
    CAST(said ->> 'usd' AS DOUBLE PRECISION) AS usd, said ->> 'finish' AS finish,
    CAST(said ->> 'confidence' AS DOUBLE PRECISION) AS confidence, start_ns,
    CAST((end_ns - start_ns) / 1e6 AS DOUBLE PRECISION) AS ms, level, message
  FROM (SELECT *, CAST(attributes AS JSON) AS said FROM spans) AS spans
  WHERE type IN ('generation', 'embedding') AND said ->> 'asked' IS NOT NULL;
"""),
        # as a file has it
        Migration("""
ALTER TABLE runs ADD COLUMN needs_large REAL;
UPDATE runs SET needs_large = (
  SELECT CAST(CAST(attributes AS JSON) ->> 'needs_large' AS DOUBLE PRECISION) FROM spans
  WHERE spans.run_id = runs.run_id AND CAST(attributes AS JSON) ->> 'needs_large' IS NOT NULL ORDER BY seq LIMIT 1
);
"""),
    ),
)
"""As `TRACES`, of all machines; only ever on a server. Texts of observations are JSON as each machine has written it.
Of each home, `trace_senders` has how far what it sends has come; `trace_key` hashes users on all of them."""

UNSENT = Schema(
    "unsent",
    (
        Migration("""
CREATE TABLE sender (id TEXT NOT NULL);
CREATE TABLE unsent (number INTEGER PRIMARY KEY AUTOINCREMENT, rows TEXT NOT NULL);
"""),
    ),
    local=True,
    secure=True,
)
"""What a machine has recorded of runs and its server does not have yet; only ever a file."""

PAYLOADS = Schema(
    "payloads",
    (
        Migration("""
CREATE TABLE IF NOT EXISTS people (id TEXT PRIMARY KEY, pseudonym TEXT NOT NULL UNIQUE, key BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS payloads (
    id TEXT PRIMARY KEY, person TEXT NOT NULL, run TEXT NOT NULL, name TEXT NOT NULL, text TEXT NOT NULL,
    at TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS payloads_person ON payloads (person);
CREATE INDEX IF NOT EXISTS payloads_run ON payloads (run);
CREATE TABLE IF NOT EXISTS redactions (
    run TEXT NOT NULL, placeholder TEXT NOT NULL, person TEXT NOT NULL, kind TEXT NOT NULL, stage TEXT NOT NULL,
    value TEXT NOT NULL, at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (run, placeholder)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS redactions_person ON redactions (person);
"""),
    ),
    secure=True,
)
"""Who is behind a pseudonym, what placeholders stand for, texts: what can be erased. In ``audit/`` of a home."""

INCIDENTS = Schema(
    "incidents",
    (
        Migration("""
CREATE TABLE IF NOT EXISTS happenings (
    seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, system TEXT NOT NULL, source TEXT NOT NULL, at REAL NOT NULL,
    run TEXT NOT NULL, log_seq INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS happenings_recent ON happenings (kind, system, source, at);
CREATE TABLE IF NOT EXISTS incidents (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, system TEXT NOT NULL, source TEXT NOT NULL, status TEXT NOT NULL,
    severity TEXT NOT NULL, started_at TEXT NOT NULL, aware_at TEXT NOT NULL, deadline TEXT, description TEXT NOT NULL,
    impact TEXT NOT NULL, occurrences INTEGER NOT NULL, last_at TEXT NOT NULL, runs TEXT NOT NULL,
    log_from INTEGER NOT NULL, log_to INTEGER NOT NULL, log_hash TEXT NOT NULL,
    closed_at TEXT, resolution TEXT NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX IF NOT EXISTS one_open ON incidents (kind, system, source) WHERE status = 'open';
CREATE TABLE IF NOT EXISTS notes (
    incident TEXT NOT NULL REFERENCES incidents (id), at TEXT NOT NULL, by TEXT NOT NULL, text TEXT NOT NULL
);
"""),
        Migration("ALTER TABLE incidents ADD COLUMN announced INTEGER NOT NULL DEFAULT 1;"),
        # machines that share a server have an audit log each
        Migration("""
ALTER TABLE happenings ADD COLUMN log TEXT NOT NULL DEFAULT '';
ALTER TABLE incidents ADD COLUMN logs TEXT NOT NULL DEFAULT '{}';
CREATE TABLE annotations (
    seq INTEGER PRIMARY KEY, incident TEXT NOT NULL REFERENCES incidents (id), at TEXT NOT NULL, by TEXT NOT NULL,
    text TEXT NOT NULL
);
INSERT INTO annotations (incident, at, by, text) SELECT incident, at, by, text FROM notes;
DROP TABLE notes;
ALTER TABLE annotations RENAME TO notes;
"""),
    ),
    durable=True,
)
"""Incidents. `announced` is 0 until webhooks have one that was opened since. `logs` has the range of records in the
audit log of each machine that counted in it, by the log's signer; of an incident of before there is one log."""
