"""Deletes from a server what is past retention: a home's own records, and statements as old, on record.

What every chain had said by then is in the statement that says so, so that nothing older is needed to verify what is
newer. Registrations stay.
"""

from datetime import datetime
from typing import Any

from sluicegate.errors import CorruptError
from sluicegate.observe.audit.chain import parsed
from sluicegate.observe.audit.shared.delivery import ChainDelivery
from sluicegate.observe.audit.shared.sequence import statement_of
from sluicegate.observe.audit.shared.store import AuditRows
from sluicegate.observe.audit.shared.verify_all import registered, verify_shared

__all__ = ["prune_shared"]


def prune_shared(delivery: ChainDelivery, oldest: datetime, keep_from: int | None) -> int:
    """Delete from the server the records of this home from before `oldest`, but none from `keep_from` on, and the
    statements up to the first that is not older; how many records were deleted.

    Raises `RunError` SG606 when what is there was changed: nothing of that is deleted. SG625 when it cannot be asked.
    """
    shared, chain = delivery.store, delivery.chain
    with shared.snapshot() as rows:
        if verify_shared(rows).tampered:
            raise CorruptError(
                "the audit log on the server was changed, so nothing of it is deleted",
                hint="Run `sluicegate audit verify --all`",
            )
        base, chains = _state(rows, oldest)
    if chain not in chains:
        return 0
    newest = shared.newest(chain, oldest.isoformat(timespec="microseconds"))
    cut = min(newest, chains[chain]["last"], *(() if keep_from is None else (keep_from - 1,)))
    if cut <= chains[chain]["first"]:
        return 0
    (last,) = (row for row in shared.records(chain, from_seq=cut, to_seq=cut))
    found = parsed(last.line)
    assert found  # verified above
    chains[chain] |= {"first": cut, "first_hash": found[2]}
    return delivery.prune(base, chains, cut)


def _state(rows: AuditRows, oldest: datetime) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The last statement of those that are all older, and what every chain had said by then."""
    chains: dict[str, dict[str, Any]] = {}
    base: dict[str, Any] = {"position": 0, "hash": ""}
    known = registered(rows.entries())
    before: dict[str, Any] = {"base": {"position": 0}, "chains": {}}
    for entry in rows.entries():
        if entry.kind == "pruned":
            before = statement_of(entry) or {}
    for entry in rows.entries():
        said = statement_of(entry) or {}
        if entry.position > before["base"]["position"] and datetime.fromisoformat(said["at"]) >= oldest:
            break
        if entry.kind == "registered" and entry.chain not in chains:
            first = {"first": said["seq"], "first_hash": said["hash"]}
            fresh = {"registration": known[entry.chain].registration, **first}
            chains[entry.chain] = {**before["chains"].get(entry.chain, {**fresh, "last": 0, "last_hash": ""})}
        if entry.position > before["base"]["position"]:
            chains[entry.chain] |= {"last": said["seq"], "last_hash": said["hash"]}
        base = {"position": entry.position, "hash": entry.hash}
    if base["position"] <= before["base"]["position"]:
        return before["base"], {name: {**state} for name, state in before["chains"].items()}
    return base, chains
