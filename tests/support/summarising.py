"""Pattern 1 on a model that writes what it is told: a workflow whose summaries may be sent sentence by sentence."""

from dataclasses import replace
from pathlib import Path

from sluicegate.graphs.config.load import Workflow
from sluicegate.graphs.runtime.factory import Opened, open_workflow
from tests.support.fakes import FakeModels, FakeRouter

PATTERN = Path("configs/patterns/1-slm-router-tools/workflow.yaml")
SUMMARY = "The queue grew at 08:10. The gateway was restarted, see no. 5. No mail was lost!\n\nAll is well again."
SENT = SUMMARY.partition("\n")[0]
"""What is complete before the whole is there."""
ASKED = "Put this short: the queue grew, the gateway was restarted, no mail was lost."


def summarising(
    source: Path | Workflow = PATTERN, *, answer: str = SUMMARY, models: FakeModels | None = None
) -> Opened:
    given = {"models": models or FakeModels({"slm": answer}), "router": FakeRouter("summarise")}
    return open_workflow(source, change=lambda services: replace(services, **given))
