"""Label decoding, the cascade and the probes on real models: embedded, and behind a server with Ollama's protocol."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sluicegate.graphs.runtime.factory import Opened, open_workflow
from sluicegate.graphs.runtime.intake import principal
from sluicegate.models.chain import ModelSet
from sluicegate.models.config import ModelConfig, ProbeTask
from sluicegate.models.probes import probe_results as probe_results
from sluicegate.models.probes.probe_results import Result
from sluicegate.models.providers.registry import provider_for
from sluicegate.routing.intent.artifact import Artifact
from sluicegate.routing.intent.cascade import CascadeRouter
from sluicegate.routing.intent.router import FittedRouter
from sluicegate.routing.intent.slm import CONTENT_FREE, LabelDecoder, SlmRouter
from tests.support import ROOT
from tests.support.label_decoding import trusted
from tests.support.made_rows import rows
from tests.support.ollama_server import OllamaServer

pytestmark = pytest.mark.slow

HELPDESK = ROOT / "configs" / "helpdesk" / "workflow.yaml"
ANN = principal("ann", ["employee"])
LABELS = ["password", "printer", "network"]
EMBEDDED, OLLAMA = "embedded:smollm2-135m", "ollama:smollm2:135m"


@pytest.fixture(scope="module")
def server() -> Iterator[OllamaServer]:
    with OllamaServer() as running:
        yield running


def models(use: str, server: OllamaServer) -> ModelSet:
    url = server.url if use.startswith("ollama:") else None
    return ModelSet({"slm": ModelConfig(use=use, base_url=url, timeout_s=300)})


@pytest.mark.parametrize("use", [EMBEDDED, OLLAMA])
async def test_the_prior_of_a_real_model_is_divided_out(use: str, server: OllamaServer) -> None:
    """A small model leans to some letters whatever it is asked; divided out, what says nothing says nothing."""
    decoder = LabelDecoder(models(use, server), "slm")
    said = [await decoder.decode(text, LABELS) for text in CONTENT_FREE]
    prior = await decoder.prior(tuple(LABELS))
    assert sum(prior) == pytest.approx(1, abs=0.01)
    assert max(prior) > 1.5 * min(prior)
    for label in LABELS:
        assert sum(found[label] for found in said) / len(said) == pytest.approx(1 / 3, abs=0.08)
    found = await SlmRouter(decoder, LABELS, admitted=trusted).classify("My printer has no toner.")
    assert (found.by, {score["label"] for score in found.alternatives}) == ("slm", set(LABELS))
    assert sum(score["confidence"] for score in found.alternatives) == pytest.approx(1)
    if use == OLLAMA:
        body = next(body for path, body in reversed(server.requests) if path == "/api/chat")
        assert body["logprobs"] is True
        assert body["top_logprobs"] >= len(LABELS)
        assert body["format"]["properties"]["class"]["enum"] == ["A", "B", "C"]


async def test_the_same_weights_say_the_same_behind_either_protocol(server: OllamaServer) -> None:
    text = "I cannot log in any more."
    here, there = [await LabelDecoder(models(use, server), "slm").decode(text, LABELS) for use in (EMBEDDED, OLLAMA)]
    assert here == pytest.approx(there, abs=0.05)


@pytest.mark.parametrize("use", [EMBEDDED, OLLAMA])
async def test_a_cascade_over_a_real_model_stays_within_its_share(
    use: str, server: OllamaServer, lexical: Artifact
) -> None:
    head = FittedRouter(lexical, threshold=1.1)
    decoder = LabelDecoder(models(use, server), "slm")
    router = CascadeRouter(head, decoder, share=0.2, shortlist=2, admitted=trusted)
    texts = [text for text in rows(40, 2).texts if not (await head.classify(text)).unlike][:20]
    found = [await router.classify(text) for text in texts]
    assert [each.by for each in found].count("cascade") == 4
    for text, each in zip(texts, found, strict=True):
        alone = sum(score["confidence"] for score in (await head.classify(text)).alternatives)
        assert sum(score["confidence"] for score in each.alternatives) == pytest.approx(alone, abs=1e-5)


def opened(tmp_path: Path, overlay: str) -> Opened:
    path = tmp_path / "workflow.yaml"
    (tmp_path / "routers").symlink_to(HELPDESK.parent / "routers")
    path.write_text(f"extends: {HELPDESK}\nversion: probed\n{overlay}", "utf-8")
    return open_workflow(path)


async def keep(use: str, task: ProbeTask, right: int, url: str | None = None) -> None:
    identity = await provider_for(ModelConfig(use=use, base_url=url)).identity()
    probe_results.keep(identity, Result(task, right, 22, 1.0, "probe", datetime.now(UTC).isoformat()))


CASCADE = f"""
models:
  slm: {{use: "{EMBEDDED}", otherwise: [], timeout_s: 300}}
  embedder: {{use: "embedded:all-minilm-l6-v2", otherwise: []}}
router: {{strategy: cascade, threshold: 1.0, cascade: {{share: 1.0, shortlist: 3}}}}
"""


async def test_a_whole_run_asks_no_judge_that_failed_its_probe(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    workflow = opened(tmp_path, CASCADE)
    request = "What is the best recipe for pasta with tomatoes?"
    for right in (None, 12):
        if right is not None:
            await keep(EMBEDDED, "label", right)
        state = (await workflow.runner.run(request, ANN)).state
        assert (state["intent"]["by"], state["intent"]["label"]) == ("head", "out_of_scope")
        assert state.get("spend", {}).get("slm_calls", 0) == 0
    (said,) = [message for message in caplog.messages if "may not decode labels" in message]
    assert said.startswith(f"{EMBEDDED} may not decode labels: its probe of `label` is missing or below the minimum")
    await keep(EMBEDDED, "label", 20)
    state = (await workflow.runner.run(request, ANN)).state
    assert state["intent"]["by"] == "cascade"
    assert state["spend"]["slm_calls"] > 0


MINIMUM = """
models:
  slm:
    use: "ollama:smollm2:135m"
    base_url: "{url}"
    otherwise: ["embedded:smollm2-135m"]
    minimum: {{answer: 0.6}}
    timeout_s: 300
  embedder: {{use: "embedded:all-minilm-l6-v2", otherwise: []}}
intents:
  incident_summary: {{max_tokens: 24}}
"""


async def test_a_role_falls_back_when_its_model_is_below_the_workflows_minimum(
    tmp_path: Path, server: OllamaServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    await keep(OLLAMA, "answer", 8, server.url)
    await keep(EMBEDDED, "answer", 18)
    workflow = opened(tmp_path, MINIMUM.format(url=server.url))
    server.requests.clear()
    request = "Sum up for management: phone system down in sales between 10:02 and 10:47, cause a failed power supply"
    state: Any = (await workflow.runner.run(request, ANN)).state
    assert "digest" in [entry["node"] for entry in state["trail"]]
    reason = "ollama:smollm2:135m: SG315 its probe is below the minimum of slm: answer 0.36 < 0.6"
    assert state["answer"]["model"] == EMBEDDED
    assert state["answer"]["fallback"] == reason
    assert any("answered for slm" in message and reason in message for message in caplog.messages)
    assert not [path for path, _ in server.requests if path in ("/api/chat", "/api/generate")]
