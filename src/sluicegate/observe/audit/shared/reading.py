"""The records of all chains as one list, merged by time.

The times are those of each machine's own clock. Within a chain the order is the chain's, whatever its clock said.
"""

import heapq
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sluicegate.errors import NotFoundError
from sluicegate.observe.audit.chain import parsed
from sluicegate.observe.audit.proof import proof_of, records
from sluicegate.observe.audit.shared.delivery import chain_of
from sluicegate.observe.audit.shared.sequence import statement_of
from sluicegate.observe.audit.shared.store import SharedAudit

__all__ = ["merged", "prove_shared"]


def merged(shared: SharedAudit, folder: Path, run: str = "") -> Iterator[tuple[dict[str, Any], str, str]]:
    """Body, chain and hash of every record that is whole, on the server or only in this home so far. With `run`, those
    of one run, which may have gone from machine to machine."""
    own = chain_of(folder)
    last = max((entry.seq for entry in shared.entries(chain=own)), default=0) if own else 0
    chains = shared.of_run(run) if run else shared.chains()
    parts = [_sent(shared, chain, run) for chain in chains]
    parts.append(_unsent(folder, own, last, run))
    return heapq.merge(*parts, key=lambda record: record[0]["at"])


def prove_shared(shared: SharedAudit, run: str) -> dict[str, Any]:
    """The proof of one run in every chain that has records of it, each up to a head that is in the sequence. Raises
    `RunError` SG603 when none has."""
    proofs: list[dict[str, Any]] = []
    for chain in shared.of_run(run):
        told = [said for entry in shared.entries(chain=chain) if (said := statement_of(entry))]
        own = [row.seq for row in shared.records(chain, run=run)]
        public = next((said["public_key"] for said in told if said["kind"] == "registered"), "")
        head = next((said for said in told if said["seq"] >= own[-1]), None)
        if head:
            rows = shared.records(chain, from_seq=own[0], to_seq=head["seq"])
            proof = proof_of(run, (found for row in rows if (found := parsed(row.line))), head, public)
            proofs += [proof] if proof else []
    if not proofs:
        raise NotFoundError(f"the audit logs on the server have no record of run {run!r}")
    return {"run": run, "proofs": proofs}


def _sent(shared: SharedAudit, chain: str, run: str) -> Iterator[tuple[dict[str, Any], str, str]]:
    for row in shared.records(chain, run=run):
        if found := parsed(row.line):
            yield found[0], chain, found[2]


def _unsent(folder: Path, chain: str, last: int, run: str) -> Iterator[tuple[dict[str, Any], str, str]]:
    for body, _, own in records(folder):
        if body["seq"] > last and (not run or body.get("run") == run):
            yield body, chain, own
