"""Writing the audit log: one process at a time, one line per event, a signed head after each.

The folder holds segments (`audit-000001.jsonl`, …), `head` (two slots, each a signed statement of the last record,
written in turn so that one is always whole), `checkpoints.jsonl` (signed statements now and then, kept for good) and
`public.pem`. A killed process leaves at most one record that the head does not include, whole or torn; the next
append completes or cuts it, and logs that. Any other difference between head and file is tampering, after which nothing
more is written.
"""

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from sluicegate.errors import CorruptError, LockedError, RunError, UnwritableError
from sluicegate.home import home, make_private, private_folder, private_opener
from sluicegate.observe.audit.chain import GENESIS, canonical, checkpoint, is_checkpoint, line_of, parsed, plain
from sluicegate.observe.audit.keys import private_key, public_pem
from sluicegate.observe.audit.segments import SLOT, segment_name, segments
from sluicegate.observe.audit.shared.delivery import ChainDelivery, delivery, seen_by
from sluicegate.observe.audit.shared.pruning import prune_shared
from sluicegate.observe.tracing.pseudonyms import Payloads
from sluicegate.storage import sqlite
from sluicegate.storage.file_lock import try_lock, unlock
from sluicegate.storage.postgres import Server, configured

__all__ = ["AuditLog", "AuditSettings", "open_audit"]

_EMPTY: dict[str, Any] = {"seq": 0, "hash": GENESIS, "segment": 1, "size": 0}
"""The head of a log without records, before it is signed."""


