"""The checkpoints that led to a run's current state: walked back, rewound to, copied into another run.

All of it is LangGraph's own: snapshots by their parents, copies by `update_state`. A rewound run keeps the
checkpoints that it left, which its lineage skips. Branches that run side by side are one step, from their fork to their
join: what each has done in between is in checkpoints of its own.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from sluicegate.errors import RunError
from sluicegate.graphs.proofs.flow import ON_ERROR
from sluicegate.nodes.registry import kinds
from sluicegate.state import APPENDED, State, TrailEntry
from sluicegate.storage.run_ids import child_run

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
    from langgraph.graph.state import CompiledStateGraph
    from langgraph.types import StateSnapshot

    from sluicegate.graphs.runtime.checkpoints import Checkpoints
    from sluicegate.services import Services

    Graph: TypeAlias = "CompiledStateGraph[State, Services, State, State]"

__all__ = ["before", "copied", "go_back", "head", "lineage", "node_of", "write"]


def head(graph: "Graph", run: str) -> "StateSnapshot":
    """The current snapshot of a run."""
    return graph.get_state(_at(run))


def lineage(graph: "Graph", run: str) -> "list[StateSnapshot]":
    """Every snapshot that has a state, from the current one back to the first."""
    found = [head(graph, run)]
    while found[-1].parent_config:
        found.append(graph.get_state(found[-1].parent_config))
    return [snapshot for snapshot in found if "run" in snapshot.values and not snapshot.values.get("branches")]


def write(graph: "Graph", run: str, update: dict[str, Any]) -> None:
    """Change the current state; the branch is read from the last entry of the trail."""
    from langgraph.constants import START

    trail = update.get("trail") or head(graph, run).values.get("trail", [])
    graph.update_state(_at(run), update, as_node=_writer(trail[-1]) if trail else START)


def before(snapshots: "Sequence[StateSnapshot]", node: str, visit: int | None = None) -> "StateSnapshot":
    """The snapshot of a lineage before a visit of `node`, by default the latest.

    Raises `RunError` SG615, naming the nodes that were visited.
    """
    for snapshot in snapshots:
        # a for-each that has its items is no way back before it
        begun = node in (snapshot.values.get("maps") or {})
        ahead = map(node_of, (task.name for task in snapshot.tasks))
        if not begun and node in ahead and visit in (None, _visits(snapshot, node) + 1):
            return snapshot
    passed = [entry["node"] for entry in cast("State", snapshots[0].values).get("trail", [])]
    known = ", ".join(dict.fromkeys([*passed, *(node_of(task.name) for task in snapshots[0].tasks)]))
    which = f"node {node!r}" if visit is None else f"visit {visit} of node {node!r}"
    raise RunError("SG615", f"this run has not reached {which}", hint=f"It has visited: {known}")


def go_back(graph: "Graph", snapshot: "StateSnapshot") -> None:
    """Rewind a run to a snapshot; what came after it stays in the store, but for the runs of sub-workflows: the run
    comes to them anew."""
    graph.update_state(snapshot.config, None, as_node="__copy__")
    run = cast("State", snapshot.values)["run"]
    checkpoints = cast("Checkpoints", graph.checkpointer)
    parents = checkpoints.within(run["id"])
    kept = {child_run(run["id"], node, visit + 1) for node, count in run["visits"].items() for visit in range(count)}
    gone = {thread for thread, parent in parents.items() if parent == run["id"] and thread not in kept}
    while deeper := {thread for thread, parent in parents.items() if parent in gone} - gone:
        gone |= deeper
    for thread in gone:
        checkpoints.delete_thread(thread)


def copied(graph: "Graph", snapshots: "Sequence[StateSnapshot]", run: str, change: Callable[[State], State]) -> None:
    """Copy a lineage into the new run `run` of `graph`; `change` gives each state its new form.

    The graph may be of another version. Raises `RunError` SG615 when it lacks a visited node.
    """
    from langgraph.constants import START
    from langgraph.types import StateUpdate

    steps: list[list[StateUpdate]] = []
    last: dict[str, Any] = {}
    # between the items of a list a copy begins before them
    for snapshot in (each for each in reversed(snapshots) if not each.values.get("maps")):
        changed = change(cast("State", snapshot.values))
        trail, state = changed.get("trail", []), cast("dict[str, Any]", changed)
        ahead = trail[-1]["branch"]["to"] if trail else ""
        for node in (*map(_writer, trail), *([ahead] if ahead else [])):
            if node not in graph.nodes:
                raise RunError(
                    "SG615",
                    f"the other workflow has no node {node!r}",
                    hint="Fork before the workflows diverge: at=NODE",
                )
        update = {key: value for key, value in state.items() if key in APPENDED or last.get(key) != value}
        update |= {key: state.get(key, [])[len(last.get(key, [])) :] for key in APPENDED if key in state}
        update |= dict.fromkeys(last.keys() - state.keys())
        steps.append([StateUpdate(update, _writer(trail[-1]) if trail else START)])
        last = state
    graph.bulk_update_state(_at(run), steps)


def node_of(task: str) -> str:
    """The node that a task of the graph begins with: a branch's first, or the node of the same name."""
    fork, _, first = task.partition("/")
    return first or fork


def _writer(entry: TrailEntry) -> str:
    """The task of the graph whose step ends with this entry of the trail: of a branch, or of a fork that failed, the
    one that puts its branches together."""
    fork = entry.get("within", "").partition("/")[0]
    if fork or (entry["branch"]["condition"] == ON_ERROR and kinds()[entry["kind"]].fork):
        return f"{fork or entry['node']}/"
    return entry["node"]


def _visits(snapshot: "StateSnapshot", node: str) -> int:
    return cast("State", snapshot.values)["run"]["visits"].get(node, 0)


def _at(run: str) -> "RunnableConfig":
    return {"configurable": {"thread_id": run}}
