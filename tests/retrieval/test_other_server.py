"""The same weights on another server: an index of the one is never searched with the other in silence."""

import pytest

from sluicegate.errors import RetrievalError
from sluicegate.models.chain import ModelSet
from sluicegate.models.config import ModelConfig
from sluicegate.retrieval.config import IndexConfig
from tests.support.knowledge import Desk, person
from tests.support.ollama_server import OllamaServer

pytestmark = pytest.mark.slow

OLLAMA, EMBEDDED = "ollama:all-minilm", "embedded:all-minilm-l6-v2"


@pytest.mark.parametrize(("built", "searched"), [(OLLAMA, EMBEDDED), (EMBEDDED, OLLAMA)])
async def test_plain_english_is_refused_too(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, built: str, searched: str
) -> None:
    """Of these documents both servers make the same vectors; of the next ones they would not."""
    desk.article("vpn.md", "# Remote access\n\nIf the secure tunnel drops, sign out and connect again.")
    desk.config = IndexConfig(path=("knowledge",))

    def embed_with(model: str) -> None:
        desk.models = ModelSet({"embedder": ModelConfig(use=model)})  # pyright: ignore[reportAttributeAccessIssue]

    with OllamaServer() as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        embed_with(built)
        await desk.ingest()
        assert await desk.ids("the tunnel drops") == ["knowledge/vpn.md"]
        embed_with(searched)
        for call in (lambda: desk.retriever().search("kb", "the tunnel drops", person(), k=1), desk.ingest):
            desk.article("more.md", "“Crème brûlée” is served in the canteen.")
            with pytest.raises(RetrievalError) as caught:
                await call()
            assert caught.value.code == "SG404"
            assert f"was built with {built}" in caught.value.message
            assert "sluicegate ingest --rebuild" in (caught.value.hint or "")
        await desk.ingest(rebuild=True)
        assert await desk.ids("the tunnel drops") == ["knowledge/vpn.md"]
