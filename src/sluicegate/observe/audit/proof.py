"""Proofs of one run's records that can be checked without access to the log.

A proof holds the chain from the run's first record to a signed checkpoint behind its last one. Records of other runs
appear as digests only: enough to recompute the chain, nothing to read.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from sluicegate.errors import NotFoundError, RunError
from sluicegate.observe.audit.chain import digest, is_checkpoint, linked, parsed
from sluicegate.observe.audit.keys import read_public
from sluicegate.observe.audit.log import AuditLog
from sluicegate.observe.audit.segments import segments

__all__ = ["check_proof", "prove", "records"]


def records(folder: Path) -> Iterator[tuple[dict[str, Any], str, str]]:
    """Body, previous hash and own hash of every record that is whole, in order."""
    for path in segments(folder):
        with path.open("rb") as lines:
            for line in lines:
                found = parsed(line)
                if found:
                    yield found


def prove(log: AuditLog, run: str) -> dict[str, Any]:
    """The proof of one run, as JSON data. Raises `RunError` SG603 when the log has no record of it."""
    statement = log.checkpoint()
    chain: list[dict[str, Any]] = []
    start = ""
    last = 0
    for body, previous, _ in records(log.folder):
        ours = body.get("run") == run
        if not chain and not ours:
            continue
        if not chain:
            start = previous
        if ours:
            last = body["seq"]
        chain.append({"record": body} if ours else {"digest": digest(body)})
        if body["seq"] == statement["seq"]:
            break
    if not last:
        raise NotFoundError(f"the audit log has no record of run {run!r}")
    public = (log.folder / "public.pem").read_text(encoding="ascii")
    return {"run": run, "start": start, "chain": chain, "checkpoint": statement, "public_key": public}


def check_proof(proof: Any, *, public_key: bytes | None = None) -> tuple[bool, str]:
    """Whether a proof holds, and what it shows or why not. Pass a trusted public key (PEM) of the log: with the key in
    the proof only its consistency is checked."""
    try:
        key = read_public(public_key or proof["public_key"].encode())
        if not is_checkpoint(key, proof["checkpoint"]):
            return False, "the checkpoint is not signed with this key"
        own, count = str(proof["start"]), 0
        position = 0
        for step in cast("list[dict[str, Any]]", proof["chain"]):
            body = step.get("record")
            if body is not None:
                if body.get("run") != proof["run"]:
                    return False, "a record belongs to another run"
                if count and body["seq"] != position + 1:
                    return False, f"record {body['seq']} is at the position of {position + 1}"
                position = body["seq"]
                count += 1
            else:
                position += 1
            own = linked(own, digest(body) if body is not None else step["digest"])
        if own != proof["checkpoint"]["hash"] or position != proof["checkpoint"]["seq"]:
            return False, "the chain does not lead to the checkpoint: a record was changed"
    except (KeyError, TypeError, ValueError, AttributeError, RunError) as error:
        return False, f"not a proof: {type(error).__name__}"
    return True, f"{count} records of run {proof['run']}, in a log signed at record {position}"
