"""The kinds that write: `slm-answer`, `llm-synthesize` and `summarize`. They differ in the model and its sources.

Each writes freely or quotes (see `quoting`). A synthesis can be written section by section, each from the passages
alone, so that every section carries its own citations and is checked with them; when only some sections fail their
check, the others are kept.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import Field

from sluicegate.errors import StoppedError
from sluicegate.nodes._settings import Settings
from sluicegate.nodes.budget.call_bounds import AROUND, FEEDBACK, CallBound, PromptSizes, sent_back
from sluicegate.nodes.kind import Node, NodeKind
from sluicegate.nodes.writing.extractive_summary import excerpt
from sluicegate.nodes.writing.generation import CUT_OFF, ask, said, sources_of, written
from sluicegate.nodes.writing.quoting import Candidate, assembled, choice_schema, shortlist, with_best
from sluicegate.nodes.writing.sections import BY_SECTION, headed, parted
from sluicegate.services import (
    AnswerConfidence,
    AnswerFeatures,
    Completion,
    EmbeddingRequest,
    ModelRequest,
    Prompt,
    Services,
)
from sluicegate.state import State, question

__all__ = ["LLM_SYNTHESIZE", "SLM_ANSWER", "SUMMARIZE", "LlmSynthesize", "SlmAnswer", "Summarize", "in_one_draft"]


Style = Literal["write", "quote", "auto"]


class SlmAnswer(Settings):
    prompt: str
    """The prompt's id. It gets `question`, `sources` and `feedback`."""
    model: str = "slm"
    """The role of the model that writes."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Maximum output tokens; by default what the intent allows."""
    style: Style = "write"
    """``write``: in the model's own words. ``quote``: sentences of the sources, word for word, that the model picks.
    ``auto``: ``write`` where the model has passed its probe of `answer` (`sluicegate models probe`), else ``quote``."""
    quotes: int = Field(default=3, ge=1, le=10)
    """How many sentences an answer or a section may quote."""


class LlmSynthesize(SlmAnswer):
    model: str = "llm"
    """The role of the model that writes."""
    sections: list[str] = Field(default_factory=list[str])
    """Headings to write under, each in its own call, whose prompt gets it as `section`; by default the whole text in
    one call. A second visit rewrites only the sections that were not grounded or not cited."""
    again: Style = "write"
    """The style of a second visit, after a draft that failed its checks."""


class Summarize(SlmAnswer):
    of: Literal["request", "documents"] = "request"
    """What is summarised. From a request, ``quote`` takes the text to be summarised, not the instruction."""


def in_one_draft(settings: object) -> bool:
    """Whether a node of these settings may write its text in one piece, in its model's own words."""
    if isinstance(settings, LlmSynthesize) and settings.sections:
        return False  # several drafts, under headings
    return isinstance(settings, SlmAnswer) and settings.style != "quote"


def _numbered(texts: list[str], state: State) -> str:
    """Sources as the prompt shows them: number, title, text; a title that starts the document is not repeated."""
    titles = [document["title"] for document in state.get("documents", [])]
    return "\n\n".join(
        f"[{n}] {title}\n{_untitled(text, title)}"
        for n, (title, text) in enumerate(zip(titles, texts, strict=True), start=1)
    )


def _untitled(text: str, title: str) -> str:
    first, _, rest = text.lstrip().partition("\n")
    return rest.lstrip() if first.lstrip("#").strip() == title and first.startswith("#") else text


def _feedback(state: State) -> str:
    """Why the previous draft failed, for a second try; empty on the first."""
    checks, answer = state.get("checks"), state.get("answer")
    failed = bool(checks and checks["failed"])
    reasons = [result["reason"] for result in checks["results"] if not result["passed"]] if checks and failed else []
    # where it was not checked
    if answer and answer.get("finish") == "length" and CUT_OFF not in reasons:
        reasons.append(CUT_OFF)
    if not reasons:
        return ""
    return "A first draft was rejected: " + "; ".join(reasons)


@dataclass(frozen=True, slots=True)
class _Plan:
    """How one visit of a node writes."""

    size: Literal["slm", "llm"]
    style: Style
    sections: Sequence[str] = ()
    from_request: bool = False


