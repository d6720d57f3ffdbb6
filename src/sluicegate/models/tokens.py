"""Upper bound on a text's tokens, without any model's tokenizer."""

import re

__all__ = ["upper_tokens"]

LETTERS = re.compile(r"[A-Za-z]+")
SPACES = re.compile(r"\s{2,}|[\t\n\r]")
OTHERS = re.compile(r"[\x21-\x40\x5b-\x60\x7b-\x7e]")
"""Digits and marks, which some tokenizers give a token each."""


def upper_tokens(text: str) -> int:
    """An upper estimate: a token for 3 letters of a word, for each digit and mark, two for any other character.

    Prose has about two thirds of it. Made-up words of rare letters may have more.
    """
    words = sum(-(-len(word) // 3) for word in LETTERS.findall(text))
    others = len(OTHERS.findall(text)) + len(SPACES.findall(text))
    foreign = 0 if text.isascii() else sum(character > "\x7f" for character in text)
    return words + others + 2 * foreign
