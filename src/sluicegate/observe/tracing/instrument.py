"""Wraps services so that every call through them is an observation; nodes stay free of tracing code.

    services = traced(services, tracer)

Each wrapper implements the protocol it wraps, adds nothing to the result and lets errors through.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

from sluicegate import services as contracts
from sluicegate.observe.tracing.spans import CURRENT
from sluicegate.services import (
    Cached,
    Classification,
    Completion,
    Decision,
    EmbeddingRequest,
    Embeddings,
    FanOut,
    GuardReport,
    ModelRequest,
    ModelStep,
    Neighbour,
    Part,
    Prompt,
    Question,
    Refusal,
    Reservation,
    Services,
    ToolResult,
)
from sluicegate.state import DocumentRef, Principal

__all__ = ["SpanMaker", "TracedModels", "traced"]


class SpanMaker(Protocol):
    """The part of a tracer that wrappers need."""

    def span(
        self, name: str, type: contracts.Observation, **attributes: Any
    ) -> AbstractContextManager[contracts.Span]: ...


def traced(services: Services, tracer: contracts.Tracer) -> Services:
    """The same services, observed by `tracer`, which also becomes their tracer."""
    return dataclasses.replace(
        services,
        models=TracedModels(services.models, tracer),
        router=TracedRouter(services.router, tracer),
        policy=TracedPolicy(services.policy, tracer),
        retriever=TracedRetriever(services.retriever, tracer),
        guards=TracedGuards(services.guards, tracer),
        ledger=TracedLedger(services.ledger, tracer),
        cache=TracedCache(services.cache, tracer),
        tools=TracedTools(services.tools, tracer),
        prompts=TracedPrompts(services.prompts),
        tracer=tracer,
    )


class TracedModels(ModelStep):
    def __init__(self, models: contracts.Models, tracer: SpanMaker) -> None:
        super().__init__(models)
        self._tracer = tracer

    async def chat(self, request: ModelRequest) -> Completion:
        asked = self.describe(request.role)
        attributes: dict[str, Any] = {
            "role": request.role,
            "asked": asked,
            "input": [{"role": message.role, "content": message.content} for message in request.messages],
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "seed": request.seed,
            "structured": request.schema is not None,
        }
        if request.prompt:
            attributes |= {"prompt": request.prompt, "prompt_hash": request.prompt_hash}
        with self._tracer.span(f"chat {_model(asked)}", "generation", **attributes) as span:
            if request.on_token:
                request = dataclasses.replace(request, on_token=_first_token(span, request.on_token))
            completion = await self._models.chat(request)
            span.set(
                output=completion.text,
                model=completion.model,
                prompt_tokens=completion.prompt_tokens,
                completion_tokens=completion.completion_tokens,
                usd=completion.usd,
                model_ms=completion.ms,
                finish=completion.finish,
            )
            if completion.thinking:
                span.set(thinking=completion.thinking)
            if completion.waited_ms:
                span.set(waited_ms=completion.waited_ms)
            if completion.usage != "reported":
                span.set(usage=completion.usage)
            if completion.fallback:
                span.set(fallback=completion.fallback)
                span.warn(f"{completion.model} answered for {completion.fallback}")
            if completion.logprobs:
                span.set(confidence=completion.mean_probability)
            return completion

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        asked = self.describe(request.role)
        with self._tracer.span(f"embeddings {_model(asked)}", "embedding", role=request.role, asked=asked) as span:
            made = await self._models.embed(request)
            dimensions = len(made.vectors[0]) if made.vectors else 0
            span.set(texts=len(request.texts), dimensions=dimensions, model=made.model, usd=made.usd)
            if made.waited_ms:
                span.set(waited_ms=made.waited_ms)
            if made.fallback:
                span.set(fallback=made.fallback)
                span.warn(f"{made.model} answered for {made.fallback}")
            return made


class TracedRouter:
    def __init__(self, inner: contracts.Router, tracer: SpanMaker) -> None:
        self._inner = inner
        self._tracer = tracer

    async def classify(self, text: str) -> Classification:
        with self._tracer.span("route", "chain", input=text) as span:
            found = await self._inner.classify(text)
            span.set(
                output=found.label,
                confidence=found.confidence,
                threshold=found.threshold,
                alternatives=list(found.alternatives[:5]),
                out_of_scope=found.out_of_scope,
                classified_by=found.by,
                unlike=found.unlike,
                artifact=found.artifact,
            )
            if escalation := found.escalation:
                span.set(
                    needs_large=escalation.needs_large,
                    escalation_threshold=escalation.threshold,
                    escalation_artifact=escalation.artifact,
                )
            return found


class TracedPolicy:
    def __init__(self, inner: contracts.PolicyEngine, tracer: SpanMaker) -> None:
        self._inner = inner
        self._tracer = tracer

    def decide(
        self, principal: Principal, action: str, resource: Mapping[str, Any], context: Mapping[str, Any]
    ) -> Decision:
        asked = {"action": action, "resource": f"{resource.get('type')}::{resource.get('id')}"}
        who = {"principal": principal["id"], "roles": principal["roles"], "clearance": principal["clearance"]}
        decision = self._inner.decide(principal, action, resource, context)
        current = CURRENT.get()
        if action == "use_model" and current is not None and decision.allowed and not decision.errors:
            # asked before each call of a model and allowed as a rule: said of the step, not by an observation for each
            allowed = current.attributes.get("models_allowed", {})
            current.attributes["models_allowed"] = {**allowed, str(resource.get("id")): list(decision.rules)}
            return decision
        verdict = {
            "verdict": "allow" if decision.allowed else "deny",
            "rules": list(decision.rules),
            "reason": decision.reason,
            "errors": list(decision.errors),
        }
        with self._tracer.span(f"policy {action}", "guardrail", **asked, **who, **verdict):
            return decision


class TracedRetriever:
    def __init__(self, inner: contracts.Retriever, tracer: SpanMaker) -> None:
        self._inner = inner
        self._tracer = tracer

    async def search(self, index: str, query: str, principal: Principal, *, k: int) -> list[DocumentRef]:
        readable_by = {key: principal[key] for key in ("roles", "groups", "clearance")}
        with self._tracer.span(
            f"retrieval {index}",
            "retriever",
            query=query,
            index=index,
            k=k,
            filter={"approved": True, "valid": "today", "readable_by": readable_by},
        ) as span:
            found = await self._inner.search(index, query, principal, k=k)
            span.set(
                documents=[
                    {key: document[key] for key in ("id", "version", "title", "source", "score", "hash")}
                    for document in found
                ]
            )
            return found

    def text(self, document: DocumentRef) -> str:
        return self._inner.text(document)

    def version(self, index: str) -> str:
        return self._inner.version(index)

    def visible(self, index: str, principal: Principal) -> str:
        return self._inner.visible(index, principal)

    def readable(self, documents: Sequence[DocumentRef], principal: Principal) -> list[DocumentRef]:
        return self._inner.readable(documents, principal)


class TracedGuards:
    def __init__(self, inner: contracts.Guards, tracer: SpanMaker) -> None:
        self._inner = inner
        self._tracer = tracer

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
        with self._tracer.span(f"guard {stage}", "guardrail", stage=stage, guards=list(names), input=text) as span:
            report = await self._inner.check(
                names,
                text,
                stage=stage,
                question=question,
                sources=sources,
                citations=citations,
                run=run,
                person=person,
            )
            failures = {result["guard"]: result["reason"] for result in report.results if not result["passed"]}
            span.set(
                verdicts={result["guard"]: result["passed"] for result in report.results},
                actions={result["guard"]: result["action"] for result in report.results if not result["passed"]},
                failures=failures,
                ms={result["guard"]: result["ms"] for result in report.results},
                redacted=report.redacted,
            )
            return report


class TracedLedger:
    def __init__(self, inner: contracts.Ledger, tracer: SpanMaker) -> None:
        self._inner = inner
        self._tracer = tracer

    async def reserve(self, *, model: str, usd: float, tokens: int, **call: Any) -> Reservation | Refusal:
        with self._tracer.span("budget reserve", "event", asked_model=model, reserved_usd=usd, tokens=tokens) as span:
            made = await self._inner.reserve(model=model, usd=usd, tokens=tokens, **call)
            if isinstance(made, Refusal):
                span.set(reserved=False, code=made.code, limit=made.limit)
            else:
                span.set(reserved=True, reservation=made.id)
            return made

    def capped(self) -> bool:
        return self._inner.capped()

    async def reserve_parts(self, *, id: str, parts: Sequence[Part], **call: Any) -> FanOut:
        with self._tracer.span("budget reserve parts", "event", reservation=id, parts=len(parts)) as span:
            made = await self._inner.reserve_parts(id=id, parts=parts, **call)
            span.set(reserved_usd=made.usd, tokens=made.tokens, limited=dict(made.limited), limit=made.refused)
            return made

    async def release_parts(self, id: str) -> None:
        with self._tracer.span("budget release", "event", reservation=id):
            await self._inner.release_parts(id)

    async def charge(self, *, tool: str, usd: float, **call: Any) -> Reservation | Refusal:
        with self._tracer.span("budget charge", "event", tool=tool, settled_usd=usd) as span:
            made = await self._inner.charge(tool=tool, usd=usd, **call)
            if isinstance(made, Refusal):
                span.set(reserved=False, code=made.code, limit=made.limit)
            else:
                span.set(reserved=True, reservation=made.id)
            return made

    async def refund(self, reservation: Reservation) -> None:
        with self._tracer.span("budget refund", "event", reservation=reservation.id):
            await self._inner.refund(reservation)

    def switched(self, *, model: str, intent: str, workflow: str) -> Refusal | None:
        return self._inner.switched(model=model, intent=intent, workflow=workflow)

    def within(self, outer: contracts.Ledger, **run: Any) -> "TracedLedger":
        inner = outer._inner if isinstance(outer, TracedLedger) else outer
        return TracedLedger(self._inner.within(inner, **run), self._tracer)

    async def settle(self, reservation: Reservation, *, usd: float, tokens: int) -> None:
        with self._tracer.span("budget settle", "event", reservation=reservation.id, settled_usd=usd, tokens=tokens):
            await self._inner.settle(reservation, usd=usd, tokens=tokens)

    async def release(self, reservation: Reservation) -> None:
        with self._tracer.span("budget release", "event", reservation=reservation.id):
            await self._inner.release(reservation)


class TracedCache:
    def __init__(self, inner: contracts.Cache, tracer: SpanMaker) -> None:
        self._inner = inner
        self._tracer = tracer

    async def get(self, key: str, *, again: bool = False) -> Cached | None:
        with self._tracer.span("cache get", "event", key=key) as span:
            found = await self._inner.get(key, again=again)
            span.set(hit=found is not None)
            if found is not None:
                span.set(age_s=found.age_s)
            return found

    async def put(
        self,
        key: str,
        value: dict[str, Any],
        *,
        ttl_s: float,
        saved_usd: float,
        question: Question | None = None,
    ) -> None:
        with self._tracer.span("cache put", "event", key=key, ttl_s=ttl_s, saved_usd=saved_usd):
            await self._inner.put(key, value, ttl_s=ttl_s, saved_usd=saved_usd, question=question)

    async def near(self, question: Question, *, similarity: float) -> Sequence[Neighbour]:
        with self._tracer.span("cache near", "event", space=question.space, least=similarity) as span:
            found = await self._inner.near(question, similarity=similarity)
            span.set(neighbours=len(found))
            if found:
                span.set(similarity=found[0].similarity)
            return found


class TracedTools:
    def __init__(self, inner: contracts.Tools, tracer: SpanMaker) -> None:
        self._inner = inner
        self._tracer = tracer

    def schema(self, name: str) -> dict[str, Any]:
        return self._inner.schema(name)

    async def call(self, name: str, arguments: Mapping[str, Any], *, key: str, run: str) -> ToolResult:
        with self._tracer.span(f"execute_tool {name}", "tool", tool=name, arguments=dict(arguments), key=key) as span:
            result = await self._inner.call(name, arguments, key=key, run=run)
            span.set(status=result.status, result=result.value, repeated=result.repeated)
            if result.error:
                span.fail(result.error)
            return result


class TracedPrompts:
    """Records the used prompt on the node's observation."""

    def __init__(self, inner: contracts.Prompts) -> None:
        self._inner = inner

    def render(self, id: str, **values: str) -> Prompt:
        prompt = self._inner.render(id, **values)
        current = CURRENT.get()
        if current is not None:
            current.attributes["prompt"] = prompt.reference
            current.attributes["prompt_hash"] = prompt.hash
        return prompt


def _model(described: str) -> str:
    """``qwen3:1.7b`` of ``ollama:qwen3:1.7b``."""
    return described.partition(":")[2] or described


def _first_token(span: contracts.Span, on_token: Callable[[str], None]) -> Callable[[str], None]:
    """Records the time of a stream's first token."""
    told = False

    def tell(token: str) -> None:
        nonlocal told
        if not told:
            told = True
            span.set(first_token_ns=time.time_ns())
        on_token(token)

    return tell
