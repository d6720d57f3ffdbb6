"""What nodes may touch of the outside world: protocols and the plain data that crosses them.

A node gets one `Services` and nothing else, so a replay, a shadow run or a test can swap any of them. The rooms
implement the protocols (`models`, `retrieval`, `policies`, `routing`, `observe`); this module imports none of them.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

from sluicegate.state import Branch, CheckResult, DocumentRef, LabelScore, Principal, Risk, State, Task

__all__ = [
    "AnswerConfidence",
    "AnswerFeatures",
    "Audit",
    "Cache",
    "Cached",
    "Classification",
    "Completion",
    "Confidence",
    "Decision",
    "Embeddings",
    "GuardReport",
    "Guards",
    "Hidden",
    "IntentFacts",
    "Ledger",
    "Message",
    "Models",
    "Neighbour",
    "Observation",
    "PolicyEngine",
    "Prompt",
    "Prompts",
    "Question",
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

Observation = Literal[
    "agent", "chain", "span", "event", "generation", "retriever", "tool", "guardrail", "evaluator", "embedding"
]
"""Langfuse's observation types."""


@dataclass(frozen=True, slots=True)
class Message:
    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    token: str
    logprob: float
    """Natural logarithm."""
    alternatives: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer of a model."""

    text: str
    model: str
    """What really answered, as ``provider:model``."""
    asked: str
    """What the workflow asked for first."""
    prompt_tokens: int
    completion_tokens: int
    finish: Literal["stop", "length"]
    ms: float
    usd: float
    """Price of this call by the workflow's prices, models that failed on the way included; 0 for local models."""
    fallback: str = ""
    """Why `model` differs from `asked`; empty when it does not."""
    logprobs: tuple[TokenLogprob, ...] = ()
    parsed: Any = None
    """The value that a `schema` call asked for, validated against the schema."""

    @property
    def mean_probability(self) -> float:
        """Geometric mean of the tokens' probabilities; 0 when the model gave none."""
        if not self.logprobs:
            return 0.0
        return math.exp(sum(token.logprob for token in self.logprobs) / len(self.logprobs))


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Vectors of one model, and which one it was."""

    vectors: Sequence[Sequence[float]]
    """Unit length, one per text."""
    model: str
    """What really answered, as ``provider:model``."""
    fingerprint: str
    """Compare with `models.embeddings.fingerprint.same_embedder`."""
    usd: float = 0.0
    """Price by the workflow's price of the model that answered, for the texts' upper estimate of tokens: embedders do
    not say how many they counted. 0 for local models."""
    fallback: str = ""
    """Why `model` is not the one asked for first; empty when it is."""


@dataclass(frozen=True, slots=True)
class AnswerFeatures:
    """What there is to judge one answer by."""

    completion: Completion
    text: str
    """The answer as it goes out."""
    question: str
    sources: Sequence[str]
    """The texts that it was made from."""
    retrieval: Sequence[float] = ()
    """The sources' similarities with the question, where they were retrieved."""
    similarity: float | None = None
    """Score of the best quoted sentence (`nodes.writing.ranking`), at most 1; None for an answer in the model's own
    words."""
    margin: float = 0.0
    """By how much the best sentence is above any sentence of another document."""
    vector: Sequence[float] = ()
    """The question's embedding, where the confidence reads it (`Confidence.like`)."""


@dataclass(frozen=True, slots=True)
class AnswerConfidence:
    """What is thought of one answer; both are probabilities, calibrated once fitted."""

    confidence: float
    """That the answer is right."""
    answerability: float
    """That the sources say what was asked, whether or not this answer found it; `confidence` where none is fitted."""
    features: Mapping[str, float]
    """What they were read from, by name."""


class Confidence(Protocol):
    """How sure an answer is, and from which confidence on it may go out."""

    @property
    def threshold(self) -> float:
        """Fitted to a stated error bound; above every confidence where none was."""
        ...

    @property
    def like(self) -> str:
        """Fingerprint of the embedder whose vector of the question it needs; empty when it needs none."""
        ...

    def __call__(self, evidence: AnswerFeatures) -> AnswerConfidence: ...


class Models(Protocol):
    """The workflow's models by their role, such as ``slm``, ``llm`` and ``embedder``."""

    async def chat(
        self,
        role: str,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        temperature: float = 0.0,
        schema: Mapping[str, Any] | None = None,
        stop: Sequence[str] = (),
        logprobs: int = 0,
        seed: int = 0,
        on_token: Callable[[str], None] | None = None,
    ) -> Completion:
        """Ask a role's model, or the next of its fallback chain.

        `schema` is a JSON Schema that the answer must fit; `logprobs` the number of alternatives per token (0: none).
        Raises `ModelError` SG309 when every model of the chain failed, naming each and why.
        """
        ...

    async def embed(
        self, role: str, texts: Sequence[str], *, like: str | None = None, remember: bool = False
    ) -> Embeddings:
        """Embed texts, all with one model.

        `like` is a fingerprint: models that would give other vectors are passed over (SG312). `remember` keeps the
        vectors in the user's cache and takes known ones from there: for examples and documents, never for what users
        ask. Raises `ModelError`.
        """
        ...

    def price(self, role: str, prompt_tokens: int, completion_tokens: int) -> float:
        """US dollars for a call of the role's first model."""
        ...

    def bound(self, role: str, prompt_tokens: int, completion_tokens: int) -> float:
        """US dollars that a call may cost at most, whichever models of the chain answer or fail on the way."""
        ...

    def tokens(self, text: str) -> int:
        """An upper estimate of a text's tokens, for reservations."""
        ...

    def describe(self, role: str) -> str:
        """The model asked for first, as ``provider:model``."""
        ...

    def chain(self, role: str) -> tuple[str, ...]:
        """Every model that may answer for a role, in the order they are tried, each as ``provider:model``."""
        ...


