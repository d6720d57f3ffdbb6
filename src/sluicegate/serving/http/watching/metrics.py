"""What a server's runs, models, guards and budgets do, for Prometheus to scrape.

Runs are counted as their segments end, from the observations that the trace is made of; what is true at the moment
(requests in progress, what is left of a budget, traces that wait to be sent) is asked for when it is scraped. No label
names a person or holds a text: values come from the workflow's config, and from codes and statuses of ours. Counts are
those of this process since its start, or of all workers since their supervisor's: prometheus-client then keeps each
one's in a file, so that what a worker has counted outlives it.
"""

import logging
import os
import threading
from functools import partial

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from sluicegate.observe.exporters.export import SendError
from sluicegate.observe.exporters.otlp_metrics import MetricsSender
from sluicegate.observe.tracing.spans import Record, Trace
from sluicegate.serving.execution.executor import Executor
from sluicegate.serving.http.watching.present import Present
from sluicegate.serving.webhooks.worker import WebhookWorker
from sluicegate.serving.workflows import Workflows

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE = CONTENT_TYPE_LATEST

log = logging.getLogger(__name__)

_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
"""Buckets: a gate takes a millisecond, a large model on a processor minutes."""


class Metrics:
    """Of the workflows of this process. Safe to use from any thread."""

    def __init__(self, workflows: Workflows, webhooks: WebhookWorker | None = None) -> None:
        self._registry = registry = CollectorRegistry()
        self._workflows = workflows
        self._present = Present(workflows, webhooks)
        self.shared = "PROMETHEUS_MULTIPROC_DIR" in os.environ
        """Other processes count for the same server."""
        if not self.shared:
            ProcessCollector(registry=registry)
            registry.register(self._present)
        counter = partial(Counter, registry=registry)
        timed = partial(Histogram, registry=registry, buckets=_SECONDS)
        gauge = partial(Gauge, registry=registry, multiprocess_mode="livesum")
        self._runs = counter(
            "sluicegate_runs",
            "Runs that came to an end or to a person, by what became of them; one that waited is counted again when it "
            "goes on.",
            ("workflow", "status", "path", "intent"),
        )
        self._nodes = timed(
            "sluicegate_node_duration_seconds",
            "Visits of nodes and how long they took.",
            ("workflow", "node", "kind", "failed"),
        )
        self._calls = timed(
            "sluicegate_model_call_duration_seconds",
            "Calls of models and how long they took; the model is the one that answered, or was to.",
            ("workflow", "role", "model", "fallback", "failed"),
        )
        self._tokens = counter(
            "sluicegate_tokens", "Tokens that models read and wrote.", ("workflow", "role", "model", "direction")
        )
        self._usd = counter(
            "sluicegate_cost_usd",
            "What calls of models cost, in US dollars by the prices of the workflow.",
            ("workflow", "role", "model"),
        )
        self._findings = counter(
            "sluicegate_guard_findings",
            "Texts that a guard did not pass, and what was done with them.",
            ("workflow", "guard", "stage", "action"),
        )
        self._verdicts = counter(
            "sluicegate_policy_decisions", "Decisions of the policies.", ("workflow", "action", "verdict")
        )
        self._refusals = counter(
            "sluicegate_budget_refusals",
            "Calls of models for which a budget had no room, or that were switched off.",
            ("workflow", "code"),
        )
        self._turns = timed(
            "sluicegate_model_turn_wait_seconds",
            "Calls of models that waited for their turn, and how long; the model is the one that answered.",
            ("workflow", "role", "model"),
        )
        self._limited = counter(
            "sluicegate_rate_refusals", "Requests for which their person's rate had no room.", ("workflow",)
        )
        self._requests = timed(
            "sluicegate_http_request_duration_seconds",
            "Requests to the server and how long it took to answer them.",
            ("method", "route", "status"),
        )

        self._inside = gauge("sluicegate_requests_in_progress", "Requests that are active or queued.", ("workflow",))
        self._waiting = gauge(
            "sluicegate_trace_records_waiting", "Those that wait to be sent.", ("workflow", "destination")
        )
        self._sent = counter(
            "sluicegate_trace_records_sent",
            "Observations and scores that a destination took.",
            ("workflow", "destination"),
        )
        self._dropped = counter(
            "sluicegate_trace_records_dropped",
            "Those that were not sent; `sluicegate trace push` sends them.",
            ("workflow", "destination"),
        )
        self._attempts = counter(
            "sluicegate_webhook_attempts", "Attempts to deliver an event.", ("destination", "result")
        )
        self._carrying = gauge("sluicegate_carrying", "Stretches of runs that are carried.", ("workflow",))
        self._draining = gauge(
            "sluicegate_draining",
            "1 where nothing more is taken and runs in progress have their time to finish.",
            ("workflow",),
            multiprocess_mode="livemax",
        )
        self._carried = counter(
            "sluicegate_carried",
            "Stretches of runs that were carried: ended, failed, or left to others.",
            ("workflow", "result"),
        )
        self._recovered = counter(
            "sluicegate_runs_recovered",
            "Runs that a process had left when it ended, and that this one has put back or taken up.",
            ("workflow",),
        )
        self._looking = threading.Lock()
        self._names: set[str] = set()
        self._counted: dict[tuple[str, ...], tuple[object, int]] = {}
        """Of each count that others keep, what it was kept in when it was seen last, and how far it was."""

    def text(self) -> bytes:
        """All of them in Prometheus's text format. Reads the ledger: not for an event loop."""
        self.look()
        if not self.shared:
            return generate_latest(self._registry)
        everybody = CollectorRegistry()
        MultiProcessCollector(everybody)
        everybody.register(self._present)
        return generate_latest(everybody)

    def send(self, sender: MetricsSender) -> None:
        """Push what this process has counted to a collector. Reads the ledger: not for an event loop."""
        self.look()
        try:
            sender.send(self._registry.collect())
        except SendError as error:
            log.warning("metrics are not sent: %s", error)

    def look(self) -> None:
        """Note what is true at the moment; where it is `shared`, others tell it too, and it must be done now and
        then."""
        with self._looking:
            serving = {service.name: service for service in self._workflows}
            for name in self._names - serving.keys():
                self._inside.labels(name).set(0)
                self._carrying.labels(name).set(0)
            self._names |= serving.keys()
            for name, service in serving.items():
                self._inside.labels(name).set(service.inside)
                self._look_at(name, service.executor)
                refused = self._grown(service.rates, service.rates.refused, name, "refused")
                self._limited.labels(name).inc(refused)
                tracer = service.versions.serving.tracer
                for report in tracer.report():
                    # without its address, which may hold more than a scraper should know
                    to = name, report.destination.partition(" ")[0]
                    self._waiting.labels(*to).set(report.waiting)
                    self._sent.labels(*to).inc(self._grown(tracer, report.sent, *to, "sent"))
                    self._dropped.labels(*to).inc(self._grown(tracer, report.dropped, *to, "dropped"))

    def _look_at(self, name: str, executor: Executor) -> None:
        tally = executor.tally
        self._carrying.labels(name).set(tally.carrying)
        self._draining.labels(name).set(tally.draining)
        for result, count in (("ended", tally.ended), ("failed", tally.failed), ("left", tally.left)):
            self._carried.labels(name, result).inc(self._grown(tally, count, name, result))
        for workflow, count in executor.recovered.items():
            self._recovered.labels(workflow).inc(self._grown(executor.recovered, count, workflow, "recovered"))

    def _grown(self, counting: object, count: int, *name: str) -> int:
        """By how much a count is more than when it was looked at last; `counting` is what it is kept in."""
        last, before = self._counted.get(name, (counting, 0))
        self._counted[name] = counting, count
        return max(0, count - (before if last is counting else 0))

    def attempted(self, destination: str, result: str) -> None:
        """A webhook has tried to deliver an event."""
        self._attempts.labels(destination, result).inc()

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
        # one that was cut short has no status
        if (found := trace.ended) and "status" in found:
            self._runs.labels(workflow, found["status"], found.get("path") or "", found.get("intent") or "").inc()

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
            if waited := found.get("waited_ms"):
                self._turns.labels(workflow, found["role"], model).observe(waited / 1000)
        elif "verdicts" in found and "stage" in found:
            for guard, action in found.get("actions", {}).items():
                self._findings.labels(workflow, guard, found["stage"], action).inc()
        elif "verdict" in found and "action" in found:
            self._verdicts.labels(workflow, found["action"], found["verdict"]).inc()
        elif found.get("reserved") is False:
            self._refusals.labels(workflow, found.get("code", "")).inc()
