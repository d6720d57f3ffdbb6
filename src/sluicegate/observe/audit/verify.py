"""Verifies the whole log; trusts nothing but the public key.

Within the files a hash chain shows edits, deletions and reorders; against the signed head and checkpoints a truncation
shows, and a rewrite of the whole chain. Only who holds the private key, or puts back an older state of the whole
folder, escapes; against those, keep checkpoints elsewhere and pass them in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sluicegate.errors import NotFoundError
from sluicegate.observe.audit.chain import is_checkpoint, parsed
from sluicegate.observe.audit.keys import read_public
from sluicegate.observe.audit.segments import base_of, heads, json_of, segments

__all__ = ["AuditFinding", "AuditVerdict", "verify"]

Kind = Literal[
    "edited",
    "deleted",
    "reordered",
    "truncated",
    "rewritten",
    "signature",
    "torn",
    "unsigned",
    # of many chains on a server
    "missing",
    "unregistered",
    "forked",
    "gap",
    "rolled-back",
    "unknown-key",
    "unpinned",
    "unclosed",
    "undelivered",
    "restored",
]
_FACTS: frozenset[str] = frozenset({"torn", "unsigned", "unpinned", "unclosed", "undelivered", "restored"})
"""What a killed process, a server that was away or an operator leaves: worth knowing, and no tampering."""


@dataclass(frozen=True, slots=True)
class AuditFinding:
    """One discrepancy of the log."""

    kind: Kind
    seq: int
    """The record where it shows."""
    place: str
    """File and line, where there is one."""
    message: str
    chain: str = ""
    """The chain on the server; empty for the files of a home."""
    position: int = 0
    """The statement in the server's sequence; 0 for none."""
    hint: str = ""

    @property
    def tampering(self) -> bool:
        return self.kind not in _FACTS


@dataclass(frozen=True, slots=True)
class AuditVerdict:
    """`tampered` is the answer; a log left unfinished by a killed process has findings but is not tampered with."""

    records: int
    first: int
    last: int
    checkpoints: int
    findings: tuple[AuditFinding, ...]
    chains: int = 0
    """How many chains the server has; 0 when only a folder was verified."""

    @property
    def tampered(self) -> bool:
        return any(finding.tampering for finding in self.findings)


@dataclass(frozen=True, slots=True)
class _Line:
    place: str
    seq: int
    previous: str
    own: str


def verify(folder: Path, *, public_key: bytes | None = None, witnessed: Sequence[dict[str, Any]] = ()) -> AuditVerdict:
    """Check a log's folder. `public_key` (PEM) comes from elsewhere, else from the folder; `witnessed` are checkpoints
    that were kept elsewhere. Raises `RunError` SG603 when there is no log."""
    paths = segments(folder)
    pem = folder / "public.pem"
    if not (paths or (folder / "head").exists()) or not (public_key or pem.exists()):
        raise NotFoundError(f"no audit log in {folder}")
    key = read_public(public_key or pem.read_bytes())
    findings: list[AuditFinding] = []
    statements = _statements(folder, key, findings)
    signed = heads(folder, key)
    lines = _lines(paths, findings)
    base = base_of(statements)
    _check_order(lines, base, findings)
    _check_statements(lines, base, [*statements, *witnessed, *signed], key, findings)
    if signed:
        _check_tail(lines, max(signed, key=lambda head: head["seq"]), findings)
    else:
        findings.append(AuditFinding("signature", 0, "head", "the head is missing or not signed with this key"))
    seqs = [line.seq for line in lines]
    findings.sort(key=lambda finding: finding.seq)
    return AuditVerdict(len(lines), min(seqs, default=0), max(seqs, default=0), len(statements), tuple(findings))


def _statements(folder: Path, key: Any, findings: list[AuditFinding]) -> list[dict[str, Any]]:
    path = folder / "checkpoints.jsonl"
    statements: list[dict[str, Any]] = []
    for number, raw in enumerate(path.read_bytes().splitlines() if path.exists() else [], start=1):
        statement = json_of(raw)
        if is_checkpoint(key, statement):
            statements.append(statement)
        else:
            findings.append(
                AuditFinding("signature", 0, f"{path.name}:{number}", "a checkpoint's signature is not valid")
            )
    return statements


def _lines(paths: Sequence[Path], findings: list[AuditFinding]) -> list[_Line]:
    lines: list[_Line] = []
    for path in paths:
        data = path.read_bytes()
        for number, raw in enumerate(data.splitlines(keepends=True), start=1):
            place = f"{path.name}:{number}"
            found = parsed(raw)
            if found:
                lines.append(_Line(place, found[0]["seq"], found[1], found[2]))
            elif path is paths[-1] and not raw.endswith(b"\n") and data.endswith(raw):
                findings.append(AuditFinding("torn", _seq(raw), place, "the last line is torn: its writer was killed"))
            else:
                findings.append(AuditFinding("edited", _seq(raw), place, "the record does not match its hash"))
    return lines


def _seq(raw: bytes) -> int:
    value = json_of(raw)
    seq: Any = value.get("seq", 0) if isinstance(value, dict) else 0  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return seq if isinstance(seq, int) else 0


def _check_order(lines: Sequence[_Line], base: dict[str, Any], findings: list[AuditFinding]) -> None:
    edited = {finding.seq for finding in findings if finding.kind == "edited"}
    present = {line.seq for line in lines} | edited
    expected, previous = base["seq"] + 1, base["hash"]
    for line in lines:
        if line.seq != expected:
            missing = [seq for seq in range(expected, line.seq) if seq not in present]
            if missing:
                span = f"{missing[0]}" if len(missing) == 1 else f"{missing[0]} to {missing[-1]}"
                findings.append(AuditFinding("deleted", missing[0], line.place, f"missing before this line: {span}"))
            elif not all(seq in edited for seq in range(expected, line.seq)) or line.seq < expected:
                findings.append(AuditFinding("reordered", line.seq, line.place, f"is at the position of {expected}"))
        elif line.previous != previous:
            message = "does not follow from the record before it"
            findings.append(AuditFinding("rewritten", line.seq, line.place, message))
        expected, previous = line.seq + 1, line.own


def _check_statements(
    lines: Sequence[_Line], base: dict[str, Any], statements: Sequence[Any], key: Any, findings: list[AuditFinding]
) -> None:
    hashes = {line.seq: line for line in lines}
    last = max(hashes, default=base["seq"])
    seen: set[int] = set()
    for statement in statements:
        if not is_checkpoint(key, statement):
            findings.append(
                AuditFinding("signature", 0, "", "a checkpoint that was passed in is not signed with this key")
            )
            continue
        seq = statement["seq"]
        if seq <= base["seq"] or seq in seen:
            continue
        seen.add(seq)
        line = hashes.get(seq)
        if line is not None and line.own != statement["hash"]:
            findings.append(AuditFinding("rewritten", seq, line.place, "another record was signed under this number"))
    if seen and max(seen) > last:
        message = f"a signed statement says that there are {max(seen)} records"
        findings.append(AuditFinding("truncated", last + 1, "", message))


def _check_tail(lines: Sequence[_Line], head: dict[str, Any], findings: list[AuditFinding]) -> None:
    beyond = [line for line in lines if line.seq > head["seq"]]
    if not beyond:
        return
    kind: Kind = "unsigned" if len(beyond) == 1 and beyond[0].previous == head["hash"] else "rewritten"
    message = "the head does not include this record" + (": its writer was killed" if kind == "unsigned" else "")
    findings.append(AuditFinding(kind, beyond[0].seq, beyond[0].place, message))
