"""The workflows for LangGraph's own tools: ``langgraph dev`` and Studio open them from `langgraph.json`.

    pip install "langgraph-cli[inmem]"
    langgraph dev --allow-blocking

Each workflow under ``configs/`` (of the working directory, or of `SLUICEGATE_CONFIGS`) is a variable of this module: a
factory of its graph. The input is a text and the requester; an `intake` node makes the request of it. The server
brings its own checkpoints, so these runs are not in the home's; tools with effects are simulated. A thread takes one
request: the state of one must never decide on another.

A run that waits for a person is resumed with what `sluicegate.nodes.kinds.human_interrupt.Verdict` says.
"""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

# pydantic makes no JSON Schema of typing's own below Python 3.12, and Studio draws its form from one
from typing_extensions import TypedDict

if TYPE_CHECKING:
    from langgraph.graph.state import CompiledStateGraph

__all__ = ["RequestForm", "make"]


class RequestForm(TypedDict, total=False):
    """The fields of Studio's form."""

    text: str
    """The request."""
    user: str
    """The requester; ``me`` by default."""
    roles: list[str]
    """Their roles; ``employee`` by default."""


def make(config: Path | str) -> "Callable[[], CompiledStateGraph[Any, Any, Any, Any]]":
    """A factory of one workflow's graph, which opens it when it is first asked for."""

    @functools.cache
    def graph() -> "CompiledStateGraph[Any, Any, Any, Any]":
        from sluicegate.errors import RunError
        from sluicegate.graphs.runtime.build import Intake, build
        from sluicegate.graphs.runtime.factory import open_workflow
        from sluicegate.graphs.runtime.intake import principal

        opened = open_workflow(config, dry=True, shadow=True)

        def begin(asked: dict[str, Any]) -> dict[str, Any]:
            if "run" in asked:
                raise RunError("SG615", "this thread already handled a request", hint="Start another thread")
            asker = principal(asked.get("user") or "me", asked.get("roles") or ["employee"])
            return dict(opened.runner.opening(asked.get("text", ""), asker, channel="langgraph"))

        workflow = opened.workflow
        return build(
            workflow.flow,
            workflow.conditions,
            workflow.settings,
            name=workflow.name,
            services=opened.runner.services,
            intake=Intake(_free_name(workflow.flow.nodes), RequestForm, _Seen, begin),
        )

    def fresh() -> "CompiledStateGraph[Any, Any, Any, Any]":
        return graph()

    return fresh


class _Seen(RequestForm, total=False):
    run: dict[str, Any]


def _free_name(taken: Any) -> str:
    name = "intake"
    while name in taken:
        name += "_"
    return name


for _file in sorted(Path(os.environ.get("SLUICEGATE_CONFIGS", "configs")).glob("*/workflow.yaml")):
    globals()[_file.parent.name] = make(_file.resolve())
