BEGIN TRANSACTION;
CREATE TABLE happenings (
    seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, system TEXT NOT NULL, source TEXT NOT NULL, at REAL NOT NULL,
    run TEXT NOT NULL, log_seq INTEGER NOT NULL
);
INSERT INTO "happenings" VALUES(1,'override','test','pii',1.79574219405434107777e+09,'',0);
CREATE TABLE incidents (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, system TEXT NOT NULL, source TEXT NOT NULL, status TEXT NOT NULL,
    severity TEXT NOT NULL, started_at TEXT NOT NULL, aware_at TEXT NOT NULL, deadline TEXT, description TEXT NOT NULL,
    impact TEXT NOT NULL, occurrences INTEGER NOT NULL, last_at TEXT NOT NULL, runs TEXT NOT NULL,
    log_from INTEGER NOT NULL, log_to INTEGER NOT NULL, log_hash TEXT NOT NULL,
    closed_at TEXT, resolution TEXT NOT NULL DEFAULT ''
);
INSERT INTO "incidents" VALUES('inc-20261127-c0f6f405','override','test','pii','open','minor','2026-11-27T01:16:34+00:00','2026-11-27T01:16:34+00:00',NULL,'let pass','0 runs',1,'2026-11-27T01:16:34+00:00','[]',0,0,'',NULL,'');
CREATE TABLE notes (
    incident TEXT NOT NULL REFERENCES incidents (id), at TEXT NOT NULL, by TEXT NOT NULL, text TEXT NOT NULL
);
CREATE INDEX happenings_recent ON happenings (kind, system, source, at);
CREATE UNIQUE INDEX one_open ON incidents (kind, system, source) WHERE status = 'open';
COMMIT;
PRAGMA user_version = 0;
