"""Thinking apart from the answer.

Reasoning models think before they answer, and servers without a parser for it leave that in the text: between
``<think>`` and ``</think>``, or before a lone ``</think>`` where the chat template has opened it. None of that is the
answer. Where a server has a field of its own for it (Ollama's `thinking`, `reasoning_content`), the provider has
filled `ModelResponse.thinking`.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import regex

from sluicegate.models.provider import ModelResponse
from sluicegate.services import ModelRequest, TokenLogprob

__all__ = ["answered", "apart"]

_BAR = r"[|｜]?"
_OPENING = (
    rf"<\s*{_BAR}(?:\w{{1,12}}:)?think(?:ing)?(?:\s[^<>]{{0,80}})?{_BAR}>|\[THINK\]|◁think▷"
    r"|<\|?(?:start_thinking|begin_of_thought|start_of_thought)\|?>"
    r"|(?:<\|start\|>assistant)?<\|channel\|>(?:analysis|commentary)<\|message\|>"
)
_CLOSING = (
    rf"<\s*{_BAR}/{_BAR}\s*(?:\w{{1,12}}:)?think(?:ing)?\s*{_BAR}>|\[/THINK\]|◁/think▷"
    r"|<\|?(?:end_thinking|end_of_thought)\|?>"
    r"|(?:<\|end\|>)?(?:<\|start\|>assistant)?<\|channel\|>final<\|message\|>"
)
_WORDS = r"thoughts?|reasoning|reflection|scratchpad|inner_monologue"
_FIRST = rf"\A\s*(?:<(?:{_WORDS})>|here(?:'s| is) my thought process:)"
_FIRST_CLOSING = rf"</(?:{_WORDS})>|here(?:'s| is) my response:"
_ANSWER = r"</?answer>|<\|?(?:start_response|end_response|begin_of_solution|end_of_solution|return)\|?>"
_MARK = regex.compile(
    rf"(?i)(?<!`)(?:(?P<opening>{_OPENING})|(?P<closing>{_CLOSING})|(?P<first>{_FIRST})"
    rf"|(?P<first_closing>{_FIRST_CLOSING})|(?P<answer>{_ANSWER}))"
)
"""How models and their chat templates mark thinking; in backticks it is only mentioned. What is `first` are words of
other texts, too: they count at the very beginning, and where they are closed. `answer` marks what is no thinking, and
is left out after some."""


async def answered(chat: Callable[[ModelRequest], Awaitable[ModelResponse]], request: ModelRequest) -> ModelResponse:
    """The answer with its thinking apart. Thinking is not streamed, unless only its end is marked."""
    if request.on_token is None:
        return apart(await chat(request))
    stream = _AnswerStream(request.on_token)
    response = await chat(replace(request, on_token=stream))
    stream.end()
    return apart(response)


def apart(response: ModelResponse) -> ModelResponse:
    """The same answer, with the thinking in its text, and the tokens of that, taken out of it."""
    spans = _spans(response.text)
    if not spans:
        return response
    text, at, thoughts = "", 0, [response.thinking]
    for start, end in spans:
        text += response.text[at:start]
        thoughts.append(_MARK.sub("", response.text[start:end]).strip())
        at = end
    return replace(
        response,
        text=(text + response.text[at:]).strip(),
        thinking="\n\n".join(filter(None, thoughts)),
        logprobs=_outside(response.logprobs, response.text, spans),
    )


def _spans(text: str) -> list[tuple[int, int]]:
    """What is no part of the answer. Thinking that was not ended, as the tokens ran out, goes on to the end."""
    spans: list[tuple[int, int]] = []
    start: int | None = None
    first = False
    for mark in _MARK.finditer(text):
        match mark.lastgroup:
            case "opening" | "first":
                first = mark.lastgroup == "first" if start is None else first
                start = mark.start() if start is None else start
            case "closing" if start is None:
                spans = [(0, mark.end())]
            case "answer" if start is None and spans:
                spans.append(mark.span())
            case "closing" | "first_closing" if start is not None and (first or mark.lastgroup == "closing"):
                spans.append((start, mark.end()))
                start = None
            case _:
                pass
    return spans if start is None or first else [*spans, (start, len(text))]


def _outside(logprobs: Sequence[TokenLogprob], text: str, spans: Sequence[tuple[int, int]]) -> tuple[TokenLogprob, ...]:
    if "".join(token.token for token in logprobs) != text:
        return tuple(logprobs)  # tokens that are parts of a character: their places are not known
    kept: list[TokenLogprob] = []
    at = 0
    for token in logprobs:
        end = at + len(token.token)
        if not any(start < end and at < stop for start, stop in spans):
            kept.append(token)
        at = end
    return tuple(kept)


class _AnswerStream:
    """Passes on the pieces of an answer that are no thinking; holds back what may turn out to be a mark."""

    def __init__(self, on_token: Callable[[str], None]) -> None:
        self._on_token = on_token
        self._held = ""
        self._passed = ""
        self._hidden = ""
        """Thinking that began with words of other texts: part of the answer, where it does not end."""
        self._thinking = self._first = self._thought = self._thought_once = False

    def __call__(self, piece: str) -> None:
        self._held += piece
        while (mark := self._mark()) and not mark.partial:
            at = len(self._passed)
            self._take(self._held[: mark.start() - at])
            said = self._held[mark.start() - at : mark.end() - at]
            self._held = self._held[mark.end() - at :]
            self._turn(str(mark.lastgroup), said)
        ready = mark.start() - len(self._passed) if mark else len(self._held)
        self._take(self._held[:ready])
        self._held = self._held[ready:]

    def end(self) -> None:
        self._take(self._held)
        if self._first:
            self._pass_on(self._hidden)

    def _mark(self) -> "regex.Match[str] | None":
        return _MARK.search(self._passed + self._held, len(self._passed), partial=True)

    def _turn(self, kind: str, said: str) -> None:
        """What a mark changes."""
        if kind in ("opening", "first") and not self._thinking:
            self._thinking, self._first, self._thought = True, kind == "first", True
            self._thought_once = True
            self._hidden = said if self._first else ""
        elif kind == "closing" or (kind == "first_closing" and self._first):
            self._thinking, self._first, self._thought = False, False, True
            self._thought_once = True
        elif not self._thinking and not (kind == "answer" and self._thought_once):
            self._pass_on(said)
        elif self._first:
            self._hidden += said

    def _take(self, text: str) -> None:
        if not self._thinking:
            self._pass_on(text)
        elif self._first:
            self._hidden += text

    def _pass_on(self, text: str) -> None:
        if self._thought:  # the blank lines after it are no part of the answer
            text = text.lstrip()
        if text:
            self._thought = False
            self._passed = text[-1]
            self._on_token(text)
