"""A router of its own for when the large model is needed: fitted, and evaluated."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sluicegate.cli._support.console import counted, emit
from sluicegate.cli.router.embedders import ROLE, embed_like, embedding, only
from sluicegate.cli.router.tables import pairs

__all__ = ["fit_escalation_files", "report_on"]


def fit_escalation_files(source: Sequence[Path], out: Path, embedder: str, *, as_json: bool) -> None:
    """Fit on files of requests with what both models made of them; `embedder` is a model, or none."""
    from sluicegate.learning.artifact import check_place
    from sluicegate.routing.data import joined_escalations, read_escalations
    from sluicegate.routing.escalation.escalate import fit_escalation, write_escalation

    check_place(out)
    rows = joined_escalations([read_escalations(path) for path in source])
    with counted(None) as on_progress:
        embed, facts = (None, None) if embedder == "none" else embedding(only(embedder), ROLE)
        fitted = asyncio.run(fit_escalation(rows, embed=embed, embedder=facts, on_progress=on_progress))
    digest = write_escalation(out, fitted)
    result = {"artifact": str(out), "hash": digest, **fitted.card["metrics"], "threshold": fitted.card["threshold"]}
    if as_json:
        emit(result)
    else:
        pairs(str(out), result)


def report_on(artifact: Path, data: Sequence[Path]) -> dict[str, Any]:
    """What the router in `artifact` would have cost and reached on such files."""
    from sluicegate.learning.artifact import read_card
    from sluicegate.routing.data import joined_escalations, read_escalations
    from sluicegate.routing.escalation.escalate import load_escalation, report_escalation

    embedder = read_card(artifact, task="escalate")["embedder"]
    router = load_escalation(artifact, embed=embed_like(embedder) if embedder else None)
    rows = joined_escalations([read_escalations(path) for path in data])
    with counted(len(rows)) as on_progress:
        return asyncio.run(report_escalation(router, rows, on_progress=on_progress))
