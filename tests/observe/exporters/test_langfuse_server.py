"""A governed run on a real Langfuse server, read back through its public API.

LANGFUSE_HOST=… LANGFUSE_PUBLIC_KEY=… LANGFUSE_SECRET_KEY=… make test-langfuse
"""

import json
import os
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from sluicegate.observe.exporters.conventions import langfuse_name
from sluicegate.observe.exporters.export import QueuedExporter
from sluicegate.observe.exporters.langfuse import Keys, LangfuseSender, check_keys, server_state
from sluicegate.observe.exporters.resend import push
from sluicegate.observe.tracing.spans import new_id, root_id, trace_id
from tests.support.scenario import first_stretch, last_stretch, open_tracer
from tests.support.waiting import until

KEYS = Keys.configured() if os.environ.get("LANGFUSE_HOST") else None

pytestmark = [
    pytest.mark.langfuse,
    pytest.mark.skipif(KEYS is None, reason="LANGFUSE_HOST, LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY are not set"),
]

FIELDS = "core,basic,time,io,metadata,model,usage,prompt,metrics,trace_context"


def read(path: str, enough: int, **query: Any) -> list[dict[str, Any]]:
    """Rows of a public API, once there are `enough` of them; ingestion takes a moment."""
    assert KEYS is not None
    host, headers = KEYS.host, KEYS.headers

    def rows() -> list[dict[str, Any]]:
        answer = httpx.get(f"{host}{path}", params=query, headers=headers, timeout=10)
        answer.raise_for_status()
        found: list[dict[str, Any]] = answer.json()["data"]
        return found if len(found) >= enough else []

    return until(rows)


def parsed(value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value


def test_the_server_is_well_and_takes_the_keys() -> None:
    assert KEYS is not None
    assert server_state(KEYS).reachable
    assert check_keys(KEYS) == ""


async def test_a_run_is_there_with_every_observation_and_score(tmp_path: Path) -> None:
    assert KEYS is not None
    run = f"run-{new_id()}"
    store, tracer = open_tracer(tmp_path, QueuedExporter(LangfuseSender(KEYS)))
    await first_stretch(tracer, run=run)
    await last_stretch(tracer, run=run)
    assert tracer.flush(30), tracer.report()
    tracer.close()
    kept = {span["span_id"]: span for span in store.spans(run)}
    rows = read("/api/public/v2/observations", len(kept), traceId=trace_id(run), fields=FIELDS, limit=100)
    found = {row["id"]: row for row in rows}
    # calls are named by the models that answered
    names = {record.id: langfuse_name(record) for record in store.trace(run).records}
    assert set(found) == set(kept)
    for span_id, row in found.items():
        assert row["name"] == names[span_id]
        assert row["type"].lower() == kept[span_id]["type"]
        assert (row.get("parentObservationId") or "") == kept[span_id]["parent"]
        assert row["environment"] == "staging"
        assert row["sessionId"] == "s-1"
        assert row["userId"].startswith("user-")
        assert row["traceName"] == "helpdesk"
        assert "workflow:helpdesk" in row["tags"]
    by_name = {row["name"]: row for row in rows}
    call = by_name["chat smollm2-135m"]
    assert call["level"] == "WARNING"
    assert call["model"] == "embedded:smollm2-135m"
    assert (call["usageDetails"]["input"], call["usageDetails"]["output"]) == (120, 9)
    assert call["costDetails"]["total"] == pytest.approx(0.0012)
    branch = by_name["gate→recall"]["metadata"]
    assert branch["condition"] == "policy.verdict == 'allow'"
    assert (parsed(branch["confidence"]), parsed(branch["threshold"])) == (0.83, 0.71)
    assert parsed(branch["not_taken"]) == ["refuse"]
    assert by_name["invoke_agent helpdesk (resume)"]["parentObservationId"] == root_id(run)
    scores = read("/api/public/v3/scores", len(store.scores(run)), traceId=trace_id(run), limit=100)
    assert {row["id"] for row in scores} == {score["score_id"] for score in store.scores(run)}
    kinds = {row["name"]: (row["dataType"], row["value"]) for row in scores}
    assert kinds["approval"] == ("CATEGORICAL", "approve")
    assert kinds["check_pii"] == ("BOOLEAN", True)
    assert kinds["route_confidence"] == ("NUMERIC", 0.83)
    store.close()


async def test_a_push_repeats_nothing(tmp_path: Path) -> None:
    assert KEYS is not None
    run = f"run-{new_id()}"
    store, tracer = open_tracer(tmp_path)
    await first_stretch(tracer, run=run)
    tracer.close()
    for again in (False, True):
        [pushed] = push(store, [LangfuseSender(KEYS)], again=again)
        assert (pushed.runs, pushed.failures) == (1, {})
    time.sleep(2)
    kept = store.spans(run)
    rows = read("/api/public/v2/observations", len(kept), traceId=trace_id(run), fields="core", limit=100)
    # until ClickHouse has merged its parts, which it does when it likes, this API has both copies of an id
    assert {row["id"] for row in rows} == {span["span_id"] for span in kept}
    store.close()
