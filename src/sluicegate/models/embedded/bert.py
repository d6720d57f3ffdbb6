"""A BERT sentence encoder in numpy, whose hidden layers can be read.

llama.cpp returns only the final embedding. What a classifier needs is spread over the last layers (Jawahar et al.
2019, "What Does BERT Learn about the Structure of Language?"), so this module runs the same weights, from the same
GGUF file, and returns every layer. They give llama.cpp's embedding to six digits, in no more time.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sluicegate.models.embedded.header import read_model

__all__ = ["Bert"]

Floats = NDArray[np.float32]
_VOCABULARY = ("tokenizer.ggml.tokens", "tokenizer.ggml.scores")
HALF, SQRT_HALF = np.float32(0.5), np.float32(0.5**0.5)


@dataclass(frozen=True, slots=True)
class Affine:
    """``x @ weight + bias``."""

    weight: Floats
    bias: Floats

    def __call__(self, x: Floats) -> Floats:
        return x @ self.weight + self.bias


@dataclass(frozen=True, slots=True)
class Norm:
    """Layer normalisation (Ba et al. 2016)."""

    scale: Floats
    bias: Floats
    epsilon: np.float32

    def __call__(self, x: Floats) -> Floats:
        centred = x - x.mean(axis=-1, keepdims=True)
        spread = np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + self.epsilon)
        return centred / spread * self.scale + self.bias


@dataclass(frozen=True, slots=True)
class Layer:
    """One transformer layer (Vaswani et al. 2017, section 3.1), normalised after each residual sum as in BERT."""

    heads: int
    query_key_value: Affine
    output: Affine
    attention_norm: Norm
    up: Affine
    down: Affine
    output_norm: Norm

    def __call__(self, x: Floats) -> Floats:
        """Hidden states (texts, tokens, size) to those of the next layer."""
        texts, tokens, size = x.shape
        per_head = size // self.heads
        joint = self.query_key_value(x).reshape(texts, tokens, 3, self.heads, per_head)
        query, key, value = joint.transpose(2, 0, 3, 1, 4)
        scores = query @ key.swapaxes(-1, -2) / np.float32(per_head**0.5)
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        mixed = scores / scores.sum(axis=-1, keepdims=True) @ value
        x = self.attention_norm(x + self.output(mixed.swapaxes(1, 2).reshape(texts, tokens, size)))
        wide = self.up(x)
        active: Floats = wide * (1 + _erf(wide * SQRT_HALF)) * HALF
        return self.output_norm(x + self.down(active))


def _erf(x: Floats) -> Floats:
    """The error function, by Abramowitz and Stegun (1964), 7.1.26: off by at most 1.5e-7, about what float32 rounds by
    anyway. scipy's takes five times as long, and longer to import than a request takes to route."""
    size = np.abs(x)
    t = 1 / (1 + 0.3275911 * size)
    series = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t
    return np.copysign(1 - series * np.exp(-size * size), x).astype(np.float32, copy=False)


