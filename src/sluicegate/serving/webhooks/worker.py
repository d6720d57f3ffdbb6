"""Empties the outbox, beside the services of a server: a thread of its own with a loop of its own, so that no receiver,
however slow, holds up a run.

What fails is tried again after a pause that grows fourfold from five seconds to three hours, shortened at random so
that receivers are not met by all at once, for a day; then it is dead, until somebody has `sluicegate webhooks retry`
try it again. 410 switches the destination off.
"""

import asyncio
import logging
import random
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from time import time
from typing import Any

from sluicegate.errors import SluicegateError
from sluicegate.serving.links.links import address
from sluicegate.serving.service import Service
from sluicegate.serving.webhooks.announcing import Announcer
from sluicegate.serving.webhooks.config import Destination, Webhooks, read_webhooks
from sluicegate.serving.webhooks.events import ForPerson
from sluicegate.serving.webhooks.outbox import Delivery, Outbox
from sluicegate.serving.webhooks.sending import Answer, send
from sluicegate.serving.webhooks.shapes import body_of
from sluicegate.serving.webhooks.signing import headers

__all__ = ["WebhookWorker", "delivered"]

_EVERY_S = 1.0
"""How often what other processes have recorded is looked for."""
_AT_ONCE = 4
"""Attempts at one destination at a time."""
_DRAIN_S = 5.0
_FIRST_S, _FACTOR, _LONGEST_S = 5.0, 4.0, 10_800.0
_ASKED_S = 21_600.0
"""The longest pause that a receiver may ask for."""

log = logging.getLogger(__name__)


