"""Waiting and active runs, and the outside effects of their steps."""

from sluicegate.storage.migrations import Migration, Schema

__all__ = [
    "APPROVALS",
    "CHECKPOINTS",
    "CONVERSATIONS",
    "DOCUMENTS",
    "LEFT_RUNS",
    "RECOVERED",
    "TICKETS",
    "TOOL_CALLS",
    "VERSIONS",
]

CHECKPOINTS = Schema(
    "checkpoints",
    (
        Migration("""
CREATE TABLE IF NOT EXISTS checkpoints (
    thread TEXT NOT NULL, ns TEXT NOT NULL, id TEXT NOT NULL, parent TEXT,
    type TEXT NOT NULL, checkpoint BLOB NOT NULL, metadata_type TEXT NOT NULL, metadata BLOB NOT NULL,
    PRIMARY KEY (thread, ns, id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS channels (
    thread TEXT NOT NULL, ns TEXT NOT NULL, channel TEXT NOT NULL, version TEXT NOT NULL,
    type TEXT NOT NULL, value BLOB NOT NULL,
    PRIMARY KEY (thread, ns, channel, version)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS writes (
    thread TEXT NOT NULL, ns TEXT NOT NULL, id TEXT NOT NULL, task TEXT NOT NULL, position INTEGER NOT NULL,
    channel TEXT NOT NULL, path TEXT NOT NULL, type TEXT NOT NULL, value BLOB NOT NULL,
    PRIMARY KEY (thread, ns, id, task, position)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS writes_interrupts ON writes (thread, ns, id) WHERE channel = '__interrupt__';
"""),
        Migration("""
CREATE TABLE waiting (
    thread TEXT NOT NULL, ns TEXT NOT NULL, id TEXT NOT NULL, workflow TEXT NOT NULL, deadline TEXT NOT NULL,
    PRIMARY KEY (thread, ns)
) WITHOUT ROWID;
INSERT INTO waiting SELECT DISTINCT thread, ns, id, '', '' FROM writes WHERE channel = '__interrupt__' AND NOT EXISTS (
    SELECT 1 FROM checkpoints AS later
    WHERE later.thread = writes.thread AND later.ns = writes.ns AND later.id > writes.id
);
CREATE INDEX waiting_deadlines ON waiting (workflow, deadline, thread);
DROP INDEX writes_interrupts;
CREATE TABLE appended (
    thread TEXT NOT NULL, ns TEXT NOT NULL, id TEXT NOT NULL, parent TEXT,
    type TEXT NOT NULL, checkpoint BLOB NOT NULL, metadata_type TEXT NOT NULL, metadata BLOB NOT NULL,
    PRIMARY KEY (thread, ns, id)
);
INSERT INTO appended SELECT * FROM checkpoints;
DROP TABLE checkpoints;
ALTER TABLE appended RENAME TO checkpoints;
"""),
        Migration("ALTER TABLE waiting ADD COLUMN announced INTEGER NOT NULL DEFAULT 0;"),
    ),
)
"""Each step, as `storage.step_rows` packs it; the steps of version 0.1.0 have their values in `channels`. `writes` has
what must outlast a step that does not end. `waiting` has the threads that are at an interrupt; workflow and deadline
are empty until the first sweep that sees them, and
`announced` is 0 until its webhooks have it. A table with a row number is appended to, which fills its pages."""

APPROVALS = Schema(
    "approvals",
    (
        Migration("""
CREATE TABLE IF NOT EXISTS decisions (
    run TEXT NOT NULL, node TEXT NOT NULL, asked_at TEXT NOT NULL, verdict TEXT NOT NULL,
    decided_at TEXT NOT NULL, applied INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (run, node, asked_at)
);
"""),
        Migration("""
CREATE TABLE links (
    id TEXT PRIMARY KEY, run TEXT NOT NULL, node TEXT NOT NULL, asked_at TEXT NOT NULL, shown TEXT NOT NULL,
    person TEXT NOT NULL, rights TEXT NOT NULL, expires_at TEXT NOT NULL, made_at TEXT NOT NULL, made_by TEXT NOT NULL,
    ended TEXT NOT NULL DEFAULT ''
);
CREATE INDEX links_run ON links (run);
"""),
        Migration("""
ALTER TABLE decisions ADD COLUMN waits_for TEXT NOT NULL DEFAULT 'approval';
ALTER TABLE decisions ADD COLUMN announced INTEGER NOT NULL DEFAULT 1;
CREATE INDEX decisions_unannounced ON decisions (decided_at) WHERE announced = 0;
"""),
    ),
    durable=True,
)
"""Decisions of people on waiting runs; `announced` is 0 until webhooks have one. And the links by which one person may
make one; `ended` is how a link was used, or that it was revoked. The links themselves are not kept: a key of the home
makes them of these rows."""

