"""Every store that version 0.1.0 wrote is opened by this one, with every row, and goes on."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest

from sluicegate.errors import RetrievalError, RunError
from sluicegate.evals.evaluation.result_store import ResultStore
from sluicegate.evals.shadow.pairs import PairStore
from sluicegate.graphs.runtime.run import Runner
from sluicegate.graphs.runtime.versions_postgres import SharedVersions
from sluicegate.home import cache_dir
from sluicegate.models.embeddings.embedding_store import EmbeddingStore
from sluicegate.models.probes.probe_results import result
from sluicegate.observe.incidents import Incidents
from sluicegate.observe.tracing.pseudonyms import Payloads
from sluicegate.observe.tracing.store import Store
from sluicegate.observe.tracing.tracer import RecordingTracer
from sluicegate.policies.cache.cache import AnswerCache, AnswerStore
from sluicegate.policies.config import BudgetConfig
from sluicegate.policies.ledger.ledger import BudgetLedger, SqliteLedger
from sluicegate.policies.ledger.postgres import PostgresLedger
from sluicegate.retrieval.catalog import Catalog
from sluicegate.services import Hidden
from sluicegate.storage import schemas
from sluicegate.storage.database import PostgresDatabase
from sluicegate.storage.migrations import Migration, Schema
from sluicegate.storage.postgres import URL, Server, configured
from sluicegate.storage.sqlite import connect
from tests.faults import desk
from tests.support import ROOT

WRITTEN = Path(__file__).parent / "v010"
FILES = {
    **{
        one.name: f"{one.name}.sqlite"
        for one in (
            *(schemas.APPROVALS, schemas.CACHE, schemas.CHECKPOINTS, schemas.INCIDENTS, schemas.LEDGER, schemas.PROBES),
            *(schemas.RECOVERED, schemas.SHADOW, schemas.TICKETS, schemas.TOOL_CALLS, schemas.TRACES),
        )
    },
    "catalog": "indexes/test/kb/catalog.sqlite",
    "payloads": "audit/payloads.sqlite",
    "results": "evals/results.sqlite",
}
EVERY = [
    one
    for one in vars(schemas).values()
    # four are only ever on a server, and the last release had neither conversations nor webhooks nor rates
    if isinstance(one, Schema)
    and one
    not in (
        *(schemas.LEFT_RUNS, schemas.VERSIONS, schemas.DOCUMENTS, schemas.AUDIT, schemas.SHARED_TRACES),
        schemas.UNSENT,
        *(schemas.CONVERSATIONS, schemas.WEBHOOKS, schemas.RATES),
    )
]


@pytest.fixture
def old_home(own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SLUICEGATE_CACHE", str(tmp_path / "cache"))
    for name, file in (*((name, own_home / file) for name, file in FILES.items()), ("embeddings", _vectors())):
        file.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(file)) as database:
            database.executescript((WRITTEN / f"{name}.sql").read_text(encoding="utf-8"))
    return own_home


@pytest.fixture
def old_server(postgres: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    import psycopg

    with psycopg.connect(postgres, autocommit=True) as connection:
        for statement in (WRITTEN / "server.sql").read_text(encoding="utf-8").split(";\n\n"):
            connection.execute(statement)  # type: ignore[arg-type]
    monkeypatch.setenv(URL, postgres)
    found = configured()
    assert found
    yield found
    found.close()


def _vectors() -> Path:
    return cache_dir() / "embeddings.sqlite"


def _rows(file: Path) -> dict[str, list[tuple[Any, ...]]]:
    with closing(sqlite3.connect(file)) as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        return {name: database.execute(f'SELECT * FROM "{name}"').fetchall() for name in names}


def test_no_schema_is_without_a_file_of_the_last_release() -> None:
    assert {path.stem for path in WRITTEN.glob("*.sql")} == {"server", *(one.name for one in EVERY)}


@pytest.mark.slow
@pytest.mark.parametrize("schema", EVERY, ids=lambda schema: schema.name)
def test_every_row_is_kept_and_the_format_is_that_of_a_new_file(schema: Schema, old_home: Path, tmp_path: Path) -> None:
    file = old_home / FILES[schema.name] if schema.name in FILES else _vectors()
    before = _rows(file)
    assert any(before.values())
    connect(file, schema).close()
    connect(tmp_path / "new.sqlite", schema).close()
    after = _rows(file)
    if schema is schemas.CHECKPOINTS:
        assert _waiting(after.pop("waiting"))
    if schema is schemas.RECOVERED:
        assert after.pop("accepted") == []
        assert {row[2:] for row in after["recovered"]} == {(0,)}
        after["recovered"] = [row[:2] for row in after["recovered"]]
    if schema is schemas.APPROVALS:
        assert after.pop("links") == []
        assert {row[6:] for row in after["decisions"]} == {("approval", 1)}, "what was decided then is no news"
        after["decisions"] = [row[:6] for row in after["decisions"]]
    if schema is schemas.TRACES:
        assert (after.pop("changes"), after.pop("sqlite_sequence")) == ([], [])
        assert {row[-1] for row in after["runs"]} == {None}, "no run of then has said whether it needed the large model"
        after["runs"] = [row[:-1] for row in after["runs"]]
        packed = after.pop("packed_spans")
        assert [row[0] for row in packed] == [*accumulate(row[2] for row in packed)]
        with closing(connect(file, schema)) as database:
            after["spans"] = [tuple(row) for row in database.execute("SELECT * FROM spans ORDER BY seq")]
        for rows in (before, after):
            rows["spans"] = [(*row[:-1], json.loads(row[-1])) for row in rows["spans"]]
    if schema is schemas.CACHE:
        assert len(after.pop("sqlite_sequence")) == 1
        after["questions"] = [row[1:] for row in after["questions"]]
        assert {row[-1] for row in after["counters"]} == {"packed"}, "whoever has questions in memory reads them again"
        after["answers"] = [(key, value.decode(), *rest) for key, value, *rest in after["answers"]]
        after["counters"] = [row[:-1] for row in after["counters"]]
    if schema is schemas.INCIDENTS:
        assert {row[-2] for row in after["incidents"]} == {1}, "what was opened then is no news"
        assert {row[-1] for row in after["incidents"]} == {"{}"}, "there was one log then"
        after["incidents"] = [row[:-2] for row in after["incidents"]]
        assert {row[-1] for row in after["happenings"]} <= {""}
        after["happenings"] = [row[:-1] for row in after["happenings"]]
        after["notes"] = [row[1:] for row in after["notes"]]
    if schema is schemas.PROBES:
        assert {row[7:] for row in after["probes"]} == {(None, None)}, "a probe of then calibrates nothing"
        after["probes"] = [row[:7] for row in after["probes"]]
    if schema is schemas.CATALOG:
        assert {row[6:] for row in after["documents"]} == {("",)}, "no language is known of a document of then"
        after["documents"] = [row[:6] for row in after["documents"]]
    if schema is schemas.LEDGER:
        assert {row[-2:] for row in after["calls"]} == {("[]", "")}, "no run of then lay within another or had branches"
        after["calls"] = [row[:-2] for row in after["calls"]]
        assert after.pop("used_up") == []
    assert after == before
    assert _format(file) == _format(tmp_path / "new.sqlite")


def _waiting(rows: list[tuple[Any, ...]]) -> bool:
    """The one run of the last release that waits, which no sweep has seen."""
    return [(row[0], *row[3:]) for row in rows] == [("risky", "", "", 0)]


def _format(file: Path) -> Any:
    with closing(sqlite3.connect(file)) as database:
        tables = database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
        columns = {
            name: database.execute("SELECT * FROM pragma_table_info(?)", (name,)).fetchall() for (name,) in tables
        }
        others = database.execute("SELECT type, name FROM sqlite_schema WHERE type <> 'table' ORDER BY name").fetchall()
        return columns, others, database.execute("PRAGMA user_version").fetchone()


async def test_what_waited_is_decided_and_the_books_are_right(old_home: Path) -> None:
    ledger = SqliteLedger(BudgetConfig(per_day_usd=1.0))
    _books(ledger)
    store = Store(old_home / "store.sqlite")
    made = _traced(desk.runner(old_home), store)
    outcome = await made.decide("risky", "approve", desk.LEAD)
    assert (outcome.status, outcome.text) == ("answered", "Opened T-00001.")
    assert store.run("risky")["status"] == "answered"
    known = await made.services.tools.call("create_ticket", {"title": "Other"}, key=_key(outcome.state), run="risky")
    assert (known.repeated, known.value["id"]) == (True, "T-00001")


def _key(state: Any) -> str:
    return state["tool_calls"][0]["key"]


def _traced(made: Runner, store: Store) -> Runner:
    made.tracer = RecordingTracer(store)
    made.services = replace(made.services, tracer=made.tracer)
    return made


def _books(ledger: BudgetLedger) -> None:
    (row,) = ledger.spending()
    (day,) = ledger.caps("test", day="2026-11-27")
    assert (row["calls"], row["usd"], row["held_usd"]) == (3, 3 * desk.PRICE, 0.0)
    assert (day.spent, day.held) == (3 * desk.PRICE, 0.0)


async def test_what_was_answered_is_found_again(old_home: Path) -> None:
    with closing(connect(old_home / "cache.sqlite")) as kept:
        created = kept.execute("SELECT created FROM answers").fetchone()["created"]
    made = desk.runner(old_home)
    # an answer serves for an hour
    cache = AnswerStore(old_home / "cache.sqlite", now=lambda: created + 60)
    made.services = replace(made.services, cache=AnswerCache(cache))
    again = await made.run(desk.REQUESTS["plain"], desk.ANN, run="again")
    assert (again.path, len((old_home / "calls").read_bytes()) if (old_home / "calls").exists() else 0) == ("cache", 0)
    assert AnswerStore().stats()["entries"] == 1


async def test_what_was_recorded_is_shown(old_home: Path) -> None:
    store = Store(old_home / "store.sqlite")
    status = {row["run_id"]: row["status"] for row in store.runs()}
    assert status == {"plain": "answered", "risky": "waiting", "decided": "answered"}
    assert [step["node"] for step in store.decisions("plain")] == [
        *("classify", "gate", "recall", "facts", "answer", "check"),
    ]
    assert [score["name"] for score in store.scores("plain")].count("helpful") == 1
    assert [one["kind"] for one in Incidents().list()] == ["override"]
    payloads = Payloads(old_home / "audit" / "payloads.sqlite")
    await _placeholders(payloads)
    payloads.close()


NEEDED = """SELECT run_id, needs_large FROM runs ORDER BY run_id"""


def test_whether_a_run_needed_the_large_model_becomes_a_column_of_its_own(old_home: Path) -> None:
    with closing(sqlite3.connect(old_home / "store.sqlite")) as database, database:
        database.execute(
            "UPDATE spans SET attributes = json_set(attributes, '$.needs_large', 0.25) WHERE seq = "
            "(SELECT min(seq) FROM spans WHERE run_id = 'plain')"
        )
    with closing(Store(old_home / "store.sqlite")) as store:
        assert {row["run_id"]: row["needs_large"] for row in store.query(NEEDED)} == {
            "decided": None, "plain": 0.25, "risky": None,
        }  # fmt: skip


def test_whether_a_run_needed_the_large_model_becomes_a_column_on_a_server(postgres: str) -> None:
    with closing(Server(postgres)) as server:
        first = replace(schemas.SHARED_TRACES, steps=schemas.SHARED_TRACES.steps[:1])
        with PostgresDatabase(server, first).writing() as execute:
            for run, attributes in (("a", '{"needs_large":0.25}'), ("b", "{}")):
                execute.many(
                    'INSERT INTO runs (run_id, trace_id, workflow, version, digest, "user", session, environment, '
                    "release, shadow, status, started_ns) VALUES (?, '', '', '', '', '', '', '', '', 0, 'running', 1)",
                    [(run,)],
                )
                execute.many(
                    "INSERT INTO spans (span_id, run_id, parent, name, type, start_ns, end_ns, level, message, "
                    "attributes) VALUES (?, ?, 'p', 'route', 'chain', 1, 2, 'DEFAULT', '', ?)",
                    [(run, run, attributes)],
                )
        with PostgresDatabase(server, schemas.SHARED_TRACES).reading() as execute:
            assert [*map(tuple, (row.values() for row in execute(NEEDED)))] == [("a", 0.25), ("b", None)]


async def _placeholders(payloads: Payloads) -> None:
    assert await payloads.hidden("plain") == {"<EMAIL_1>": Hidden("ann@example.org", "email", "request")}
    assert [payload.text for payload in payloads.of_run("plain")] == ["How?"]
    assert payloads.erase("ann")[1] == 2


def test_what_was_measured_and_remembered_is_known(old_home: Path) -> None:
    del old_home
    found = result("fake:slm@1", "answer")
    assert found
    assert found.accuracy == 0.9
    row = ResultStore().row("under", "c1")
    assert row
    assert row.metrics == {"right": 1.0}
    pairs = PairStore()
    assert [pair.champion_run for pair in pairs.pairs(pairs.running("test").number)] == ["plain"]
    pairs.close()
    remembered = EmbeddingStore()
    assert list(remembered.get("fake@1", ["printer"])["printer"]) == [0.5, 0.25]
    remembered.close()


def test_an_index_whose_passages_cut_sentences_is_to_be_built_again(old_home: Path) -> None:
    catalog = Catalog(old_home / "indexes" / "test" / "kb")
    with pytest.raises(RetrievalError, match="SG402 index 'kb' was written in format 1") as raised:
        catalog.documents()
    assert "sluicegate ingest --rebuild" in raised.value.hint
    assert catalog.text("h1") == "Colour printing is allowed."
    catalog.close()


SHARED = (
    *(schemas.APPROVALS, schemas.CHECKPOINTS, schemas.LEDGER, schemas.PAYLOADS, schemas.RECOVERED),
    *(schemas.LEFT_RUNS, schemas.TOOL_CALLS, schemas.VERSIONS),
)


def test_every_row_on_a_server_is_kept_and_every_part_is_numbered(old_server: Server) -> None:
    def rows() -> dict[str, list[dict[str, Any]]]:
        with old_server.connection() as connection:
            names = "SELECT tablename AS name FROM pg_tables WHERE schemaname = current_schema() ORDER BY 1"
            found = [row["name"] for row in connection.execute(names).fetchall()]
            return {name: connection.execute(f'SELECT * FROM "{name}"').fetchall() for name in found}

    before = rows()
    del before["sluicegate"]
    assert all(before.values()), "no table without a row"
    for schema in SHARED:
        PostgresDatabase(old_server, schema)
    after = rows()
    assert {row["part"]: row["format"] for row in after.pop("sluicegate")} == {
        one.name: len(one.steps) for one in SHARED
    }
    assert _waiting([tuple(row.values()) for row in after.pop("waiting")])
    assert [after.pop(table) for table in ("links", "used_up")] == [[], []]
    assert after.pop("left_runs") == before.pop("stretches"), "what was at work then is to be taken over"
    assert {row.pop("alone") for row in after["recovered"]} == {0}
    assert {(row.pop("waits_for"), row.pop("announced")) for row in after["decisions"]} == {("approval", 1)}
    assert {(row.pop("within"), row.pop("drawn_on")) for row in after["calls"]} == {("[]", "")}
    assert after == before


async def test_a_server_that_0_1_0_has_set_up_goes_on(own_home: Path, tmp_path: Path, old_server: Server) -> None:
    _books(PostgresLedger(old_server, BudgetConfig(per_day_usd=1.0)))
    made = desk.runner(own_home)
    made.services = replace(made.services, ledger=PostgresLedger(old_server, BudgetConfig(per_day_usd=1.0)))
    outcome = await made.decide("risky", "approve", desk.LEAD)
    assert (outcome.status, outcome.text) == ("answered", "Opened T-00001.")
    versions = SharedVersions(old_server)
    assert versions.present("test") == "digest-1"
    assert versions.get("digest-1", tmp_path)
    assert (tmp_path / "workflow.yaml").read_text() == "name: test\n"
    await _placeholders(Payloads(Path("unused"), old_server))


def test_a_ledger_that_lacks_a_column_gets_it(old_home: Path) -> None:
    """A file that was made before version 0.1.0 was."""
    with closing(sqlite3.connect(old_home / "ledger.sqlite", isolation_level=None)) as database:
        database.execute("ALTER TABLE calls DROP COLUMN ended_at")
        database.execute("DROP INDEX calls_day")
    _books(SqliteLedger(BudgetConfig(per_day_usd=1.0)))
    with closing(sqlite3.connect(old_home / "ledger.sqlite")) as database:
        assert database.execute("SELECT ended_at FROM calls").fetchall() == [(None,)] * 3


def test_a_column_that_nothing_can_fill_is_named(old_home: Path) -> None:
    with closing(sqlite3.connect(old_home / "ledger.sqlite", isolation_level=None)) as database:
        database.execute("ALTER TABLE calls DROP COLUMN principal")
    with pytest.raises(RunError, match="lacks the column principal of calls") as caught:
        SqliteLedger()
    assert caught.value.code == "SG606"


TWO = Schema(
    "things",
    (
        Migration("CREATE TABLE IF NOT EXISTS things (name TEXT PRIMARY KEY);"),
        Migration("ALTER TABLE things ADD COLUMN size BIGINT NOT NULL DEFAULT 0; UPDATE things SET size = 7;"),
    ),
)
ONE = Schema("things", TWO.steps[:1])
BROKEN = Schema("things", (*ONE.steps, Migration("INSERT INTO things VALUES ('b'); INSERT INTO nowhere VALUES (1);")))


def test_a_step_is_taken_once_and_a_newer_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "things.sqlite"
    with closing(connect(file, ONE)) as database:
        database.execute("INSERT INTO things VALUES ('a')")
    for _ in range(2):
        with closing(connect(file, TWO)) as database:
            assert [tuple(row) for row in database.execute("SELECT * FROM things")] == [("a", 7)]
            database.execute("UPDATE things SET size = 7")
    with pytest.raises(RunError, match="newer version") as caught:
        connect(file, ONE)
    assert caught.value.code == "SG612"
    assert "Upgrade sluicegate" in (caught.value.hint or "")


def test_a_step_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "things.sqlite"
    connect(file, ONE).close()
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        connect(file, BROKEN)
    with closing(connect(file, ONE)) as database:
        assert database.execute("SELECT * FROM things").fetchall() == []


def test_a_server_takes_the_steps_too(postgres: str) -> None:
    from sluicegate.storage.postgres import server

    shared = server(postgres)
    with PostgresDatabase(shared, ONE).writing() as execute:
        execute("INSERT INTO things VALUES ('a')")
    with PostgresDatabase(shared, TWO).reading() as execute:
        assert execute("SELECT * FROM things") == [{"name": "a", "size": 7}]
    with pytest.raises(RunError) as caught:
        PostgresDatabase(shared, ONE)
    assert caught.value.code == "SG612"


OPENED_AT_ONCE = f"""
import sys
from pathlib import Path
from sluicegate.storage.sqlite import connect
from sluicegate.storage.migrations import Migration, Schema
print("ready", flush=True)
sys.stdin.readline()
connect(Path(sys.argv[1]), {TWO!r}).execute("INSERT INTO things VALUES (?, 1)", (sys.argv[2],))
"""


@pytest.mark.slow
@pytest.mark.parametrize("old", [False, True])
def test_processes_that_open_a_file_at_once_take_each_step_once(tmp_path: Path, old: bool) -> None:
    file = tmp_path / "things.sqlite"
    if old:
        connect(file, ONE).close()
    command = [sys.executable, "-W", "ignore", "-c", OPENED_AT_ONCE, str(file)]
    workers = [
        subprocess.Popen([*command, str(number)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for number in range(4)
    ]
    for worker in workers:
        assert worker.stdout
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        worker.communicate("go\n", timeout=60)
    assert [worker.returncode for worker in workers] == [0] * 4
    with closing(connect(file, TWO)) as database:
        # a second update would have overwritten what a quicker process has put there
        assert [row["size"] for row in database.execute("SELECT * FROM things")] == [1] * 4
