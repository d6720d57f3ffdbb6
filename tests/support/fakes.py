"""Stand-ins for the services: each does the least that its protocol promises, and remembers what it was asked."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sluicegate.learning.threshold import NEVER
from sluicegate.nodes.prompts import parse
from sluicegate.services import (
    AnswerConfidence,
    AnswerFeatures,
    Cached,
    Classification,
    Completion,
    Decision,
    EmbeddingRequest,
    Embeddings,
    FanOut,
    GuardReport,
    IntentFacts,
    LabelScale,
    Message,
    ModelRequest,
    Neighbour,
    Part,
    ProbeTask,
    Prompt,
    Question,
    Refusal,
    Reservation,
    Services,
    ToolResult,
    WorkflowFacts,
)
from sluicegate.state import CheckResult, DocumentRef

INTENTS = {
    "question": IntentFacts("short-answer", "low", 60),
    "report": IntentFacts("synthesis", "low", 300),
    "access": IntentFacts("tool", "high", 80, tool="create_ticket"),
}


@dataclass
class FakeModels:
    answers: dict[str, str] = field(default_factory=lambda: {"slm": "Small answer [1].", "llm": "Large answer [1]."})
    parsed: Any = None
    usd: float = 0.0
    asked: list[tuple[str, tuple[Message, ...]]] = field(default_factory=list)
    fails: Exception | None = None
    embedded: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    embed_usd: float = 0.0

    async def chat(self, request: ModelRequest) -> Completion:
        role = request.role
        self.asked.append((role, tuple(request.messages)))
        if self.fails:
            raise self.fails
        parsed = self.parsed if request.schema else None
        if request.on_token:
            for piece in re.findall(r"\s*\S{1,4}", self.answers[role]):
                request.on_token(piece)
                await asyncio.sleep(0)
        return Completion(
            self.answers[role], f"fake:{role}", f"fake:{role}", 10, 5, "stop", 1.0, self.usd, parsed=parsed
        )

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        self.embedded.append((request.role, tuple(request.texts)))
        return Embeddings([[1.0, 0.0] for _ in request.texts], f"fake:{request.role}", "fake", self.embed_usd)

    async def label_scale(self, role: str) -> LabelScale | None:
        return None

    async def admitted(self, role: str, task: ProbeTask) -> bool:
        return True

    def price(self, role: str, prompt_tokens: int, completion_tokens: int) -> float:
        return 0.001 if role == "llm" else 0.0

    def bound(self, role: str, prompt_tokens: int, completion_tokens: int) -> float:
        return self.embed_usd if role == "embedder" else self.price(role, prompt_tokens, completion_tokens)

    def tokens(self, text: str) -> int:
        return len(text) // 3

    def describe(self, role: str) -> str:
        return f"fake:{role}"

    def chain(self, role: str) -> tuple[str, ...]:
        return (self.describe(role),)


@dataclass
class FakeRouter:
    label: str = "question"
    confidence: float = 0.9
    threshold: float = 0.7

    async def classify(self, text: str) -> Classification:
        other = {"label": "report", "confidence": 1 - self.confidence}
        own = {"label": self.label, "confidence": self.confidence}
        return Classification(self.label, self.confidence, (own, other), self.threshold, False, "head", "artifact-hash")


@dataclass
class FakePolicy:
    denied: set[str] = field(default_factory=set)
    """Actions that are denied."""
    asked: list[tuple[str, str, Mapping[str, Any], Mapping[str, Any]]] = field(default_factory=list)

    def decide(self, principal: Any, action: str, resource: Any, context: Any) -> Decision:
        self.asked.append((principal["id"], action, resource, context))
        if action in self.denied:
            return Decision(False, ("no",), "the test says no")
        return Decision(True, ("yes",), "")


@dataclass
class FakeRetriever:
    texts: dict[str, str] = field(default_factory=lambda: {"h1": "Reset it in the portal."})
    count: int = 1
    forbidden: frozenset[str] = frozenset()
    """Documents that `readable` lets nobody read."""

    async def search(self, index: str, query: str, principal: Any, *, k: int) -> list[DocumentRef]:
        document: DocumentRef = {
            "id": "kb-1", "version": "2", "title": "Passwords", "source": "kb/1.md", "score": 0.8,
            "span": [0, 23], "hash": "h1", "classification": "internal",
        }  # fmt: skip
        return [document][: self.count]

    def close(self) -> None: ...

    def text(self, document: DocumentRef) -> str:
        return self.texts[document["hash"]]

    def folder_of(self, index: str) -> Path:
        return Path("no-such-folder") / index

    def stored(self) -> dict[str, Any]:
        return {}

    def version(self, index: str) -> str:
        return "v1"

    def visible(self, index: str, principal: Any) -> str:
        return ",".join(sorted(principal["roles"]))

    def readable(self, documents: Sequence[DocumentRef], principal: Any) -> list[DocumentRef]:
        return [document for document in documents if document["id"] not in self.forbidden]


@dataclass
class FakeGuards:
    failing: dict[str, str] = field(default_factory=dict)
    """Guard name to the action it asks for; each name in `once` fails one time only."""
    once: set[str] = field(default_factory=set)
    asked: list[tuple[tuple[str, ...], str, str]] = field(default_factory=list)

    async def check(self, names: Sequence[str], text: str, *, stage: str, **_: Any) -> GuardReport:
        self.asked.append((tuple(names), text, stage))
        results: list[CheckResult] = []
        for name in names:
            action = self.failing.get(name)
            passed = action is None
            results.append(
                {"guard": name, "passed": passed, "action": action or "pass", "reason": f"{name} says no", "ms": 0.1}  # type: ignore[typeddict-item]
            )
            if name in self.once:
                self.failing.pop(name, None)
        redacts = any(not r["passed"] and r["action"] == "redact" for r in results)
        return GuardReport(tuple(results), text.replace("secret", "<SECRET_1>") if redacts else text, redacts)


@dataclass
class FakeLedger:
    refuses: Refusal | None = None
    log: list[str] = field(default_factory=list)
    usd: float = 0.001

    def within(self, outer: Any, **_: Any) -> Any:
        del outer
        return self

    async def reserve(self, **_: Any) -> Reservation | Refusal:
        if self.refuses:
            return self.refuses
        self.log.append("reserve")
        return Reservation("r1", self.usd)

    def capped(self) -> bool:
        return False

    async def reserve_parts(self, *, id: str, parts: Sequence[Part], **_: Any) -> FanOut:
        self.log.append(f"reserve {id}: {', '.join(part.name for part in parts)}")
        return FanOut()

    async def release_parts(self, id: str) -> None:
        self.log.append(f"release {id}")

    async def charge(self, *, id: str, **_: Any) -> Reservation | Refusal:
        if self.refuses:
            return self.refuses
        self.log.append("charge")
        return Reservation(id, self.usd)

    async def refund(self, reservation: Reservation) -> None:
        self.log.append("refund")

    def switched(self, **_: Any) -> Refusal | None:
        return self.refuses if self.refuses and self.refuses.code == "SG502" else None

    async def settle(self, reservation: Reservation, *, usd: float, tokens: int) -> None:
        self.log.append("settle")

    async def release(self, reservation: Reservation) -> None:
        self.log.append("release")


@dataclass
class FakeCache:
    kept: dict[str, dict[str, Any]] = field(default_factory=dict)

    async def get(self, key: str, *, again: bool = False) -> Cached | None:
        return Cached(self.kept[key], 1.0) if key in self.kept else None

    async def put(self, key: str, value: dict[str, Any], **_: Any) -> None:
        self.kept[key] = value

    async def near(self, question: Question, *, similarity: float) -> list[Neighbour]:
        return []


@dataclass
class FakeTools:
    calls: list[tuple[str, dict[str, Any], str]] = field(default_factory=list)
    result: ToolResult = field(default_factory=lambda: ToolResult("done", {"id": "T-1"}))

    def schema(self, name: str) -> dict[str, Any]:
        return {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}

    async def call(self, name: str, arguments: Mapping[str, Any], *, key: str, run: str) -> ToolResult:
        self.calls.append((name, dict(arguments), key))
        return self.result


class FakePrompts:
    def render(self, id: str, **values: str) -> Prompt:
        file = parse(f"---\nid: {id}\nversion: 1\n---\n{{{{question}}}} {{{{sources}}}} {{{{feedback}}}}", id)
        text = " ".join(values.values())
        return Prompt(id, "1", file.hash, (Message("user", text),))


class FakeSpan:
    def __init__(self) -> None:
        self.attributes: dict[str, Any] = {}

    def set(self, **attributes: Any) -> None:
        self.attributes |= attributes

    def fail(self, message: str) -> None: ...

    def warn(self, message: str) -> None: ...


class FakeTracer:
    """Remembers the names of what it was shown."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.spans: list[FakeSpan] = []

    @contextmanager
    def span(self, name: str, type: str, **attributes: Any) -> Any:
        self.seen.append(name)
        self.spans.append(FakeSpan())
        yield self.spans[-1]

    @contextmanager
    def node(self, name: str, kind: str, type: str, *, visit: int = 1, **attributes: Any) -> Any:
        self.seen.append(name)
        yield FakeSpan()

    @contextmanager
    def beneath(self, node: str, visit: int) -> Any:
        yield

    @contextmanager
    def run(self, run_id: str, **attributes: Any) -> Any:
        self.seen.append(f"run {run_id}" + (" again" if attributes.get("resume") else ""))
        yield FakeSpan()

    def branch(self, node: str, branch: Any, **_: Any) -> None:
        self.seen.append(f"{node}→{branch['to']}")

    def score(self, name: str, value: Any, *, comment: str = "") -> None: ...

    def finish(self, status: str, state: Any, **_: Any) -> None:
        self.seen.append(status)


