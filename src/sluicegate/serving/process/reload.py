"""Edits are served without a restart: the files of the served workflows are looked at now and then.

A look compares times and sizes of the files that a workflow was loaded from. What differs must be the same at the next
look before it is loaded: an editor may write in two steps, and a folder takes its time to be copied. Then the workflow
is checked, proved and opened beside the one that serves, and takes its place. One that is broken changes nothing but
`fault`: it is a warning, once, and tried again when its files change, or after `_AGAIN_S`.

In a folder a workflow that is new is served, and one that has gone is served no more. The last one stays.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from sluicegate.errors import ConfigError, Problem, SluicegateError
from sluicegate.graphs.config.load import Workflow, load
from sluicegate.serving.process.discovery import Discovery, duplicate
from sluicegate.serving.service import Service
from sluicegate.serving.workflows import Workflows

__all__ = ["Reload"]

_LOOK_S = 1.0
_AGAIN_S = 10.0
"""Seconds until what could not be loaded is tried again: what it lacks may be a file that nobody looks at."""

log = logging.getLogger(__name__)

Stamp = frozenset[tuple[str, int, int, int]]
"""Path, time of the last change, size and inode of each file."""


class Reload:
    """Follows the files and folders that a server was given. Used from one event loop."""

    def __init__(self, workflows: Workflows, configs: Sequence[Path], make: Callable[[Workflow], Service]) -> None:
        """`workflows` need not be open yet; `make` makes the service of one that is new."""
        self._workflows, self._make = workflows, make
        self._folders = [path for path in configs if path.is_dir()]
        self._discovery = Discovery()
        self._members: set[Path] = set()
        """Workflows that were found in a folder."""
        self._services: dict[Path, Service] = {}
        self._seen: dict[Path, Stamp] = {}
        """As of the last look, by the file of the workflow."""
        self._done: dict[Path, Stamp] = {}
        """What was last loaded, or tried."""
        self._tried: dict[Path, float] = {}
        """When that failed."""
        self._faults: dict[Path, SluicegateError] = {}
        """Why a file that has no service has none."""
        self._stopping = asyncio.Event()
        self._removals: set[asyncio.Task[None]] = set()

    async def follow(self) -> None:
        """Look again and again, until `stop`."""
        while not self._stopping.is_set():
            try:
                await self.once()
            except Exception:
                # whatever it was, what is served goes on
                log.exception("the files of the workflows could not be looked at")
            try:
                await asyncio.wait_for(self._stopping.wait(), _LOOK_S)
            except TimeoutError:
                continue

    def stop(self) -> None:
        """Look no more; one look may still be on its way."""
        self._stopping.set()

    async def once(self) -> None:
        """Look once. Only what is as it was at the look before is loaded."""
        if not self._services:
            for service in self._workflows:
                await self._begin(service)
        for path, service in [*self._services.items()]:
            stamp = await asyncio.to_thread(_stamp, service.versions.given.files)
            if self._settled(path, stamp):
                await self._edited(path, service, stamp)
        await self._folder_members()
        self._workflows.fault = next(iter(self._faults.values()), None)

    async def _begin(self, service: Service) -> None:
        given = service.versions.given
        path = given.path.resolve()
        self._services[path], self._done[path] = service, await asyncio.to_thread(_stamp, given.files)

    def _settled(self, path: Path, stamp: Stamp) -> bool:
        """Whether there is something to do: it is another than was done last, and the same as at the last look."""
        still, self._seen[path] = self._seen.get(path) == stamp, stamp
        again = path in self._tried and time.monotonic() - self._tried[path] > _AGAIN_S
        return still and (again or self._done.get(path) != stamp)

    async def _edited(self, path: Path, service: Service, stamp: Stamp) -> None:
        versions = service.versions
        if path in self._members and not await asyncio.to_thread(path.exists):
            return  # for `_gone`
        self._done[path] = stamp
        try:
            fresh = await asyncio.to_thread(load, versions.given.path)
            if await asyncio.to_thread(_stamp, versions.given.files) != stamp:
                return  # it went on changing: the next look sees it
            if fresh.name != service.name:
                await self._renamed(service, fresh)
                return
            await asyncio.to_thread(versions.edited, fresh)
        except SluicegateError as error:
            versions.unloaded = self._failed(path, error, versions.unloaded)
            return
        self._tried.pop(path, None)
        versions.unloaded = None
        self._done[path] = await asyncio.to_thread(_stamp, fresh.files)

    async def _renamed(self, service: Service, fresh: Workflow) -> None:
        self._check_name(fresh)
        await self._add(fresh)
        self._remove(service)

    def _check_name(self, fresh: Workflow) -> None:
        for other in self._workflows:
            if other.name == fresh.name:
                raise ConfigError([duplicate(fresh, other.versions.given)])

    async def _folder_members(self) -> None:
        found = set[Path]()
        for folder in filter(Path.is_dir, self._folders):
            found |= {file.resolve() for file in await asyncio.to_thread(self._discovery.workflows_below, folder)}
        self._members |= found
        for path in found - self._services.keys():
            stamp = await asyncio.to_thread(_stamp, [path.parent])
            if self._settled(path, stamp):
                await self._new(path, stamp)
        for path in self._faults.keys() - found:
            del self._faults[path]
        for path in [path for path in self._services if path in self._members and not path.exists()]:
            # a disk that is away for a while takes nothing with it
            if any(folder.resolve() in path.parents and folder.is_dir() for folder in self._folders):
                self._gone(path)

    async def _new(self, path: Path, stamp: Stamp) -> None:
        self._done[path] = stamp
        try:
            fresh = await asyncio.to_thread(load, path)
            if await asyncio.to_thread(_stamp, [path.parent]) != stamp:
                return
            self._check_name(fresh)
            await self._add(fresh)
        except SluicegateError as error:
            self._faults[path] = self._failed(path, error, self._faults.get(path))
            return
        self._faults.pop(path, None)
        self._tried.pop(path, None)

    async def _add(self, fresh: Workflow) -> None:
        service = self._make(fresh)
        await self._workflows.add(service)
        await self._begin(service)
        log.info("%s is served from now on, %s", fresh.name, fresh.digest[:12])

    def _gone(self, path: Path) -> None:
        """At the second look in a row it is let go."""
        nothing: Stamp = frozenset()
        still, self._seen[path] = self._seen.get(path) == nothing, nothing
        if not still:
            return
        service = self._services[path]
        if len(self._workflows) == 1:
            gone = ConfigError([Problem("SG101", f"{path} is gone; {service.name} stays, as there is no other")])
            service.versions.unloaded = self._failed(path, gone, service.versions.unloaded)
            return
        del self._services[path]
        self._done.pop(path, None)
        self._remove(service)

    def _remove(self, service: Service) -> None:
        """Beside the looks, since its runs have their time."""
        log.info("%s is served no more", service.name)
        task = asyncio.create_task(self._workflows.remove(service))
        self._removals.add(task)
        task.add_done_callback(self._removals.discard)

    def _failed(self, path: Path, error: SluicegateError, before: SluicegateError | None) -> SluicegateError:
        self._tried[path] = time.monotonic()
        if str(error) != str(before):
            log.warning("%s is not served as it is now: %s", path, error)
        return error


def _stamp(paths: Iterable[Path]) -> Stamp:
    found = set[tuple[str, int, int, int]]()
    for path in paths:
        for file in _files(path):
            try:
                status = file.stat()
            except OSError:
                continue
            found.add((str(file), status.st_mtime_ns, status.st_size, status.st_ino))
    return frozenset(found)


def _files(path: Path) -> Iterable[Path]:
    """A file, or what is below a folder."""
    if not path.is_dir():
        return (path,)
    return (Path(at, file) for at, _, files in os.walk(path) for file in files)
