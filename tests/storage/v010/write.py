"""How the files beside this one were made: every store of version 0.1.0 with rows in it, by its own code.

In a checkout of that version (439b30b), with `SLUICEGATE_HOME` and `SLUICEGATE_CACHE` naming empty folders and
`SLUICEGATE_TEST_POSTGRES` an empty PostgreSQL database: ``PYTHONPATH=src:. python …/write.py FOLDER``.
"""

import asyncio
import os
import sqlite3
import sys
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from sluicegate.evals.gates import Pair
from sluicegate.evals.kept import Kept, Row
from sluicegate.evals.pairs import PairStore
from sluicegate.evals.plan import Plan
from sluicegate.graphs.alone import alone
from sluicegate.graphs.versions_shared import SharedVersions
from sluicegate.home import cache_dir, home
from sluicegate.models.remembered import Remembered
from sluicegate.models.results import Result, keep
from sluicegate.observe.incidents import Incidents
from sluicegate.observe.payloads import Payloads
from sluicegate.observe.store import Store
from sluicegate.observe.tracer import Tracer
from sluicegate.policies.config import BudgetConfig
from sluicegate.policies.ledger_postgres import PostgresLedger
from sluicegate.postgres import URL, configured
from sluicegate.retrieval.catalog import Catalog, Entry, Head
from sluicegate.retrieval.readers import Document
from sluicegate.services import Hidden
from sluicegate.serving.recovery import Recovery
from tests.faults import desk
from tests.support.shadowing import PLAN


def of_the_home(folder: Path) -> None:
    at = home()
    made = desk.runner(at)
    store = Store(at / "store.sqlite")
    tracer = Tracer(store)
    made.services, made.tracer = replace(made.services, tracer=tracer), tracer
    asyncio.run(runs(made))
    tracer.feedback("plain", "helpful", True, comment="", by="ann")
    tracer.close()
    people_and_placeholders(Payloads(at / "audit" / "payloads.sqlite"))
    Incidents(at / "incidents.sqlite").record("override", system="test", source="pii", description="let pass")
    Recovery(at, store, channel="api").begins("cut-short")
    results = Kept()
    row = Row("c1", "r1", "How?", "answered", "slm", "question", "So.", "fake:slm", "", (), {"right": 1.0})
    results.keep("under", row)
    results.evaluated("test", "base", "golden", "digest-1", "under", {"right": 1.0}, [row])
    pairs = PairStore()
    plan = Plan.model_validate({**PLAN, "timeout_s": 5.0})
    registered = pairs.start("test", plan, champion=("a.yaml", "digest-1"), challenger=("b.yaml", "digest-2"))
    pairs.claim(registered, "plain")
    pairs.add(registered.number, Pair("plain", "r2", "2026-11-24", {"usd": 0.1}, {"usd": 0.2}), usd=0.2)
    keep("fake:slm@1", Result("answer", 9, 10, 12.5, "p", "2026-11-24T12:00:00+00:00"))
    remembered = Remembered()
    remembered.put("fake@1", {"printer": [0.5, 0.25]})
    remembered.close()
    index = at / "indexes" / "test" / "kb"
    index.mkdir(parents=True)
    document = Document("d1", "1", "Printing", "kb", "it", True, ("employee",), "internal", 20301231, ())
    catalog, now = Catalog(index, make=True), datetime(2026, 11, 24, tzinfo=UTC)
    catalog.keep_texts([("h1", "Colour printing is allowed.")], now)
    head = Head("passages", 1, "digest", "fake:embedder", "fake:embedder", "f", "en", 1, now.isoformat())
    catalog.advance(
        head, [(Entry(document, "printing.md", "fh", "th", False), ["h1"])], [], now, keep_removed=timedelta(days=1)
    )
    catalog.close()
    for path in (*at.rglob("*.sqlite"), *cache_dir().rglob("embeddings.sqlite")):
        with closing(sqlite3.connect(path)) as database:
            lines = [
                *database.iterdump(),
                f"PRAGMA user_version = {database.execute('PRAGMA user_version').fetchone()[0]};",
            ]
        (folder / f"{path.stem}.sql").write_text("\n".join(lines) + "\n", encoding="utf-8")


async def runs(made: Any) -> None:
    """One run that is answered, one that waits for a person, and one that was decided."""
    await made.run(desk.REQUESTS["plain"], desk.ANN, run="plain")
    for run in ("risky", "decided"):
        assert (await made.run(desk.REQUESTS["risky"], desk.ANN, run=run)).waiting
    await made.decide("decided", "approve", desk.LEAD)


def people_and_placeholders(payloads: Payloads) -> None:
    payloads.hide("plain", "ann", {"<EMAIL_1>": Hidden("ann@example.org", "email", "request")})
    payloads.put(payloads.person("ann"), run="plain", name="request", text="How?", at="2026-11-24T12:00:00+00:00")


def of_the_server(folder: Path) -> None:
    url = os.environ[URL] = os.environ["SLUICEGATE_TEST_POSTGRES"]
    said, execute = list[str](), psycopg.Connection.execute

    def heard(self: Any, query: Any, *rest: Any, **more: Any) -> Any:
        if str(query).lstrip().startswith(("CREATE", "ALTER", "--")):
            said.append(f"{str(query).strip().removesuffix(';')};")
        return execute(self, query, *rest, **more)

    psycopg.Connection.execute = heard  # type: ignore[method-assign]
    made, server = desk.runner(home()), configured()
    assert server
    made.services = replace(made.services, ledger=PostgresLedger(url, BudgetConfig(per_day_usd=1.0)))
    asyncio.run(runs(made))
    people_and_placeholders(Payloads(Path("unused"), server))
    Recovery(server, Store(home() / "store.sqlite"), channel="api").begins("cut-short")
    version = home() / "version"
    version.mkdir()
    (version / "workflow.yaml").write_text("name: test\n")
    SharedVersions(server).put("digest-1", version)
    SharedVersions(server).point("test", "digest-1")
    state = made.opening("How?", desk.ANN, channel="api", run="cut-short")
    alone(server, state).__enter__()  # and never left
    psycopg.Connection.execute = execute  # type: ignore[method-assign]
    with psycopg.connect(url) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY 1")
        for (table,) in tables.fetchall():
            for row in connection.execute(f'SELECT * FROM "{table}"').fetchall():  # type: ignore[arg-type]
                values = sql.SQL(", ").join(map(sql.Literal, row))
                into = sql.SQL("INSERT INTO {} VALUES ({});").format(sql.Identifier(table), values)
                said.append(into.as_string(connection))
    # one statement each, however many lines it has
    (folder / "server.sql").write_text("\n\n".join(said) + "\n", encoding="utf-8")


if __name__ == "__main__":
    (of_the_server if sys.argv[2:] == ["server"] else of_the_home)(Path(sys.argv[1]))
