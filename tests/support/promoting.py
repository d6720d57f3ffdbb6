"""A promotion without the comparison that would justify it."""

from pathlib import Path

from sluicegate.evals.promotion import champions
from sluicegate.graphs.config.load import load
from sluicegate.graphs.runtime.versions import keep, kept

__all__ = ["promote"]


def promote(old: Path, new: Path) -> None:
    before, after = load(old), load(new)
    keep(after, present=False)
    champions.promote(
        before.name, path=kept(after.digest), digest=after.digest, before=(kept(before.digest), before.digest),
        by="ops", facts={"pairs": 1, "reason": "better"},
    )  # fmt: skip
