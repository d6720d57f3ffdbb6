BEGIN TRANSACTION;
CREATE TABLE probes (
    identity TEXT NOT NULL, task TEXT NOT NULL, right_ INTEGER NOT NULL, rows INTEGER NOT NULL,
    ms_p50 REAL NOT NULL, probe TEXT NOT NULL, at TEXT NOT NULL, PRIMARY KEY (identity, task)
);
INSERT INTO "probes" VALUES('fake:slm@1','answer',9,10,12.5,'p','2026-11-24T12:00:00+00:00');
COMMIT;
PRAGMA user_version = 0;
