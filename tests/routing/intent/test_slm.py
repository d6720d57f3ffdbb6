"""Label decoding and the cascade, on a small model that is told what to say."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sluicegate.errors import ModelError
from sluicegate.routing.config import RouterConfig
from sluicegate.routing.factory import open_router
from sluicegate.routing.intent.artifact import Artifact
from sluicegate.routing.intent.cascade import CascadeRouter
from sluicegate.routing.intent.router import FittedRouter
from sluicegate.routing.intent.slm import LabelDecoder, SlmRouter
from sluicegate.routing.probe_gate import ProbeGate
from tests.support.label_decoding import Letters, trusted
from tests.support.made_rows import rows


async def untried() -> bool:
    return False


async def test_the_prior_is_divided_out() -> None:
    """A model that says A three times as often as B is not believed for that alone."""
    model = Letters({"A": 0.6, "B": 0.2, "C": 0.2})
    decoder = LabelDecoder(model, "slm")
    nothing = await decoder.decode("tell me", ["wifi", "printer", "salary"])
    assert list(nothing.values()) == pytest.approx([1 / 3] * 3)
    found = await decoder.decode("my printer", ["wifi", "printer", "salary"])
    assert max(found, key=lambda label: found[label]) == "printer"
    assert sum(found.values()) == pytest.approx(1.0)
    # the prior of these labels was asked for once
    assert model.asked == ["N/A", "[MASK]", "", "tell me", "my printer"]


async def test_another_model_has_a_prior_of_its_own() -> None:
    class Changing(Letters):
        name = "fake:small"

        def describe(self, role: str) -> str:
            return self.name

    model = Changing({"A": 0.8, "B": 0.1})
    decoder = LabelDecoder(model, "slm")
    assert await decoder.decode("tell me", ["wifi", "printer"]) == pytest.approx({"wifi": 0.5, "printer": 0.5})
    model.name, model.leaning = "fake:large", {"A": 0.1, "B": 0.8}
    assert await decoder.decode("tell me", ["wifi", "printer"]) == pytest.approx({"wifi": 0.5, "printer": 0.5})


async def test_more_labels_than_letters() -> None:
    labels = [f"class_{number:02}" for number in range(60)]
    found = await LabelDecoder(Letters({}), "slm").decode("this is class 47", labels)
    assert max(found, key=lambda label: found[label]) == "class_47"
    assert found.keys() == set(labels)


async def test_a_model_without_token_probabilities_is_refused() -> None:
    with pytest.raises(ModelError, match="SG305"):
        await LabelDecoder(Letters({}, logprobs=False), "slm").decode("x", ["a", "b"])


async def test_slm_router() -> None:
    router = SlmRouter(
        LabelDecoder(Letters({}), "slm"), ["wifi", "other"], out_of_scope="other", threshold=0.7, admitted=trusted
    )
    found = await router.classify("the wifi")
    assert (found.label, found.by, found.out_of_scope) == ("wifi", "slm", False)
    assert found.confidence >= found.threshold == 0.7
    assert (await router.classify("other things")).out_of_scope


@pytest.mark.slow
async def test_the_cascade_asks_only_where_the_head_is_unsure(lexical: Artifact) -> None:
    model = Letters({})
    decoder = LabelDecoder(model, "slm")
    sure = await CascadeRouter(
        FittedRouter(lexical, threshold=0.5), decoder, share=1.0, shortlist=3, admitted=trusted
    ).classify("printer is jammed please help 4")
    assert (sure.by, sure.label, model.asked) == ("head", "printer", [])
    head = FittedRouter(lexical, threshold=1.1)
    router = CascadeRouter(head, decoder, share=1.0, shortlist=3, admitted=trusted)
    text = "urgent today the network drive"
    first, second = await head.classify(text), await router.classify(text)
    assert second.by == "cascade"
    assert second.label == "network"
    assert second.confidence > next(s["confidence"] for s in first.alternatives if s["label"] == "network")
    assert sum(s["confidence"] for s in second.alternatives) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.slow
async def test_the_cascade_holds_its_share(lexical: Artifact) -> None:
    router = CascadeRouter(
        FittedRouter(lexical, threshold=1.1),
        LabelDecoder(Letters({}), "slm"),
        share=0.1,
        shortlist=2,
        admitted=trusted,
    )
    by = [(await router.classify(text)).by for text in rows(200, 2).texts]
    assert 15 <= by.count("cascade") <= 20
    for end in range(20, 200):
        assert by[:end].count("cascade") <= 0.1 * end + 1


@pytest.mark.slow
async def test_a_silent_small_model_leaves_the_head_alone(lexical: Artifact) -> None:
    head = FittedRouter(lexical, threshold=1.1)
    router = CascadeRouter(head, LabelDecoder(Letters({}, fails=True), "slm"), share=1.0, shortlist=2, admitted=trusted)
    first = await head.classify("printer is jammed")
    assert (await router.classify("printer is jammed"), first.unlike) == (first, "")


@pytest.mark.slow
async def test_the_small_model_is_not_asked_of_what_it_could_not_bring_over_the_threshold(lexical: Artifact) -> None:
    model = Letters({})
    head = FittedRouter(lexical)
    router = CascadeRouter(head, LabelDecoder(model, "slm"), share=1.0, shortlist=3, admitted=trusted)
    for text in (
        "The mitochondria produce chemical energy",
        "Mein Drucker druckt nicht mehr, aber warum?",
    ):
        found = await router.classify(text)
        assert (found.by, found) == ("unlike", await head.classify(text))
    assert model.asked == []


@pytest.mark.slow
async def test_a_model_that_failed_its_probe_judges_nothing(
    lexical: Artifact, caplog: pytest.LogCaptureFixture
) -> None:
    model = Letters({})
    decoder = LabelDecoder(model, "slm")
    head = FittedRouter(lexical, threshold=1.1)
    refused = ProbeGate(model, "slm", "the head decides alone")
    cascade = CascadeRouter(head, decoder, share=1.0, shortlist=3, admitted=refused)
    for text in ("no toner", "vpn drops"):
        assert not (await head.classify(text)).unlike
        assert await cascade.classify(text) == await head.classify(text)
    assert model.asked == []
    (said,) = caplog.messages
    assert said.startswith("fake:slm may not decode labels: its probe of `label` is missing or below the minimum, ")
    assert said.endswith("the head decides alone: run `sluicegate models probe --task label`")
    alone = await SlmRouter(decoder, ["wifi", "other"], threshold=0.1, admitted=untried).classify("the wifi")
    assert alone.label == "wifi"
    assert alone.confidence < alone.threshold


@pytest.mark.slow
async def test_open_router(lexical: Artifact, tmp_path: Path) -> None:
    def opened(config: RouterConfig, intents: Sequence[str] = ("password", "printer", "network", "oos")) -> Any:
        return open_router(
            config,
            intents=dict.fromkeys(intents, ""),
            out_of_scope="oos",
            models=Letters({}),
            embed_like=lambda fingerprint: pytest.fail("a lexical head embeds nothing"),
            find=lambda name: tmp_path / name,
            where="desk",
            fit="sluicegate router fit desk.yaml",
        )

    assert (await opened(RouterConfig(artifact="lexical")).classify("printer is jammed")).by == "head"
    assert (await opened(RouterConfig(strategy="slm")).classify("the printer")).by == "slm"
    assert isinstance(opened(RouterConfig(strategy="cascade", artifact="lexical")), CascadeRouter)
    assert opened(RouterConfig(artifact="lexical", threshold=0.3)).threshold == 0.3
    with pytest.raises(ModelError, match="SG312"):
        opened(RouterConfig(artifact="lexical"), ("password",))
    with pytest.raises(ModelError, match=r"SG310 .*elsewhere\. Fit it: sluicegate router fit desk\.yaml"):
        opened(RouterConfig(artifact="elsewhere"))


def test_head_needs_an_artifact() -> None:
    with pytest.raises(ValueError, match="needs an artifact"):
        RouterConfig()
