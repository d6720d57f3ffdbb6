BEGIN TRANSACTION;
CREATE TABLE tool_calls (
    key TEXT PRIMARY KEY,
    tool TEXT NOT NULL,
    run TEXT NOT NULL,
    result TEXT NOT NULL,
    ms DOUBLE PRECISION NOT NULL
);
INSERT INTO "tool_calls" VALUES('e4ff34604c3ee142bdcfd6992dc8afa0','create_ticket','risky','{"id": "T-00001", "title": "Finance share", "category": "other", "urgency": "normal", "status": "open"}',4.39245799998389);
INSERT INTO "tool_calls" VALUES('460e92bead3f65ab978c96cb3b595c41','create_ticket','decided','{"id": "T-00002", "title": "Finance share", "category": "other", "urgency": "normal", "status": "open"}',2.83564699975613621063e+00);
COMMIT;
PRAGMA user_version = 0;
