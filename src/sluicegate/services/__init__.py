"""Access of nodes to the outside world: protocols, and the plain data that they exchange.

A node gets one `Services` and nothing else, so a replay, a shadow run or a test can swap any of them. The rooms
implement the protocols (`models`, `retrieval`, `policies`, `routing`, `observe`); this one imports none of them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from sluicegate.services.audit import Audit
from sluicegate.services.cache import Cache, Cached, Neighbour, Question
from sluicegate.services.guards import GuardReport, Guards, Hidden, Vault
from sluicegate.services.ledger import Allowed, Amount, Draw, FanOut, Ledger, Part, Refusal, Reservation
from sluicegate.services.models import (
    Completion,
    Embedder,
    EmbeddingRequest,
    Embeddings,
    LabelScale,
    Message,
    ModelRequest,
    Models,
    ModelStep,
    ProbeTask,
    TokenLogprob,
)
from sluicegate.services.policy import Decision, OperatorTask, PolicyEngine, ReadFilter
from sluicegate.services.prompts import Prompt, Prompts
from sluicegate.services.retrieval import Retriever
from sluicegate.services.routing import (
    AnswerConfidence,
    AnswerFeatures,
    Classification,
    Confidence,
    Escalation,
    Router,
)
from sluicegate.services.tools import ToolResult, Tools
from sluicegate.services.tracing import Observation, Span, Tracer
from sluicegate.services.workflow import CallAhead, IntentFacts, Semantic, ToolFacts, WorkflowFacts
from sluicegate.state import State

__all__ = [
    "Allowed",
    "Amount",
    "AnswerConfidence",
    "AnswerFeatures",
    "Audit",
    "Cache",
    "Cached",
    "CallAhead",
    "ChildRun",
    "ChildWorkflow",
    "Classification",
    "Completion",
    "Confidence",
    "Decision",
    "Draw",
    "Embedder",
    "EmbeddingRequest",
    "Embeddings",
    "Escalation",
    "FanOut",
    "GuardReport",
    "Guards",
    "Hidden",
    "IntentFacts",
    "LabelScale",
    "Ledger",
    "Message",
    "ModelRequest",
    "ModelStep",
    "Models",
    "Neighbour",
    "Observation",
    "OperatorTask",
    "Part",
    "PolicyEngine",
    "ProbeTask",
    "Prompt",
    "Prompts",
    "Question",
    "ReadFilter",
    "Refusal",
    "Reservation",
    "Retriever",
    "Router",
    "Semantic",
    "Services",
    "Span",
    "TokenLogprob",
    "ToolFacts",
    "ToolResult",
    "Tools",
    "Tracer",
    "Vault",
    "WorkflowFacts",
]


@dataclass(frozen=True, slots=True)
class Services:
    workflow: WorkflowFacts
    models: Models
    router: Router
    policy: PolicyEngine
    retriever: Retriever
    guards: Guards
    ledger: Ledger
    cache: Cache
    tools: Tools
    prompts: Prompts
    tracer: Tracer
    confidence: Confidence
    now: Callable[[], datetime]
    """The clock, in UTC."""
    audit: Audit | None = None
    """The audit log's writer; None for runs without effects, such as shadow runs and replays."""
    children: "Mapping[str, ChildWorkflow]" = field(default_factory=dict[str, "ChildWorkflow"])
    """The workflows that are nodes of this one, by the node's name."""


class ChildRun(Protocol):
    """One run of a child, for one visit of its parent's node."""

    @property
    def state(self) -> State:
        """Its last state."""
        ...

    async def run(self) -> dict[str, Any] | None:
        """Run on, to its end or a person; what it asks when it waits. Raises what its nodes raise."""
        ...

    async def decide(self, verdict: Any) -> None:
        """Answer what it asks and go on, as `run` does."""
        ...


class ChildWorkflow(Protocol):
    def bound(self, question: str) -> tuple[int, int, int, int]:
        """Micro-dollars and tokens that a run with this question can come to, then those of small models alone."""
        ...

    async def start(self, state: State, services: Services) -> ChildRun:
        """The run for this visit of the node: a new one, or the one that was begun before a crash or a wait.

        `state` and `services` are those of the parent's node. Raises `RunError` SG601, SG602 (the question).
        """
        ...
