"""The tracer: opens a run's observations and hands them to the recorder.

    tracer = Tracer(Store(home() / "store.sqlite"), exporters=configured_exporters(), masking=Masking(settings))
    with tracer.run(run_id, workflow="helpdesk", version="3", digest=digest, user=principal["id"], input=text):
        with tracer.node("gate", "policy-check", "guardrail", visit=1) as span:
            update = await node(state, services)
            span.set(**node_attributes(update))
        tracer.branch("gate", branch, confidence=0.83, threshold=0.71)
        tracer.finish("answered", state)

The current observation travels in a context variable, so spans nest by themselves in tasks and in threads that copy
their context. Outside a run, `span` gives an observation that goes nowhere. When the `run` block ends, everything it
recorded is committed to the store; exporters get it afterwards, on their own threads.
"""

import contextlib
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from sluicegate import services
from sluicegate.errors import RunError
from sluicegate.observe.tracing.exporter import Exporter, ExporterReport
from sluicegate.observe.tracing.masking import Masking
from sluicegate.observe.tracing.recorder import Recorder
from sluicegate.observe.tracing.span_attributes import run_outcome, run_scores
from sluicegate.observe.tracing.spans import (
    CURRENT,
    Observation,
    RunInfo,
    RunSegment,
    Score,
    Trace,
    new_id,
    root_id,
    trace_id,
    visit_id,
)
from sluicegate.observe.tracing.store import Store
from sluicegate.run_summary import RunSummary, Status
from sluicegate.state import Branch, State

__all__ = ["RecordingTracer", "Status"]

_PARTED = frozenset({"for-each", "parallel"})
"""Kinds of which the parts of a visit are beneath it, also those that another process runs after a crash."""
_PATIENCE_S = 1.0
"""How long the end of a command waits for a destination that takes nothing."""


