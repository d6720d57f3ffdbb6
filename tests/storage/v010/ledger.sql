BEGIN TRANSACTION;
CREATE TABLE calls (
        id TEXT PRIMARY KEY,
        workflow TEXT NOT NULL,
        run TEXT NOT NULL,
        principal TEXT NOT NULL,
        intent TEXT NOT NULL,
        model TEXT NOT NULL,
        day TEXT NOT NULL,
        state TEXT NOT NULL,
        estimated_micros BIGINT NOT NULL,
        estimated_tokens BIGINT NOT NULL,
        real_micros BIGINT,
        real_tokens BIGINT,
        reserved_at DOUBLE PRECISION NOT NULL,
        expires_at DOUBLE PRECISION NOT NULL,
        ended_at DOUBLE PRECISION
    );
INSERT INTO "calls" VALUES('6e489762422f453fa2b3ff268dec2b4e','test','plain','ann','question','fake:slm','2026-11-27','settled',1000,82,1000,15,1.79574219401094651226e+09,1.79574249401094651222e+09,1.79574219401189684864e+09);
INSERT INTO "calls" VALUES('f00ecc61549a4e908dee354b307a34b8','test','risky','ann','access','fake:slm','2026-11-27','settled',1000,978,1000,15,1.79574219402231073381e+09,1.79574249402231073376e+09,1.79574219402261972423e+09);
INSERT INTO "calls" VALUES('c3c0781bca4c4ea3a7fb3202b65a1dcc','test','decided','ann','access','fake:slm','2026-11-27','settled',1000,978,1000,15,1.79574219403764033312e+09,1.7957424940376403332e+09,1.79574219403794765469e+09);
CREATE TABLE clock (id INTEGER PRIMARY KEY, latest DOUBLE PRECISION NOT NULL);
INSERT INTO "clock" VALUES(1,1.79574219401094651226e+09);
CREATE TABLE totals (
        scope TEXT PRIMARY KEY,
        held_micros BIGINT NOT NULL,
        spent_micros BIGINT NOT NULL,
        held_tokens BIGINT NOT NULL,
        spent_tokens BIGINT NOT NULL
    );
INSERT INTO "totals" VALUES('run ''plain''',0,1000,0,15);
INSERT INTO "totals" VALUES('principal ''test'' ''ann'' 2026-11-27',0,3000,0,45);
INSERT INTO "totals" VALUES('intent ''test'' ''question'' 2026-11-27',0,1000,0,15);
INSERT INTO "totals" VALUES('day ''test'' 2026-11-27',0,3000,0,45);
INSERT INTO "totals" VALUES('month ''test'' 2026-11',0,3000,0,45);
INSERT INTO "totals" VALUES('run ''risky''',0,1000,0,15);
INSERT INTO "totals" VALUES('intent ''test'' ''access'' 2026-11-27',0,2000,0,30);
INSERT INTO "totals" VALUES('run ''decided''',0,1000,0,15);
CREATE INDEX calls_held ON calls (expires_at) WHERE state = 'held';
CREATE INDEX calls_day ON calls (day, workflow);
COMMIT;
PRAGMA user_version = 0;
