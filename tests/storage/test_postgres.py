"""One server, many processes: who holds a run, what a lost connection means, and what is said of a failure."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from sluicegate.errors import RunError
from sluicegate.storage.database import PostgresDatabase
from sluicegate.storage.migrations import Migration, Schema
from sluicegate.storage.postgres import Server, configured, server
from tests.support import ROOT
from tests.support.fakes import FakeTracer, services
from tests.support.flows import ANN, runner

SCHEMA = Schema(
    "things", (Migration("CREATE TABLE IF NOT EXISTS things (name TEXT PRIMARY KEY, bytes BLOB) WITHOUT ROWID;"),)
)


@pytest.fixture
def shared(postgres: str, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setenv("SLUICEGATE_DATABASE_URL", postgres)
    found = configured()
    assert found
    return found


def test_a_run_is_held_by_one_connection(shared: Server, postgres: str) -> None:
    other = Server(postgres)
    assert [each.hold("r") for each in (shared, shared, other)] == [True, False, False]
    assert other.held("r")
    assert not other.held("s")
    shared.let_go("r")
    assert not other.held("r")
    other.close()


def test_the_lock_of_another_schema_is_another(shared: Server, postgres_server: str) -> None:
    other = Server(postgres_server)
    assert [each.hold("r") for each in (shared, other)] == [True, True]
    shared.let_go("r")
    other.let_go("r")
    other.close()


async def test_who_lost_the_lock_writes_no_more_and_the_run_goes_on(own_home: Path, shared: Server) -> None:
    """A restarted server has forgotten the lock; another machine may have the run by now."""

    class Restarted(FakeTracer):
        def node(self, name: str, *rest: Any, **more: Any) -> Any:
            if name == "facts" and "facts" not in self.seen:
                for held in shared._held.values():  # type: ignore[reportPrivateUsage]
                    pid = held.connection.info.backend_pid
                    with shared.connection() as other:
                        other.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
            return super().node(name, *rest, **more)

    given = services(tracer=Restarted())
    with pytest.raises(RunError) as caught:
        await runner(own_home, given).run("How?", ANN, run="r")
    assert caught.value.code == "SG625"
    outcome = await runner(own_home, services()).resume("r")
    assert outcome.status == "answered"


def test_a_restart_is_noticed_before_a_connection_is_used(shared: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sluicegate.storage.postgres._DOUBTFUL_S", 0.0)
    with shared.connection() as connection:
        pid = connection.info.backend_pid
    other = Server(os.environ["SLUICEGATE_DATABASE_URL"])
    with other.connection() as connection:
        connection.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
    other.close()
    assert shared.version()


@pytest.mark.slow
def test_many_processes_make_the_tables_at_once(postgres: str) -> None:
    code = """
import sys
from sluicegate.storage.database import PostgresDatabase
from sluicegate.storage.postgres import Server
from tests.storage.test_postgres import SCHEMA
database = PostgresDatabase(Server(sys.argv[1]), SCHEMA)
with database.writing() as execute:
    execute("INSERT INTO things VALUES (?, ?)", (sys.argv[2], bytes(range(256))))
"""
    workers = [
        subprocess.Popen([sys.executable, "-W", "ignore", "-c", code, postgres, str(number)], cwd=ROOT)
        for number in range(6)
    ]
    assert [worker.wait() for worker in workers] == [0] * 6
    with PostgresDatabase(server(postgres), SCHEMA).reading() as execute:
        rows = execute("SELECT * FROM things ORDER BY name")
    assert [row["name"] for row in rows] == list("012345")
    assert rows[0]["bytes"] == bytes(range(256))


def test_tables_of_another_program_are_left_alone(shared: Server) -> None:
    with shared.connection() as connection:
        connection.execute("CREATE TABLE things (theirs TEXT)")
    with pytest.raises(RunError, match="tables of another program") as caught:
        PostgresDatabase(shared, SCHEMA)
    assert caught.value.code == "SG625"
    assert "search_path" in (caught.value.hint or "")


def test_tables_of_a_newer_version_are_refused(shared: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sluicegate.storage.database._KNOWN_S", 0)
    PostgresDatabase(shared, SCHEMA)
    with shared.connection() as connection:
        connection.execute("UPDATE sluicegate SET format = 99")
    with pytest.raises(RunError, match="newer version") as caught:
        PostgresDatabase(shared, SCHEMA)
    assert caught.value.code == "SG612"


def test_a_lost_transaction_leaves_nothing(shared: Server) -> None:
    database = PostgresDatabase(shared, SCHEMA)
    ended = "INSERT INTO things SELECT 'a', ''::bytea FROM (SELECT pg_terminate_backend(pg_backend_pid())) AS it"
    with pytest.raises(RunError) as caught, database.writing() as execute:
        execute(ended)
    assert caught.value.code == "SG625"
    with database.reading() as execute:
        assert execute("SELECT * FROM things") == []


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann:hunter2@127.0.0.1:1/desk?connect_timeout=2",
        "postgresql://ann:hunter2@127.0.0.1:hunter2/desk",
        "postgresql://ann:hunter2@nowhere.invalid/desk?connect_timeout=2",
        "postgresql://ann:x@hunter2@127.0.0.1:1/desk",
        "postgresql://ann:x@y/hunter2@127.0.0.1:1/desk",
        "host=127.0.0.1 port=1 password=hunter2 hunter2",
    ],
)
def test_no_message_has_the_password(url: str) -> None:
    with pytest.raises(RunError) as caught:
        Server(url).version()
    assert caught.value.code == "SG625"
    said = [str(caught.value), repr(caught.value.__cause__)]
    assert "hunter2" not in " ".join(said)
    assert caught.value.hint


def test_what_was_to_be_stored_is_in_no_message(shared: Server) -> None:
    database = PostgresDatabase(shared, SCHEMA)
    with database.writing() as execute:
        execute("INSERT INTO things VALUES (?, ?)", ("private", b""))
    with pytest.raises(RunError, match="UniqueViolation") as caught, database.writing() as execute:
        execute("INSERT INTO things VALUES (?, ?)", ("private", b""))
    assert "private" not in str(caught.value)


def test_more_threads_than_idle_connections(shared: Server) -> None:
    database, wrong = PostgresDatabase(shared, SCHEMA), list[BaseException]()

    def work(number: int) -> None:
        try:
            for turn in range(5):
                with database.writing() as execute:
                    execute("INSERT INTO things VALUES (?, ?)", (f"{number} {turn}", b""))
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    with database.reading() as execute:
        assert execute("SELECT count(*) AS rows FROM things") == [{"rows": 100}]
