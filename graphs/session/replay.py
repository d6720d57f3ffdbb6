"""Replays recorded requests on another version: what would have changed.

A replay is a shadow run: marked so in its trace, with tools that have effects simulated, nothing in the
audit log, and the answer cache neither read nor written, so that a replay shows the version and not earlier requests.
By default it retrieves the very passages of the recorded run: a difference is then due to the version, not the
knowledge; passages that the version's policies deny to the requester are withheld and reported. What models cost is
real and is booked.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sluicegate.errors import NodeFailedError
from sluicegate.graphs.runtime.factory import Opened, open_workflow
from sluicegate.graphs.runtime.waiting.again import run_again
from sluicegate.graphs.session.checkpoint_reader import recorded
from sluicegate.graphs.session.differences import Difference, facts, facts_differ
from sluicegate.policies.cache.cache import NoCache
from sluicegate.retrieval.replay_retriever import ReplayRetriever, passages
from sluicegate.run_summary import RunSummary
from sluicegate.services import Services
from sluicegate.state import Principal

if TYPE_CHECKING:
    from sluicegate.graphs.config.load import Workflow

__all__ = ["Documents", "ReplayChange", "open_for_replay", "replay"]

Documents = Literal["same", "fresh"]


@dataclass(frozen=True, slots=True)
class ReplayChange:
    """One recorded run and its replay."""

    run: str
    replayed: str
    """The run id of the replay."""
    request: str
    before: Mapping[str, Any]
    """The facts of the recorded run, see `graphs.session.differences.facts`."""
    after: Mapping[str, Any]
    documents: Literal["same", "fresh", "none"]
    """What the replay retrieved: the recorded passages, new ones (also where the run never searched), or none."""
    withheld: Sequence[str]
    """Ids of recorded documents that this version does not let the requester read; they were withheld."""
    differences: Sequence[Difference]
    unread: str = ""
    """Why its reader is not shown the answers and the documents of either; empty when they are."""

    @property
    def changed(self) -> bool:
        """Something other than cost and version differs."""
        return any(each.field not in _NOT_A_CHANGE for each in self.differences)

    def as_json(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "changed": self.changed}


_READ = ("answer", "documents")
"""The facts that say what the sources say."""
_NOT_A_CHANGE = frozenset({"workflow", "usd", "tokens", "threshold"})


def open_for_replay(
    config: "Path | str | Workflow",
    *,
    change: Callable[[Services], Services] = lambda services: services,
) -> Opened:
    """The version to replay on. Raises what `open_workflow` raises."""

    def stubbed(services: Services) -> Services:
        services = change(services)
        return dataclasses.replace(services, cache=NoCache(), retriever=ReplayRetriever(services.retriever))

    return open_workflow(config, dry=True, shadow=True, change=stubbed)


async def replay(
    runs: Sequence[str],
    opened: Opened,
    *,
    documents: Documents = "same",
    reader: Principal | None = None,
    tell: Callable[[ReplayChange], None] = lambda _: None,
) -> list[ReplayChange]:
    """Replay the requests of recorded runs on `opened`, in order; `tell` is called with each result. A `reader` is
    shown the words of those runs, recorded or replayed, all of whose sources policy lets them read.

    Raises `RunError` SG603 for a run that is not recorded, before any is replayed, SG611 when `opened` would have
    effects, and what nodes raise.
    """
    if not opened.runner.shadow:
        raise NodeFailedError("a replay needs a workflow opened without effects", hint="Use open_for_replay")
    states = {run: recorded(run) for run in runs}
    changes: list[ReplayChange] = []
    for run, state in states.items():
        with passages(state.get("documents") if documents == "same" else None) as serving:
            outcome = await run_again(opened.runner, state)
        waits = state["run"]["status"] == "running"
        before = facts(RunSummary.of(state, status="waiting" if waits else None))
        after = facts(outcome.summary)
        differences, why = facts_differ(before, after), ""
        if reader:
            both = [await opened.runner.call(opened.runner.withheld, each, reader) for each in (state, outcome.state)]
            why = next(filter(None, both), "")
        if why:
            before, after = ({**side, **dict.fromkeys(_READ)} for side in (before, after))
            hidden = [each.field for each in differences if each.field in _READ]
            differences = [each for each in differences if each.field not in _READ]
            differences += [Difference(field, "withheld", "withheld") for field in hidden]
        done = ReplayChange(
            run=run,
            replayed=outcome.run,
            request=state["request"]["text"],
            before=before,
            after=after,
            documents=serving.served,
            withheld=[] if why else serving.withheld,
            differences=differences,
            unread=why,
        )
        changes.append(done)
        tell(done)
    return changes
