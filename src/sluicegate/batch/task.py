"""A small task for every row of a batch: what it asks, as plain data that crosses processes."""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from sluicegate import tasks
from sluicegate.tasks import TaskResult

__all__ = ["BatchTask", "TaskAnswer", "TaskSpec"]

BatchTask = Literal["classify", "extract", "tag", "summarise", "route"]


@dataclass(frozen=True, slots=True)
class TaskAnswer:
    """What a task said of one text."""

    answer: str
    label: str
    confidence: float
    model: str
    ms: float


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """A task with its settings, which are the arguments of its function in `sluicegate.tasks`."""

    task: BatchTask
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    model: str = ""

    @property
    def identity(self) -> str:
        """Text of all that its results depend on besides the text."""
        return json.dumps(asdict(self), sort_keys=True, default=str)

    def open(self) -> Callable[[str], Awaitable[TaskAnswer]]:
        """The task with its models open. Raises `ModelError` as the task does."""
        ask = self._function()

        async def answer(text: str) -> TaskAnswer:
            made = await ask(text)
            value: Any = made.value
            said = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            label = said if self.task in ("classify", "route") else ""
            return TaskAnswer(said, label, made.confidence, made.model, made.ms)

        return answer

    def _function(self) -> Callable[[str], Awaitable[TaskResult[Any]]]:
        models, given = tasks.default_models(self.model), dict(self.settings)
        if self.task == "route":
            return tasks.opened_router(Path(given["router"]), otherwise=given.get("otherwise", ""), models=models)
        functions: dict[str, Callable[..., Awaitable[TaskResult[Any]]]] = {
            "classify": tasks.classify,
            "extract": tasks.extract,
            "tag": tasks.tag,
            "summarise": tasks.summarise,
        }
        function = functions[self.task]
        return lambda text: function(text, **given, models=models)
