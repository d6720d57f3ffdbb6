"""The thresholds of a workflow chosen together from its recorded requests, written as an artifact."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sluicegate.errors import ConfigError, Problem
from sluicegate.evals.joint.recording import Recorded, Way, named
from sluicegate.evals.joint.walking import candidates, taken, walk
from sluicegate.graphs.config.inputs.joint import fitted_to
from sluicegate.graphs.config.load import Workflow
from sluicegate.learning.artifact import write_folder
from sluicegate.routing.joint.fit import ORDER, Outcomes, choose, evidence
from sluicegate.routing.joint.thresholds import joint_score

__all__ = ["fit_joint"]


def fit_joint(workflow: Workflow, rows: Sequence[Recorded], out: Path, *, data: Path) -> dict[str, Any]:
    """Choose, prove, write the artifact to `out`, return its card.

    Which rows order and which prove is decided by a hash of their texts. Raises `ConfigError` SG106 where no condition
    reads a threshold, `ModelError` SG313 where the rows cannot support the bound.
    """
    joint = workflow.config.router.joint
    assert joint is not None
    names = named(workflow)
    if not names:
        what = f"no condition of {workflow.path} reads a threshold that could be chosen"
        raise ConfigError([Problem("SG106", what, hint="Compare with router.threshold or answer.threshold")])
    rows = sorted(rows, key=lambda row: row.case)
    orders = np.array([_hash(row.text) % ORDER == 0 for row in rows], bool)
    vectors = candidates(names, [row for row, yes in zip(rows, orders, strict=True) if yes])
    outcomes = walk(workflow, rows, vectors)
    order, proof = outcomes.of(np.flatnonzero(orders)), outcomes.of(np.flatnonzero(~orders))
    chosen = choose(order, proof, error=joint.error, confidence=joint.confidence)
    best = vectors[chosen.candidate]
    ways = [way for row in rows if (way := taken(workflow, row, best))]
    scores = [joint_score(best, way.scores) for way in ways]

    def proved(candidate: int) -> dict[str, Any]:
        return evidence(proof, candidate, joint.error, joint.confidence)

    now = _of([row.stagewise for row, yes in zip(rows, orders, strict=True) if not yes])
    card = {
        "task": "joint",
        "data": {data.name: hashlib.sha256(data.read_bytes()).hexdigest()},
        "rows": {"order": order.rows, "proof": proof.rows},
        "error": joint.error,
        "confidence": joint.confidence,
        "thresholds": dict(best),
        "proof": proved(chosen.candidate),
        "stagewise": evidence(now, 0, joint.error, joint.confidence),
        "tested": [{"thresholds": dict(vectors[each]), "proof": proved(each)} for each in chosen.tested],
        "models": sorted({way.model for way in ways if way.sent and way.model}),
        "scores": sorted(score for score in scores if score is not None),
        "fitted_to": fitted_to(workflow.config, workflow.settings, workflow.resolved),
    }
    digest = write_folder(out, card, {})
    return {**card, "hash": digest}


def _of(ways: Sequence[Way]) -> Outcomes:
    """One candidate: what these ways came to."""
    flags = np.array([(way.sent, way.wrong, way.kept) for way in ways], bool).reshape(-1, 3)
    return Outcomes(*flags.T[:, None])


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big")