CONVERSATIONS = Schema(
    "conversations",
    (
        Migration("""
CREATE TABLE turns (
    workflow TEXT NOT NULL, person TEXT NOT NULL, conversation TEXT NOT NULL, number INTEGER NOT NULL,
    run TEXT NOT NULL, digest TEXT NOT NULL, at TEXT NOT NULL, open INTEGER NOT NULL, history TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (workflow, person, conversation, number), UNIQUE (run, conversation)
) WITHOUT ROWID;
CREATE INDEX turns_by_history ON turns (person, history);
"""),
    ),
)
"""The runs that are the turns of each person's conversations, in order. What was said is in the runs. `history` is a
hash of all that was asked up to a turn, for callers who send that along in the place of a name; a conversation that
parts from another one at a turn has the same runs up to there."""

TOOL_CALLS = Schema(
    "tools",
    (
        Migration("""
CREATE TABLE IF NOT EXISTS tool_calls (
    key TEXT PRIMARY KEY, tool TEXT NOT NULL, run TEXT NOT NULL, result TEXT NOT NULL, ms DOUBLE PRECISION NOT NULL
);
"""),
    ),
    durable=True,
)
"""Results of tools, by idempotency key."""

TICKETS = Schema(
    "tickets",
    (
        Migration("""
CREATE TABLE IF NOT EXISTS tickets (
    number INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, run TEXT NOT NULL, title TEXT NOT NULL,
    category TEXT NOT NULL, urgency TEXT NOT NULL, details TEXT NOT NULL,
    opened_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')), status TEXT NOT NULL DEFAULT 'open'
);
"""),
    ),
    durable=True,
    local=True,
)
"""The tickets of the example desk; only ever a file."""

_LEFT = """
CREATE TABLE IF NOT EXISTS left_runs (
    run TEXT COLLATE "C" PRIMARY KEY, workflow TEXT COLLATE "C" NOT NULL, digest TEXT COLLATE "C" NOT NULL,
    channel TEXT COLLATE "C" NOT NULL
)
"""
"""Made by whichever of two formats comes first to its last step."""

RECOVERED = Schema(
    "serving",
    (
        Migration("CREATE TABLE IF NOT EXISTS recovered (run TEXT PRIMARY KEY, times INTEGER NOT NULL) WITHOUT ROWID;"),
        Migration("""
CREATE TABLE accepted (
    run TEXT PRIMARY KEY, workflow TEXT NOT NULL, digest TEXT NOT NULL, owner TEXT NOT NULL
) WITHOUT ROWID;
"""),
        Migration("ALTER TABLE recovered ADD COLUMN alone INTEGER NOT NULL DEFAULT 0;"),
        Migration(
            "",
            (
                _LEFT,
                """INSERT INTO left_runs SELECT run, workflow, digest, '' FROM accepted
                ON CONFLICT (run) DO UPDATE SET digest = excluded.digest, channel = ''""",
                "DROP TABLE accepted",
            ),
        ),
    ),
)
"""In a home, what services have accepted and not ended, each with the service that has it. In both, how many processes
have ended with a run in them, and how many of them while it was alone there."""

LEFT_RUNS = Schema(
    "stretches",
    (
        Migration("""
CREATE TABLE IF NOT EXISTS stretches (
    run TEXT PRIMARY KEY, workflow TEXT NOT NULL, digest TEXT NOT NULL, channel TEXT NOT NULL
);
"""),
        Migration(
            "",
            (
                _LEFT,
                "INSERT INTO left_runs SELECT run, workflow, digest, channel FROM stretches ON CONFLICT DO NOTHING",
                "DROP TABLE stretches",
            ),
        ),
    ),
)
"""Runs that servers had not ended when DBOS came to carry them, until `execution.takeover` promises them; only on a
server. `channel` is empty where any service of the workflow may have them."""

VERSIONS = Schema(
    "versions",
    (
        Migration("""
CREATE TABLE IF NOT EXISTS kept (
    digest TEXT NOT NULL, path TEXT NOT NULL, content TEXT NOT NULL,
    PRIMARY KEY (digest, path)
);
CREATE TABLE IF NOT EXISTS contents (hash TEXT PRIMARY KEY, bytes BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS present (workflow TEXT PRIMARY KEY, digest TEXT NOT NULL);
"""),
    ),
)
"""Kept versions of workflows, file by file; only ever on a server."""

DOCUMENTS = Schema(
    "documents",
    (
        Migration("""
CREATE TABLE IF NOT EXISTS documents (name TEXT PRIMARY KEY, version TEXT NOT NULL, text TEXT);
"""),
    ),
)
"""What is switched off, and which versions serve, as `storage.documents` keeps it; only ever on a server. `version` is
drawn anew with each change: a number would be used twice after a restore."""