@dataclass(frozen=True, slots=True)
class Bert:
    """The encoder. Made by `read`."""

    tokens: Callable[[NDArray[np.integer]], Floats]
    """The embeddings of tokens, from their numbers: (…, size)."""
    positions: Floats
    """Position embeddings plus the first segment's, (longest, size)."""
    norm: Norm
    layers: tuple[Layer, ...]
    tokenizer: Any
    """Without its marks of start and end."""
    marks: tuple[int, int]
    """The tokens of start and end."""

    @classmethod
    def read(cls, path: Path) -> "Bert":
        """Read a GGUF file of the architecture ``bert``. Raises `KeyError`, `ValueError`, `IndexError` or
        `struct.error` for any other."""
        import gguf

        fields, tensors = read_model(path, _VOCABULARY)
        heads = int(fields["bert.attention.head_count"])
        epsilon = np.float32(fields["bert.attention.layer_norm_epsilon"])
        content = np.asarray(np.memmap(path, np.uint8, "r"))

        def raw(name: str) -> tuple[NDArray[np.uint8], gguf.GGMLQuantizationType]:
            """A tensor's bytes, row by row, and as what they are to be read."""
            tensor = tensors[name]
            kind = gguf.GGMLQuantizationType(tensor.kind)
            numbers, size = gguf.GGML_QUANT_SIZES[kind]
            shape = (*tensor.shape[:-1], tensor.shape[-1] // numbers * size)
            return content[tensor.at : tensor.at + math.prod(shape)].reshape(shape), kind

        def numbers(name: str) -> Floats:
            return np.asarray(gguf.quants.dequantize(*raw(name)), np.float32)

        words, kind = raw("token_embd.weight")

        def tokens(at: NDArray[np.integer]) -> Floats:
            found = np.asarray(gguf.quants.dequantize(words[at.ravel()], kind), np.float32)
            return found.reshape(*at.shape, -1)

        def norm(name: str) -> Norm:
            return Norm(numbers(f"{name}.weight"), numbers(f"{name}.bias"), epsilon)

        def affine(*names: str) -> Affine:
            weights = np.concatenate([numbers(f"{name}.weight") for name in names])
            return Affine(np.ascontiguousarray(weights.T), np.concatenate([numbers(f"{name}.bias") for name in names]))

        def layer(at: str) -> Layer:
            return Layer(
                heads,
                affine(f"{at}.attn_q", f"{at}.attn_k", f"{at}.attn_v"),
                affine(f"{at}.attn_output"),
                norm(f"{at}.attn_output_norm"),
                affine(f"{at}.ffn_up"),
                affine(f"{at}.ffn_down"),
                norm(f"{at}.layer_output_norm"),
            )

        return cls(
            tokens=tokens,
            positions=numbers("position_embd.weight") + numbers("token_types.weight")[0],
            norm=norm("token_embd_norm"),
            layers=tuple(layer(f"blk.{number}") for number in range(int(fields["bert.block_count"]))),
            **_tokenizer_of(fields),
        )

    @property
    def longest(self) -> int:
        """Maximum tokens per text."""
        return len(self.positions)

    def hidden(self, tokens: NDArray[np.integer]) -> list[Floats]:
        """Hidden states after each layer, (texts, tokens, size), for texts of one length: (texts, tokens)."""
        x = self.norm(self.tokens(tokens) + self.positions[: tokens.shape[1]])
        states: list[Floats] = []
        for layer in self.layers:
            x = layer(x)
            states.append(x)
        return states


def _tokenizer_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The tokenizer of a GGUF file and its marks: BERT's uncased WordPiece, or SentencePiece's unigrams."""
    pieces: Sequence[str] = fields["tokenizer.ggml.tokens"]
    if fields["tokenizer.ggml.model"] == "t5":
        scores: Sequence[float] = fields["tokenizer.ggml.scores"]
        marks = tuple(int(fields[f"tokenizer.ggml.{end}_token_id"]) for end in ("bos", "eos"))
        unknown = int(fields["tokenizer.ggml.unknown_token_id"])
        return {"tokenizer": _unigrams(pieces, scores, unknown), "marks": marks}
    tokenizer = _word_pieces(pieces)
    return {"tokenizer": tokenizer, "marks": tuple(tokenizer.token_to_id(mark) for mark in ("[CLS]", "[SEP]"))}


def _unigrams(pieces: Sequence[str], scores: Sequence[float], unknown: int) -> Any:
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    tokenizer: Any = Tokenizer(models.Unigram(list(zip(pieces, scores, strict=True)), unk_id=unknown))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Strip(), normalizers.Replace(Regex(r"\s+"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    return tokenizer


def _word_pieces(vocabulary: Sequence[str]) -> Any:
    """From tokens as llama.cpp writes them: ``▁word`` at the start of a word, plain inside one."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    control = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
    number: dict[str, int] = {}
    for at, token in enumerate(vocabulary):
        word = token if token in control else token[1:] if token.startswith("▁") else f"##{token}"
        number.setdefault(word, at)
    tokenizer: Any = Tokenizer(models.WordPiece(number, unk_token="[UNK]", max_input_chars_per_word=100))  # noqa: S106
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer
