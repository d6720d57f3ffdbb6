BEGIN TRANSACTION;
CREATE TABLE answers (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL,
    created REAL NOT NULL,
    expires REAL NOT NULL,
    used REAL NOT NULL,
    saved_usd REAL NOT NULL,
    size INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO "answers" VALUES('52606b3e56b6ad12e34a5e411375816860ab06e38101b0005c5e39ae724538ea','{"answer":{"text":"Small answer [1].","confidence":0.8,"answerability":0.8,"threshold":2.0,"citations":[{"marker":"[1]","document":"kb-1","version":"2","span":[0,23]}],"model":"fake:slm","by":"answer","prompt":"answer@1","prompt_hash":"9a8945307cfbd9fc6d1e4b7d95a26f51109fb5c6c750ec74b2a6274bba61830d","finish":"stop","fallback":"","features":{}},"documents":[{"id":"kb-1","version":"2","title":"Passwords","source":"kb/1.md","score":0.8,"span":[0,23],"hash":"h1","classification":"internal"}]}',1.79574219401469969753e+09,1.79574579401469969748e+09,1.79574219401469969753e+09,0.001,558);
CREATE TABLE counters (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    hits INTEGER NOT NULL, misses INTEGER NOT NULL, saved_usd REAL NOT NULL, evicted INTEGER NOT NULL,
    size INTEGER NOT NULL
);
INSERT INTO "counters" VALUES(1,0,0,0.0,0,558);
CREATE TABLE questions (
    key TEXT PRIMARY KEY REFERENCES answers (key) ON DELETE CASCADE,
    space TEXT NOT NULL,
    text TEXT NOT NULL,
    vector BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX answers_used ON answers (used);
CREATE INDEX questions_space ON questions (space);
COMMIT;
PRAGMA user_version = 0;
