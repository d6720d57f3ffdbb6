"""What a server tells Prometheus: what its runs did, to whoever may see them all, and nothing about persons."""

import asyncio
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from sluicegate import Service
from sluicegate.graphs.config.load import Workflow, load
from sluicegate.graphs.runtime.factory import Opened
from sluicegate.home import home
from sluicegate.observe.exporters.export import QueuedExporter
from sluicegate.observe.exporters.langfuse import Keys, LangfuseSender
from sluicegate.observe.tracing.instrument import traced
from sluicegate.policies.config import BudgetConfig
from sluicegate.policies.ledger.ledger import SqliteLedger
from sluicegate.services import Refusal
from tests.support import stand
from tests.support.fakes import FakeGuards, FakeLedger
from tests.support.receiver import PUBLIC, SECRET, Receiver
from tests.support.scraping import all_documented, samples, scraped, value
from tests.support.stand import WORKFLOW, served
from tests.support.waiting import until

LEAD = {"x-user": "lea", "x-roles": "helpdesk-lead"}
NAME = "shadow-evaluation"


def observed(**swapped: Any) -> Service:
    """A service on fakes whose calls are traced as those of real services are."""

    def opened(source: Path | Workflow) -> Opened:
        made = stand.version(source)
        made.runner.services = traced(replace(made.runner.services, **swapped), made.tracer)
        return made

    return stand.service(open_version=opened)


def asked(client: httpx.Client, text: str, **more: Any) -> Mapping[str, Any]:
    return client.post("/v1/runs", json={"text": text, **more}).json()


@pytest.mark.slow
def test_runs_nodes_calls_tokens_and_verdicts_are_counted() -> None:
    with served(observed()) as client:
        for number in range(3):
            assert asked(client, f"How do I reset it {number}?")["status"] == "answered"
        text = scraped(client)
    runs = {"workflow": NAME, "status": "answered", "path": "rag-slm", "intent": "question"}
    assert value(text, "sluicegate_runs_total", **runs) == 3
    assert value(text, "sluicegate_node_duration_seconds_count", node="answer", kind="slm-answer", failed="false") == 3
    assert value(text, "sluicegate_node_duration_seconds_sum", node="answer") > 0
    calls = {"workflow": NAME, "role": "slm", "model": "fake:slm", "fallback": "false", "failed": "false"}
    assert value(text, "sluicegate_model_call_duration_seconds_count", **calls) == 3
    assert value(text, "sluicegate_tokens_total", role="slm", direction="input") > 0
    assert value(text, "sluicegate_tokens_total", role="slm", direction="output") > 0
    assert value(text, "sluicegate_policy_decisions_total", action="ask", verdict="allow") == 3
    answered = {"method": "POST", "route": "/v1/runs", "status": "200"}
    assert value(text, "sluicegate_http_request_duration_seconds_count", **answered) == 3
    assert value(text, "sluicegate_requests_in_progress", workflow=NAME) == 0
    assert value(text, "sluicegate_serving", workflow=NAME) == 1


@pytest.mark.slow
def test_every_metric_is_on_the_page_with_its_labels() -> None:
    with served(observed(guards=FakeGuards(failing={"grounded": "escalate"}))) as client:
        asked(client, "How do I reset it?")
        text = scraped(client)
    all_documented(text)


@pytest.mark.slow
def test_a_run_that_waits_is_counted_when_it_waits_and_when_it_is_decided() -> None:
    with served() as client:
        run = asked(client, "access to the share")["run"]
        waiting = scraped(client)
        decided = client.post(f"/v1/approvals/{run}", json={"verdict": "approve"}, headers=LEAD)
        assert decided.status_code == 200, decided.text
        ended = scraped(client)
    assert value(waiting, "sluicegate_runs_total", status="waiting") == 1
    assert value(ended, "sluicegate_runs_total", status="waiting") == 1
    assert value(ended, "sluicegate_runs_total", status="answered", path="human") == 1


@pytest.mark.slow
def test_a_run_whose_beginning_was_lost_in_a_crash_is_counted_when_it_ends() -> None:
    with served() as client:
        run = asked(client, "access to the share")["run"]
        scraped(client)
        with closing(sqlite3.connect(home() / "store.sqlite", isolation_level=None)) as store:
            # as of a process that was killed before it had recorded anything
            assert store.execute("DELETE FROM packed_spans WHERE run_id = ?", (run,)).rowcount
        client.post(f"/v1/approvals/{run}", json={"verdict": "approve"}, headers=LEAD)
        until(lambda: "human" in scraped(client))
        assert value(scraped(client), "sluicegate_runs_total", status="answered", path="human") == 1


