BEGIN TRANSACTION;
CREATE TABLE evaluations (
    number INTEGER PRIMARY KEY, workflow TEXT NOT NULL, variant TEXT NOT NULL, data TEXT NOT NULL, digest TEXT NOT NULL,
    under TEXT NOT NULL, at TEXT NOT NULL, metrics TEXT NOT NULL, rows TEXT NOT NULL
);
INSERT INTO "evaluations" VALUES(1,'test','base','golden','digest-1','under','2026-11-27T01:16:34+00:00','{"right": 1.0}','[{"case": "c1", "run": "r1", "text": "How?", "status": "answered", "path": "slm", "intent": "question", "answer": "So.", "model": "fake:slm", "fallback": "", "slices": [], "metrics": {"right": 1.0}, "error": "", "at_once": 1}]');
CREATE TABLE results (
    under TEXT NOT NULL, row TEXT NOT NULL, result TEXT NOT NULL, at TEXT NOT NULL, PRIMARY KEY (under, row)
) WITHOUT ROWID;
INSERT INTO "results" VALUES('under','c1','{"case": "c1", "run": "r1", "text": "How?", "status": "answered", "path": "slm", "intent": "question", "answer": "So.", "model": "fake:slm", "fallback": "", "slices": [], "metrics": {"right": 1.0}, "error": "", "at_once": 1}','2026-11-27T01:16:34+00:00');
COMMIT;
PRAGMA user_version = 0;
