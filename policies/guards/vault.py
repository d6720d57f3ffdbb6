"""Vaults in memory, for placeholder values that may not be written to disk."""

from collections import OrderedDict
from collections.abc import Mapping

from sluicegate.services import Hidden, Vault
from sluicegate.storage.run_ids import root_run

__all__ = ["MemoryVault", "RootVault", "SparingVault"]

_RUNS = 1_000


class MemoryVault:
    """Implements `services.Vault` for runs without effects, such as shadow runs and replays.

    The latest `_RUNS` runs are remembered.
    """

    def __init__(self) -> None:
        self._runs: OrderedDict[str, dict[str, Hidden]] = OrderedDict()

    async def hidden(self, run: str) -> Mapping[str, Hidden]:
        return dict(self._runs.get(run, {}))

    async def hide(self, run: str, person: str, hidden: Mapping[str, Hidden]) -> None:
        del person
        self._runs.setdefault(run, {}).update(hidden)
        self._runs.move_to_end(run)
        while len(self._runs) > _RUNS:
            self._runs.popitem(last=False)


class SparingVault:
    """Implements `services.Vault` over a durable one, to which it gives no credentials: those stay in
    the process's memory."""

    def __init__(self, lasting: Vault) -> None:
        self._lasting = lasting
        self._credentials = MemoryVault()

    async def hidden(self, run: str) -> Mapping[str, Hidden]:
        return {**await self._lasting.hidden(run), **await self._credentials.hidden(run)}

    async def hide(self, run: str, person: str, hidden: Mapping[str, Hidden]) -> None:
        credentials = {name: one for name, one in hidden.items() if one.credential}
        if credentials:
            await self._credentials.hide(run, person, credentials)
        if others := {name: one for name, one in hidden.items() if not one.credential}:
            await self._lasting.hide(run, person, others)


class RootVault:
    """Implements `services.Vault` for a workflow within another one: a run and its children share their placeholders,
    so that a text means the same in each of them."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    async def hidden(self, run: str) -> Mapping[str, Hidden]:
        return await self._vault.hidden(root_run(run))

    async def hide(self, run: str, person: str, hidden: Mapping[str, Hidden]) -> None:
        await self._vault.hide(root_run(run), person, hidden)