def test_only_who_may_see_every_run_may_scrape() -> None:
    with served() as client:
        refused = client.get("/metrics")
        nobody = client.get("/metrics", headers={"x-user": "", "x-roles": ""})
    assert (refused.status_code, refused.json()["code"]) == (403, "SG610")
    assert "operator" in refused.json()["hint"]
    assert nobody.status_code == 401


@pytest.mark.slow
def test_no_label_names_a_person_or_has_words_of_a_request() -> None:
    with served() as client:
        asked(client, "Where is the zebra of Zacharias?", session="zanzibar")
        client.get("/v1/zoo")
        client.request("ZAP", "/v1/runs")
        text = scraped(client)
    labels = {value for _, given in samples(text) for _, value in given}
    assert not [each for each in labels if "z" in each.lower()]
    assert not {"ann", "olga"} & labels
    assert value(text, "sluicegate_http_request_duration_seconds_count", method="other") == 1


@pytest.mark.slow
def test_what_is_left_of_a_budget_is_told_and_not_of_whom() -> None:
    plain = load(WORKFLOW / "workflow.yaml")
    budget = BudgetConfig(per_day_usd=2.0, per_principal_day_usd=1.0)
    capped = replace(plain, config=plain.config.model_copy(update={"budget": budget}))
    with served(stand.service(open_version=lambda _: stand.version(capped))) as client:
        asyncio.run(spend(budget, 0.5))
        text = scraped(client)
    assert value(text, "sluicegate_budget_limit", cap="per_day_usd", unit="usd") == 2.0
    assert value(text, "sluicegate_budget_left", cap="per_day_usd", unit="usd") == pytest.approx(1.5)
    assert "per_principal" not in text
    assert "ann" not in {value for _, given in samples(text) for _, value in given}


async def spend(budget: BudgetConfig, usd: float) -> None:
    with closing(SqliteLedger(budget)) as ledger:
        made: Any = await ledger.reserve(
            run="r", principal="ann", intent="question", workflow=NAME, model="m", usd=usd, tokens=1
        )
        await ledger.settle(made, usd=usd, tokens=1)


@pytest.mark.slow
def test_traces_that_nobody_takes_are_counted() -> None:
    with Receiver() as receiver:
        receiver.status = 500
        sender = LangfuseSender(Keys(PUBLIC, SECRET, receiver.url))
        exporter = QueuedExporter(sender)
        given = stand.service(open_version=lambda source: stand.version(source, [exporter]))
        with served(given) as client:
            asked(client, "How do I reset it?")
            until(lambda: value(scraped(client), "sluicegate_trace_records_waiting", destination="langfuse") > 0)
            assert receiver.url.partition("//")[2] not in scraped(client)


@pytest.mark.slow
def test_a_version_that_is_opened_later_is_counted_too() -> None:
    given = stand.service()
    counted: list[str] = []
    with served(given) as client:
        given.watch(lambda trace: counted.append(trace.info.digest))
        other = given.versions._opened(WORKFLOW / "challenger" / "workflow.yaml")
        given.versions.serving = other
        asked(client, "How do I reset it?")
        assert value(scraped(client), "sluicegate_runs_total", status="answered") == 1
    assert counted == [other.workflow.digest]


@pytest.mark.slow
def test_findings_of_guards_are_counted_by_what_was_done() -> None:
    with served(observed(guards=FakeGuards(failing={"grounded": "escalate"}))) as client:
        asked(client, "How do I reset it?")
        text = scraped(client)
    assert value(text, "sluicegate_guard_findings_total", guard="grounded", stage="output", action="escalate") >= 1, (
        text
    )


@pytest.mark.slow
def test_calls_for_which_a_budget_has_no_room_are_counted() -> None:
    with served(observed(ledger=FakeLedger(Refusal("SG501", "per_day_usd")))) as client:
        asked(client, "How do I reset it?")
        text = scraped(client)
    assert value(text, "sluicegate_budget_refusals_total", code="SG501") >= 1


@pytest.mark.slow
def test_a_collector_is_sent_what_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    with Receiver() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", f"{collector.url}/v1/metrics")
        with served() as client:
            assert client.post("/v1/runs", json={"text": "How?"}).status_code == 200
        # the last time at the end
        (sent,) = collector.metrics[-1].resource_metrics
    metrics = {metric.name: metric for metric in sent.scope_metrics[0].metrics}
    (run,) = metrics["sluicegate_runs"].sum.data_points
    labels = {each.key: each.value.string_value for each in run.attributes}
    assert (labels["status"], labels["path"], run.as_double) == ("answered", "rag-slm", 1)
    assert metrics["sluicegate_http_request_duration_seconds"].histogram.data_points
    assert "sluicegate_serving" in metrics
