"""Machines that share a server, and what it has of them, to be changed by hand."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sluicegate.observe.audit.log import AuditLog, AuditSettings
from sluicegate.observe.audit.shared.sequence import Entry, SharedRecord
from sluicegate.observe.audit.shared.store import SharedAudit
from sluicegate.storage.postgres import Server


def machine(root: Path, name: str, server: Server, **options: Any) -> AuditLog:
    """The log of a machine with a home and a key of its own."""
    now: Callable[..., Any] | None = options.pop("now", None)
    more = {"now": now} if now else {}
    return AuditLog(root / name, AuditSettings(**options), key=root / "keys" / f"{name}.pem", server=server, **more)


def filled(log: AuditLog, count: int = 4, *, run: str = "r", start: int = 0) -> AuditLog:
    for number in range(start, start + count):
        log.append("node", actor="alice", run=f"{run}{number % 2}", workflow="w", facts={"number": number})
    return log


@dataclass
class Rows:
    """What a server has, in memory."""

    kept: list[Entry]
    lines: list[SharedRecord]

    @classmethod
    def of(cls, shared: SharedAudit) -> "Rows":
        return cls(list(shared.entries()), [row for chain in shared.chains() for row in shared.records(chain)])

    def copy(self) -> "Rows":
        return Rows([*self.kept], [*self.lines])

    def entries(self, *, chain: str = "") -> Iterable[Entry]:
        ordered = sorted(self.kept, key=lambda entry: entry.position)
        return [entry for entry in ordered if chain in ("", entry.chain)]

    def chains(self) -> list[str]:
        return sorted({row.chain for row in self.lines})

    def records(self, chain: str) -> Iterable[SharedRecord]:
        return sorted((row for row in self.lines if row.chain == chain), key=lambda row: row.seq)

    def change_entry(self, position: int, /, **fields: Any) -> None:
        self.kept = [replace(each, **fields) if each.position == position else each for each in self.kept]

    def change_record(self, chain: str, seq: int, /, **fields: Any) -> None:
        self.lines = [
            replace(each, **fields) if (each.chain, each.seq) == (chain, seq) else each for each in self.lines
        ]
