"""What is true at the moment, asked for when it is scraped: versions, budgets, queues, indexes, the shared server.

Nothing of it fails a scrape: what cannot be read is left out, and the server that machines share has a metric that says
whether it can be. While it cannot be, nothing else is asked of it, since a network that is cut answers late.
"""

import logging
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, TypeVar

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sluicegate.errors import RunError
from sluicegate.home import home
from sluicegate.observe.audit.shared.delivery import backlog
from sluicegate.serving.service import Service
from sluicegate.serving.webhooks.worker import WebhookWorker
from sluicegate.serving.workflows import Workflows
from sluicegate.storage.following import TRUSTED_S, follower
from sluicegate.storage.postgres import configured

__all__ = ["Present"]

T = TypeVar("T")

log = logging.getLogger(__name__)


class Present(Collector):
    """Of the workflows of this process, whatever other processes of the server do."""

    def __init__(self, workflows: Workflows, webhooks: WebhookWorker | None) -> None:
        self._workflows, self._webhooks = workflows, webhooks

    def describe(self) -> Iterable[Metric]:
        # asked for when it is registered, when the service may not be open yet
        return ()

    def collect(self) -> Iterable[Metric]:
        away = False
        if server := configured():
            age = follower(server).age_s()
            away = age > 2 * TRUSTED_S
            yield _alone("database_up", "1 where the server that machines share can be read, else 0.", float(not away))
            yield _alone("switches_age_seconds", "For so long kill switches and promotions have not been read.", age)
            yield from _audit()
        yield from self._of_workflows(away=away)
        held = GaugeMetricFamily(
            "sluicegate_webhook_deliveries",
            "Events that are not delivered: waiting, or dead.",
            labels=["destination", "state"],
        )
        if self._webhooks and not away:
            for (destination, state), count in _read(self._webhooks.counts, {}).items():
                held.add_metric([destination, state], count)
        yield held

    def _of_workflows(self, *, away: bool) -> Iterable[Metric]:
        serving = _gauge(
            "serving", "1 for the version that serves while requests are accepted, else 0.", "version", "digest"
        )
        limit = _gauge("budget_limit", "The caps of the workflow, in US dollars or tokens.", "cap", "of", "unit")
        left = _gauge("budget_left", "What is left of them, less what calls under way may cost.", "cap", "of", "unit")
        length = _gauge("queue_length", "Stretches of runs that wait for a process with room.", "queue")
        oldest = _gauge("queue_oldest_seconds", "For so long the first of them has been waiting.", "queue")
        given_up = _gauge("runs_given_up", "Runs that are left for a person, as they end each process.", "queue")
        number = _gauge("index_version", "The version of a stored index that serves here.", "index")
        confirmed = _gauge("index_confirmed_age_seconds", "For so long its store has not confirmed it.", "index")
        stale = _gauge("index_stale", "1 where its store cannot be read, else 0.", "index")
        for service in self._workflows:
            name, workflow = service.name, service.versions.serving.workflow
            serving.add_metric([name, workflow.version, workflow.digest[:12]], float(service.ready))
            if service.ready and not away:
                for cap in _read(service.caps, ()):
                    limit.add_metric([name, cap.name, cap.of, cap.unit], cap.limit)
                    left.add_metric([name, cap.name, cap.of, cap.unit], cap.left)
                for each in _read(service.executor.queued, ()):
                    length.add_metric([name, each.queue], each.length)
                    oldest.add_metric([name, each.queue], each.oldest_s)
                    given_up.add_metric([name, each.queue], each.given_up)
            for index, status in _stored(service):
                number.add_metric([name, index], status.version)
                confirmed.add_metric([name, index], max(0.0, time.time() - status.confirmed))
                stale.add_metric([name, index], float(bool(status.fault)))
        return serving, limit, left, length, oldest, given_up, number, confirmed, stale


def _stored(service: Service) -> Iterable[tuple[str, Any]]:
    retriever = service.versions.serving.retriever
    return retriever.stored().items() if retriever else ()


def _audit() -> Iterable[Metric]:
    waiting = _read(lambda: backlog(home() / "audit"), None)
    if waiting:
        since = (datetime.now(UTC) - waiting.since).total_seconds() if waiting.since else 0.0
        yield _alone("audit_undelivered", "Audit events of this home that are not on the server.", waiting.events)
        yield _alone("audit_undelivered_oldest_seconds", "How old the first of them is.", max(0.0, since))


def _read(ask: Callable[[], T], otherwise: T) -> T:
    """What is asked for, or that where it cannot be read."""
    try:
        return ask()
    except (RunError, OSError) as error:
        log.warning("a metric is left out: %s", error)
        return otherwise


def _alone(name: str, doc: str, value: float) -> Metric:
    found = GaugeMetricFamily(f"sluicegate_{name}", doc)
    found.add_metric([], value)
    return found


def _gauge(name: str, doc: str, *labels: str) -> Any:
    return GaugeMetricFamily(f"sluicegate_{name}", doc, labels=["workflow", *labels])
