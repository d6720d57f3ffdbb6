BEGIN TRANSACTION;
CREATE TABLE tickets (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    run TEXT NOT NULL,
    title TEXT NOT NULL,
    category TEXT NOT NULL,
    urgency TEXT NOT NULL,
    details TEXT NOT NULL,
    opened_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),
    status TEXT NOT NULL DEFAULT 'open'
);
INSERT INTO "tickets" VALUES(1,'e4ff34604c3ee142bdcfd6992dc8afa0','risky','Finance share','other','normal','','2026-11-27T01:16:34Z','open');
INSERT INTO "tickets" VALUES(2,'460e92bead3f65ab978c96cb3b595c41','decided','Finance share','other','normal','','2026-11-27T01:16:34Z','open');
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('tickets',2);
COMMIT;
PRAGMA user_version = 0;
