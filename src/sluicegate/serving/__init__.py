"""Serving: a workflow as a service, in the process or over HTTP, and as a graph for LangGraph's tools.

async with Service("configs/helpdesk/workflow.yaml") as service:
    outcome = await service.ask("Is colour printing allowed?", principal("ann", ["employee"]))
    print(outcome.status, outcome.text)
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sluicegate.graphs.runtime.intake import principal
    from sluicegate.graphs.runtime.run import Outcome
    from sluicegate.serving.limits import Limits
    from sluicegate.serving.service import Service

__all__ = ["Limits", "Outcome", "Service", "principal"]

_HOME = {"Limits": "limits", "Service": "service"}


def __getattr__(name: str) -> Any:
    """Loads a name when it is asked for: the graph's libraries are heavy, and LangGraph's server needs other parts."""
    import importlib

    if name not in __all__:
        raise AttributeError(name)
    graphs = {"Outcome": "sluicegate.graphs.runtime.run", "principal": "sluicegate.graphs.runtime.intake"}
    return getattr(importlib.import_module(graphs.get(name) or f"{__name__}.{_HOME[name]}"), name)
