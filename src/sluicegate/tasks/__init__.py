"""Six small tasks, each usable alone: classify, extract, tag, summarise, route, check.

    from sluicegate import tasks
    found = await tasks.extract("3 monitors for room 204", schema)
    found = tasks.sync.extract("3 monitors for room 204", schema)   # outside an event loop

Each uses the small models (see `default_models`), gives a `TaskResult` with the value, a confidence and what really
answered, and has a small labelled set that tells how well a model does it: `measure("extract")`.
"""

from sluicegate.tasks import sync
from sluicegate.tasks.calls import (
    TaskResult,
    check,
    classify,
    default_models,
    extract,
    opened_router,
    route,
    summarise,
    tag,
)
from sluicegate.tasks.measuring import TASKS, TaskMeasurement, TaskName, measure

__all__ = [
    "TASKS",
    "TaskMeasurement",
    "TaskName",
    "TaskResult",
    "check",
    "classify",
    "default_models",
    "extract",
    "measure",
    "opened_router",
    "route",
    "summarise",
    "sync",
    "tag",
]
