BEGIN TRANSACTION;
CREATE TABLE decisions (
    run TEXT NOT NULL, node TEXT NOT NULL, asked_at TEXT NOT NULL, verdict TEXT NOT NULL,
    decided_at TEXT NOT NULL, applied INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (run, node, asked_at)
);
INSERT INTO "decisions" VALUES('decided','approve','2026-11-23T12:00:00+00:00','{"verdict": "approve", "principal": {"id": "lea", "roles": ["helpdesk-lead"], "groups": [], "clearance": "internal"}, "reason": "", "text": "", "asked_at": "2026-11-23T12:00:00+00:00"}','2026-11-27T01:16:34.046230+00:00',1);
COMMIT;
PRAGMA user_version = 0;
