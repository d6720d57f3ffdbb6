"""One governed run on stand-in services, with everything that a trace must show: what the field list is checked on."""

from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sluicegate.observe.tracing.exporter import Exporter
from sluicegate.observe.tracing.instrument import traced
from sluicegate.observe.tracing.masking import Masking
from sluicegate.observe.tracing.settings import TraceSettings
from sluicegate.observe.tracing.span_attributes import node_attributes
from sluicegate.observe.tracing.store import Store
from sluicegate.observe.tracing.tracer import RecordingTracer
from sluicegate.services import Cached, Completion, EmbeddingRequest, ModelRequest, Services, TokenLogprob
from sluicegate.state import Approval, Branch, Principal, State
from tests.support.fakes import FakeModels, FakeRouter, services

ANN: Principal = {"id": "ann", "roles": ["employee"], "groups": ["sales"], "clearance": "internal"}
KEY = b"k" * 32
TEXT = "How do I reset my password?"


class Models(FakeModels):
    async def chat(self, request: ModelRequest) -> Completion:
        logprobs = (TokenLogprob("Small", -0.1), TokenLogprob("answer", -0.3))
        why = "ollama:qwen3:1.7b is unreachable"
        return Completion(
            "Reset it in the portal [1].", "embedded:smollm2-135m", "ollama:qwen3:1.7b", 120, 9, "stop", 42.0, 0.0012,
            fallback=why, logprobs=logprobs,
        )  # fmt: skip

    def describe(self, role: str) -> str:
        return "ollama:all-minilm" if role == "embedder" else "ollama:qwen3:1.7b"


def open_tracer(
    path: Path, *exporters: Exporter, settings: TraceSettings | None = None
) -> tuple[Store, RecordingTracer]:
    store = Store(path / "store.sqlite")
    masking = Masking(settings or TraceSettings(environment="staging", release="r1"), key=KEY)
    return store, RecordingTracer(store, exporters, masking)


def branch(to: str, condition: str = "", values: dict[str, Any] | None = None, skipped: tuple[str, ...] = ()) -> Branch:
    return {
        "to": to,
        "condition": condition,
        "values": values or {},
        "skipped": list(skipped),
        "reason": f"{condition} held" if condition else "",
    }


def segment(
    tracer: RecordingTracer, run: str, text: str = TEXT, *, resume: bool = False
) -> AbstractContextManager[Any]:
    return tracer.run(
        run,
        workflow="helpdesk",
        version="3",
        digest="d1gest",
        session="s-1",
        user="ann",
        resume=resume,
        input=text,
        metadata={"channel": "api", "size": len(text)},
    )


async def first_stretch(tracer: RecordingTracer, run: str = "run-1", text: str = TEXT) -> None:
    """From the request to the wait for a person."""
    given = traced(services(models=Models(), router=FakeRouter(confidence=0.83, threshold=0.71)), tracer)
    with segment(tracer, run, text):
        state = await _nodes(tracer, given, text, run)
        tracer.finish("waiting", state)


async def last_stretch(tracer: RecordingTracer, run: str = "run-1", verdict: Any = "approve") -> None:
    """From the person's decision to the answer."""
    with segment(tracer, run, resume=True):
        approval: Approval = {
            "verdict": verdict,
            "by": "lea",
            "reason": "looks right",
            "asked_at": datetime(2026, 11, 23, 12, 0, tzinfo=UTC).isoformat(),
            "decided_at": datetime(2026, 11, 23, 13, 30, tzinfo=UTC).isoformat(),
            "draft": "Reset it in the portal [1].",
        }
        with tracer.node("approve", "human-interrupt", "span") as span:
            set_update(span, approval=approval)
        tracer.branch("approve", branch("respond", "approval.verdict == 'approve'", {"approval.verdict": verdict}))
        with tracer.node("respond", "respond", "span") as span:
            set_update(span, route={"path": "rag-slm"})
        tracer.finish("answered", state_of("rag-slm") | {"approval": approval}, all_llm_usd=0.02)


def set_update(span: Any, **update: Any) -> None:
    span.set(**node_attributes(update))


