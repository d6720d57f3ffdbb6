"""The same tasks for programs without an event loop; each takes what the function of its name in `calls` takes."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from sluicegate.tasks import calls

__all__ = ["check", "classify", "extract", "route", "summarise", "tag"]

P = ParamSpec("P")
T = TypeVar("T")


def _waiting(task: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    @wraps(task)
    def call(*args: P.args, **options: P.kwargs) -> T:
        return asyncio.run(task(*args, **options))

    return call


classify = _waiting(calls.classify)
extract: Callable[..., calls.TaskResult[Any]] = _waiting(calls.extract)
tag = _waiting(calls.tag)
summarise = _waiting(calls.summarise)
route = _waiting(calls.route)
check = _waiting(calls.check)
