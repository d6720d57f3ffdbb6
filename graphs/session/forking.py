"""Copies of a run under a new id, and the workflow that a copy goes on with."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sluicegate.errors import ConfigError, Problem, RunError
from sluicegate.graphs.config.overlays import variant
from sluicegate.graphs.runtime import intake
from sluicegate.graphs.runtime.factory import Opened
from sluicegate.graphs.session import history
from sluicegate.state import State

if TYPE_CHECKING:
    from langgraph.types import StateSnapshot

    from sluicegate.graphs.config.load import Workflow

__all__ = ["copied", "overlaid"]


def copied(snapshots: "Sequence[StateSnapshot]", opened: Opened, origin: str, threshold: float | None = None) -> str:
    """Copy a lineage into a new run of `opened`; the run's id."""
    run, facts_of = intake.new_run_id(), opened.workflow
    shadow = opened.runner.shadow

    def renewed(state: State) -> State:
        mine: State = {
            **state,
            "request": {**state["request"], "id": run},
            "run": {
                **state["run"],
                "id": run,
                "workflow": facts_of.name,
                "version": facts_of.version,
                "digest": facts_of.digest,
                "shadow": shadow,
                "session": origin,
            },
        }
        if threshold is not None and "route" in mine:
            mine["route"] = {**mine["route"], "threshold": threshold}
        return mine

    history.copied(opened.runner.graph, snapshots, run, renewed)
    return run


def overlaid(
    workflow: "Workflow",
    snapshot: "StateSnapshot",
    prompt: "str | Path | Mapping[str, str | Path] | None",
    model: str | Mapping[str, str] | None,
    threshold: float | None,
    config: "Path | str | Workflow | None",
) -> "Path | str | Workflow":
    """The workflow that a fork goes on with, from before `snapshot`; the other arguments as `Session.fork` has them."""
    from sluicegate.graphs.config.load import Workflow, load

    if prompt is None and model is None and threshold is None:
        return config or workflow
    base = workflow if config is None else config if isinstance(config, Workflow) else load(config)
    models = {"slm": model} if isinstance(model, str) else model
    texts = prompt if prompt is None or isinstance(prompt, Mapping) else {_next_prompt(workflow, snapshot): prompt}
    prompts = {name: _text(text) for name, text in (texts or {}).items()}
    return variant(base, prompts=prompts, models=models, threshold=threshold)


def _next_prompt(workflow: "Workflow", snapshot: "StateSnapshot") -> str:
    """The prompt of the next node that has one, by the shortest path."""
    flow, ahead = workflow.flow, [history.node_of(task) for task in snapshot.next]
    for name in ahead:
        prompt = getattr(workflow.settings[name], "prompt", None)
        if isinstance(prompt, str):
            return prompt
        ahead += [edge.to for edge in flow.nodes[name].ways if edge.to not in ahead]
    raise RunError("SG615", "no node from here on has a prompt", hint="Fork earlier: at=NODE")


def _text(given: str | Path) -> str:
    if isinstance(given, str):
        return given
    try:
        return given.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([Problem("SG101", f"cannot read {given}: {error}")]) from error