class WebhookWorker:
    """Started and closed with a server."""

    def __init__(
        self,
        file: Path,
        services: Callable[[], Iterable[Service]],
        *,
        now: Callable[[], float] = time,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._file, self._services, self._now, self._jitter = file, services, now, jitter
        self._owner = secrets.token_hex(8)
        self._webhooks: Webhooks | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running, self._stopping = threading.Event(), asyncio.Event()
        self._woken: list[asyncio.Event] = []
        self._watcher: Callable[[str, str], None] = lambda _destination, _result: None
        self.attempts: Counter[tuple[str, str]] = Counter()
        """Since the start: by destination, those ``sent`` and ``failed``."""

    def watch(self, watcher: Callable[[str, str], None]) -> None:
        """Call it with the destination and ``sent`` or ``failed`` after each attempt, from any thread."""
        self._watcher = watcher

    def open(self) -> None:
        """Read the file; the services must be open. Raises `ConfigError`."""
        names = [service.name for service in self._services()]
        self._webhooks = self._webhooks or read_webhooks(self._file, served=names)

    def start(self) -> None:
        """Raises as `open` does, and as the outbox does."""
        self.open()
        self._outbox = Outbox(now=self._now)
        assert self._webhooks
        destinations = [*self._webhooks.destinations.values()]
        self._announcer = Announcer(self._services, self._outbox, destinations, now=self._now)
        for service in self._services():
            service.watch(lambda _: self.wake())
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._work()), name="sluicegate-webhooks", daemon=True
        )
        self._thread.start()
        self._running.wait()

    def wake(self) -> None:
        """Something may have happened. From any thread."""
        loop = self._loop
        if loop:
            with suppress(RuntimeError):  # closed in between
                loop.call_soon_threadsafe(self._wake)

    def close(self) -> None:
        """Stop, after what is being sent has had some seconds; what was not sent is another process's, or that of the
        next start."""
        if self._thread is None or self._loop is None:
            return
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        self._thread = self._loop = None
        self._announcer.close()
        self._outbox.close()

    def counts(self) -> dict[tuple[str, str], int]:
        """As `Outbox.counts`, of every destination of the file."""
        assert self._webhooks
        none = {(name, state): 0 for name in self._webhooks.destinations for state in ("waiting", "dead")}
        return none | self._outbox.counts()

    def _wake(self) -> None:
        for each in self._woken:
            each.set()

    async def _work(self) -> None:
        assert self._webhooks
        self._loop = asyncio.get_running_loop()
        self._running.set()
        works = [self._announcing(), *map(self._emptying, self._webhooks.destinations.values())]
        tasks = [asyncio.create_task(work) for work in works]
        await self._stopping.wait()
        self._wake()
        await asyncio.gather(*tasks, return_exceptions=True)
        try:
            await asyncio.to_thread(self._outbox.release, self._owner)
        except SluicegateError as error:
            log.warning("what webhooks had claimed is left to its lease: %s", error)

    async def _announcing(self) -> None:
        woken = self._event()
        while not self._stopping.is_set():
            try:
                await asyncio.to_thread(self._announcer.once)
            except Exception:
                log.exception("announcing failed")
            for each in self._woken:
                if each is not woken:
                    each.set()
            await _either(woken)

    async def _emptying(self, to: Destination) -> None:
        woken, running = self._event(), set[asyncio.Task[None]]()

        def ended(task: asyncio.Task[None]) -> None:
            running.discard(task)
            woken.set()

        while not self._stopping.is_set():
            try:
                for delivery in await asyncio.to_thread(self._claimed, to.name, _AT_ONCE - len(running)):
                    task = asyncio.create_task(self._attempt(to, delivery))
                    running.add(task)
                    task.add_done_callback(ended)
            except Exception:
                log.exception("the outbox cannot be read")
            await _either(woken)
        if running:
            # what a receiver has got and nobody has noted is sent again
            await asyncio.wait(running, timeout=_DRAIN_S)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _claimed(self, destination: str, free: int) -> list[Delivery]:
        due = self._outbox.next_due(destination) if free else None
        if due is None or due > self._now():
            return []
        return self._outbox.claim(destination, self._owner, free)

    async def _attempt(self, to: Destination, delivery: Delivery) -> None:
        try:
            answer = await delivered(to, delivery, await self._link(to, delivery), now=self._now)
            await asyncio.to_thread(self._settle, to, delivery, answer)
        except SluicegateError as error:
            # its lease ends, and it is tried again
            log.warning("what became of a webhook could not be written down: %s", error)

    def _settle(self, to: Destination, delivery: Delivery, answer: Answer) -> None:
        result = "failed" if answer.failure else "sent"
        self.attempts[to.name, result] += 1
        self._watcher(to.name, result)
        if not answer.failure:
            self._outbox.done(delivery)
        elif answer.gone:
            log.warning(
                "webhook %s answers 410: it is switched off until `sluicegate webhooks retry %s`", *[to.name] * 2
            )
            self._outbox.switch_off(to.name, "the receiver wants nothing any more (HTTP 410)")
        else:
            pause = min(_FIRST_S * _FACTOR ** min(delivery.attempts - 1, 10), _LONGEST_S) * (1 + self._jitter()) / 2
            asked = min(answer.retry_after_s, _ASKED_S)
            self._outbox.failed(delivery, answer.failure, pause_s=max(pause, asked))
            log.warning("webhook %s: %s", to.name, answer.failure)

    async def _link(self, to: Destination, delivery: Delivery) -> ForPerson | None:
        """The approval link of this delivery, the same at each attempt; None where its person may not decide."""
        config = to.config.link
        if config is None or delivery.type != "approval.waiting":
            return None
        assert self._webhooks
        person: Any = config.for_.model_dump()
        # nothing of the address is kept in the outbox
        its_id = sha256(f"{delivery.event} {to.name}".encode()).hexdigest()[:32]
        for service in self._services():
            if service.name == delivery.workflow:
                try:
                    link = await service.links.make(
                        delivery.run, person, by=f"webhook {to.name}", hours=config.hours, id=its_id
                    )
                except SluicegateError as error:
                    log.info("webhook %s goes without a link: %s", to.name, error.code)
                    return None
                url = address(self._webhooks.base_url, link)
                return ForPerson(url=url, id=config.for_.id, expires_at=link.expires_at)
        return None

    def _event(self) -> asyncio.Event:
        made = asyncio.Event()
        self._woken.append(made)
        return made


async def delivered(
    to: Destination, delivery: Delivery, link: ForPerson | None = None, *, now: Callable[[], float] = time
) -> Answer:
    """One attempt, in the destination's shape and with what it may be told."""
    data = {**delivery.data}
    if not to.config.people:
        data |= {name: None for name in ("requester", "by") if name in data}
    if to.config.texts == "none" and "texts" in data:
        data["texts"] = None
    if link:
        data["link"] = link.model_dump(mode="json")
    body = body_of(to.config.shape, delivery.type, delivery.at, data)
    return await send(to, body, headers(delivery.event, int(now()), body, to.keys), now=now)


async def _either(woken: asyncio.Event) -> None:
    """Until somebody wakes, or it is time to look."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_EVERY_S):
            await woken.wait()
    woken.clear()
