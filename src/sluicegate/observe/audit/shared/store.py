"""The audit log's tables on a server."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from sluicegate.observe.audit.chain import GENESIS
from sluicegate.observe.audit.shared.sequence import Entry, SharedRecord
from sluicegate.storage.database import IN_TURN, Execute, PostgresDatabase, Rows
from sluicegate.storage.postgres import Server
from sluicegate.storage.schemas import AUDIT

__all__ = ["AuditRows", "SharedAudit", "Tail"]

_PAGE = 2000
_ENTRY = "position, chain, kind, seq, hash, statement"


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of the sequence, and whether it still has what was seen of it."""

    position: int
    hash: str
    seen: str
    """The hash at the position that was asked for; empty when nothing is there."""
    pruned: bytes
    """The last statement that something was pruned; empty when nothing ever was."""


class AuditRows:
    """What a server has, read page by page."""

    def __init__(self, reading: Callable[[], AbstractContextManager[Execute]]) -> None:
        self._reading = reading

    def entries(self, *, chain: str = "") -> Iterator[Entry]:
        """Every statement, or those of one chain, by position."""
        after = -(2**62)
        while True:
            with self._reading() as execute:
                page = execute(
                    f"SELECT {_ENTRY} FROM audit_entries WHERE position > ? AND ? IN (chain, '')"  # noqa: S608 - constants
                    f" ORDER BY position LIMIT {_PAGE}",
                    (after, chain),
                )
            yield from map(_entry, page)
            if len(page) < _PAGE:
                return
            after = page[-1]["position"]

    def chains(self) -> list[str]:
        """The chains that have records."""
        with self._reading() as execute:
            return [row["chain"] for row in execute("SELECT DISTINCT chain FROM audit_records ORDER BY chain")]

    def records(
        self, chain: str, *, run: str = "", from_seq: int = -(2**62), to_seq: int = 2**62
    ) -> Iterator[SharedRecord]:
        """The records of one chain, by number; with `run`, those of one run."""
        after = from_seq - 1
        while True:
            with self._reading() as execute:
                page = execute(
                    "SELECT chain, seq, run, at, line FROM audit_records WHERE chain = ? AND seq > ?"
                    " AND seq <= ? AND (run = ? OR ? = '') ORDER BY seq LIMIT ?",
                    (chain, after, to_seq, run, run, _PAGE),
                )
            yield from map(_record, page)
            if len(page) < _PAGE:
                return
            after = page[-1]["seq"]


class SharedAudit(AuditRows):
    """Raises `RunError` SG625 when the server does not do what is asked, SG612 when a newer version set it up."""

    def __init__(self, server: Server) -> None:
        self._database = PostgresDatabase(server, AUDIT)
        super().__init__(self._database.reading)
        self.name = server.name

    @contextmanager
    def snapshot(self) -> Generator[AuditRows]:
        """All of it as it was at one moment: records and the statement that includes them are written at once, and
        are to be seen at once, while machines go on writing."""
        with self._database.snapshot() as execute:
            yield AuditRows(lambda: nullcontext(execute))

    def add(
        self,
        chain: str,
        choose: Callable[[Entry | None], Sequence[SharedRecord]],
        sign: Callable[[Tail], Sequence[Entry]],
        *,
        seen: int = 0,
    ) -> Sequence[Entry]:
        """In one transaction: the records that `choose` names, given the last statement of the chain, and behind the
        sequence's end the statements that `sign` makes of it. What either raises undoes all of it.

        Machines wait for each other only from `sign` to the commit.
        """
        with self._database.writing() as rows:
            # what gives no rows is not waited for: three waits for the server in all, the commit among them
            rows.many(IN_TURN, [(f"audit {chain}",)])
            last = rows(f"SELECT {_ENTRY} FROM audit_entries WHERE chain = ? ORDER BY position DESC LIMIT 1", (chain,))  # noqa: S608 - constants
            records = choose(_entry(last[0]) if last else None)
            rows.many(
                "INSERT INTO audit_records (chain, seq, run, at, line) VALUES (?, ?, ?, ?, ?)",
                [(each.chain, each.seq, each.run, each.at, each.line) for each in records],
            )
            entries = sign(_tail(rows, seen))
            _insert(rows, entries)
        return entries

    def tail(self, seen: int = 0) -> Tail:
        with self._database.reading() as execute:
            return _told(execute(_TAIL, (seen,)))

    def of_run(self, run: str) -> list[str]:
        """The chains that have records of a run."""
        with self._database.reading() as execute:
            rows = execute("SELECT DISTINCT chain FROM audit_records WHERE run = ? ORDER BY chain", (run,))
        return [row["chain"] for row in rows]

    def newest(self, chain: str, before: str) -> int:
        """The last record of a chain of which all up to it are from before that time; 0 when there is none."""
        with self._database.reading() as execute:
            (row,) = execute(
                "SELECT (SELECT min(seq) FROM audit_records WHERE chain = ? AND at >= ?) AS kept,"
                " (SELECT max(seq) FROM audit_records WHERE chain = ?) AS last",
                (chain, before, chain),
            )
        return (row["last"] or 0) if row["kept"] is None else row["kept"] - 1

    def prune(self, base: int, cuts: Mapping[str, int], sign: Callable[[Tail], Entry]) -> int:
        """Delete statements up to the position `base`, but for registrations and the last of each chain, and of each
        chain in `cuts` the records up to that number, together with the statement that says so; returns how many
        records were deleted."""
        deleted = 0
        with self._database.writing() as rows:
            entry = sign(_tail(rows, 0))
            for chain, seq in cuts.items():
                gone = rows("DELETE FROM audit_records WHERE chain = ? AND seq <= ? RETURNING seq", (chain, seq))
                deleted += len(gone)
            rows(_DELETE, (base,))
            _insert(rows, [entry])
        return deleted


_DELETE = (
    # the last one of a chain tells its machine how far it came
    "DELETE FROM audit_entries WHERE position <= ? AND kind <> 'registered' AND EXISTS (SELECT 1 FROM audit_entries AS"
    " later WHERE later.chain = audit_entries.chain AND later.position > audit_entries.position)"
)
_TAIL = (
    "SELECT position, hash, (SELECT hash FROM audit_entries WHERE position = ?) AS seen,"
    " (SELECT statement FROM audit_entries WHERE kind = 'pruned' ORDER BY position DESC LIMIT 1) AS pruned"
    " FROM audit_entries ORDER BY position DESC LIMIT 1"
)


def _tail(rows: Rows, seen: int) -> Tail:
    rows.many(IN_TURN, [("audit ",)])
    return _told(rows(_TAIL, (seen,)))


def _told(rows: list[dict[str, Any]]) -> Tail:
    if not rows:
        return Tail(0, GENESIS, "", b"")
    row = rows[0]
    return Tail(row["position"], row["hash"], row["seen"] or "", bytes(row["pruned"] or b""))


def _insert(rows: Rows, entries: Sequence[Entry]) -> None:
    rows.many(
        f"INSERT INTO audit_entries ({_ENTRY}) VALUES (?, ?, ?, ?, ?, ?)",  # noqa: S608 - constants
        [(each.position, each.chain, each.kind, each.seq, each.hash, each.statement) for each in entries],
    )


def _entry(row: dict[str, Any]) -> Entry:
    return Entry(row["position"], row["chain"], row["kind"], row["seq"], row["hash"], bytes(row["statement"]))


def _record(row: dict[str, Any]) -> SharedRecord:
    return SharedRecord(row["chain"], row["seq"], row["run"], row["at"], bytes(row["line"]))
