"""One governed model call: reserve its upper bound, call, settle what it cost, keep the account.

Every kind that asks a model goes through `ask`, so no call escapes the ledger or the kill switch. A call that the
ledger refuses is not an error: it is a fact (`spend.stopped`) that the workflow's branches decide on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sluicegate.errors import ModelError
from sluicegate.services import Completion, Prompt, Refusal, Services
from sluicegate.state import Answer, Citation, DocumentRef, Spend, State

__all__ = ["Asked", "ask", "cited", "no_spend", "said", "sources_of", "written"]


@dataclass(frozen=True, slots=True)
class Asked:
    """`completion` is None when the ledger refused; `spend` is the run's account after the call."""

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
    """Ask `role` under the budget. Raises `ModelError` when no model of the role's chain answered."""
    spend, run, intent = state.get("spend") or no_spend(), state["run"], state.get("intent")
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