def _standing(name: str, state: State) -> dict[str, str]:
    """The sections of this node's draft that passed, where only sections failed."""
    answer, checks = state.get("answer"), state.get("checks")
    if not answer or answer["by"] != name or not checks or not set(checks["failures"]) <= BY_SECTION:
        return {}
    if answer["finish"] == "length":
        return {}  # which section was cut off is not recorded: the whole text is written again
    failed = checks.get("sections")
    return {heading: text for heading, text in parted(answer).items() if heading not in failed} if failed else {}


def _writer(name: str, settings: SlmAnswer, plan: Callable[[int], _Plan]) -> Node:
    async def write(state: State, services: Services) -> dict[str, Any]:
        visit = state["run"]["visits"].get(name, 1)
        now = plan(visit)
        if now.style == "auto":
            admitted = await services.models.admitted(settings.model, "answer")
            now = replace(now, style="write" if admitted else "quote")
        texts = [] if now.from_request else sources_of(state, services)
        standing = _standing(name, state) if now.sections else {}
        texts_by_heading: dict[str, str] = {}
        # the confidence of single sections is not recorded, so kept sections count as the whole draft did
        sure = state["answer"]["confidence"] if standing and "answer" in state else 1.0
        threshold = 0.0
        part: _Part | None = None
        cut = False
        for section in now.sections or [""]:
            if section in standing:
                texts_by_heading[section] = standing[section]
                continue
            said_already = [*standing.values(), *texts_by_heading.values()]
            to_come = [one for one in now.sections if one not in (*standing, *texts_by_heading, section)]
            part = await _part(state, services, settings, now, section, texts, said_already, to_come, visit)
            if part is None:
                return {"answer": said(name, "", confidence=0.0)}
            texts_by_heading[section] = part.text
            cut = cut or part.completion.finish == "length"
            # a text is as certain as its least certain section, and held to the strictest threshold
            sure, threshold = min(sure, part.judged.confidence), max(threshold, part.judged.threshold)
        assert part is not None, "another section of the text failed"
        whole = replace(part.completion, text="\n\n".join(headed(*one) for one in texts_by_heading.items()))
        judged = replace(part.judged, confidence=sure, threshold=threshold)
        answer = written(name, whole, part.prompt, judged, state)
        if cut:
            answer["finish"] = "length"  # in whichever section
        if now.sections:
            answer["sections"] = list(now.sections)
        else:
            answer["features"] = dict(judged.features)
        return {"answer": answer}

    return write


@dataclass(frozen=True, slots=True)
class _Part:
    """The result of one call: the whole text, or one section."""

    completion: Completion
    text: str
    prompt: Prompt
    judged: AnswerConfidence


