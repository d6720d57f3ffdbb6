"""What a server's runs, models, guards and budgets do, for Prometheus to scrape.

Runs are counted as their segments end, from the observations that the trace is made of; what is true at the moment
(requests in progress, what is left of a budget, traces that wait to be sent) is asked for when it is scraped. No label
names a person or holds a text: values come from the workflow's config, and from codes and statuses of ours. Counts are
this process's since its start.
"""

from collections.abc import Iterable
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from sluicegate.observe.tracing.spans import Record, Trace
from sluicegate.serving.workflows import Workflows

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE = CONTENT_TYPE_LATEST

_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
"""Buckets: a gate takes a millisecond, a large model on a processor minutes."""


class Metrics:
    """Of the workflows of this process. Safe to use from any thread."""

    def __init__(self, workflows: Workflows) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(_Present(workflows))
        self._runs = Counter(
            "sluicegate_runs",
            "Runs that came to an end or to a person, by what became of them; one that waited is counted again when it "
            "goes on.",
            ("workflow", "status", "path", "intent"),
            registry=registry,
        )
        self._nodes = Histogram(
            "sluicegate_node_duration_seconds",
            "Visits of nodes and how long they took.",
            ("workflow", "node", "kind", "failed"),
            buckets=_SECONDS,
            registry=registry,
        )
        self._calls = Histogram(
            "sluicegate_model_call_duration_seconds",
            "Calls of models and how long they took; the model is the one that answered, or was to.",
            ("workflow", "role", "model", "fallback", "failed"),
            buckets=_SECONDS,
            registry=registry,
        )
        self._tokens = Counter(
            "sluicegate_tokens",
            "Tokens that models read and wrote.",
            ("workflow", "role", "model", "direction"),
            registry=registry,
        )
        self._usd = Counter(
            "sluicegate_cost_usd",
            "What calls of models cost, in US dollars by the prices of the workflow.",
            ("workflow", "role", "model"),
            registry=registry,
        )
        self._findings = Counter(
            "sluicegate_guard_findings",
            "Texts that a guard did not pass, and what was done with them.",
            ("workflow", "guard", "stage", "action"),
            registry=registry,
        )
        self._verdicts = Counter(
            "sluicegate_policy_decisions",
            "Decisions of the policies.",
            ("workflow", "action", "verdict"),
            registry=registry,
        )
        self._refusals = Counter(
            "sluicegate_budget_refusals",
            "Calls of models for which a budget had no room, or that were switched off.",
            ("workflow", "code"),
            registry=registry,
        )
        self._requests = Histogram(
            "sluicegate_http_request_duration_seconds",
            "Requests to the server and how long it took to answer them.",
            ("method", "route", "status"),
            buckets=_SECONDS,
            registry=registry,
        )

    def text(self) -> bytes:
        """All of them in Prometheus's text format. Reads the ledger: not for an event loop."""
        return generate_latest(self._registry)

    def requested(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered."""
        # a caller may make up methods without end, each of which would be a series of its own
        known = method if method in _METHODS else "other"
        self._requests.labels(known, route, str(status)).observe(seconds)

    def recorded(self, trace: Trace) -> None:
        """A segment of a run has ended, or a part of a long one."""
        workflow = trace.info.workflow
        for record in trace.records:
            self._record(workflow, record)
        # a run that goes on leaves its root behind: what became of it is in the root's new state
        if ended := trace.root or next((each for each in trace.records if not each.parent), None):
            found = ended.attributes
            self._runs.labels(
                workflow, found.get("status", ""), found.get("path") or "", found.get("intent") or ""
            ).inc()

    def _record(self, workflow: str, record: Record) -> None:
        found, failed = record.attributes, str(record.level == "ERROR").lower()
        seconds = max(0.0, (record.end_ns - record.start_ns) / 1e9)
        if "node" in found:
            self._nodes.labels(workflow, found["node"], found.get("kind", ""), failed).observe(seconds)
        elif "role" in found and "asked" in found:
            model, fallback = found.get("model") or found["asked"], str(bool(found.get("fallback"))).lower()
            self._calls.labels(workflow, found["role"], model, fallback, failed).observe(seconds)
            for direction, key in (("input", "prompt_tokens"), ("output", "completion_tokens")):
                if count := found.get(key):
                    self._tokens.labels(workflow, found["role"], model, direction).inc(count)
            if usd := found.get("usd"):
                self._usd.labels(workflow, found["role"], model).inc(usd)
        elif "verdicts" in found and "stage" in found:
            for guard, action in found.get("actions", {}).items():
                self._findings.labels(workflow, guard, found["stage"], action).inc()
        elif "verdict" in found and "action" in found:
            self._verdicts.labels(workflow, found["action"], found["verdict"]).inc()
        elif found.get("reserved") is False:
            self._refusals.labels(workflow, found.get("code", "")).inc()


class _Present(Collector):
    """What is true of the workflows at the moment."""

    def __init__(self, workflows: Workflows) -> None:
        self._workflows = workflows

    def describe(self) -> Iterable[Metric]:
        # asked for when it is registered, when the service may not be open yet
        return ()

    def collect(self) -> Iterable[Metric]:
        serving = _gauge(
            "serving", "1 for the version that serves while requests are accepted, else 0.", "version", "digest"
        )
        inside = _gauge("requests_in_progress", "Requests that are active or queued.")
        limit = _gauge("budget_limit", "The caps of the workflow, in US dollars or tokens.", "cap", "of", "unit")
        left = _gauge("budget_left", "What is left of them, less what calls under way may cost.", "cap", "of", "unit")
        labels = ["workflow", "destination"]
        sent = CounterMetricFamily(
            "sluicegate_trace_records_sent", "Observations and scores that a destination took.", labels=labels
        )
        dropped = CounterMetricFamily(
            "sluicegate_trace_records_dropped",
            "Those that were not sent; `sluicegate trace push` sends them.",
            labels=labels,
        )
        waiting = _gauge("trace_records_waiting", "Those that wait to be sent.", "destination")
        for service in self._workflows:
            name, workflow = service.name, service.versions.serving.workflow
            serving.add_metric([name, workflow.version, workflow.digest[:12]], float(service.ready))
            inside.add_metric([name], service.inside)
            for cap in service.caps():
                limit.add_metric([name, cap.name, cap.of, cap.unit], cap.limit)
                left.add_metric([name, cap.name, cap.of, cap.unit], cap.left)
            for report in service.versions.serving.tracer.report():
                # without its address, which may hold more than a scraper should know
                to = [name, report.destination.partition(" ")[0]]
                sent.add_metric(to, report.sent)
                dropped.add_metric(to, report.dropped)
                waiting.add_metric(to, report.waiting)
        yield from (serving, inside, limit, left, sent, dropped, waiting)


def _gauge(name: str, doc: str, *labels: str) -> Any:
    return GaugeMetricFamily(f"sluicegate_{name}", doc, labels=["workflow", *labels])
