"""Brings the records of a home to the server, in batches, with a signed head behind each.

A record is in the home's files before anything is sent. From there it is sent at once when its writer waits for that,
else with what else has come within `_EVERY_S`; when the server is away, as soon as it is back. Records and the head
that signs them are one transaction, so whenever a process is killed the server has both or neither. The processes of a
home take turns.

Before it adds to the sequence, each delivery looks whether the server still has what this home has seen of it: a
database that was put back to an older state is noticed by the first machine that writes to it.
"""

import contextlib
import functools
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sluicegate.errors import CorruptError, LockedError, RunError, UnwritableError
from sluicegate.home import make_private, write_private
from sluicegate.observe.audit.chain import GENESIS, is_checkpoint, parsed
from sluicegate.observe.audit.keys import public_pem, read_public
from sluicegate.observe.audit.segments import SegmentOffset, base_of, heads, json_of, lines_after
from sluicegate.observe.audit.shared.sequence import Entry, EntryKind, SharedRecord, made
from sluicegate.observe.audit.shared.store import SharedAudit, Tail
from sluicegate.observe.delivering import DeliveryThread, OpenDeliveries
from sluicegate.storage import sqlite
from sluicegate.storage.file_lock import try_lock, unlock
from sluicegate.storage.postgres import Server

__all__ = ["Backlog", "ChainDelivery", "Seen", "backlog", "chain_of", "delivery", "seen_by"]

_EVERY_S = 1.0
"""How long an event that nobody waits for may wait for others to be sent with it."""
_BATCH = 1000
_BATCH_BYTES = 4_000_000


@dataclass(frozen=True, slots=True)
class Seen:
    """How far a home has been delivered, and what it has seen of the server's sequence."""

    seq: int = 0
    hash: str = GENESIS
    segment: int = 0
    offset: int = 0
    position: int = 0
    entry: str = GENESIS
    """The hash of the statement at `position`."""


def chain_of(folder: Path) -> str:
    """The id of a home's chain; empty when it has none on any server."""
    path = folder / "chain"
    return path.read_text(encoding="ascii").strip() if path.exists() else ""


def seen_by(folder: Path) -> Seen:
    """What a home remembers; nothing, when that is lost."""
    told = json_of(path.read_bytes()) if (path := folder / "delivered").exists() else None
    try:
        return Seen(**cast("dict[str, Any]", told)) if told else Seen()
    except TypeError:
        return Seen()


@dataclass(frozen=True, slots=True)
class Backlog:
    """What of a home's log is not on the server."""

    events: int = 0
    since: datetime | None = None
    """When the first of them was written."""


def backlog(folder: Path) -> Backlog:
    """What no process of this home has delivered yet, from its files alone. Raises `OSError`."""
    public = folder / "public.pem"
    if not public.exists():
        return Backlog()
    seen = seen_by(folder)
    last = max((head["seq"] for head in heads(folder, read_public(public.read_bytes()))), default=0)
    for line, _ in lines_after(folder, SegmentOffset(seen.segment, seen.offset)):
        found = parsed(line)
        if found and seen.seq < found[0]["seq"] <= last:
            return Backlog(last - seen.seq, datetime.fromisoformat(found[0]["at"]))
    return Backlog()