async def _part(
    state: State,
    services: Services,
    settings: SlmAnswer,
    plan: _Plan,
    section: str,
    texts: list[str],
    said_already: Sequence[str],
    to_come: Sequence[str],
    visit: int,
) -> _Part | None:
    """`said_already` is what the other sections say, `to_come` those not yet written.

    None when a model may not be called, when there is nothing to quote, or when no model picked from it by the schema:
    the workflow's low-confidence branch follows.
    """
    asked, intent = question(state), state.get("intent")
    candidates: Sequence[Candidate] = ()
    vector: Sequence[float] = ()
    always, lead = 0, 0.0
    try:
        if like := services.confidence.like:
            (vector,) = (await services.models.embed(EmbeddingRequest("embedder", [asked], like=like))).vectors
        if plan.style == "quote":
            if plan.from_request:
                found = await excerpt(services, asked)
            else:
                about, *later = (f"{one}: {asked}" if one else asked for one in (section, *to_come))
                quotes = 0 if section else settings.quotes  # what belongs to a section, the model picks
                found = await shortlist(state, services, about, texts, quotes=quotes, said=said_already, later=later)
            candidates, always, lead = found.candidates, found.always, found.margin
            if not candidates:
                return None  # nothing to quote, and this style rules out free text
    except StoppedError:
        return None
    listed = "\n".join(f"{n}. {candidate.text}" for n, candidate in enumerate(candidates, start=1))
    prompt = services.prompts.render(
        settings.prompt + ("-quote" if candidates else ""),
        question=asked,
        section=section,
        sources=listed or (_numbered(texts, state) if texts else ""),
        feedback=_feedback(state),
    )
    request = ModelRequest(
        settings.model,
        prompt.messages,
        max_tokens=settings.max_tokens or (intent["max_tokens"] if intent else 256),
        schema=choice_schema(len(candidates), settings.quotes) if candidates else None,
        # the same text would fail the same check again
        seed=visit - 1,
        temperature=0.7 if visit > 1 and not candidates else 0.0,
        logprobs=1,
        size=plan.size,
        prompt=prompt.reference,
        prompt_hash=prompt.hash,
    )
    completion = await ask(services, request)
    if completion is None:
        return None
    text, nearest = completion.text.strip(), None
    if candidates:
        chosen = with_best(completion.parsed["sentences"], always, settings.quotes)
        text, nearest = assembled(candidates, chosen), max(candidates[number - 1].score for number in chosen)
    evidence = AnswerFeatures(
        completion=completion,
        text=text,
        floor=assembled(candidates, range(1, always + 1)),
        question=asked,
        sources=texts or [asked],
        retrieval=[document["score"] for document in state.get("documents", [])],
        similarity=nearest,
        margin=lead,
        vector=vector,
    )
    return _Part(completion, text, prompt, services.confidence(evidence))


def _slm_answer(name: str, settings: SlmAnswer) -> Node:
    return _writer(name, settings, lambda _visit: _Plan("slm", settings.style))


def _llm_synthesize(name: str, settings: LlmSynthesize) -> Node:
    def plan(visit: int) -> _Plan:
        return _Plan("llm", settings.style if visit == 1 else settings.again, settings.sections)

    return _writer(name, settings, plan)


def _summarize(name: str, settings: Summarize) -> Node:
    plan = _Plan("slm", settings.style, from_request=settings.of == "request")
    return _writer(name, settings, lambda _visit: plan)


def _calls(settings: SlmAnswer, sizes: PromptSizes) -> Iterator[CallBound]:
    """One call for each section, of whichever style has the longer prompt."""
    cap = settings.max_tokens or sizes.answer
    large = isinstance(settings, LlmSynthesize)
    styles = {settings.style, settings.again} if large else {settings.style}
    if "auto" in styles:
        styles = {"write", "quote"}
    own_text = isinstance(settings, Summarize) and settings.of == "request"
    sources = sizes.tokens(sizes.question) if own_text else sizes.sources
    for section in (settings.sections if large else []) or [""]:
        bounds: list[CallBound] = []
        for style in styles:
            prompt = settings.prompt + ("-quote" if style == "quote" else "")
            tokens = sizes.prompt(prompt, section=section) + sources + AROUND + FEEDBACK
            call = sent_back if style == "quote" else CallBound
            bounds.append(call(settings.model, tokens, cap, "llm" if large else "slm"))
        yield max(bounds, key=lambda bound: (bound.prompt, bound.answer))


_writing_kind = functools.partial(
    NodeKind,
    writes=frozenset({"answer", "spend"}),
    reads=frozenset({"answer", "checks"}),
    effects=frozenset({"generates"}),
    fills=frozenset({"question", "sources", "feedback", "section"}),
    calls=_calls,
    observation="chain",
)

SLM_ANSWER = _writing_kind(
    name="slm-answer",
    doc="Answer with the small model, from the retrieved passages if there are any.",
    settings=SlmAnswer,
    make=_slm_answer,
)
LLM_SYNTHESIZE = _writing_kind(
    name="llm-synthesize",
    doc="Answer with the large model from the retrieved passages; a second visit is told why the first draft failed.",
    settings=LlmSynthesize,
    make=_llm_synthesize,
)
SUMMARIZE = _writing_kind(
    name="summarize",
    doc="Summarise the request or the retrieved passages with the small model.",
    settings=Summarize,
    make=_summarize,
)
