"""The progress of a run: each step as it is finished."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import TypedDict

from sluicegate.services import Services, Tracer
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
        self.node, self.span, self.score, self.beneath = inner.node, inner.span, inner.score, inner.beneath

    def branch(
        self, node: str, branch: Branch, *, confidence: float | None = None, threshold: float | None = None
    ) -> None:
        self._inner.branch(node, branch, confidence=confidence, threshold=threshold)
        if on_step := _ON_STEP.get():
            on_step({"node": node, "to": branch["to"], "reason": branch["reason"]})


def watched(services: Services) -> Services:
    """The same services, whose steps `telling` can follow."""
    return replace(services, tracer=_Watched(services.tracer))
