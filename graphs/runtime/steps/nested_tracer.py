"""The tracer of a workflow within another one: its runs are observations beneath the node that runs them.

So one run has one trace, whatever it is made of, and whoever may not read what a child rests on may not read the trace.
The nodes of a child are called ``PARENT'S NODE/NODE`` there.
"""

from contextlib import AbstractContextManager
from typing import Any

from sluicegate import services
from sluicegate.observe.tracing.span_attributes import run_outcome
from sluicegate.observe.tracing.spans import CURRENT, Observation
from sluicegate.observe.tracing.tracer import RecordingTracer
from sluicegate.run_summary import RunSummary, Status
from sluicegate.state import Branch, State

__all__ = ["NestedTracer"]


class NestedTracer:
    """Implements `services.Tracer` and what a `Runner` asks of its own."""

    def __init__(self, tracer: "RecordingTracer | NestedTracer", node: str) -> None:
        self._tracer, self._node = tracer, node
        self.span, self.score, self.beneath = tracer.span, tracer.score, tracer.beneath

    def run(
        self, run_id: str, *, workflow: str, version: str, digest: str, resume: bool = False, input: str = "", **_: Any
    ) -> AbstractContextManager[Observation]:
        """One segment of the child's run, as an observation of its parent's."""
        said = {"run": run_id, "workflow": workflow, "version": version, "digest": digest}
        if input and not resume:
            said["input"] = input
        return self.span(f"invoke_agent {workflow}" + (" (resume)" if resume else ""), "agent", **said)

    def finish(self, status: Status, state: State, *, all_llm_usd: float | None = None) -> None:
        """How the child's segment ends."""
        if current := CURRENT.get():
            outcome = run_outcome(RunSummary.of(state, status=status), all_llm_usd)
            current.set(**{key: outcome[key] for key in ("status", "path") if outcome.get(key)})

    def node(
        self, name: str, kind: str, type: services.Observation, *, visit: int = 1, **attributes: Any
    ) -> AbstractContextManager[Observation]:
        return self._tracer.node(f"{self._node}/{name}", kind, type, visit=visit, **attributes)

    def branch(
        self, node: str, branch: Branch, *, confidence: float | None = None, threshold: float | None = None
    ) -> None:
        to = branch["to"] and f"{self._node}/{branch['to']}"
        within: Branch = {**branch, "to": to}
        self._tracer.branch(f"{self._node}/{node}", within, confidence=confidence, threshold=threshold)
