"""The version of its workflow that a waiting run goes on with."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sluicegate.evals.promotion.champions import Changed
    from sluicegate.graphs.runtime.factory import Opened

__all__ = ["opened_for"]


def opened_for(run: str, changed: "Changed") -> "Opened":
    """The version that a run continues on: the one it started with, or the one that serves."""
    from sluicegate.evals.promotion import champions
    from sluicegate.graphs.runtime.factory import open_workflow
    from sluicegate.graphs.runtime.versions import current, kept
    from sluicegate.graphs.session.checkpoint_reader import recorded

    facts = recorded(run)["run"]
    name, digest = facts["workflow"], facts["digest"]
    if champions.resumes_on(name, digest, changed):
        return open_workflow(kept(digest))
    serves = champions.champion(name) or current(name)
    return open_workflow(serves, migrates=digest if changed == "migrate" else "")
