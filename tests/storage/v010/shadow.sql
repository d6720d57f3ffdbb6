BEGIN TRANSACTION;
CREATE TABLE claims (
    shadow INTEGER NOT NULL, champion_run TEXT NOT NULL, day TEXT NOT NULL, PRIMARY KEY (shadow, champion_run)
) WITHOUT ROWID;
INSERT INTO "claims" VALUES(1,'plain','2026-11-27');
CREATE TABLE pairs (
    number INTEGER PRIMARY KEY, shadow INTEGER NOT NULL, champion_run TEXT NOT NULL, day TEXT NOT NULL,
    usd REAL NOT NULL, pair TEXT NOT NULL, UNIQUE (shadow, champion_run)
);
INSERT INTO "pairs" VALUES(1,1,'plain','2026-11-24',0.2,'{"champion_run": "plain", "challenger_run": "r2", "day": "2026-11-24", "champion": {"usd": 0.1}, "challenger": {"usd": 0.2}, "events": [], "champion_events": [], "slices": {}, "withheld": []}');
CREATE TABLE shadows (
    number INTEGER PRIMARY KEY, workflow TEXT NOT NULL, champion TEXT NOT NULL, champion_digest TEXT NOT NULL,
    challenger TEXT NOT NULL, challenger_digest TEXT NOT NULL, labels TEXT NOT NULL, plan TEXT NOT NULL,
    plan_digest TEXT NOT NULL, started_at TEXT NOT NULL, stopped_at TEXT
);
INSERT INTO "shadows" VALUES(1,'test','a.yaml','digest-1','b.yaml','digest-2','','{"plan":"next","goal":{"metric":"without_llm","cap":null,"by":0.0},"guardrails":[{"metric":"checks_passed","cap":null,"margin":0.05}],"limits":[{"event":"failed","rate":0.03}],"pairs":{"minimum":200,"maximum":2000},"days":1,"error":0.05,"missing":0.1,"slices":["intent"],"sample":{"by":"intent","share":1.0,"strata":{}},"daily":{"usd":1.0,"pairs":10000},"queue":64,"concurrency":1,"timeout_s":5.0}','0a1d5cefbb8f2d06b77bc4ed4e2ec5dfcede3b61c5f6bc7e454e73fe92503426','2026-11-27T01:16:34.065361+00:00',NULL);
CREATE TABLE shed (
    shadow INTEGER NOT NULL, reason TEXT NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (shadow, reason)
) WITHOUT ROWID;
CREATE TABLE working (
    shadow INTEGER NOT NULL, champion_run TEXT NOT NULL, until REAL NOT NULL, PRIMARY KEY (shadow, champion_run)
) WITHOUT ROWID;
CREATE INDEX claims_by_day ON claims (shadow, day);
CREATE INDEX pairs_by_day ON pairs (shadow, day, usd);
COMMIT;
PRAGMA user_version = 0;
