"""How a real Ollama server embeds with a BERT model, for the stand-in: its tokenizer, and the encoder's weights.

Read off version 0.24.0: `tokenizer/wordpiece.go`, `model/models/bert/embed.go`. Unlike BERT's own tokenizer it strips
no accents, takes a symbol such as ``$`` for a letter, and cuts punctuation beyond ASCII after its first byte.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np

from sluicegate.models.embedded import weights
from sluicegate.models.embedded.bert import Bert
from sluicegate.models.embedded.header import read_model

__all__ = ["OllamaBert"]

CJK = (
    *((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F)),
    *((0x2B740, 0x2B81F), (0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F)),
)


class OllamaBert:
    """An embedding model of the stand-in, by its name in `weights.WEIGHTS`."""

    def __init__(self, name: str) -> None:
        place = weights.located(name)
        fields, _tensors = read_model(place, ["tokenizer.ggml.tokens"])
        self._bert = Bert.read(place)
        self._numbers = {token: number for number, token in enumerate(fields["tokenizer.ggml.tokens"])}

    @staticmethod
    @lru_cache
    def of(name: str) -> "OllamaBert":
        return OllamaBert(name)

    @property
    def longest(self) -> int:
        return self._bert.longest

    def tokens(self, text: str) -> list[int]:
        body = [number for word in _words(text) for number in self._pieces(word)]
        return [self._numbers["[CLS]"], *body, self._numbers["[SEP]"]]

    def embed(self, tokens: Sequence[int]) -> list[float]:
        pooled = self._bert.hidden(np.array([tokens]))[-1][0].mean(axis=0)
        return [float(value) for value in pooled / np.linalg.norm(pooled)]

    def _pieces(self, word: bytes) -> list[int]:
        found: list[int] = []
        start = 0
        while start < len(word):
            for end in range(len(word), start, -1):
                piece = ("" if start else "▁") + word[start:end].decode("utf-8", "replace").lower()
                if piece in self._numbers:
                    break
            else:
                return [self._numbers["[UNK]"]]
            found.append(self._numbers[piece])
            start = end
        return found


def _words(text: str) -> Iterator[bytes]:
    spaced = "".join(f" {one} " if any(low <= ord(one) <= high for low, high in CJK) else one for one in text)
    for word in spaced.split():
        marks: list[int] = []
        whole = b""
        for one in word:
            if unicodedata.category(one).startswith("P"):
                marks.append(len(whole))
            whole += one.encode()
        start = 0
        while start < len(whole):
            end = next((mark for mark in marks if mark >= start), len(whole))
            end = max(end, start + 1)
            yield whole[start:end]
            start = end
