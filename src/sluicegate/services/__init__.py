"""Access of nodes to the outside world: protocols, and the plain data that they exchange.

A node gets one `Services` and nothing else, so a replay, a shadow run or a test can swap any of them. The rooms
implement the protocols (`models`, `retrieval`, `policies`, `routing`, `observe`); this one imports none of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sluicegate.services.audit import Audit
from sluicegate.services.cache import Cache, Cached, Neighbour, Question
from sluicegate.services.guards import GuardReport, Guards, Hidden, Vault
from sluicegate.services.ledger import Ledger, Refusal, Reservation
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
from sluicegate.services.policy import Decision, PolicyEngine, ReadFilter
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
from sluicegate.services.workflow import CallAhead, IntentFacts, Semantic, WorkflowFacts

__all__ = [
    "AnswerConfidence",
    "AnswerFeatures",
    "Audit",
    "Cache",
    "Cached",
    "CallAhead",
    "Classification",
    "Completion",
    "Confidence",
    "Decision",
    "Embedder",
    "EmbeddingRequest",
    "Embeddings",
    "Escalation",
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
