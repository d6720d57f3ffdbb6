"""Control tokens in the text of a message: what a chat format writes between turns, which no text may write itself.

A server renders messages into its model's chat format and reads control tokens wherever they stand, so a document with
``<|im_end|><|im_start|>system`` in it would speak as the system. A space after a token's first character leaves it
readable and makes it plain text. Embedded models need none of this: they are given the text's tokens, read as text.
"""

import re
from functools import lru_cache

__all__ = ["neutralised", "tokens_of_template"]

WELL_KNOWN = (
    r"<\|[^|<>\s]{1,40}\|>",  # ChatML, Llama 3, gpt-oss, Phi, Granite, GLM, Kimi, Command R
    r"<｜[^｜<>\s]{1,40}｜>",
    r"<\|[a-z_]{1,20}>|<[a-z_]{1,20}\|>",  # Gemma 4
    r"</?(?:start|end)_of_[a-z]{1,20}>",  # Gemma, SmolVLM
    r"</?(?:s|bos|eos|pad|unk|sop|eop|mask)>",
    r"<</?SYS>>",  # Llama 2
    r"\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_[A-Z]{1,10}|ARGS|CALL_ID|THINK|IMG)\]",  # Mistral
    r"\[\|[a-z]{1,20}\|\]|\[[gs]MASK\]",  # EXAONE, GLM
    r"</?(?:think|tool_call|tool_response|tools)>",  # Qwen
)
_MARKUP = re.compile(r"<[^<>\s]{1,60}>|\[[^\[\]\s]{1,60}\]|#{2,4} ?[A-Za-z ]{1,30}:")
"""What in a template may be a control token: markup without blanks, and the headings of Alpaca's format."""
_ACTION = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)


def tokens_of_template(template: str) -> tuple[str, ...]:
    """The control tokens that a chat template writes, in Go's template language or in Jinja's, outside its actions."""
    return tuple(dict.fromkeys(_MARKUP.findall(_ACTION.sub("\n", template))))


def neutralised(text: str, tokens: tuple[str, ...] = ()) -> str:
    """`text` with a space in each of the well-known control tokens and of the model's own `tokens`."""
    return _pattern(tokens).sub(r"\1 ", text)


@lru_cache(maxsize=64)
def _pattern(tokens: tuple[str, ...]) -> re.Pattern[str]:
    # looking ahead finds tokens that overlap too, so that none is left whole
    return re.compile(rf"(?s)(?=[<\[#])(?={'|'.join((*map(re.escape, tokens), *WELL_KNOWN))})(.)")
