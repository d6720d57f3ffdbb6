"""Write a BERT sentence embedder (safetensors, as published) to the GGUF that llama.cpp reads.

Follows llama.cpp's own conversion of `BertModel` (convert_hf_to_gguf.py): matrices in f16; positions, token types,
biases and norms in f32; mean pooling, and WordPiece tokens rewritten to llama.cpp's form, in which a word start is
marked (``▁word``) and a continuation is not.
"""

import json
from pathlib import Path
from typing import Any

__all__ = ["bert_to_gguf"]

CONTROL = frozenset({"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"})
KEPT_WHOLE = ("token_types.weight", "position_embd.weight")


def bert_to_gguf(source: Path, target: Path, *, name: str) -> Path:
    """Convert the folder `source` (``model.safetensors``, ``vocab.txt``, ``config.json``) to the file `target`."""
    import gguf
    import numpy
    from safetensors import safe_open

    config: dict[str, Any] = json.loads((source / "config.json").read_text(encoding="utf-8"))
    blocks = int(config["num_hidden_layers"])
    writer: Any = gguf.GGUFWriter(target, "bert")
    writer.add_name(name)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(blocks)
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    _add_vocabulary(writer, source / "vocab.txt", int(config["type_vocab_size"]))

    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.BERT, blocks)
    tensors: Any = safe_open(source / "model.safetensors", framework="numpy")
    for published in tensors.keys():  # noqa: SIM118 - not a mapping
        # the pooler is not part of a mean-pooled embedder
        if published.endswith("position_ids") or published.startswith("pooler."):
            continue
        mapped = names.get_name(published, try_suffixes=(".weight", ".bias"))
        if mapped is None:
            raise ValueError(f"no GGUF name for the tensor {published}")
        tensor = tensors.get_tensor(published)
        whole = tensor.ndim == 1 or mapped in KEPT_WHOLE
        writer.add_tensor(mapped, tensor.astype(numpy.float32 if whole else numpy.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def _add_vocabulary(writer: Any, vocabulary: Path, token_types: int) -> None:
    import gguf

    words = vocabulary.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    tokens = [word if word in CONTROL else word[2:] if word.startswith("##") else f"▁{word}" for word in words]
    kinds = [gguf.TokenType.CONTROL if word in CONTROL else gguf.TokenType.NORMAL for word in words]
    writer.add_token_type_count(token_types)
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    # llama.cpp knows the place of [CLS]; Ollama would begin every text with token 0 instead
    writer.add_uint32("tokenizer.ggml.cls_token_id", words.index("[CLS]"))
    writer.add_unk_token_id(words.index("[UNK]"))
    writer.add_sep_token_id(words.index("[SEP]"))
    writer.add_pad_token_id(words.index("[PAD]"))
    writer.add_mask_token_id(words.index("[MASK]"))