class ChainDelivery:
    """One for each home and server of a process; `delivery` gives it. Safe to use from any thread."""

    def __init__(self, folder: Path, key: Ed25519PrivateKey, server: Server, now: Callable[[], datetime]) -> None:
        """Raises `RunError` SG625 and SG612 of the server, and `OSError`."""
        self._folder, self._public = folder, key.public_key()
        self.store = SharedAudit(server)
        if not chain_of(folder):
            make_private(folder / "chain", secrets.token_hex(8).encode())
        self.chain = chain_of(folder)
        self._part = _Part(folder, self.chain, key, now)
        self._signed = False
        """Whether the sequence has a head of this writer's, which an ended one must follow."""
        self._turn = threading.Lock()
        self._lock_file = os.open(folder / ".delivery", os.O_RDWR | os.O_CREAT, 0o600)
        self._delivered = 0
        self._failure: RunError | None = None
        self._failures = 0
        what = f"audit events of {folder}"
        self._sender = DeliveryThread("sluicegate-audit", self._send_alone, every_s=_EVERY_S, what=what)
        self._ended = False
        self.users = 0

    def added(self, seq: int, *, wait: bool) -> None:
        """A record is in the home. With `wait`, returns when it is on the server.

        Raises `RunError` SG695 when it cannot be brought there, SG606 when what is there was changed.
        """
        if wait:
            self._deliver_up_to(seq)
            return
        if isinstance(self._failure, CorruptError):
            raise CorruptError(self._failure.message, hint=self._failure.hint) from self._failure
        if not self._ended:
            self._sender.wake()

    def deliver(self, *, ended: bool = False) -> dict[str, Any]:
        """Send what is not sent yet; position and hash of the sequence's end. `ended` says that this process writes no
        more. Raises `RunError` SG606, SG608 or SG625."""
        self._send_alone(ended=ended)
        tail = self.store.tail()
        return {"position": tail.position, "hash": tail.hash}

    def deliver_again(self) -> None:
        """Go on from what the server has now, though it had more; the next head says so. Raises as `deliver`."""
        self._send_alone(again=True)

    def prune(self, base: dict[str, Any], chains: dict[str, dict[str, Any]], cut: int) -> int:
        """Delete statements up to `base` and this chain's records up to `cut`, and say so; `chains` is what each chain
        had said by then. How many records were deleted. Raises as `deliver`."""
        with self._turn, self._alone():
            self._send()
            seen = seen_by(self._folder)
            said: list[Entry] = []

            def sign(tail: Tail) -> Entry:
                said.append(self._part.said("pruned", tail, seen, base=base, chains=chains))
                return said[0]

            deleted = self.store.prune(base["position"], {self.chain: cut}, sign)
            self._signed = True
            with contextlib.suppress(OSError):
                self._remember(replace(seen, position=said[0].position, entry=said[0].hash))
        return deleted

    def release(self) -> None:
        """One user less; the last one ends this writer's part of the chain. What cannot be sent now is sent by the
        next process of the home."""
        _open.release(self)

    def end(self) -> None:
        """End this writer's part of the chain, and its thread. Ending again changes nothing. A log that is still open
        writes to its home only, and what it writes is delivered by the home's next process."""
        if self._ended:
            return
        self._ended = True
        self._sender.stop(functools.partial(self._send_alone, ended=True))
        with self._turn:
            os.close(self._lock_file)
            self._lock_file = -1

    def _deliver_up_to(self, seq: int) -> None:
        failures = self._failures
        with self._turn:
            if self._delivered >= seq:
                return
            # whoever waited for an attempt that failed does not make the next wait for another one
            if failures == self._failures:
                with contextlib.suppress(RunError, OSError), self._alone():
                    self._send()
            failure = self._failure
            if self._delivered >= seq:
                return
        message = f"an audit event is not on the server: {failure.message if failure else 'it did not get there'}"
        if isinstance(failure, CorruptError):
            raise CorruptError(failure.message, hint=failure.hint) from failure
        raise RunError("SG695", message, hint=failure.hint if failure else "") from failure

    @contextlib.contextmanager
    def _alone(self) -> Generator[None]:
        """This process has its home's turn; what fails meanwhile is kept for who does not wait for it."""
        until = time.monotonic() + sqlite.PATIENCE_S
        try:
            while not try_lock(self._lock_file):
                if time.monotonic() > until:
                    raise LockedError(
                        f"another process has been sending the audit log in {self._folder} for long",
                        hint="Try again when it is done",
                    )
                time.sleep(0.001)
            try:
                yield
            finally:
                unlock(self._lock_file)
        except OSError as error:
            self._failure = UnwritableError(f"the audit log in {self._folder} cannot be read: {error.strerror}")
            self._failures += 1
            raise
        except RunError as error:
            self._failure = error
            self._failures += 1
            raise
        self._failure = None

    def _send_alone(self, *, ended: bool = False, again: bool = False) -> None:
        with self._turn, self._alone():
            self._send(ended=ended, again=again)

    def _send(self, *, ended: bool = False, again: bool = False) -> None:
        seen = seen_by(self._folder)
        head = max(heads(self._folder, self._public), key=lambda each: each["seq"], default={"seq": 0})
        ended = ended and (self._signed or head["seq"] > seen.seq)
        while head["seq"] > seen.seq or ended or again:
            batch = _Batch(self._part, seen, head["seq"], ended=ended, again=again)
            again = False
            entries = self.store.add(self.chain, batch.choose, batch.sign, seen=seen.position)
            self._signed = True
            seen = replace(batch.end, position=entries[-1].position, entry=entries[-1].hash)
            with contextlib.suppress(OSError):
                # a full disk: the next one finds out from the server how far this one came
                self._remember(seen)
            if seen.seq >= head["seq"]:
                if ended:
                    self._signed = False
                break
        self._delivered = max(self._delivered, seen.seq)

    def _remember(self, seen: Seen) -> None:
        staged = self._folder / ".delivered"
        write_private(staged, json.dumps(asdict(seen)))
        staged.replace(self._folder / "delivered")


class _Part:
    """A process's part in its home's chain: what it signs, and where it reads."""

    def __init__(self, folder: Path, chain: str, key: Ed25519PrivateKey, now: Callable[[], datetime]) -> None:
        self.folder, self.chain, self._key, self._now = folder, chain, key, now
        self._writer = {"id": secrets.token_hex(4), "host": socket.gethostname(), "pid": os.getpid()}

    def said(self, kind: EntryKind, tail: Tail, seen: Seen, **more: Any) -> Entry:
        """A statement for the position behind `tail`."""
        fields = {
            "position": tail.position + 1, "prev": tail.hash, "seq": seen.seq, "hash": seen.hash,
            "at": self._now().isoformat(timespec="milliseconds"), "writer": self._writer, **more,
        }  # fmt: skip
        return made(self._key, kind, self.chain, fields)

    def registration(self, tail: Tail, base: Seen) -> Entry:
        return self.said("registered", tail, base, public_key=public_pem(self._key.public_key()).decode())

    def base(self) -> Seen:
        """The record before the first one that the home still has."""
        path = self.folder / "checkpoints.jsonl"
        raw = path.read_bytes().splitlines() if path.exists() else []
        statements = [json_of(line) for line in raw]
        found = base_of([each for each in statements if is_checkpoint(self._key.public_key(), each)])
        return Seen(found["seq"], found["hash"])


