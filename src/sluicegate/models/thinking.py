"""Thinking apart from the answer.

Reasoning models think before they answer, and servers without a parser for it leave that in the text: between
``<think>`` and ``</think>``, or before a lone ``</think>`` where the chat template has opened it. None of that is the
answer. Where a server has a field of its own for it (Ollama's `thinking`, `reasoning_content`), the provider has
filled `ModelResponse.thinking`.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from sluicegate.models.provider import ModelResponse
from sluicegate.services import ModelRequest, TokenLogprob

__all__ = ["answered", "apart"]

_OPENING = r"<(?:seed:)?think(?:ing)?>|\[THINK\]|◁think▷"
_CLOSING = r"</(?:seed:)?think(?:ing)?>|\[/THINK\]|◁/think▷"
_MARK = re.compile(rf"(?i)(?<!`)(?:(?P<opening>{_OPENING})|{_CLOSING})")
"""In backticks it is only mentioned."""
_BEGUN = re.compile(r"(?i)[<\[◁][/a-z:]{0,12}$")
"""The end of a piece of text that may go on as a mark."""


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
    """Where the text is thinking. One that was not ended, as the tokens ran out, goes on to the end."""
    spans: list[tuple[int, int]] = []
    start: int | None = None
    for mark in _MARK.finditer(text):
        if mark["opening"]:
            start = mark.start() if start is None else start
        elif start is None:
            spans = [(0, mark.end())]
        else:
            spans.append((start, mark.end()))
            start = None
    return spans if start is None else [*spans, (start, len(text))]


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
        self._thinking = self._thought = False

    def __call__(self, piece: str) -> None:
        self._held += piece
        while mark := _MARK.search(self._passed + self._held, len(self._passed)):
            at = len(self._passed)
            if not self._thinking:
                self._pass_on(self._held[: mark.start() - at])
            self._thinking, self._thought = bool(mark["opening"]), True
            self._held = self._held[mark.end() - at :]
        begun = _BEGUN.search(self._held)
        ready = begun.start() if begun else len(self._held)
        if not self._thinking:
            self._pass_on(self._held[:ready])
        self._held = self._held[ready:]

    def end(self) -> None:
        if not self._thinking:
            self._pass_on(self._held)

    def _pass_on(self, text: str) -> None:
        if self._thought:  # the blank lines after it are no part of the answer
            text = text.lstrip()
        if text:
            self._thought = False
            self._passed = text[-1]
            self._on_token(text)
