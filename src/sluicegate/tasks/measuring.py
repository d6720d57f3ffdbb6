"""How well a model does each task, on a small labelled set that the package holds.

`classify`, `extract` and `check` use the rows of `sluicegate models probe`, `tag` and `summarise` the files in
``sets/``, `route` the router and the held-out rows of the pattern ``3-rag-slm``. The sets tell a model that can do a
task from one that cannot; they do not rank good models.
"""

import json
import re
import statistics
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from sluicegate.errors import ModelError
from sluicegate.models.chain import ModelSet
from sluicegate.models.probes.probe import TASKS as PROBES
from sluicegate.models.probes.probe import interval, rows_of
from sluicegate.nodes.writing.generation import unusable
from sluicegate.tasks.calls import TaskResult, check, classify, default_models, extract, route, summarise, tag

__all__ = ["TASKS", "TaskMeasurement", "TaskName", "measure"]

TaskName = Literal["classify", "extract", "tag", "summarise", "route", "check"]
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TaskMeasurement:
    task: str
    model: str
    right: int
    rows: int
    low: float
    """Lower end of the 95 % interval of the accuracy."""
    high: float
    median_ms: float

    @property
    def accuracy(self) -> float:
        return self.right / self.rows


@dataclass(frozen=True, slots=True)
class _Set:
    rows: Callable[[], list[Any]]
    ask: Callable[[Row, ModelSet], Awaitable[TaskResult[Any]]]
    right: Callable[[Row, Any], bool]


async def measure(
    task: TaskName,
    *,
    models: ModelSet | None = None,
    limit: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> TaskMeasurement:
    """The accuracy on the task's set. An answer that fits no schema is wrong; any other failure is raised."""
    own, chosen = models or default_models(), TASKS[task]
    rows, right, model = chosen.rows()[:limit], 0, ""
    times: list[float] = []
    for number, row in enumerate(rows, 1):
        try:
            found = await chosen.ask(row, own)
        except ModelError as error:
            if not unusable(error):
                raise
        else:
            right += chosen.right(row, found.value)
            model = found.model
            times.append(found.ms)
        if on_progress:
            on_progress(number, len(rows))
    low, high = interval(right, len(rows))
    return TaskMeasurement(task, model, right, len(rows), low, high, statistics.median(times) if times else 0.0)


def _own(name: str) -> list[Row]:
    text = (files("sluicegate.tasks") / "sets" / f"{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def _pattern() -> Path:
    return Path(str(files("sluicegate"))) / "patterns" / "3-rag-slm"


def _routed() -> list[Row]:
    text = (_pattern() / "examples" / "eval.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def _says(row: Row, text: str) -> bool:
    """All that matters is said, briefer than it was."""
    plain = re.sub(r"\s+", " ", text.casefold())
    return len(text) < len(row["text"]) and all(fact.casefold() in plain for fact in row["facts"])


def _order(row: Row) -> dict[str, Any]:
    schema = PROBES["extract"](row).request.schema
    assert schema is not None
    return dict(schema)


TASKS: dict[TaskName, _Set] = {
    "classify": _Set(
        lambda: rows_of("label"),
        lambda row, models: classify(row["text"], row["labels"], models=models),
        lambda row, value: value == row["label"],
    ),
    "extract": _Set(
        lambda: rows_of("extract"),
        # the set takes a singular for a plural
        lambda row, models: extract(row["text"], _order(row), values={"item": "reworded"}, models=models),
        lambda row, value: PROBES["extract"](row).right("", value),
    ),
    "tag": _Set(
        lambda: _own("tag"),
        lambda row, models: tag(row["text"], row["tags"], models=models),
        lambda row, value: set(value) == set(row["right"]),
    ),
    "summarise": _Set(
        lambda: _own("summarise"), lambda row, models: summarise(row["text"], models=models), _says
    ),
    "route": _Set(
        _routed,
        lambda row, models: route(row["text"], _pattern() / "router", models=models),
        lambda row, value: value == row["label"],
    ),
    "check": _Set(
        lambda: rows_of("review"),
        lambda row, models: check(row["claim"], row["source"], models=models),
        lambda row, value: value is row["supported"],
    ),
}  # fmt: skip
"""Each task's labelled set, how a row is asked and when it is right. `route` counts only labels the router trusts."""