class _Batch:
    """What one transaction brings."""

    def __init__(self, part: _Part, seen: Seen, last: int, *, ended: bool, again: bool) -> None:
        """Of the records after `seen` up to `last`. `ended`: the process writes no more; `again`: the server has lost
        some of what it was sent, and people know."""
        self._part, self._seen, self._last, self._ended, self._again = part, seen, last, ended, again
        self._registers: Seen | None = None
        self.end = seen

    def choose(self, last: Entry | None) -> Sequence[SharedRecord]:
        """The next records, given what the server says it has of this chain."""
        start = self._start(last)
        records: list[SharedRecord] = []
        size = 0
        for line, place in lines_after(self._part.folder, SegmentOffset(start.segment, start.offset)):
            found = parsed(line)
            if found is None:
                raise _changed(f"the line before {place.offset} of segment {place.segment} is not a record")
            body, previous, own = found
            if body["seq"] > self._last or len(records) == _BATCH or size > _BATCH_BYTES:
                break
            if body["seq"] <= start.seq:
                continue
            if (body["seq"], previous) != (start.seq + 1, start.hash):
                raise _changed(f"record {body['seq']} does not follow from the one that the server has")
            records.append(SharedRecord(self._part.chain, body["seq"], body.get("run", ""), body["at"], line))
            size += len(line)
            start = Seen(body["seq"], own, place.segment, place.offset)
        self.end = start
        return records

    def sign(self, tail: Tail) -> Sequence[Entry]:
        """The statements behind the end of the sequence."""
        seen = self._seen
        lost = seen.position > 0 and tail.seen != seen.entry
        if lost and not self._again and (tail.seen or not _pruned_past(tail.pruned, seen.position)):
            raise _rolled_back(f"it has no longer what was its statement {seen.position}")
        entries: list[Entry] = []
        if self._registers is not None:
            entries.append(self._part.registration(tail, self._registers))
            tail = Tail(entries[0].position, entries[0].hash, "", b"")
        more: dict[str, Any] = {"ended": True} if self._ended and self.end.seq >= self._last else {}
        if self._again:
            more["restored"] = {"position": seen.position, "hash": seen.entry}
        entries.append(self._part.said("head", tail, self.end, **more))
        return entries

    def _start(self, last: Entry | None) -> Seen:
        seen = self._seen
        if last is None:
            if seen.seq and not self._again:
                raise _rolled_back("it has nothing of this machine's chain any more")
            self._registers = self._part.base()
            return self._registers
        there = (last.seq, cast("dict[str, Any]", json_of(last.statement) or {}).get("hash"))
        if there == (seen.seq, seen.hash):
            return seen
        if last.seq < seen.seq:
            if not self._again:
                raise _rolled_back(f"it ends at record {last.seq} of this machine's chain, and had {seen.seq}")
            seen = Seen()
        # killed between the commit and the note of it, or a home that was put back to an older state
        for line, place in lines_after(self._part.folder, SegmentOffset(seen.segment, seen.offset)):
            found = parsed(line)
            if found and (found[0]["seq"], found[2]) == there:
                return Seen(last.seq, found[2], place.segment, place.offset)
        base = self._part.base()
        if there == (base.seq, base.hash):
            return base
        raise CorruptError(
            f"the server has record {last.seq} of this machine's audit chain, which is not in {self._part.folder}",
            hint="The home was put back to an older state, or a copy of it is in use elsewhere: a home has one machine."
            " Keep both as evidence, and move the folder away to begin a new chain",
        )


def _pruned_past(statement: bytes, position: int) -> bool:
    told = json_of(statement) if statement else None
    return bool(told) and told["base"]["position"] >= position


def _changed(what: str) -> CorruptError:
    message = f"the audit log of this machine was changed: {what}"
    return CorruptError(message, hint="Run `sluicegate audit verify --all`")


def _rolled_back(what: str) -> CorruptError:
    return CorruptError(
        f"the audit log on the server was changed, or put back to an older state: {what}",
        hint="Run `sluicegate audit verify --all`; if the database was restored on purpose, `sluicegate audit restored`"
        " on each machine sends again what it lost, on record",
    )


_open: OpenDeliveries[ChainDelivery] = OpenDeliveries()


def delivery(folder: Path, key: Ed25519PrivateKey, server: Server, now: Callable[[], datetime]) -> ChainDelivery:
    """The delivery of a home to a server, shared by all logs of this process that have the home open; `release` it.
    Raises `RunError` SG625 or SG612, and `OSError`."""
    return _open.get(folder, server, lambda: ChainDelivery(folder, key, server, now))
