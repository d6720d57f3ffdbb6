"""A real workflow, opened as people open it: nothing in it reaches a model past the policies and the kill switch."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from sluicegate.errors import StoppedError
from sluicegate.graphs.config.load import load
from sluicegate.graphs.runtime.factory import open_workflow
from sluicegate.graphs.runtime.intake import principal
from sluicegate.models.chain import ModelSet
from sluicegate.models.provider import ModelResponse
from sluicegate.nodes.model_governance import governed
from sluicegate.policies.kill_switch import KillSwitch
from sluicegate.retrieval.files import indexes_of
from sluicegate.retrieval.ingest import ingest
from sluicegate.services import EmbeddingRequest, ModelRequest, Services
from sluicegate.state import State
from tests.support import ROOT
from tests.support.knowledge import hashed

pytestmark = pytest.mark.slow

HELPDESK = ROOT / "configs" / "helpdesk" / "workflow.yaml"
ANN = principal("ann", ["employee"])


class Counting:
    """A provider that counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    async def chat(self, request: ModelRequest) -> ModelResponse:
        self.calls += 1
        return ModelResponse('{"proper": "yes"}', 5, 5, "stop")

    async def embed(self, texts: Sequence[str], *, passages: bool = False) -> list[list[float]]:
        self.calls += 1
        return [hashed(text) for text in texts]

    async def identity(self) -> str:
        return "counting"

    async def warm(self) -> None: ...


class Reviewing(ModelSet):
    async def admitted(self, *_: Any) -> bool:
        return True


async def test_a_run_with_every_model_off_reaches_none_and_says_so() -> None:
    provider, workflow = Counting(), load(HELPDESK)
    opened = open_workflow(workflow, models=ModelSet(workflow.config.models, provider_of=lambda _: provider))
    KillSwitch().off("model:*", reason="leaks", by="lea")
    state = (await opened.runner.run("How do I reset my password?", ANN)).state
    assert state.get("intent", {}).get("by") == "stopped"
    assert state.get("spend", {}).get("stopped_by") == "SG502 model:* is switched off: leaks"
    assert state["run"]["status"] == "refused"
    assert provider.calls == 0


ASKING: dict[str, Callable[[Services], Awaitable[Any]]] = {
    "router": lambda services: services.router.classify("How do I reset my password?"),
    "retriever": lambda services: services.retriever.search("kb", "reset", ANN, k=1),
    "review": lambda services: services.guards.check(["slm-review"], "A draft.", stage="output", question="Why?"),
    "node": lambda services: services.models.embed(EmbeddingRequest("embedder", ["reset"])),
}


@pytest.mark.parametrize("part", ASKING)
async def test_what_asks_in_a_nodes_name_is_governed(part: str, tmp_path: Path) -> None:
    variant = f"extends: {HELPDESK}\nworkflow: own\nrouter: {{strategy: slm}}\n"
    (tmp_path / "workflow.yaml").write_text(variant, "utf-8")
    (tmp_path / "knowledge").mkdir()
    page = "---\ntitle: Passwords\napproved: true\nreaders: [everyone]\n---\nReset it in the portal.\n"
    (tmp_path / "knowledge" / "passwords.md").write_text(page, "utf-8")
    workflow, provider = load(tmp_path / "workflow.yaml"), Counting()
    models = Reviewing(workflow.config.models, provider_of=lambda _: provider)
    index = workflow.config.indexes["kb"]
    await ingest(indexes_of("own") / "kb", [tmp_path / "knowledge"], index, models, folders=[tmp_path])
    opened = open_workflow(workflow, models=models)
    made = provider.calls

    async def node(state: State, services: Services) -> dict[str, Any]:
        try:
            await ASKING[part](services)
        except StoppedError:
            return {}
        return {}

    KillSwitch().off("workflow:own", reason="leaks", by="lea")
    update = await governed(node, opened.runner.opening("Hello", ANN), opened.runner.services)
    assert update["spend"]["stopped_by"] == "SG502 workflow:own is switched off: leaks"
    assert provider.calls == made
