BEGIN TRANSACTION;
CREATE TABLE documents (
  id TEXT PRIMARY KEY, file TEXT NOT NULL UNIQUE, file_hash TEXT NOT NULL, text_hash TEXT NOT NULL,
  named INTEGER NOT NULL, facts TEXT NOT NULL);
INSERT INTO "documents" VALUES('d1','printing.md','fh','th',0,'{"approved": true, "clearance": "internal", "id": "d1", "owner": "it", "readers": ["employee"], "source": "kb", "tags": [], "title": "Printing", "valid_until": 20301231, "version": "1"}');
CREATE TABLE head (
  one INTEGER PRIMARY KEY CHECK (one = 1), format INTEGER NOT NULL,
  table_name TEXT NOT NULL, table_version INTEGER NOT NULL,
  digest TEXT NOT NULL, asked TEXT NOT NULL, embedder TEXT NOT NULL, fingerprint TEXT NOT NULL, language TEXT NOT NULL,
  chunks INTEGER NOT NULL, ingested_at TEXT NOT NULL);
INSERT INTO "head" VALUES(1,1,'passages',1,'eefa6d1ab153da031d6bd7dbb7f20796e8df804f935f62d006575eed8ac6c5d6','fake:embedder','fake:embedder','f','en',1,'2026-11-24T00:00:00+00:00');
CREATE TABLE passages (
  document TEXT NOT NULL REFERENCES documents(id) ON DELETE CASCADE, hash TEXT NOT NULL);
INSERT INTO "passages" VALUES('d1','h1');
CREATE TABLE texts (hash TEXT PRIMARY KEY, text TEXT NOT NULL, left_at TEXT) WITHOUT ROWID;
INSERT INTO "texts" VALUES('h1','Colour printing is allowed.',NULL);
CREATE INDEX passages_by_document ON passages(document);
CREATE INDEX passages_by_hash ON passages(hash);
COMMIT;
PRAGMA user_version = 0;
