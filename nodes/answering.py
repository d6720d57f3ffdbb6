"""The kinds that write: `slm-answer`, `llm-synthesize` and `summarize`. They differ in who writes and from what."""

from typing import Any, Literal

from pydantic import Field

from sluicegate.nodes._settings import Settings
from sluicegate.nodes.generation import ask, sources_of, stopped_answer, written
from sluicegate.nodes.registry import Node, NodeKind
from sluicegate.services import Services
from sluicegate.state import State

__all__ = ["LLM_SYNTHESIZE", "SLM_ANSWER", "SUMMARIZE", "LlmSynthesize", "SlmAnswer", "Summarize"]


class SlmAnswer(Settings):
    prompt: str
    """The prompt's id. It gets `question`, `sources` and `feedback`."""
    model: str = "slm"
    """The role of the model that writes."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Cap on the output; by default what the intent allows."""


class LlmSynthesize(SlmAnswer):
    model: str = "llm"
    """The role of the model that writes."""


class Summarize(SlmAnswer):
    of: Literal["request", "documents"] = "request"
    """What is summarised."""


def _numbered(texts: list[str], state: State) -> str:
    """Sources as the prompt shows them: number, title, words."""
    titles = [document["title"] for document in state.get("documents", [])]
    return "\n\n".join(
        f"[{n}] {title}\n{text}" for n, (title, text) in enumerate(zip(titles, texts, strict=True), start=1)
    )


def _feedback(state: State) -> str:
    """Why the draft before was not good enough, for a second try; empty on the first."""
    checks = state.get("checks")
    if not checks or not checks["failed"]:
        return ""
    reasons = [result["reason"] for result in checks["results"] if not result["passed"]]
    return "A first draft was rejected: " + "; ".join(reasons)


def _writer(name: str, settings: SlmAnswer, size: Literal["slm", "llm"], *, from_request: bool = False) -> Node:
    async def write(state: State, services: Services) -> dict[str, Any]:
        texts = [] if from_request else sources_of(state, services)
        prompt = services.prompts.render(
            settings.prompt,
            question=state["request"]["text"],
            sources=_numbered(texts, state) if texts else "",
            feedback=_feedback(state),
        )
        intent = state.get("intent")
        asked = await ask(
            state,
            services,
            role=settings.model,
            size=size,
            prompt=prompt,
            max_tokens=settings.max_tokens or (intent["max_tokens"] if intent else 256),
            # the same words again would fail the same check again
            seed=state["run"]["visits"].get(name, 1) - 1,
            temperature=0.7 if state["run"]["visits"].get(name, 1) > 1 else 0.0,
            logprobs=1,
        )
        if asked.completion is None:
            return {"answer": stopped_answer(name), "spend": asked.spend}
        confidence = services.confidence(asked.completion, texts or [state["request"]["text"]])
        return {"answer": written(name, asked.completion, prompt, confidence, state), "spend": asked.spend}

    return write


def _slm_answer(name: str, settings: SlmAnswer) -> Node:
    return _writer(name, settings, "slm")


def _llm_synthesize(name: str, settings: LlmSynthesize) -> Node:
    return _writer(name, settings, "llm")


def _summarize(name: str, settings: Summarize) -> Node:
    return _writer(name, settings, "slm", from_request=settings.of == "request")


_WRITES = frozenset({"answer", "spend"})

SLM_ANSWER = NodeKind(
    name="slm-answer",
    doc="Let the small model answer, from the retrieved passages when there are any.",
    settings=SlmAnswer,
    make=_slm_answer,
    writes=_WRITES,
    effects=frozenset({"generates"}),
    observation="chain",
)
LLM_SYNTHESIZE = NodeKind(
    name="llm-synthesize",
    doc="Let the large model write from the retrieved passages; a second visit is told why the first draft failed.",
    settings=LlmSynthesize,
    make=_llm_synthesize,
    writes=_WRITES,
    effects=frozenset({"generates"}),
    observation="chain",
)
SUMMARIZE = NodeKind(
    name="summarize",
    doc="Let the small model summarise the request or the retrieved passages.",
    settings=Summarize,
    make=_summarize,
    writes=_WRITES,
    effects=frozenset({"generates"}),
    observation="chain",
)