@dataclass(frozen=True, slots=True)
class Classification:
    label: str
    confidence: float
    """Calibrated probability that `label` is right."""
    alternatives: tuple[LabelScore, ...]
    """Every label with its probability, likeliest first."""
    threshold: float
    """From this confidence on, `label` may be trusted at the artifact's stated error bound."""
    out_of_scope: bool
    by: str
    artifact: str
    """Hash of the router artifact."""


class Router(Protocol):
    async def classify(self, text: str) -> Classification: ...


@dataclass(frozen=True, slots=True)
class Decision:
    """A policy decision; anything but a clean allow is a deny."""

    allowed: bool
    rules: tuple[str, ...]
    """`@id`s of the deciding policies; empty for the default deny."""
    reason: str
    """For people: the `@reason` annotations of the deciding policies."""
    errors: tuple[str, ...] = ()


class PolicyEngine(Protocol):
    def decide(
        self, principal: Principal, action: str, resource: Mapping[str, Any], context: Mapping[str, Any]
    ) -> Decision:
        """Decide one request. `resource` is ``{"type": "Workflow", "id": "helpdesk", **attributes}``.

        Never raises for a bad input: that is a deny with `errors`.
        """
        ...


class Retriever(Protocol):
    async def search(self, index: str, query: str, principal: Principal, *, k: int) -> list[DocumentRef]:
        """The best `k` passages that are approved, valid today and readable by `principal`, best first.

        Raises `RetrievalError` SG401 (no such index), SG402 (corrupt).
        """
        ...

    def text(self, document: DocumentRef) -> str:
        """The passage's words. Raises `RetrievalError` SG402 when they are gone."""
        ...

    def version(self, index: str) -> str:
        """Changes whenever the index's content changes."""
        ...

    def visible(self, index: str, principal: Principal) -> str:
        """A key that two principals share exactly when they may read the same documents."""
        ...

    def readable(self, documents: Sequence[DocumentRef], principal: Principal) -> list[DocumentRef]:
        """Those of the passages, retrieved whenever and by whom, whose document `principal` may read now.

        Approval and validity are not asked again. A document that no index has any more is nobody's to read. Raises
        `RetrievalError` SG402.
        """
        ...


@dataclass(frozen=True, slots=True)
class GuardReport:
    results: tuple[CheckResult, ...]
    text: str
    """The text with redactions applied."""
    redacted: bool = False


@dataclass(frozen=True, slots=True)
class Hidden:
    """What one placeholder of a run stands for."""

    value: str = field(repr=False)
    kind: str
    """What was found, such as ``email``."""
    stage: Literal["request", "retrieved", "output"]
    """Where it was found first."""
    credential: bool = False
    """A password or a key: never written down, and restored for nobody."""


class Vault(Protocol):
    """What placeholders stand for. It is with the texts that can be erased, and never in a state or a trace."""

    def hidden(self, run: str) -> Mapping[str, Hidden]:
        """The placeholders that a run has issued and that were not erased."""
        ...

    def hide(self, run: str, person: str, hidden: Mapping[str, Hidden]) -> None:
        """Keep them among the data of `person`, who asked. Raises `RunError` when that cannot be."""
        ...


class Guards(Protocol):
    async def check(
        self,
        names: Sequence[str],
        text: str,
        *,
        stage: Literal["request", "retrieved", "output"],
        question: str = "",
        sources: Sequence[str] = (),
        citations: int = 0,
        run: str = "",
        person: str = "",
    ) -> GuardReport:
        """Run the named guards over `text`; one that crashes or times out counts as failed.

        `sources` are the retrieved passages' texts in citation order, for the grounding and citation guards. Within
        one `run`, asked by `person`, a value that is redacted has the same placeholder everywhere.
        """
        ...


@dataclass(frozen=True, slots=True)
class Reservation:
    id: str
    usd: float


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a reservation was not made; `limit` names the cap or the switch, for people."""

    code: Literal["SG501", "SG502"]
    limit: str


class Ledger(Protocol):
    def reserve(
        self, *, run: str, principal: str, intent: str, workflow: str, model: str, usd: float, tokens: int
    ) -> Reservation | Refusal:
        """Set aside the upper bound of a call, atomically across processes."""
        ...

    def switched(self, *, model: str, intent: str, workflow: str) -> Refusal | None:
        """SG502 when the kill switch forbids a call whatever it costs; a few microseconds, nothing is written."""
        ...

    def settle(self, reservation: Reservation, *, usd: float, tokens: int) -> None:
        """Replace the reserved amount by what the call really cost. Repeating it changes nothing."""
        ...

    def release(self, reservation: Reservation) -> None:
        """Give a reservation back unspent. Repeating it changes nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Cached:
    value: dict[str, Any]
    age_s: float


