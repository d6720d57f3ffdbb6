"""The port of a worker, and what it and a server tell of queues, of what is carried, and of the server they share."""

import asyncio
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from sluicegate import Limits, Service
from sluicegate.graphs.runtime.intake import principal
from sluicegate.home import home
from sluicegate.observe.audit.log import AuditLog
from sluicegate.serving.http.callers import Callers
from sluicegate.serving.http.callers.caller import Named
from sluicegate.serving.http.callers.token_file import TokenFile
from sluicegate.serving.http.watching import present
from sluicegate.serving.http.watching.port import NobodyCalls, watching
from sluicegate.serving.workflows import Workflows
from sluicegate.storage.postgres import URL, configured
from tests.support import ROOT, stand
from tests.support.scraping import OPERATOR, all_documented, value
from tests.support.waiting import soon

pytestmark = pytest.mark.slow

ANN = principal("ann", ["employee"])
NAME = "shadow-evaluation"


@pytest.fixture(autouse=True)
def url(postgres: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(URL, postgres)
    return postgres


@asynccontextmanager
async def watched(service: Service, callers: Callers = stand.GATEWAY) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        Workflows([service]) as workflows,
        watching(workflows, callers, host="127.0.0.1", port=0) as address,
        httpx.AsyncClient(base_url=address, headers=OPERATOR, timeout=30) as client,
    ):
        yield client


async def metrics(client: httpx.AsyncClient) -> str:
    response = await client.get("/metrics")
    assert response.status_code == 200, response.text
    return response.text


def changed(url: str, what: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        (schema,) = connection.execute("SELECT current_schema()").fetchone() or ("",)
        connection.execute(what.replace("{}", f'"{schema}_dbos".workflow_status'))  # type: ignore[arg-type]


async def test_a_worker_answers_probes_and_nothing_else() -> None:
    async with watched(stand.service(), NobodyCalls()) as client:
        assert (await client.get("/healthz")).json() == {"status": "up"}
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (200, "ready")
        assert (await client.get("/metrics")).status_code == 401
        assert (await client.get("/v1/workflows")).status_code == 404
        assert (await client.post("/v1/runs", json={"text": "How?"})).status_code == 404


async def test_what_is_carried_is_counted_and_seen_while_it_drains() -> None:
    service = stand.service(limits=Limits(drain_s=30))
    async with watched(service) as client:
        assert (await service.ask("How?", ANN)).status == "answered"
        held = await service.accept("hold on", ANN)
        models: Any = service.versions.serving.runner.services.models
        await soon(lambda: models.at_once)
        text = await metrics(client)
        assert value(text, "sluicegate_carried_total", workflow=NAME, result="ended") == 1
        assert value(text, "sluicegate_carrying", workflow=NAME) == 1
        assert value(text, "sluicegate_draining", workflow=NAME) == 0
        assert value(text, "sluicegate_runs_total", status="answered") == 1
        all_documented(text)

        closing = asyncio.ensure_future(service.close())
        await soon(lambda: service.executor.tally.draining)
        assert (await client.get("/readyz")).status_code == 503
        text = await metrics(client)
        assert value(text, "sluicegate_draining", workflow=NAME) == 1
        assert value(text, "sluicegate_carrying", workflow=NAME) == 1
        stand.let_go()
        assert (await held.outcome()).status == "answered"
        await closing
        text = await metrics(client)
    assert value(text, "sluicegate_carried_total", result="ended") == 2
    assert value(text, "sluicegate_carried_total", result="left") == 0


async def test_queues_are_told_with_what_is_recovered_and_what_is_given_up(url: str) -> None:
    service = stand.service(work=False, limits=Limits(drain_s=0))
    async with watched(service) as client:
        for number in range(3):
            await service.accept("How?", ANN, request_id=f"{number}")
        changed(url, "UPDATE {} SET created_at = created_at - 60000")
        text = await metrics(client)
        assert value(text, "sluicegate_queue_length", workflow=NAME, queue=NAME) == 3
        assert 60 <= value(text, "sluicegate_queue_oldest_seconds", queue=NAME) < 120
        assert value(text, "sluicegate_runs_given_up", queue=NAME) == 0

        first = "workflow_uuid = (SELECT min(workflow_uuid) FROM {})"
        changed(url, "UPDATE {} SET status = 'MAX_RECOVERY_ATTEMPTS_EXCEEDED' WHERE " + first)
        # of a process that was killed
        changed(url, "UPDATE {} SET status = 'PENDING', executor_id = 'gone' WHERE NOT " + first)
        await soon(lambda: service.executor.recovered[NAME] == 2)
        text = await metrics(client)
        assert value(text, "sluicegate_queue_length", queue=NAME) == 2
        assert value(text, "sluicegate_runs_given_up", queue=NAME) == 1
        assert value(text, "sluicegate_runs_recovered_total", workflow=NAME) == 2
        assert value(await metrics(client), "sluicegate_runs_recovered_total", workflow=NAME) == 2, "counted once"


async def test_events_that_are_not_on_the_server_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    server = configured()
    log = AuditLog(home() / "audit", key=home() / "keys" / "audit.key", server=server)
    async with watched(stand.service()) as client:
        log.append("one")
        log.checkpoint()
        text = await metrics(client)
        assert value(text, "sluicegate_audit_undelivered") == 0
        assert value(text, "sluicegate_audit_undelivered_oldest_seconds") == 0
        monkeypatch.setattr(log._delivery, "added", lambda *_, **__: None)
        log.append("two")
        log.append("three")
        text = await metrics(client)
        assert value(text, "sluicegate_audit_undelivered") == 2
        assert 0 <= value(text, "sluicegate_audit_undelivered_oldest_seconds") < 60
    log.close()


async def test_a_server_that_is_away_fails_no_scrape(monkeypatch: pytest.MonkeyPatch) -> None:
    async with watched(stand.service()) as client:
        text = await metrics(client)
        assert value(text, "sluicegate_database_up") == 1
        assert value(text, "sluicegate_switches_age_seconds") < 2
        monkeypatch.setattr(present, "TRUSTED_S", -1.0)
        text = await metrics(client)
    assert value(text, "sluicegate_database_up") == 0
    assert "sluicegate_queue_length{" not in text
    assert value(text, "sluicegate_serving", workflow=NAME) == 1


def test_the_command_is_watched_and_drains(tmp_path: Path, own_home: Path) -> None:
    token = TokenFile(tmp_path / "tokens.json").add("prometheus", Named(id="prometheus", roles=["operator"]))
    options = ["--port", "0", "--drain", "1", "--tokens", str(tmp_path / "tokens.json")]
    process = subprocess.Popen(
        [sys.executable, "-m", "sluicegate", "worker", str(stand.WORKFLOW), *options],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr
    try:
        said = ""
        while not (found := re.search(r"this worker is watched at (http\S+)", said)):
            line = process.stderr.readline()
            assert line, said
            said += line
        assert f"{NAME} (version" in said
        with httpx.Client(base_url=found[1]) as client:
            assert client.get("/readyz").status_code == 200
            told = client.get("/metrics", headers={"authorization": f"Bearer {token}"})
        assert value(told.text, "sluicegate_queue_length", workflow=NAME) == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
