"""The header of a GGUF file: as the `gguf` package reads it, without its vocabulary."""

import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from sluicegate.errors import ModelError
from sluicegate.models.embedded.header import ModelFile, read_header, read_model


def written(path: Path, architecture: str = "llama", *, pooled: bool = False) -> Path:
    """A file with every kind of value, and a vocabulary before the last of them."""
    writer: Any = gguf.GGUFWriter(path, architecture)
    writer.add_name("Wörter")
    writer.add_context_length(2048)
    if pooled:
        writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_token_list([f"▁token{number}" for number in range(500)])
    writer.add_token_scores([0.5] * 500)
    writer.add_array("nested", [[1, 2], [3]])
    writer.add_bool("flag", True)
    for kind in ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"):
        getattr(writer, f"add_{kind}")(kind, 7 if kind.startswith("u") else -7)
    writer.add_float32("float32", 0.25)
    writer.add_float64("float64", 0.1)
    writer.add_tensor("whole", np.arange(12, dtype=np.float32).reshape(3, 4))
    writer.add_tensor("half", np.arange(5, dtype=np.float16))
    packed = np.arange(2 * 3 * 18, dtype=np.uint8).reshape(2, 3 * 18)
    writer.add_tensor("packed", packed, raw_dtype=gguf.GGMLQuantizationType.Q4_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_every_single_value_is_read_as_the_package_reads_it(tmp_path: Path) -> None:
    path = written(tmp_path / "small.gguf")
    fields: Any = gguf.GGUFReader(path).fields
    lists = {"tokenizer.ggml.tokens", "tokenizer.ggml.scores", "nested"}
    expected = {
        name: field.contents() for name, field in fields.items() if name not in lists and not name.startswith("GGUF.")
    }
    assert len(expected) == 14
    assert read_header(path) == expected


def test_lists_that_are_asked_for_and_tensors_are_where_the_package_finds_them(tmp_path: Path) -> None:
    path = written(tmp_path / "small.gguf")
    read: Any = gguf.GGUFReader(path)
    lists = ("tokenizer.ggml.tokens", "tokenizer.ggml.scores")
    fields, tensors = read_model(path, lists)
    assert fields == read_header(path) | {name: read.fields[name].contents() for name in lists}
    content = path.read_bytes()
    assert [*tensors] == [one.name for one in read.tensors] == ["whole", "half", "packed"]
    for one in read.tensors:
        found = tensors[one.name]
        assert (found.kind, found.shape) == (one.tensor_type, tuple(reversed(one.shape.tolist())))
        assert content[found.at : found.at + one.n_bytes] == one.data.tobytes()


def test_no_token_of_the_vocabulary_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It took six of seven seconds."""
    from sluicegate.models.embedded import header

    texts: list[str] = []
    real = header._text

    def counted(data: Any, at: int) -> tuple[str, int]:
        text, after = real(data, at)
        texts.append(text)
        return text, after

    path = written(tmp_path / "small.gguf")
    monkeypatch.setattr(header, "_text", counted)
    monkeypatch.setattr(gguf, "GGUFReader", lambda _path: pytest.fail("it parses the vocabulary"))
    assert ModelFile.read(path).context == 2048
    assert len(texts) < 25, "500 tokens are in the file"


def test_whether_it_embeds_is_told_by_its_pooling(tmp_path: Path) -> None:
    assert not ModelFile.read(written(tmp_path / "chat.gguf")).embeds
    assert ModelFile.read(written(tmp_path / "embedder.gguf", "bert", pooled=True)).embeds


@pytest.mark.parametrize("size", [0, 3, 20, 40, 100, 5000])
def test_half_a_header_is_refused(tmp_path: Path, size: int) -> None:
    whole = written(tmp_path / "whole.gguf").read_bytes()
    (tmp_path / "half.gguf").write_bytes(whole[:size])
    with pytest.raises(ModelError) as caught:
        ModelFile.read(tmp_path / "half.gguf")
    assert caught.value.code == "SG307"


@pytest.mark.parametrize(
    "harm",
    [
        b"GGML" + struct.pack("<IQQ", 3, 0, 0),
        b"GGUF" + struct.pack("<IQQ", 1, 0, 0),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 0),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"a" + struct.pack("<I", 99),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 2**63) + b"a",
        b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + struct.pack("<Q", 1) + b"a" + struct.pack("<IIQ", 9, 4, 2**62),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"\xff" + struct.pack("<II", 4, 1),
    ],
    ids=["magic", "version", "no architecture", "type", "length", "count", "text"],
)
def test_another_file_is_refused(tmp_path: Path, harm: bytes) -> None:
    (tmp_path / "harm.gguf").write_bytes(harm)
    with pytest.raises(ModelError) as caught:
        ModelFile.read(tmp_path / "harm.gguf")
    assert caught.value.code == "SG307"
