"""A workflow opened for stepping: the answer cache is read and never written, tools are simulated where it is dry."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sluicegate.errors import ConfigError, RunError
from sluicegate.graphs.runtime.factory import Opened, open_workflow
from sluicegate.graphs.runtime.versions import current, kept
from sluicegate.policies.cache.cache import NoCache
from sluicegate.services import Cache, Cached, Neighbour, Question, Services
from sluicegate.state import State

if TYPE_CHECKING:
    from sluicegate.graphs.config.load import Workflow

__all__ = ["Change", "file_of", "opened"]

Change = Callable[[Services], Services]


def opened(config: "Path | str | Workflow", *, dry: bool, change: Change) -> Opened:
    def careful(services: Services) -> Services:
        changed = change(services)
        return dataclasses.replace(changed, cache=_ReadOnlyCache(changed.cache))

    return open_workflow(config, dry=dry, shadow=dry, change=careful)


def file_of(state: State) -> Path:
    """The file of a run's version: the workflow's own if it has not changed, else the kept copy."""
    from sluicegate.graphs.config.load import load

    digest = state["run"]["digest"]
    try:
        file = current(state["run"]["workflow"])
        if load(file).digest == digest:
            return file
    except (RunError, ConfigError):
        pass
    return kept(digest)


class _ReadOnlyCache(NoCache):
    """An edited draft must never be served to anybody else."""

    def __init__(self, inner: Cache) -> None:
        self._inner = inner

    async def get(self, key: str, *, again: bool = False) -> Cached | None:
        return await self._inner.get(key, again=again)

    async def near(self, question: Question, *, similarity: float) -> Sequence[Neighbour]:
        return await self._inner.near(question, similarity=similarity)