@dataclass(frozen=True, slots=True)
class Question:
    """A question whose answer may be found by another that asks the same."""

    space: str
    """A hash of all that an answer rests on but the words of the question: answers are shared within one only."""
    text: str
    vector: Sequence[float]
    """Its embedding, of unit length."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A question whose answer is kept."""

    key: str
    text: str
    similarity: float
    """Cosine similarity with the question asked."""


class Cache(Protocol):
    def get(self, key: str, *, again: bool = False) -> Cached | None:
        """The answer under `key`; `again` when this is the second try of one look-up, which counts as one."""
        ...

    def put(
        self,
        key: str,
        value: dict[str, Any],
        *,
        ttl_s: float,
        saved_usd: float,
        question: Question | None = None,
    ) -> None:
        """Keep an answer; with `question` it can also be found by `near`."""
        ...

    def near(self, question: Question, *, similarity: float) -> Sequence[Neighbour]:
        """The kept questions of the same space that are at least so similar, most similar first."""
        ...


@dataclass(frozen=True, slots=True)
class ToolResult:
    status: Literal["done", "failed", "invalid"]
    value: Any = None
    error: str = ""
    ms: float = 0.0
    repeated: bool = False
    """True when the idempotency key was known and the first call's result came back."""


class Tools(Protocol):
    def schema(self, name: str) -> dict[str, Any]:
        """JSON Schema of the tool's arguments."""
        ...

    async def call(self, name: str, arguments: Mapping[str, Any], *, key: str, run: str) -> ToolResult:
        """Call a tool once per `key`, however often it is asked."""
        ...


@dataclass(frozen=True, slots=True)
class Prompt:
    id: str
    version: str
    hash: str
    messages: tuple[Message, ...]


class Prompts(Protocol):
    def render(self, id: str, **values: str) -> Prompt:
        """Fill a prompt file's placeholders. Values are inserted as text, never interpreted."""
        ...


class Audit(Protocol):
    """What an auditor asks for, written before a step's result is kept."""

    def step(
        self,
        state: State,
        update: Mapping[str, Any],
        *,
        node: str,
        kind: str,
        visit: int,
        ms: float,
        branch: Branch | None = None,
    ) -> None:
        """One step is done. Raises `RunError` when the event of a risky request cannot be written."""
        ...

    def failed(self, state: State, error: Exception, *, node: str) -> None:
        """A step failed."""
        ...

    def revealed(self, state: State, *, reader: str, placeholders: Sequence[str], rules: Sequence[str]) -> None:
        """`reader` is about to see what these placeholders stand for.

        Raises `RunError` when that cannot be recorded.
        """
        ...


class Span(Protocol):
    def set(self, **attributes: Any) -> None:
        """Add attributes; values are JSON data."""
        ...

    def fail(self, message: str) -> None: ...


class Tracer(Protocol):
    def node(
        self, name: str, kind: str, type: Observation, *, visit: int = 1, **attributes: Any
    ) -> AbstractContextManager[Span]:
        """Open the observation of one visit of a node."""
        ...

    def branch(
        self, node: str, branch: Branch, *, confidence: float | None = None, threshold: float | None = None
    ) -> None:
        """Record which way a node's branches went, and why."""
        ...

    def span(self, name: str, type: Observation, **attributes: Any) -> AbstractContextManager[Span]:
        """Open an observation under the current one; it ends with the block and never raises by itself."""
        ...

    def score(self, name: str, value: float | bool | str, *, comment: str = "") -> None:
        """Score the current trace."""
        ...


@dataclass(frozen=True, slots=True)
class IntentFacts:
    """What a workflow says about one intent."""

    task: Task
    risk: Risk
    max_tokens: int
    tool: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Arguments of the tool that follow from the intent alone."""


@dataclass(frozen=True, slots=True)
class WorkflowFacts:
    """What nodes may know of the workflow they are in."""

    name: str
    version: str
    digest: str
    intents: Mapping[str, IntentFacts]
    indexes: tuple[str, ...] = ()
    cache_ttl_s: float = 0.0
    """How long an answer may be served again; 0: never."""
    semantic: "Semantic | None" = None
    """For which requests an answer may be served to a question in other words; None: for none."""


@dataclass(frozen=True, slots=True)
class Semantic:
    """Where a workflow lets its cache answer a question that is asked in other words."""

    intents: frozenset[str]
    similarity: float
    """The least cosine similarity of two questions that are compared at all."""
    embedder: str
    """The role of the embedding model."""


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
    """The audit log's writer; None for runs that have no effects, such as shadows and replays."""
    extras: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Services of installed plug-ins, by their registered name."""