@dataclass
class Clock:
    at: datetime = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at


class FakeConfidence:
    """Always as sure; `threshold` is that of no artifact unless given."""

    def __init__(self, *sure: float, threshold: float = NEVER, answerability: float | None = None) -> None:
        self.sure, self.threshold, self.seen = list(sure) or [0.8], threshold, list[AnswerFeatures]()
        self.like, self.answerability = "", answerability

    def __call__(self, evidence: AnswerFeatures) -> AnswerConfidence:
        self.seen.append(evidence)
        sure = self.sure.pop(0) if len(self.sure) > 1 else self.sure[0]
        return AnswerConfidence(sure, sure if self.answerability is None else self.answerability, {}, self.threshold)


def services(**replaced: Any) -> Services:
    """Services that say yes to everything, with some of them replaced."""
    every = Services(
        workflow=WorkflowFacts("test", "1", "digest-1", INTENTS, ("kb",), 3600.0),
        models=FakeModels(),
        router=FakeRouter(),
        policy=FakePolicy(),
        retriever=FakeRetriever(),
        guards=FakeGuards(),
        ledger=FakeLedger(),
        cache=FakeCache(),
        tools=FakeTools(),
        prompts=FakePrompts(),
        tracer=FakeTracer(),
        confidence=FakeConfidence(),
        now=Clock(),
    )
    return replace(every, **replaced)
