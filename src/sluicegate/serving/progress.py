"""The progress of a run: each step as it is finished."""

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, TypedDict

from sluicegate.services import Observation, Services, Span, Tracer
from sluicegate.state import Branch

__all__ = ["FinishedStep", "OnStep", "telling", "watched"]


class FinishedStep(TypedDict):
    """One step that is done."""

    node: str
    to: str
    """The next node; empty at the end."""
    reason: str


OnStep = Callable[[FinishedStep], None]
_ON_STEP: ContextVar[OnStep | None] = ContextVar("on_step", default=None)


@contextmanager
def telling(on_step: OnStep | None) -> Generator[None]:
    """Tell of the steps of runs within the block, also of tasks that are started within."""
    token = _ON_STEP.set(on_step)
    try:
        yield
    finally:
        _ON_STEP.reset(token)


class _Watched:
    """`services.Tracer` that also reports steps to a listener."""

    def __init__(self, inner: Tracer) -> None:
        self._inner = inner

    def node(
        self, name: str, kind: str, type: Observation, *, visit: int = 1, **attributes: Any
    ) -> AbstractContextManager[Span]:
        return self._inner.node(name, kind, type, visit=visit, **attributes)

    def branch(
        self, node: str, branch: Branch, *, confidence: float | None = None, threshold: float | None = None
    ) -> None:
        self._inner.branch(node, branch, confidence=confidence, threshold=threshold)
        if on_step := _ON_STEP.get():
            on_step({"node": node, "to": branch["to"], "reason": branch["reason"]})

    def span(self, name: str, type: Observation, **attributes: Any) -> AbstractContextManager[Span]:
        return self._inner.span(name, type, **attributes)

    def score(self, name: str, value: float | bool | str, *, comment: str = "") -> None:
        self._inner.score(name, value, comment=comment)


def watched(services: Services) -> Services:
    """The same services, whose steps `telling` can follow."""
    return replace(services, tracer=_Watched(services.tracer))