def state_of(path: str = "") -> State:
    state: State = {
        "request": {
            "id": "q-1", "text": "How do I reset my password?", "channel": "api", "received_at": "", "language": "en",
            "size": 27, "cleaned": [],
        },
        "principal": ANN,
        "run": {
            "id": "run-1", "workflow": "helpdesk", "version": "3", "digest": "d1gest", "started_at": "",
            "status": "running", "visits": {}, "shadow": False,
        },
        "intent": {
            "label": "password_reset",
            "confidence": 0.83,
            "alternatives": [],
            "risk": "high",
            "task": "short-answer",
            "out_of_scope": False,
            "by": "head",
        },
        "route": {"threshold": 0.71, "artifact": "artifact-hash"},
        "policy": {"verdict": "allow", "rules": ["employees-may-ask"], "reason": "", "errors": []},
        "answer": {
            "text": "Reset it in the portal [1].",
            "confidence": 0.82,
            "citations": [{"marker": "[1]", "document": "kb-1", "version": "2", "span": [0, 23]}],
            "model": "embedded:smollm2-135m",
            "by": "answer",
            "prompt": "answer@1",
            "prompt_hash": "h",
            "finish": "stop",
            "fallback": "",
        },
        "checks": {
            "failed": False,
            "action": "pass",
            "failures": [],
            "results": [
                {"guard": "pii", "passed": True, "action": "pass", "reason": "", "ms": 0.1},
                {"guard": "tone", "passed": False, "action": "regenerate", "reason": "too curt", "ms": 0.2},
            ],
        },
        "spend": {
            "usd": 0.0012,
            "prompt_tokens": 120,
            "completion_tokens": 9,
            "slm_calls": 1,
            "llm_calls": 0,
            "stopped": False,
            "stopped_by": "",
        },
    }  # fmt: skip
    if path:
        state["route"] = {**state["route"], "path": path}  # type: ignore[typeddict-item]
    return state


async def _nodes(tracer: RecordingTracer, given: Services, text: str, run: str) -> State:
    state = state_of()
    with tracer.node("classify", "classify", "chain") as span:
        await given.router.classify(text)
        await given.models.embed(EmbeddingRequest("embedder", [text]))
        set_update(span, intent=state.get("intent"), route=state.get("route"))
    tracer.branch("classify", branch("gate"), confidence=0.83, threshold=0.71)
    with tracer.node("gate", "policy-check", "guardrail") as span:
        given.policy.decide(ANN, "ask", {"type": "Workflow", "id": "helpdesk"}, {})
        set_update(span, policy=state.get("policy"))
    values = {"policy.verdict": "allow", "intent.confidence": 0.83}
    tracer.branch(
        "gate", branch("recall", "policy.verdict == 'allow'", values, ("refuse",)), confidence=0.83, threshold=0.71
    )
    with tracer.node("recall", "cache-lookup", "span") as span:
        found: Cached | None = await given.cache.get("cache-key")
        set_update(span, cache={"hit": found is not None, "key": "cache-key", "age_s": 0.0})
    tracer.branch("recall", branch("facts", "otherwise"))
    with tracer.node("facts", "retrieve", "retriever") as span:
        documents = await given.retriever.search("kb", text, ANN, k=3)
        set_update(span, documents=documents)
    tracer.branch("facts", branch("answer", "otherwise"))
    with tracer.node("answer", "slm-answer", "chain") as span:
        prompt = given.prompts.render("answer", question=text)
        held = await given.ledger.reserve(
            run=run, principal="ann", intent="password_reset", workflow="helpdesk", model="m", usd=0.01, tokens=200
        )
        await given.models.chat(
            ModelRequest("slm", prompt.messages, 80, logprobs=1, prompt=prompt.reference, prompt_hash=prompt.hash)
        )
        await given.ledger.settle(held, usd=0.0012, tokens=129)  # type: ignore[arg-type]
        set_update(span, answer=state.get("answer"))
    tracer.branch("answer", branch("check"))
    with tracer.node("check", "output-check", "guardrail") as span:
        await given.guards.check(["pii", "tone"], "Reset it in the portal [1].", stage="output")
        set_update(span, checks=state.get("checks"))
    tracer.branch("check", branch("act", "otherwise"))
    with tracer.node("act", "call-tool", "tool") as span:
        await given.tools.call("create_ticket", {"title": "password"}, key="key-1", run=run)
        set_update(span, tool_calls=[])
    await given.cache.put("cache-key", {"text": "x"}, ttl_s=60, saved_usd=0.01)
    return state
