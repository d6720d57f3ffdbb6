"""One governed model call: may it be made, reserve its upper bound, call, settle what it cost, keep the account.

Every kind that asks a model goes through `ask`, so no call escapes the policies, the ledger or the kill switch. A call
that one of them refuses is not an error: it is a fact (`spend.stopped`) that the workflow's branches decide on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sluicegate.errors import ModelError
from sluicegate.models.config import LOCAL_PROVIDERS
from sluicegate.policies.entities import rank
from sluicegate.services import Completion, Decision, Prompt, Refusal, Services
from sluicegate.state import Answer, Citation, DocumentRef, Spend, State

__all__ = ["Asked", "ask", "cited", "no_spend", "said", "sources_of", "written"]


@dataclass(frozen=True, slots=True)
class Asked:
    """`completion` is None when the policies or the ledger refused; `spend` is the run's account after the call."""

    completion: Completion | None
    spend: Spend


def no_spend() -> Spend:
    return {
        "usd": 0.0,
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "slm_calls": 0,
        "llm_calls": 0,
        "stopped": False,
        "stopped_by": "",
    }


async def ask(
    state: State,
    services: Services,
    *,
    role: str,
    size: Literal["slm", "llm"],
    prompt: Prompt,
    max_tokens: int,
    schema: Mapping[str, Any] | None = None,
    logprobs: int = 0,
    temperature: float = 0.0,
    seed: int = 0,
) -> Asked:
    """Ask `role` under the policies and the budget. Raises `ModelError` when no model of the role's chain answered."""
    spend, run, intent = state.get("spend") or no_spend(), state["run"], state.get("intent")
    denied = _denied(state, services, role)
    if denied:
        return Asked(None, {**spend, "stopped": True, "stopped_by": denied})
    prompt_tokens = sum(services.models.tokens(message.content) for message in prompt.messages)
    reserved = services.ledger.reserve(
        run=run["id"],
        principal=state["principal"]["id"],
        intent=intent["label"] if intent else "",
        workflow=services.workflow.name,
        model=services.models.describe(role),
        usd=services.models.price(role, prompt_tokens, max_tokens),
        tokens=prompt_tokens + max_tokens,
    )
    if isinstance(reserved, Refusal):
        return Asked(None, {**spend, "stopped": True, "stopped_by": f"{reserved.code} {reserved.limit}"})
    try:
        completion = await services.models.chat(
            role,
            prompt.messages,
            max_tokens=max_tokens,
            schema=schema,
            logprobs=logprobs,
            temperature=temperature,
            seed=seed,
        )
    except BaseException:
        services.ledger.release(reserved)
        raise
    tokens = completion.prompt_tokens + completion.completion_tokens
    services.ledger.settle(reserved, usd=completion.usd, tokens=tokens)
    return Asked(
        completion,
        {
            "usd": spend["usd"] + completion.usd,
            "prompt_tokens": spend["prompt_tokens"] + completion.prompt_tokens,
            "completion_tokens": spend["completion_tokens"] + completion.completion_tokens,
            "slm_calls": spend["slm_calls"] + (size == "slm"),
            "llm_calls": spend["llm_calls"] + (size == "llm"),
            "stopped": False,
            "stopped_by": "",
        },
    )


def _denied(state: State, services: Services, role: str) -> str:
    """Why the policies or the kill switch forbid asking `role`, beginning with a code; empty when they do not.

    Each model that may come to answer must be allowed, stand-ins too: which of them will is not known beforehand.
    """
    intent, documents = state.get("intent"), state.get("documents", [])
    context: dict[str, Any] = {"risk": intent["risk"] if intent else "high"}
    if intent:
        context["intent"] = intent["label"]
    if documents:
        context["classification"] = max(rank(document.get("classification", "restricted")) for document in documents)
    for model in services.models.chain(role):
        provider = model.partition(":")[0]
        resource = {"type": "Model", "id": model, "provider": provider, "local": provider in LOCAL_PROVIDERS}
        decision = services.policy.decide(state["principal"], "use_model", resource, context)
        if not decision.allowed:
            return _stop(model, decision)
    return ""


def _stop(model: str, decision: Decision) -> str:
    rules = ", ".join(decision.rules)
    if rules.startswith("switch:"):
        return f"SG502 {decision.reason}"
    return f"SG202 {rules or 'no rule'}: {decision.reason or 'no policy allows it'} ({model})"


def unusable(error: ModelError) -> bool:
    """Whether a model answered, but with something that does not fit its schema, rather than not at all."""
    return error.code == "SG305" or (isinstance(error.__cause__, ModelError) and error.__cause__.code == "SG305")


def sources_of(state: State, services: Services) -> list[str]:
    """The retrieved passages' texts, in citation order: source ``[1]`` first."""
    return [services.retriever.text(document) for document in state.get("documents", [])]


def cited(text: str, documents: Sequence[DocumentRef]) -> list[Citation]:
    """The documents that `text` cites as ``[n]``, in order, once each."""
    return [
        {"marker": f"[{n}]", "document": document["id"], "version": document["version"], "span": document["span"]}
        for n, document in enumerate(documents, start=1)
        if f"[{n}]" in text
    ]


def written(node: str, completion: Completion, prompt: Prompt, confidence: float, state: State) -> Answer:
    """The draft that a completion makes."""
    text = completion.text.strip()
    return {
        "text": text,
        "confidence": confidence if text else 0.0,
        "citations": cited(text, state.get("documents", [])),
        "model": completion.model,
        "by": node,
        "prompt": f"{prompt.id}@{prompt.version}",
        "prompt_hash": prompt.hash,
        "finish": completion.finish,
        "fallback": completion.fallback,
    }


def said(node: str, text: str, *, confidence: float = 1.0) -> Answer:
    """Words that no model wrote: a tool's result, a refusal, or nothing at all."""
    return {
        "text": text,
        "confidence": confidence,
        "citations": [],
        "model": "",
        "by": node,
        "prompt": "",
        "prompt_hash": "",
        "finish": "stop" if text else "error",
        "fallback": "",
    }