class AuditSettings(BaseModel):
    """How the audit log is kept."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    texts: Literal["hashes", "kept"] = "hashes"
    """``hashes``: of texts only keyed hashes are recorded; ``kept``: the texts too, in a store of their own from which
    a person can be erased."""
    retention_days: int = Field(default=180, ge=180)
    """Days after which `sluicegate audit prune` may delete whole segments; at least 180."""
    segment_mb: float = Field(default=64.0, gt=0)
    """Maximum size of a segment in megabytes."""
    checkpoint_every: int = Field(default=256, ge=1)
    """Records between two checkpoints."""
    flush: Literal["risky", "always", "never"] = "risky"
    """When an event is flushed to disk, and is on the server that machines share, before its request continues: for
    high-risk classes, always, or as soon as may be. A killed process loses nothing in any case; a power cut or a lost
    disk may."""


class AuditLog:
    """Safe to use from any thread and by several processes of one machine.

    Raises `RunError` SG606 when the log was tampered with, SG607 when it cannot be written, SG608 when another process
    holds its lock for long.
    """

    def __init__(
        self,
        folder: Path,
        settings: AuditSettings | None = None,
        *,
        key: Path | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        server: Server | None = None,
    ) -> None:
        """The chain is in `folder`, and a copy of it on `server` if there is one; people and texts are next to it, or
        there."""
        self.folder = folder
        self.settings = settings or AuditSettings()
        self._now = now
        self._thread_lock = threading.Lock()
        self._segment: tuple[int, int] | None = None
        self._head_bytes = b""
        self._head: dict[str, Any] = {}
        with _writable(folder):
            private_folder(folder)
            self._lock_file = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
            self._head_file = os.open(folder / "head", os.O_RDWR | os.O_CREAT, 0o600)
        self._key = private_key(key)
        self._public = self._key.public_key()
        self._publish()
        self.payloads = Payloads(folder / "payloads.sqlite", server)
        with self._locked():
            if not _size(folder / "head"):
                # room for the head is taken now: a full disk may not strike between a record and its head
                _write_at(self._head_file, b" " * (2 * SLOT), 0)
            if self._current_head() == _EMPTY:
                self._put_head(**_EMPTY)
        self._delivery: ChainDelivery | None = delivery(folder, self._key, server, self._now) if server else None

    def append(
        self,
        event: str,
        *,
        actor: str = "",
        run: str = "",
        workflow: str = "",
        risk: str = "",
        facts: Mapping[str, Any] | None = None,
        texts: Mapping[str, str] | None = None,
        people: Mapping[str, str] | None = None,
    ) -> int:
        """Write one event; its sequence number. When this returns, the event is in the log.

        With a server, an event that is flushed is there too; any other within a second or so, or when the server is
        back. Where one could not be delivered that must be, this raises `RunError` SG695, and the event is in the home
        nevertheless.

        `actor` is a person's id, `people` are others by their role; both are recorded as pseudonyms. `facts` are plain
        data without texts; these go into `texts`, which are recorded as keyed hashes.
        """
        at = self._now().isoformat(timespec="microseconds")
        body: dict[str, Any] = {"v": 1, "at": at, "event": event, "facts": plain(facts or {})}
        for name, value in (("run", run), ("workflow", workflow), ("risk", risk)):
            if value:
                body[name] = plain(value)
        if people:
            body["people"] = {part: self.payloads.person(who).pseudonym for part, who in people.items()}
        if actor or texts:
            person = self.payloads.person(actor or "unknown")
            if actor:
                body["actor"] = person.pseudonym
            if texts:
                body["texts"] = {
                    name: {"hmac": person.hmac(text), "length": len(text)} for name, text in sorted(texts.items())
                }
                if self.settings.texts == "kept":
                    for name, text in sorted(texts.items()):
                        body["texts"][name]["payload"] = self.payloads.put(person, run=run, name=name, text=text, at=at)
        flush = self.settings.flush == "always" or (self.settings.flush == "risky" and risk == "high")
        with self._locked():
            head = self._current_head()
            head = self._write(body, head, flush=flush)
            if head["seq"] % self.settings.checkpoint_every == 0:
                self._keep_checkpoint(head)
        if self._delivery:
            self._delivery.added(head["seq"], wait=flush)
        return head["seq"]

    def checkpoint(self) -> dict[str, Any]:
        """A signed statement of the last record, kept in the folder; keep a copy elsewhere and a later truncation, and
        even a rewrite with the key, can be shown.

        With a server, the statement has the end of its sequence too, and so covers every chain there."""
        more = {"chain": self._delivery.chain, "server": self._delivery.deliver()} if self._delivery else {}
        with self._locked():
            return self._keep_checkpoint(self._current_head(), **more)

    @property
    def head(self) -> tuple[int, str]:
        """Sequence number and hash of the last record; ``(0, 00…)`` when there is none."""
        with self._locked():
            head = self._current_head()
        return head["seq"], head["hash"]

    @property
    def signer(self) -> str:
        """The fingerprint of the key that signs this log: SHA-256 of its 32 bytes, in hex."""
        return hashlib.sha256(self._key.public_key().public_bytes_raw()).hexdigest()

    @property
    def chain(self) -> str:
        """The id of this log's chain on the server; empty without one."""
        return self._delivery.chain if self._delivery else ""

    def prune(self, *, keep_from: int | None = None) -> int:
        """Delete whole segments older than the retention, and placeholder values as old; returns how many records
        were deleted. The deletion is an event.

        Nothing from the sequence number `keep_from` on is deleted, however old: open incidents freeze their range. With
        a server, it has everything first, and what is past retention is deleted there too; raises `RunError` SG625 when
        it cannot be asked.
        """
        if self._delivery:
            self._delivery.deliver()
        oldest = self._now() - timedelta(days=self.settings.retention_days)
        deleted = 0
        with self._locked():
            head = self._current_head()
            for path in segments(self.folder)[:-1]:
                lines = path.read_bytes().splitlines(keepends=True)
                found = [parsed(line) for line in lines]
                whole = [record for record in found if record is not None]
                if not whole or len(whole) < len(found):
                    raise _tampered(self.folder, f"{path.name} contains a line that is not a record")
                body, _, own = whole[-1]
                # not the last one's time: the clock may have been set back since
                newest = max(datetime.fromisoformat(each["at"]) for each, _, _ in whole)
                if newest >= oldest or (keep_from is not None and body["seq"] >= keep_from):
                    break
                at = self._now().isoformat()
                # the statement comes first: a kill between the two leaves a log that still verifies
                self._keep(checkpoint(self._key, kind="pruned", seq=body["seq"], hash=own, at=at))
                path.unlink()
                deleted += len(lines)
                facts = {"records": len(lines), "to": body["seq"], "hash": own}
                facts |= {"retention_days": self.settings.retention_days}
                head = self._write({"v": 1, "at": at, "event": "audit.pruned", "facts": facts}, head, flush=True)
        if self._delivery:
            prune_shared(self._delivery, oldest, keep_from)
        self.payloads.forget(oldest.timestamp())
        return deleted

    def erase(self, person: str, *, by: str, facts: Mapping[str, Any] | None = None) -> int:
        """Erase a person's pseudonym, key and texts; returns the number of texts. The erasure is an event, with what
        was done elsewhere as `facts`."""
        pseudonym, deleted = self.payloads.erase(person)
        if pseudonym:
            self.append("audit.erased", actor=by, facts={"person": pseudonym, "texts": deleted, **(facts or {})})
        return deleted

    def send_again(self, reason: str, *, by: str) -> int:
        """After the server was put back to an older state, on purpose: send what it lost, on record; how many records
        it has then. Raises `RunError` SG606 when what it has is not of this log, and SG625."""
        if not self._delivery:
            raise ValueError("there is no server")
        facts = {"position": seen_by(self.folder).position}
        seq = self.append("audit.restored", actor=by, facts=facts, texts={"reason": reason})
        self._delivery.deliver_again()
        return seq

    def close(self) -> None:
        if self._delivery:
            self._delivery.release()
            self._delivery = None
        self.payloads.close()
        with self._thread_lock:
            for descriptor in (self._lock_file, self._head_file, *((self._segment[1],) if self._segment else ())):
                os.close(descriptor)
            # a number may be given to another file: whoever comes late must fail
            self._lock_file = self._head_file = -1
            self._segment = None

    @contextmanager
    def _locked(self) -> Generator[None]:
        with self._thread_lock, _writable(self.folder):
            self._take_lock()
            try:
                yield
            finally:
                unlock(self._lock_file)

    def _take_lock(self) -> None:
        """Lock the log, or raise that another process holds it: a stopped one must not block every request."""
        until = time.monotonic() + sqlite.PATIENCE_S
        while not try_lock(self._lock_file):
            if time.monotonic() > until:
                raise LockedError(
                    f"the audit log in {self.folder} is locked by another process",
                    hint="Try again when it is done",
                )
            time.sleep(0.001)

    def _current_head(self) -> dict[str, Any]:
        """The head, after making sure that the file ends where it says."""
        slots = _read_at(self._head_file, 2 * SLOT, 0)
        if slots != self._head_bytes or not self._head:
            self._head = self._newest(slots)
            self._head_bytes = slots
        segment, size = self._head["segment"], self._head["size"]
        if os.fstat(self._open(segment)).st_size != size:
            self._recover(segment, size)
        elif _size(self.folder / segment_name(segment + 1)):
            # killed while starting a new segment
            self._recover(segment + 1, 0)
        return self._head

    def _newest(self, slots: bytes) -> dict[str, Any]:
        heads: list[dict[str, Any]] = []
        for start in (0, SLOT):
            try:
                statement = json.loads(slots[start : start + SLOT])
            except ValueError:
                continue
            if is_checkpoint(self._public, statement):
                heads.append(statement)
        if heads:
            return max(heads, key=lambda head: head["seq"])
        if slots.strip(b" \0\n") or any(path.stat().st_size for path in segments(self.folder)):
            raise _tampered(self.folder, "its head is missing or not signed with this key")
        return _EMPTY

    def _recover(self, segment: int, size: int) -> None:
        """Recover what a killed process left after the head: at most one record, whole or torn."""
        descriptor = self._open(segment)
        rest = _read_at(descriptor, 64_000_000, size) if os.fstat(descriptor).st_size > size else b""
        if not rest or rest.count(b"\n") > 1 or (b"\n" in rest and not rest.endswith(b"\n")):
            raise _tampered(self.folder, f"{segment_name(segment)} does not end where its head says")
        found = parsed(rest)
        if rest.endswith(b"\n"):
            if found is None or found[0]["seq"] != self._head["seq"] + 1 or found[1] != self._head["hash"]:
                raise _tampered(self.folder, "a record was added that does not belong")
            self._put_head(found[0]["seq"], found[2], segment, size + len(rest))
            facts: dict[str, Any] = {"unsigned_record": found[0]["seq"]}
        else:
            os.ftruncate(descriptor, size)
            facts = {"torn_bytes": len(rest), "torn_sha256": hashlib.sha256(rest).hexdigest()}
        at = self._now().isoformat()
        self._write({"v": 1, "at": at, "event": "audit.recovered", "facts": facts}, self._head, flush=True)

    def _write(self, body: dict[str, Any], head: dict[str, Any], *, flush: bool) -> dict[str, Any]:
        line, own = line_of({**body, "seq": head["seq"] + 1}, head["hash"])
        segment, size = head["segment"], head["size"]
        if size and size + len(line) > self.settings.segment_mb * 1_000_000:
            segment, size = segment + 1, 0
        descriptor = self._open(segment)
        try:
            _write_all(descriptor, line)
            if flush:
                _sync(descriptor)
            self._put_head(head["seq"] + 1, own, segment, size + len(line))
        except OSError:
            # nothing of an event that was refused may stay
            os.ftruncate(descriptor, size)
            raise
        if flush:
            # recovery takes in one record that the head does not know, so the head may not fall behind by two
            _sync(self._head_file)
        return self._head

    def _put_head(self, seq: int, hash: str, segment: int, size: int) -> None:
        head = checkpoint(self._key, seq=seq, hash=hash, segment=segment, size=size)
        slot = canonical(head).ljust(SLOT - 1) + b"\n"
        start = seq % 2 * SLOT
        _write_at(self._head_file, slot, start)
        known = self._head_bytes.ljust(2 * SLOT)
        self._head_bytes = known[:start] + slot + known[start + SLOT :]
        self._head = head

    def _open(self, segment: int) -> int:
        if self._segment is None or self._segment[0] != segment:
            if self._segment:
                os.close(self._segment[1])
            path = self.folder / segment_name(segment)
            self._segment = (segment, os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600))
        return self._segment[1]

    def _keep_checkpoint(self, head: dict[str, Any], **more: Any) -> dict[str, Any]:
        at = self._now().isoformat()
        statement = checkpoint(self._key, kind="checkpoint", seq=head["seq"], hash=head["hash"], at=at, **more)
        self._keep(statement)
        return statement

    def _keep(self, statement: dict[str, Any]) -> None:
        with open(self.folder / "checkpoints.jsonl", "ab", opener=private_opener) as file:
            file.write(canonical(statement) + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _publish(self) -> None:
        """Store the public key next to the log; a log of another key is not written to."""
        path, ours = self.folder / "public.pem", public_pem(self._public)
        with _writable(self.folder):
            if not path.exists():
                # whole at once: another process that opens the log now may not read a part of it
                make_private(path, ours)
            if path.read_bytes() != ours:
                raise CorruptError(
                    f"the audit log in {self.folder} was signed with another key",
                    hint="Restore the key, or move the folder away to start a new log",
                )


def open_audit(settings: AuditSettings | None = None) -> AuditLog:
    """The audit log of the home. Raises `RunError` SG606, SG607 or SG625."""
    return AuditLog(home() / "audit", settings, server=configured())


def _write_all(descriptor: int, line: bytes) -> None:
    while line:
        # a disk that is nearly full takes a part and fails at the rest
        line = line[os.write(descriptor, line) :]


def _read_at(descriptor: int, size: int, offset: int) -> bytes:
    # `pread` is not on Windows; whoever is here holds the lock, so that the file's position is its own
    os.lseek(descriptor, offset, os.SEEK_SET)
    return os.read(descriptor, size)


def _write_at(descriptor: int, content: bytes, offset: int) -> None:
    os.lseek(descriptor, offset, os.SEEK_SET)
    _write_all(descriptor, content)


_sync = getattr(os, "fdatasync", os.fsync)
"""Content and length are on the disk; times of the file are nobody's evidence."""


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


@contextmanager
def _writable(folder: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        message = f"cannot write the audit log in {folder}: {error.strerror}"
        raise UnwritableError(message, hint="Free space or check permissions") from error


def _tampered(folder: Path, what: str) -> RunError:
    hint = "Run `sluicegate audit verify`; keep the folder as evidence and move it away to start a new log"
    return CorruptError(f"the audit log in {folder} was changed: {what}", hint=hint)
