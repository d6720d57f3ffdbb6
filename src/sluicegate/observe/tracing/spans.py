"""The parts of a trace: records of observations and scores, kept lightweight.

An `Observation` is one timed step of a run; it is its own context manager, so that a span costs one object and one
queue entry. Its attributes are plain JSON data in our own short names; the exporters turn them into the names of
OpenTelemetry's GenAI conventions and of Langfuse. A run's ids are derived from the run id alone, so every process that
works on a run writes into the same trace.
"""

import hashlib
import math
import os
import random
import time
from collections.abc import Mapping
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol

from sluicegate import services

if TYPE_CHECKING:
    from sluicegate.observe.tracing.masking import Masking

__all__ = [
    "CURRENT",
    "Level",
    "Observation",
    "Record",
    "RunInfo",
    "RunSegment",
    "Score",
    "Trace",
    "after_resume",
    "new_id",
    "root_id",
    "trace_id",
    "visit_id",
]

Level = Literal["DEFAULT", "WARNING", "ERROR"]

_IDS = random.Random()  # noqa: S311 - not a secret
"""Its own, so that nobody's `random.seed` makes two processes give the same ids."""
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_IDS.seed)


def trace_id(run_id: str) -> str:
    """The trace of a run, 32 hex digits; the same as Langfuse's `create_trace_id(seed=run_id)`."""
    return hashlib.sha256(run_id.encode()).digest()[:16].hex()


def root_id(run_id: str) -> str:
    """The root observation of a run, 16 hex digits; a resume is a child of it, from whatever process."""
    return hashlib.sha256(run_id.encode()).digest()[16:24].hex()


def visit_id(run_id: str, node: str, visit: int) -> str:
    """The observation of a visit whose parts may be recorded before it, and by other processes."""
    return hashlib.sha256(f"{run_id} {visit} {node}".encode()).digest()[24:].hex()


def after_resume(outcome: Mapping[str, Any]) -> tuple[Level, str]:
    """Level and message of a run's root, by the outcome of a segment that went on with the run."""
    return ("ERROR", outcome.get("error", "")) if outcome.get("status") == "failed" else ("DEFAULT", "")


def new_id() -> str:
    """A random observation id, 16 hex digits. It need only be unique, so no system call is made for each."""
    return f"{_IDS.getrandbits(64):016x}"


@dataclass(slots=True)
class RunInfo:
    """What all observations of a run share; exporters put it on every one of them."""

    run_id: str
    trace_id: str
    workflow: str
    version: str
    digest: str
    session: str
    user: str
    """Already hashed, unless the settings keep it plain."""
    environment: str
    release: str
    shadow: bool
    tags: list[str] = field(default_factory=list[str])
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])
    """The request's: channel, size, language."""
    request: str = ""
    """Its text, masked."""


class Record:
    """One finished observation, as the store and the exporters see it."""

    __slots__ = ("attributes", "end_ns", "id", "level", "message", "name", "parent", "start_ns", "type")

    def __init__(
        self,
        id: str,
        parent: str,
        name: str,
        type: services.Observation,
        attributes: dict[str, Any],
        *,
        start_ns: int = 0,
        end_ns: int = 0,
        level: Level = "DEFAULT",
        message: str = "",
    ) -> None:
        self.id = id
        self.parent = parent
        self.name = name
        self.type: services.Observation = type
        self.attributes = attributes
        self.start_ns = start_ns
        self.end_ns = end_ns
        self.level: Level = level
        self.message = message


@dataclass(frozen=True, slots=True)
class Score:
    """A judgement of a run; its type follows its value."""

    id: str
    run_id: str
    name: str
    value: float | bool | str
    comment: str
    at_ns: int
    observation: str = ""
    """The observation it judges; empty for the whole run."""
    source: Literal["run", "feedback"] = "run"
    by: str = ""
    """Who gave it, hashed as users are; empty for the run itself."""

    @property
    def is_finite(self) -> bool:
        return not isinstance(self.value, float) or math.isfinite(self.value)

    @property
    def data_type(self) -> Literal["NUMERIC", "BOOLEAN", "CATEGORICAL"]:
        if isinstance(self.value, bool):
            return "BOOLEAN"
        return "CATEGORICAL" if isinstance(self.value, str) else "NUMERIC"


@dataclass(slots=True)
class Trace:
    """A part of a run's trace on its way to an exporter."""

    info: RunInfo
    records: list[Record]
    scores: list[Score]
    root: Record | None = None
    """The run's root as a resume has left it, for destinations where it takes the place of the first."""
    ended: Mapping[str, Any] | None = None
    """What has become of the run, in the last part of each of its segments."""


class Sink(Protocol):
    """What takes finished observations."""

    def add(self, observation: "Observation") -> None: ...


@dataclass(slots=True)
class RunSegment:
    """One open segment of a run, from its start or a resume to its end or an interrupt."""

    info: RunInfo
    recorder: "Sink"
    masking: "Masking"
    resumes: bool = False
    wall_ns: int = field(default_factory=time.time_ns)
    ticks_ns: int = field(default_factory=time.perf_counter_ns)
    outcome: dict[str, Any] = field(default_factory=dict[str, Any])
    """Columns of the run's row that are known when it ends."""

    def now_ns(self) -> int:
        """Unix time that never runs backwards within a segment."""
        return self.wall_ns + time.perf_counter_ns() - self.ticks_ns

    def elapsed_ms(self) -> float:
        return (time.perf_counter_ns() - self.ticks_ns) / 1e6


CURRENT: ContextVar["Observation | None"] = ContextVar("sluicegate_observation", default=None)
"""The innermost open observation of this task."""


class Observation(Record):
    """An open observation; implements `services.Span`.

    A value must not be changed after it was set.
    """

    __slots__ = ("_token", "segment")

    def __init__(
        self, segment: RunSegment, name: str, type: services.Observation, parent: str, attributes: dict[str, Any]
    ) -> None:
        super().__init__(new_id(), parent, name, type, attributes)
        self.segment = segment
        self._token: Token[Observation | None] | None = None

    def set(self, **attributes: Any) -> None:
        self.attributes.update(attributes)

    def fail(self, message: str) -> None:
        self.level = "ERROR"
        self.message = message

    def warn(self, message: str) -> None:
        """Mark something that a reader of the trace should notice and that is not a failure."""
        if self.level != "ERROR":
            self.level = "WARNING"
            self.message = message

    def __enter__(self) -> "Observation":
        self._token = CURRENT.set(self)
        self.start_ns = self.segment.now_ns()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end_ns = self.segment.now_ns()
        if kind is not None:
            self._note(kind, error)
        if self._token is not None:
            _leave(self._token)
        self.segment.recorder.add(self)

    def _note(self, kind: type[BaseException], error: BaseException | None) -> None:
        # LangGraph's interrupt travels as an exception; it is known by name because LangGraph is slow to import
        if any(base.__name__ == "GraphBubbleUp" for base in kind.__mro__):
            self.attributes["interrupted"] = True
        elif kind.__name__ in ("CancelledError", "KeyboardInterrupt", "GeneratorExit"):
            self.warn("cancelled")
        elif self.level != "ERROR":
            self.fail(f"{kind.__name__}: {error}")


def _leave(token: "Token[Observation | None]") -> None:
    try:
        token.var.reset(token)
    except ValueError:
        # closed from another task's context, as a generator may be; the current one ends with that task
        return
