"""The workflows that a process serves: a `Service` each, with its own versions, all within the same bounds.

async with Workflows([Service("configs/helpdesk/workflow.yaml"), Service("configs/claims/workflow.yaml")]) as served:
    outcome = await served.of("helpdesk").ask("Is colour printing allowed?", principal("ann", ["employee"]))
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Self

from sluicegate.errors import SluicegateError, UnknownWorkflowError
from sluicegate.graphs.conversations.turns import ConversationRow
from sluicegate.graphs.runtime.loop_thread import elsewhere
from sluicegate.observe.tracing.spans import Trace
from sluicegate.serving.approvals import ApprovalPage
from sluicegate.serving.limits import Limits
from sluicegate.serving.reading import approvals, unknown_run
from sluicegate.serving.service import Service
from sluicegate.state import Principal

__all__ = ["Workflows"]


class Workflows:
    """Opened and closed together. Iterating gives the services, in the order of their names."""

    def __init__(self, services: Iterable[Service]) -> None:
        """At least one; all get the bounds of the first, which they then share. Nothing is opened before the block is
        entered."""
        self._given = [*services]
        self.admission = self._given[0].admission
        for service in self._given:
            service.admission = self.admission
        self._by_name: dict[str, Service] = {}
        self._leaving: set[Service] = set()
        self._watchers: list[Callable[[Trace], None]] = []
        self.fault: SluicegateError | None = None
        """Why a workflow that should be served is not."""
        self._withdrawn = False

    # --- lifecycle ---

    async def open(self) -> None:
        """Open all, or none where one cannot be. Opening again changes nothing. Raises as `Service.open`."""
        try:
            for service in self._given:
                await service.open()
                self._by_name[service.name] = service
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close all at the same time, as `Service.close` does."""
        await asyncio.gather(*(service.close() for service in {*self._given, *self._leaving}))

    async def add(self, service: Service) -> None:
        """Open one more, and serve it. Raises as `Service.open`."""
        service.admission = self.admission
        await service.open()
        for watcher in self._watchers:
            service.watch(watcher)
        if self._withdrawn:
            service.withdraw()
        self._given.append(service)
        self._by_name[service.name] = service

    async def remove(self, service: Service) -> None:
        """Serve it no more. Its runs have their time to finish, and are found until then."""
        self._given.remove(service)
        self._leaving.add(service)
        if self._by_name.get(service.name) is service:
            del self._by_name[service.name]
        await service.close()
        self._leaving.discard(service)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def withdraw(self) -> None:
        """As `Service.withdraw`."""
        self._withdrawn = True
        for service in self._given:
            service.withdraw()

    @property
    def ready(self) -> bool:
        """Whether requests should be sent here, for whichever workflow."""
        return bool(self._by_name) and not self._withdrawn and all(service.ready for service in self)

    @property
    def limits(self) -> Limits:
        return self.admission.limits

    @property
    def inside(self) -> int:
        """Active and queued requests."""
        return self.admission.inside

    # --- finding one ---

    def __iter__(self) -> Iterator[Service]:
        return iter([self._by_name[name] for name in sorted(self._by_name)])

    def __len__(self) -> int:
        return len(self._by_name)

    def of(self, name: str) -> Service:
        """The workflow of this name. Raises `UnknownWorkflowError` SG642."""
        if service := self._by_name.get(name):
            return service
        raise self._unknown(f"no workflow {name!r} is served here")

    def asked_for(self, name: str) -> Service:
        """The same for a request that may leave the name out where only one is served."""
        if name:
            return self.of(name)
        if len(self) == 1:
            return next(iter(self))
        raise self._unknown("several workflows are served here, and the request names none")

    def _unknown(self, message: str) -> UnknownWorkflowError:
        return UnknownWorkflowError(message, hint=f"`workflow` is one of {', '.join(sorted(self._by_name))}")

    async def of_run(self, run: str) -> Service:
        """The workflow that a run is of. Raises `NotFoundError` SG603 where it is of none that is served, or there is
        no such run."""
        any_one = next(iter(self))
        if len(self) == 1 and not self._leaving:
            # itself says what it does not know
            return any_one
        name = await asyncio.to_thread(any_one.reader.workflow_of, run)
        found = self._by_name.get(name) or next((each for each in self._leaving if each.name == name), None)
        if found is None:
            raise unknown_run(run)
        return found

    # --- over all of them ---

    async def conversations(self, asker: Principal, *, workflow: str = "") -> list[tuple[Service, ConversationRow]]:
        """As `Service.conversations`, each with its workflow; of one of them where it is named."""
        chosen = self._chosen(workflow)
        found = await asyncio.gather(*(service.conversations(asker) for service in chosen))
        rows = [(service, row) for service, its in zip(chosen, found, strict=True) for row in its]
        return sorted(rows, key=lambda each: each[1].last_at, reverse=True)

    async def approvals(
        self, asker: Principal, *, limit: int = 50, after: str = "", workflow: str = ""
    ) -> ApprovalPage:
        """As `Service.approvals`, longest-waiting first over all; of one of them where it is named."""
        readers = {service.name: service.reader for service in self._chosen(workflow)}
        return await elsewhere(approvals(readers, asker, limit, after))

    def _chosen(self, workflow: str) -> list[Service]:
        return [self.of(workflow)] if workflow else [*self]

    # --- operating ---

    def watch(self, watcher: Callable[[Trace], None]) -> None:
        """As `Service.watch`, of all of them, and of those that are added. They must be open."""
        self._watchers.append(watcher)
        for service in self:
            service.watch(watcher)

    def sees_all(self, asker: Principal) -> bool:
        """Whether the policies of every workflow let them see every run, whoever asked for it."""
        return all(service.sees_all(asker) for service in self)
