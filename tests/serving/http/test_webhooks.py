"""A server with webhooks: they start and end with it, and are counted among its metrics."""

from pathlib import Path

import pytest

from sluicegate.serving.http.app import application
from sluicegate.serving.webhooks.worker import WebhookWorker
from sluicegate.serving.workflows import Workflows
from tests.support import stand
from tests.support.hooks import Hooks, hooks_file
from tests.support.stand import GATEWAY
from tests.support.waiting import until


@pytest.mark.slow
def test_a_server_tells_of_what_waits_and_counts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = stand.service()
    with Hooks() as hooks:
        file = hooks_file(tmp_path, hooks.url)
        worker = WebhookWorker(file, lambda: [service])

        def with_hooks(given: Workflows, callers: object) -> object:
            return application(given, GATEWAY, webhooks=worker)

        monkeypatch.setattr(stand, "application", with_hooks)
        with stand.served(service) as client:
            run = client.post("/v1/runs", json={"text": "access please"}).json()["run"]
            until(lambda: hooks.got)
            metrics = until(lambda: _sent(client.get("/metrics", headers={"x-roles": "operator"}).text))
    assert hooks.got[0].said["data"]["run"] == run
    assert 'sluicegate_webhook_deliveries{destination="ops",state="dead"} 0.0' in metrics
    assert "sluicegate-webhooks" not in _threads()


def _sent(metrics: str) -> str:
    return metrics if 'sluicegate_webhook_attempts_total{destination="ops",result="sent"} 1.0' in metrics else ""


def _threads() -> list[str]:
    import threading

    return [thread.name for thread in threading.enumerate()]
