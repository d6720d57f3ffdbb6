"""Governed workflows of small and large language models.

This is the whole public interface: what is not in `__all__`, here or in one of the three modules that it names, may
move. Importing it loads nothing; a name loads its module when it is first used.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sluicegate import evals, routing, tasks
    from sluicegate.errors import (
        BudgetError,
        ConfigError,
        ModelError,
        PolicyError,
        RetrievalError,
        RunError,
        SluicegateError,
        StoppedError,
    )
    from sluicegate.graphs.config.load import load
    from sluicegate.graphs.picture.picture import svg
    from sluicegate.graphs.runtime.factory import open_workflow
    from sluicegate.graphs.runtime.intake import principal
    from sluicegate.graphs.runtime.outcome import Outcome
    from sluicegate.graphs.runtime.versions import keep, kept
    from sluicegate.graphs.session.session import Session
    from sluicegate.nodes.kind import Node, NodeKind
    from sluicegate.nodes.tools.tool import ToolContext, tool
    from sluicegate.nodes.writing.generation import said
    from sluicegate.observe.tracing.store import Store
    from sluicegate.policies.guards.checking import PASS, Check, Finding, GuardKind, Helpers, Subject, Verdict
    from sluicegate.policies.guards.settings import GuardSettings
    from sluicegate.services import EmbeddingRequest, Message, ModelRequest, Services
    from sluicegate.serving.limits import Limits
    from sluicegate.serving.service import Service
    from sluicegate.state import State

    __version__: str
else:
    from sluicegate.lazy_modules import lazy_face

    __getattr__, __dir__ = lazy_face(
        __name__,
        {
            "": ("evals", "routing", "tasks"),
            "errors": (
                "BudgetError", "ConfigError", "ModelError", "PolicyError", "RetrievalError", "RunError",
                "SluicegateError", "StoppedError",
            ),
            "graphs.config.load": ("load",),
            "graphs.picture.picture": ("svg",),
            "graphs.runtime.factory": ("open_workflow",),
            "graphs.runtime.intake": ("principal",),
            "graphs.runtime.outcome": ("Outcome",),
            "graphs.runtime.versions": ("keep", "kept"),
            "graphs.session.session": ("Session",),
            "nodes.kind": ("Node", "NodeKind"),
            "nodes.tools.tool": ("ToolContext", "tool"),
            "nodes.writing.generation": ("said",),
            "observe.tracing.store": ("Store",),
            "policies.guards.checking": (
                "PASS", "Check", "Finding", "GuardKind", "Helpers", "Subject", "Verdict",
            ),
            "policies.guards.settings": ("GuardSettings",),
            "services": ("EmbeddingRequest", "Message", "ModelRequest", "Services"),
            "serving.limits": ("Limits",),
            "serving.service": ("Service",),
            "state": ("State",),
        },
    )  # fmt: skip

__all__ = [  # noqa: RUF022 - by what one does with them
    # load, draw and run a workflow
    "load", "svg", "open_workflow", "principal", "Outcome",
    # serve it, or step through a run
    "Service", "Limits", "Session",
    # what was recorded, and versions that outlast their files
    "Store", "keep", "kept",
    # write a plug-in: a node kind, a tool, a guard
    "NodeKind", "Node", "Services", "State", "ModelRequest", "EmbeddingRequest", "Message", "said",
    "tool", "ToolContext",
    "GuardKind", "GuardSettings", "Check", "Helpers", "Subject", "Verdict", "Finding", "PASS",
    # errors, all of them `SluicegateError`
    "SluicegateError", "ConfigError", "PolicyError", "ModelError", "RetrievalError", "BudgetError", "StoppedError",
    "RunError",
    # modules: the small tasks, fitting routers, evaluation and promotion
    "tasks", "routing", "evals",
    "__version__",
]  # fmt: skip