class RecordingTracer:
    """Implements `services.Tracer`; one per process is enough, and it may be used from any thread or task.

    `store` keeps every run (None: nothing is kept, for measurements); `exporters` get copies; `masking` is applied
    before either sees an observation.
    """

    def __init__(self, store: Store | None, exporters: Sequence[Exporter] = (), masking: Masking | None = None) -> None:
        self._masking = masking or Masking()
        self._recorder = Recorder(store, exporters)

    @contextlib.contextmanager
    def run(
        self,
        run_id: str,
        *,
        workflow: str,
        version: str = "",
        digest: str = "",
        session: str = "",
        user: str = "",
        environment: str = "",
        release: str = "",
        shadow: bool = False,
        resume: bool = False,
        input: str = "",
        tags: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        masking: Masking | None = None,
    ) -> Generator[Observation]:
        """Trace one segment of a run: from its start or a resume to its end or an interrupt.

        `resume` joins the trace that another segment, perhaps of another process, began. `user` is the plain id, hashed
        here. `metadata` is the request's (channel, size, language). `environment`, `release` and `masking` default to
        the tracer's. Raises `RunError` SG606, SG607 or SG608 at the end when the store cannot take the run.
        """
        masking = masking or self._masking
        info = RunInfo(
            run_id=run_id,
            trace_id=trace_id(run_id),
            workflow=workflow,
            version=version,
            digest=digest,
            session=session,
            user=masking.user(user),
            environment=_environment(environment or masking.settings.environment, shadow=shadow),
            release=release or masking.settings.release,
            shadow=shadow,
            tags=[f"workflow:{workflow}", *tags, *(["shadow"] if shadow else [])],
            metadata=masking.value(metadata or {}),
            request=masking.payload(input),
        )
        segment = RunSegment(info, self._recorder, masking, resume)
        attributes: dict[str, Any] = {"run": run_id, "workflow": workflow, "version": version, "digest": digest}
        if input and not resume:
            attributes["input"] = input
        name = f"invoke_agent {workflow}" + (" (resume)" if resume else "")
        root = Observation(segment, name, "agent", root_id(run_id) if resume else "", attributes | info.metadata)
        if not resume:
            root.id = root_id(run_id)
        self._recorder.begin(segment)
        try:
            with root:
                try:
                    yield root
                finally:
                    root.attributes |= segment.outcome
        except BaseException as error:
            if shadow or isinstance(error, Exception):
                segment.outcome.setdefault("status", "waiting" if root.attributes.get("interrupted") else "failed")
                segment.outcome["error"] = root.message
            # else it was cut short, as by a closing service: it is still running, and whoever finds it so resumes it
            with contextlib.suppress(Exception):
                self._recorder.end(segment)
            raise
        self._recorder.end(segment)

    def span(self, name: str, type: services.Observation, **attributes: Any) -> AbstractContextManager[Observation]:
        parent = CURRENT.get()
        if parent is None:
            return _NOWHERE
        return Observation(parent.segment, name, type, parent.id, attributes)

    def node(
        self, name: str, kind: str, type: services.Observation, *, visit: int = 1, **attributes: Any
    ) -> AbstractContextManager[Observation]:
        """One visit of a node; `node_attributes` says what its update means. Once it has ended, a crash keeps it."""
        made = self.span(name, type, node=name, kind=kind, visit=visit, **attributes)
        if kind in _PARTED and isinstance(made, Observation):
            made.id = visit_id(made.segment.info.run_id, name, visit)
        return made

    @contextlib.contextmanager
    def beneath(self, node: str, visit: int) -> Generator[None]:
        current = CURRENT.get()
        if current is None:
            yield
            return
        parent = Observation(current.segment, node, "chain", current.id, {})
        parent.id = visit_id(current.segment.info.run_id, node, visit)
        token = CURRENT.set(parent)
        try:
            yield
        finally:
            CURRENT.reset(token)

    def branch(
        self, node: str, branch: Branch, *, confidence: float | None = None, threshold: float | None = None
    ) -> None:
        """Record a branch decision as an event named by its edge, such as ``gate→recall``; an end has none."""
        if not branch["to"]:
            return
        attributes: dict[str, Any] = {
            "from": node,
            "to": branch["to"],
            "condition": branch["condition"],
            "values": branch["values"],
            "not_taken": branch["skipped"],
            "reason": branch["reason"],
        }
        if confidence is not None:
            attributes["confidence"] = confidence
        if threshold is not None:
            attributes["threshold"] = threshold
        with self.span(f"{node}→{branch['to']}", "event", **attributes):
            pass

    def score(self, name: str, value: float | bool | str, *, comment: str = "") -> None:
        current = CURRENT.get()
        if current is not None:
            segment = current.segment
            score = Score(new_id(), segment.info.run_id, name, value, comment, segment.now_ns())
            if not score.is_finite:
                # no destination has such numbers, but that there was one is worth knowing
                score = replace(score, value=str(value))
            self._recorder.score(segment, score)

    def finish(self, status: Status, state: State, *, all_llm_usd: float | None = None) -> None:
        """Record how the current segment ends, from its last state: the run's row, its tags, its output and its scores.

        `all_llm_usd` is what the same run would have cost with only the large model.
        """
        current = CURRENT.get()
        if current is None:
            return
        segment = current.segment
        summary = RunSummary.of(state, status=status)
        segment.outcome |= run_outcome(summary, all_llm_usd)
        found = segment.outcome
        segment.info.tags += [f"{key}:{found[key]}" for key in ("path", "intent", "risk") if found.get(key)]
        if status not in {"waiting", "running"}:
            for name, value, comment in run_scores(summary, state, segment.elapsed_ms()):
                self.score(name, value, comment=comment)

    def feedback(self, run_id: str, name: str, value: float | bool | str, *, comment: str = "", by: str = "") -> Score:
        """Score a run after its end, for instance with a user's thumb; mirrored to the exporters.

        The name ``correct_intent`` with a label as value makes a correction (see `Store.corrections`).
        Raises `RunError` SG603 when the store has no such run, SG631 for a number that is not finite.
        """
        require_finite(name, value)
        masking = self._masking
        return self._recorder.feedback(run_id, name, value, masking.payload(comment), masking.user(by))

    def flush(self, deadline_s: float = 5.0) -> bool:
        """Write and send everything recorded so far; False when the deadline came first. Never raises for a server."""
        return self._recorder.flush(deadline_s)

    def hand_over(self) -> None:
        """Close when a command ends: destinations get their traces for as long as they take some each second; what is
        left is in the store, for `trace push`."""
        waiting = self._waiting()
        while not self.flush(_PATIENCE_S) and (left := self._waiting()) < waiting:
            waiting = left
        self.close(0.0)

    def _waiting(self) -> int:
        return sum(each.waiting for each in self.report())

    def close(self, deadline_s: float = 3.0) -> None:
        """Flush and stop the threads; what could not be sent stays in the store for `trace push`. The store is the
        caller's to close."""
        self._recorder.close(deadline_s)

    def watch(self, watcher: Callable[[Trace], None]) -> None:
        """Call it with what was recorded of a run, masked, whenever a segment of it ends; it must be quick."""
        self._recorder.watch(watcher)

    def report(self) -> list[ExporterReport]:
        """What each exporter has sent and dropped, and why."""
        return self._recorder.report()


def _environment(name: str, *, shadow: bool) -> str:
    """Runs whose answer nobody got are in one of their own. A name has 40 characters at most."""
    return f"{name[:33]}-shadow" if shadow else name


class _Nowhere:
    """The observation outside of any run."""

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None: ...

    def set(self, **attributes: Any) -> None: ...

    def fail(self, message: str) -> None: ...

    def warn(self, message: str) -> None: ...


_NOWHERE: Any = _Nowhere()


def require_finite(name: str, value: float | bool | str) -> None:
    """Raises `RunError` SG631 for a score that no destination can be sent."""
    if isinstance(value, float) and not math.isfinite(value):
        raise RunError("SG631", f"the score {name} is {value}", hint="Give a finite number, true, false or a word")
