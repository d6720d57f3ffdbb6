"""Proofs of one run's records that can be checked without access to the log.

A proof holds the chain from the run's first record to a signed checkpoint behind its last one. Records of other runs
appear as digests only: enough to recompute the chain, nothing to read.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from sluicegate.errors import NotFoundError, RunError
from sluicegate.observe.audit.chain import digest, is_checkpoint, linked, parsed
from sluicegate.observe.audit.keys import read_public
from sluicegate.observe.audit.log import AuditLog
from sluicegate.observe.audit.segments import segments

__all__ = ["check_proof", "proof_of", "prove", "records"]


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
    public = (log.folder / "public.pem").read_text(encoding="ascii")
    found = proof_of(run, records(log.folder), statement, public)
    if found is None:
        raise NotFoundError(f"the audit log has no record of run {run!r}")
    return found


def proof_of(
    run: str, chain: Iterable[tuple[dict[str, Any], str, str]], statement: Mapping[str, Any], public_key: str
) -> dict[str, Any] | None:
    """The proof of a run's records in one chain, up to a signed statement; None when it has none."""
    steps: list[dict[str, Any]] = []
    start = ""
    for body, previous, _ in chain:
        ours = body.get("run") == run
        if not steps and not ours:
            continue
        if not steps:
            start = previous
        steps.append({"record": body} if ours else {"digest": digest(body)})
        if body["seq"] == statement["seq"]:
            break
    if not steps:
        return None
    return {"run": run, "start": start, "chain": steps, "checkpoint": statement, "public_key": public_key}


def check_proof(
    proof: Any, *, public_key: bytes | None = None, trusted: Collection[str] | None = None
) -> tuple[bool, str]:
    """Whether a proof holds, and what it shows or why not. Pass a trusted public key (PEM) of the log, or fingerprints
    of trusted ones: with the keys in the proof only its consistency is checked.

    A run that several machines carried has a proof for each chain; all have to hold."""
    parts: Any = cast("dict[str, Any]", proof).get("proofs") if isinstance(proof, dict) else None
    if isinstance(parts, list):
        return _check_parts(cast("dict[str, Any]", proof), cast("list[Any]", parts), public_key, trusted)
    return _check_one(proof, public_key, trusted)


def _check_parts(
    proof: dict[str, Any], parts: list[Any], public_key: bytes | None, trusted: Collection[str] | None
) -> tuple[bool, str]:
    runs = [cast("dict[str, Any]", part).get("run") if isinstance(part, dict) else None for part in parts]
    if not runs or any(run is None or run != proof.get("run") for run in runs):
        return False, "not a proof: its parts are not of one run"
    told = [_check_one(part, public_key, trusted) for part in parts]
    holds = all(each for each, _ in told)
    return holds, "; ".join(message for each, message in told if each is holds)


def _check_one(proof: Any, public_key: bytes | None, trusted: Collection[str] | None) -> tuple[bool, str]:
    try:
        key = read_public(public_key or proof["public_key"].encode())
        if trusted is not None and hashlib.sha256(key.public_bytes_raw()).hexdigest() not in trusted:
            return False, "the key is not one that is trusted"
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
