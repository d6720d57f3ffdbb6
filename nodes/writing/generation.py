"""Shared by the kinds that call a model: the call, the sources, the citations and the draft.

A call that is not allowed (see `model_governance`) is not an error: the workflow's branches decide what follows.
"""

from collections.abc import Sequence

from sluicegate.errors import ModelError, StoppedError, UnusableAnswerError
from sluicegate.services import AnswerConfidence, Completion, ModelRequest, Prompt, Services
from sluicegate.state import Answer, Citation, DocumentRef, State

__all__ = ["CUT_OFF", "ask", "cited", "said", "sources_of", "unusable", "written"]

CUT_OFF = "it was too long and was cut off"
"""Of a draft that its model did not finish."""


async def ask(services: Services, request: ModelRequest) -> Completion | None:
    """The answer; None when policies, the budget or the kill switch did not allow the call, as `spend` then records,
    and when no model of the role's chain gave one that fits the schema.

    Raises `ModelError` when no model of the role's chain answered.
    """
    try:
        return await services.models.chat(request)
    except StoppedError:
        return None
    except ModelError as error:
        if request.schema is None or not unusable(error):
            raise
        return None


def unusable(error: ModelError) -> bool:
    """Whether a model answered, but with something that does not fit its schema."""
    return isinstance(error, UnusableAnswerError) or isinstance(error.__cause__, UnusableAnswerError)


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


def written(
    node: str,
    completion: Completion,
    prompt: Prompt,
    judged: AnswerConfidence,
    state: State,
) -> Answer:
    """The draft that a completion makes."""
    text = completion.text.strip()
    return {
        "text": text,
        "confidence": judged.confidence if text else 0.0,
        "answerability": judged.answerability,
        "threshold": judged.threshold,
        "citations": cited(text, state.get("documents", [])),
        "model": completion.model,
        "by": node,
        "prompt": prompt.reference,
        "prompt_hash": prompt.hash,
        "finish": completion.finish,
        "fallback": completion.fallback,
    }


def said(node: str, text: str, *, confidence: float = 1.0) -> Answer:
    """A draft that no model wrote: a tool's result, a refusal, or an empty text, whose confidence is 0."""
    return {
        "text": text,
        "confidence": confidence,
        "answerability": confidence,
        "threshold": 0.0 if text else 1.0,
        "citations": [],
        "model": "",
        "by": node,
        "prompt": "",
        "prompt_hash": "",
        "finish": "stop" if text else "error",
        "fallback": "",
    }
