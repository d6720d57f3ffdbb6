"""Verifies every chain on a server, and the one sequence that binds them; trusts nothing but public keys.

`verify_shared` is pure: it is given rows, which do not change meanwhile (`SharedAudit.snapshot`), and finds what does
not hold together. The sequence is signed by every machine in turn, each over the statement before, so a chain that is
taken out, put in, cut, moved or exchanged shows even to who has only the database. What it cannot show is a database
put back whole to an earlier state: that shows in what homes have seen, and in checkpoints that were kept elsewhere.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from sluicegate.errors import NotFoundError, RunError
from sluicegate.observe.audit.chain import GENESIS, is_checkpoint, parsed
from sluicegate.observe.audit.keys import read_public
from sluicegate.observe.audit.segments import heads
from sluicegate.observe.audit.shared.delivery import chain_of, seen_by
from sluicegate.observe.audit.shared.sequence import Entry, SharedRecord, statement_of
from sluicegate.observe.audit.shared.trust import fingerprint
from sluicegate.observe.audit.verify import AuditFinding, AuditVerdict, Kind, verify

__all__ = ["Chain", "SharedRows", "registered", "standing", "verify_all", "verify_shared"]

_HINTS: dict[str, str] = {
    "missing": "Keep the database as evidence; the machine that wrote the chain may still have it in its home",
    "unregistered": "Rows were put into the database by something else than Sluicegate",
    "truncated": "Keep the database as evidence; the machine that wrote the chain may still have the rest in its home",
    "forked": "Two homes write one chain: a home was copied. Give each machine a home of its own",
    "unknown-key": "If a machine was added: `sluicegate audit trust`, after comparing the key on that machine",
    "unpinned": "Pin the keys that you know: `sluicegate audit trust --all`, after comparing them on their machines",
    "gap": "Statements were deleted: keep the database as evidence",
    "rolled-back": "The database was put back to an older state; `sluicegate audit restored` where that was on purpose",
    "unclosed": "The process still runs, or was killed",
    "undelivered": "They are sent when the server can be reached, by the next process of this home",
}
_OTHER = "another record was signed under this number"


class SharedRows(Protocol):
    """What a server has, as of one moment; `AuditRows` is one. What it gives is read again in each pass, and not kept:
    of a statement only the number and hash that it signs are."""

    def entries(self, *, chain: str = "") -> Iterable[Entry]: ...
    def chains(self) -> Sequence[str]: ...
    def records(self, chain: str) -> Iterable[SharedRecord]: ...


@dataclass(slots=True)
class Chain:
    """What the sequence says of one chain."""

    id: str
    key: Ed25519PublicKey | None
    registration: str
    """The hash of its registration."""
    host: str = ""
    since: str = ""
    first: int = 0
    """The record before the first one that the server has to have."""
    first_hash: str = GENESIS
    last: int = 0
    last_at: str = ""
    ended: bool = False
    signed: dict[int, str] = field(default_factory=dict[int, str])
    writers: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """By id, the last head of each process."""

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.key) if self.key else ""


def registered(entries: Iterable[Entry]) -> dict[str, Chain]:
    """The chains, by id, as far as their registrations are signed with the key that they name."""
    found: dict[str, Chain] = {}
    for entry in entries:
        told = statement_of(entry) if entry.kind == "registered" else None
        if told and entry.chain not in found and (key := _key_in(told)) and is_checkpoint(key, told):
            writer: dict[str, Any] = told.get("writer") or {}
            found[entry.chain] = Chain(
                entry.chain, key, entry.hash, str(writer.get("host", "")), told["at"], told["seq"], told["hash"],
                told["seq"], told["at"],
            )  # fmt: skip
    return found


def standing(rows: SharedRows) -> list[Chain]:
    """The chains that are registered, as far as what is signed says, the oldest first."""
    check = _Sequence(rows, None)
    check.walk()
    return sorted(check.chains.values(), key=lambda chain: chain.since)


def verify_shared(
    rows: SharedRows,
    *,
    trusted: Collection[str] | None = None,
    seen: Collection[tuple[int, str]] = (),
    witnessed: Sequence[dict[str, Any]] = (),
) -> AuditVerdict:
    """Check everything on a server. `trusted` are fingerprints of keys; None trusts those that the server names. `seen`
    are statements that were there once, by position and hash, `witnessed` checkpoints that were kept elsewhere."""
    wanted = [position for position, _ in seen]
    wanted += [server["position"] for each in witnessed if (server := each.get("server"))]
    check = _Sequence(rows, trusted, wanted=wanted)
    check.walk()
    check.witnesses(seen, witnessed)
    records = 0
    for chain in sorted({*check.chains, *rows.chains()}):
        records += check.records(chain, rows.records(chain))
    if trusted is None and check.chains:
        check.find("unpinned", f"the keys of {len(check.chains)} chains are trusted because the server names them")
    findings = tuple(sorted(check.findings, key=lambda each: (not each.tampering, each.position, each.chain, each.seq)))
    return AuditVerdict(records, 1 if records else 0, records, check.statements, findings, len(check.chains))


def verify_all(
    rows: SharedRows,
    folder: Path,
    *,
    trusted: Collection[str] | None = None,
    public_key: bytes | None = None,
    witnessed: Sequence[dict[str, Any]] = (),
) -> AuditVerdict:
    """Check everything on a server, the home's own files, and that both agree. The files must be there when the home
    has a chain; a machine without one can verify all others."""
    memory = seen_by(folder)
    kept = [(memory.position, memory.entry)] if memory.position else []
    shared = verify_shared(rows, trusted=trusted, seen=kept, witnessed=witnessed)
    own = chain_of(folder)
    statements = (told for entry in rows.entries(chain=own) if (told := statement_of(entry))) if own else ()
    last = max(statements, key=lambda told: told["position"], default=None)
    ours = [each for each in witnessed if each.get("chain") in (None, own)]
    try:
        files = verify(folder, public_key=public_key, witnessed=[*ours, *([last] if last else [])])
    except NotFoundError:
        if not own:
            return shared
        raise
    extra: list[AuditFinding] = []
    key = read_public(public_key or (folder / "public.pem").read_bytes())
    head = max((each["seq"] for each in heads(folder, key)), default=0)
    delivered = last["seq"] if last else 0
    if own and head > delivered:
        message = f"{head - delivered} records of this home are not on the server"
        extra.append(AuditFinding("undelivered", delivered + 1, "head", message, own, hint=_HINTS["undelivered"]))
    of_files = [
        replace(each, place=f"{folder.name}/{each.place}" if each.place else folder.name) for each in files.findings
    ]
    return replace(shared, findings=(*shared.findings, *of_files, *extra))


class _Sequence:
    """The walk over the statements, and what they say of each chain."""

    def __init__(self, rows: SharedRows, trusted: Collection[str] | None, *, wanted: Collection[int] = ()) -> None:
        """`wanted` are positions of which it will be asked what is there."""
        self._rows, self._trusted = rows, trusted
        self.findings: list[AuditFinding] = []
        self.chains = registered(rows.entries())
        self.statements = self._end = 0
        self._hashes: dict[int, str] = dict.fromkeys(wanted, "")
        self._untrusted: set[str] = set()
        self._base = self._pruned()

    def find(
        self, kind: Kind, message: str, *, chain: str = "", seq: int = 0, position: int = 0, place: str = ""
    ) -> None:
        where = place or (f"statement {position}" if position else f"chain {chain}" if chain else "server")
        self.findings.append(AuditFinding(kind, seq, where, message, chain, position, _HINTS.get(kind, "")))

    def walk(self) -> None:
        position, previous = self._base["position"] + 1, self._base["hash"]
        for entry in self._rows.entries():
            self.statements, self._end = self.statements + 1, entry.position
            if entry.position in self._hashes:
                self._hashes[entry.position] = entry.hash
            if entry.position < position:
                self._before_base(entry)
                continue
            if entry.position > position:
                last = entry.position - 1
                span = f"statement {last}" if last == position else f"statements {position} to {last}"
                self.find("gap", f"{span} missing", chain=entry.chain, position=position)
            told = statement_of(entry)
            if told is None:
                message = "the row is not what its statement says"
                self.find("edited", message, chain=entry.chain, position=entry.position)
            else:
                if entry.position == position and told["prev"] != previous:
                    message = "does not follow from the statement before it"
                    self.find("reordered", message, chain=entry.chain, position=entry.position)
                self._heard(entry, told)
            position, previous = entry.position + 1, entry.hash

    def witnesses(self, seen: Collection[tuple[int, str]], witnessed: Sequence[dict[str, Any]]) -> None:
        """What was once there must be there still."""
        known = [*seen]
        for statement in witnessed:
            chain = self.chains.get(str(statement.get("chain")))
            if chain is not None and (chain.key is None or not is_checkpoint(chain.key, statement)):
                message = "a checkpoint that was passed in is not signed with the key of its chain"
                self.find("signature", message, chain=chain.id)
                continue
            if chain is not None:
                if chain.signed.setdefault(statement["seq"], statement["hash"]) != statement["hash"]:
                    self.find("rewritten", _OTHER, chain=chain.id, seq=statement["seq"])
                chain.last = max(chain.last, statement["seq"])
            elif statement.get("chain"):
                message = "a checkpoint that was passed in is of a chain that is not registered"
                self.find("missing", message, chain=str(statement["chain"]), seq=1)
            if server := statement.get("server"):
                known.append((server["position"], server["hash"]))
        end = self._end
        for position, own in known:
            if position <= self._base["position"] or self._hashes.get(position) == own:
                continue
            if position > end:
                message = f"the sequence ends at statement {end}, and statement {position} was seen"
                self.find("rolled-back", message, position=end + 1)
            else:
                self.find("rolled-back", "another statement was seen here once", position=position)

    def records(self, id: str, rows: Iterable[SharedRecord]) -> int:
        """Check one chain's records against what was signed; how many there are."""
        chain = self.chains.get(id)
        signed = chain.signed if chain else {}
        expected, previous = (chain.first + 1, chain.first_hash) if chain else (1, GENESIS)
        count = 0
        for row in rows:
            count += 1
            place = f"chain {id} record {row.seq}"
            found = parsed(row.line)
            if found is None:
                self.find("edited", "the record does not match its hash", chain=id, seq=row.seq, place=place)
                expected, previous = row.seq + 1, ""
                continue
            body, before, own = found
            if body["seq"] != row.seq:
                self.find("reordered", f"holds record {body['seq']}", chain=id, seq=row.seq, place=place)
                expected, previous = row.seq + 1, ""
                continue
            if (row.chain, row.run, row.at) != (id, body.get("run", ""), body.get("at")):
                self.find("edited", "the row is not what its record says", chain=id, seq=row.seq, place=place)
            if row.seq != expected:
                self._out_of_place(id, row.seq, expected, place)
            elif previous and before != previous:
                self.find("rewritten", "does not follow from the record before it", chain=id, seq=row.seq, place=place)
            if signed.get(row.seq, own) != own:
                self.find(
                    "rewritten", "another record was signed under this number", chain=id, seq=row.seq, place=place
                )
            expected, previous = row.seq + 1, own
        if chain is None:
            self.find("unregistered", f"{count} records of a chain that no machine has registered", chain=id)
        else:
            self._ended(chain, count, expected - 1)
        return count

    def _out_of_place(self, id: str, seq: int, expected: int, place: str) -> None:
        if seq < expected:
            self.find("reordered", f"is at the position of {expected}", chain=id, seq=seq, place=place)
            return
        span = f"{expected}" if seq == expected + 1 else f"{expected} to {seq - 1}"
        self.find("deleted", f"missing before this record: {span}", chain=id, seq=expected, place=place)

    def _ended(self, chain: Chain, count: int, last: int) -> None:
        if chain.last > chain.first and not count:
            message = f"registered by {chain.host}, which signed {chain.last} records: none is there"
            self.find("missing", message, chain=chain.id, seq=chain.first + 1)
        elif last < chain.last:
            message = f"a signed statement says that there are {chain.last} records"
            self.find("truncated", message, chain=chain.id, seq=last + 1)
        elif last > chain.last:
            message = "no statement includes this record, though both are written at once"
            self.find("rewritten", message, chain=chain.id, seq=chain.last + 1)
        for told in chain.writers.values():
            if not told.get("ended"):
                writer = told["writer"]
                message = (
                    f"process {writer['pid']} on {writer['host']} has not ended its part; last heard of {told['at']}"
                )
                self.find("unclosed", message, chain=chain.id, seq=told["seq"], position=told["position"])

    def _heard(self, entry: Entry, told: dict[str, Any]) -> None:
        chain = self.chains.get(entry.chain)

        def find(kind: Kind, message: str) -> None:
            self.find(kind, message, chain=entry.chain, seq=entry.seq, position=entry.position)

        if chain is None or chain.key is None:
            find("unregistered", "a statement for a chain that no machine has registered")
            return
        if not is_checkpoint(chain.key, told):
            find("signature", "not signed with the key of its chain")
            return
        if self._trusted is not None and chain.fingerprint not in self._trusted:
            if chain.id not in self._untrusted:
                find("unknown-key", f"signed with a key that is not pinned, {chain.fingerprint[:16]}…, by {chain.host}")
            self._untrusted.add(chain.id)
        if entry.kind == "registered" and entry.hash != chain.registration:
            if told.get("public_key") is None or _key_in(told) is None or _same(told, chain) is False:
                find("forked", f"a second chain with this id, of {(told.get('writer') or {}).get('host', '')}")
                return
            find("restored", "registered again: the server had lost it")
            return
        if told.get("restored"):
            find("restored", f"the server had lost what was behind statement {told['restored']['position']} or before")
        if chain.signed.get(entry.seq, told["hash"]) != told["hash"]:
            find("forked", f"another record {entry.seq} has been signed before: two writers of one chain")
        elif entry.seq < chain.last:
            find("rewritten", f"signs {entry.seq} records after {chain.last} were signed")
        chain.signed[entry.seq] = told["hash"]
        if entry.seq >= chain.last:
            chain.last, chain.last_at, chain.ended = entry.seq, told["at"], bool(told.get("ended"))
        if entry.kind == "head" and isinstance(told.get("writer"), dict):
            chain.writers[str(told["writer"].get("id"))] = told

    def _before_base(self, entry: Entry) -> None:
        """What pruning has left: registrations, and the last statement of each chain, as they were then."""
        known: dict[str, Any] = self._base["chains"].get(entry.chain) or {}
        told = statement_of(entry) or {}
        same = known.get("registration") == entry.hash
        if entry.kind != "registered":
            chain = self.chains.get(entry.chain)
            signed = chain is not None and chain.key is not None and is_checkpoint(chain.key, told)
            same = signed and (entry.seq, told.get("hash")) == (known.get("last"), known.get("last_hash"))
        if not same:
            message = "stands before what was pruned, and was not there then"
            self.find("rewritten", message, chain=entry.chain, position=entry.position)

    def _pruned(self) -> dict[str, Any]:
        """What the last valid statement of a pruning says, taken into the chains."""
        base: dict[str, Any] = {"position": 0, "hash": GENESIS, "chains": {}}
        for entry in self._rows.entries():
            told = statement_of(entry) if entry.kind == "pruned" else None
            chain = self.chains.get(entry.chain)
            if not told or chain is None or chain.key is None or not is_checkpoint(chain.key, told):
                continue
            if self._trusted is not None and chain.fingerprint not in self._trusted:
                continue
            base = {**told["base"], "chains": told["chains"]}
        for name, state in base["chains"].items():
            chain = self.chains.get(name)
            if chain is None:
                chain = self.chains[name] = Chain(name, None, state["registration"])
                self.find("missing", "the registration of this chain is gone", chain=name)
            chain.first, chain.first_hash = state["first"], state["first_hash"]
            chain.last = state["last"]
            if state["last"] > state["first"]:
                chain.signed[state["last"]] = state["last_hash"]
        return base


def _same(told: dict[str, Any], chain: Chain) -> bool:
    key = _key_in(told)
    return key is not None and fingerprint(key) == chain.fingerprint


def _key_in(told: dict[str, Any]) -> Ed25519PublicKey | None:
    try:
        return read_public(str(told["public_key"]).encode())
    except (KeyError, RunError):
        return None
