"""What becomes of the parameters that are not read: ignored, or refused unless they ask for nothing.

What only tunes a model is ignored, and the reply names it: which models answer, and how they are called, is the
workflow's. What would give the answer another form, or have the caller's tools called, is refused, since a caller who
relies on it would misread the answer. OpenAI refuses both alike for models that lack them.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sluicegate.serving.http.openai.errors import CallRefusal, unknown

__all__ = ["CHAT", "RESPONSES", "Parameters", "ignored"]

_TUNING = frozenset(
    {
        *("temperature", "top_p", "service_tier", "store", "metadata", "moderation", "parallel_tool_calls"),
        *("prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"),
    }
)
_NO_TOOLS: dict[str, tuple[Any, ...]] = {"tools": ([],), "tool_choice": ("none", "auto")}


class Parameters:
    """The parameters of one API."""

    def __init__(self, ignored: frozenset[str], refused: Mapping[str, tuple[Any, ...]]) -> None:
        """`refused` has the values that ask for nothing."""
        self.ignored, self.refused = ignored, refused


CHAT = Parameters(
    _TUNING
    | {
        *("frequency_penalty", "logit_bias", "max_completion_tokens", "max_tokens", "prediction", "presence_penalty"),
        *("reasoning_effort", "seed", "verbosity"),
    },
    {
        **_NO_TOOLS,
        "audio": (),
        "function_call": ("none", "auto"),
        "functions": ([],),
        "logprobs": (False,),
        "modalities": (["text"],),
        "n": (1,),
        "response_format": ({"type": "text"},),
        "stop": ([],),
        "top_logprobs": (0,),
        "web_search_options": (),
    },
)
RESPONSES = Parameters(
    (_TUNING - {"metadata"})
    | {
        *("context_management", "include", "max_output_tokens", "max_tool_calls", "reasoning", "stream_options"),
        *("truncation",),
    },
    {
        **_NO_TOOLS,
        "access_programs": (),
        "background": (False,),
        "background_options": (),
        "image": (),
        "instructions": ("",),
        "prompt": (),
        "text.format": ({"type": "text"},),
        "top_logprobs": (0,),
    },
)


def ignored(given: Mapping[str, Any], parameters: Parameters) -> list[str]:
    """The names of those that are ignored. Raises `CallRefusal` for one that is refused, or known to neither API."""
    given = dict(given)
    if isinstance(text := given.get("text"), dict):
        # how long an answer should be is tuning, which form it has is not
        given |= {"text": text.get("verbosity"), "text.format": text.get("format")}  # pyright: ignore[reportUnknownMemberType]
    passed: list[str] = []
    for name, value in given.items():
        if value is None:
            continue
        if name in parameters.ignored or (name == "text" and "text.format" in given):
            passed.append(name)
        elif name not in parameters.refused:
            raise unknown(name)
        elif value not in (allowed := parameters.refused[name]):
            raise _unsupported(name, allowed)
    return passed


def _unsupported(name: str, allowed: Sequence[Any]) -> CallRefusal:
    only = " or ".join(json.dumps(each) for each in allowed if each)
    what, why = ("value", f"supports only {only}") if only else ("parameter", "is not supported")
    return CallRefusal(f"Unsupported {what}: '{name}' {why} with this model.", param=name, code=f"unsupported_{what}")
