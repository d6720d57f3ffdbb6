"""Which outcomes of approved calls their callers have been told.

A call that waited is fetched by repeating it. Until its outcome was handed out, an equal call of the same person is
that call; afterwards it is another one. What was handed out is remembered among the tools' results, as long as the run.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from sluicegate.storage.database import open_database, place
from sluicegate.storage.schemas import TOOL_CALLS

__all__ = ["Deliveries"]


class Deliveries:
    """Raises as `Database` does."""

    def __init__(self) -> None:
        self._database = open_database(place(), TOOL_CALLS)
        self.close = self._database.close

    async def name(self, firewall: str, person: str, call: str, arguments: Mapping[str, Any], key: str) -> str:
        """The run of this call: of those with this name that were begun before, the first that is not handed out."""
        return await self._database.call(self._name, [firewall, person, call, dict(arguments), key])

    async def delivered(self, run: str) -> None:
        """The caller is told the outcome of this run."""
        await self._database.call(self._delivered, run)

    def _name(self, named: list[Any]) -> str:
        number = 0
        while True:
            said = json.dumps([*named, number], sort_keys=True)
            run = hashlib.sha256(said.encode()).hexdigest()[:24]
            with self._database.reading(run) as execute:
                if not execute("SELECT 1 AS told FROM tool_calls WHERE key = ?", (_row(run),)):
                    return run
            number += 1

    def _delivered(self, run: str) -> None:
        with self._database.writing(run) as execute:
            execute("INSERT INTO tool_calls VALUES (?, 'told', ?, 'null', 0) ON CONFLICT DO NOTHING", (_row(run), run))


def _row(run: str) -> str:
    return f"{run} told"
