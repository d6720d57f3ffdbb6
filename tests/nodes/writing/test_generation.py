"""Whether a model may be asked: each that may come to answer is put to the policies, with what it would be shown."""

from pathlib import Path
from typing import Any, get_args

import pytest

from sluicegate.nodes.kinds.answering import LLM_SYNTHESIZE, SLM_ANSWER, LlmSynthesize, SlmAnswer
from sluicegate.nodes.model_governance import governed
from sluicegate.policies.cedar.engine import load_engine
from sluicegate.policies.cedar.entities import RANKS
from sluicegate.policies.kill_switch import KillSwitch
from sluicegate.services import Services
from sluicegate.state import Clearance, DocumentRef
from tests.support.answering import TEXTS, document, state
from tests.support.fakes import FakeLedger, FakeModels, FakePolicy, FakeRetriever, services


class Chained(FakeModels):
    """A small model that stays here, and a large one that does not, with the small one in its place."""

    def chain(self, role: str) -> tuple[str, ...]:
        return ("ollama:small",) if role == "slm" else ("ollama:large", "openai:large")


def classified(*words: Any) -> list[DocumentRef]:
    return [
        {**document(number), "classification": word} if word else document(number)  # type: ignore[typeddict-item]
        for number, word in enumerate(words, start=1)
    ]


async def asked(given: Services, documents: list[DocumentRef], *, large: bool) -> dict[str, Any]:
    if large:
        node = LLM_SYNTHESIZE.make("synthesize", LlmSynthesize(prompt="report"))
    else:
        node = SLM_ANSWER.make("answer", SlmAnswer(prompt="answer"))
    return await governed(node, state(given, documents=documents), given)


async def test_a_deny_makes_no_call_and_reserves_nothing() -> None:
    given = services(policy=FakePolicy({"use_model"}), retriever=FakeRetriever(TEXTS))
    update = await asked(given, classified("public"), large=False)
    assert update["spend"]["stopped"]
    assert update["spend"]["stopped_by"] == "SG202 no: the test says no (fake:slm)"
    assert update["answer"]["text"] == ""
    assert given.models.asked == []  # type: ignore[attr-defined]
    assert given.ledger.log == []  # type: ignore[attr-defined]


async def test_the_policies_are_told_the_model_and_the_gravest_document() -> None:
    policy = FakePolicy()
    given = services(policy=policy, models=Chained(), retriever=FakeRetriever(TEXTS))
    await asked(given, classified("public", "confidential"), large=True)
    assert [(action, resource, context["classification"]) for _, action, resource, context in policy.asked] == [
        ("use_model", {"type": "Model", "id": "ollama:large", "provider": "ollama", "local": True}, 2),
        ("use_model", {"type": "Model", "id": "openai:large", "provider": "openai", "local": False}, 2),
    ]


@pytest.mark.parametrize("word", ["restricted", None])
async def test_restricted_text_is_shown_to_local_models_only(word: str | None, tmp_path: Path) -> None:
    """Under the base policies, also where the model that is not local only stands in, and for unknown documents."""
    engine = load_engine(switch=KillSwitch(tmp_path / "switches.json"))
    given = services(policy=engine, models=Chained(), retriever=FakeRetriever(TEXTS))
    documents = classified("public", word)
    large = await asked(given, documents, large=True)
    assert large["spend"]["stopped_by"] == (
        "SG202 base.model.restricted-stays-here: restricted data goes only to models that run here (openai:large)"
    )
    assert given.models.asked == []  # type: ignore[attr-defined]
    small = await asked(given, documents, large=False)
    assert not small["spend"]["stopped"]
    public = await asked(given, classified("confidential"), large=True)
    assert not public["spend"]["stopped"]


async def test_a_stand_in_that_is_switched_off_does_not_stand_in(tmp_path: Path) -> None:
    switch = KillSwitch(tmp_path / "switches.json")
    given = services(
        policy=load_engine(switch=switch), models=Chained(), ledger=FakeLedger(), retriever=FakeRetriever(TEXTS)
    )
    switch.off("model:openai:large", reason="leaks", by="lea")
    update = await asked(given, classified("public"), large=True)
    assert update["spend"]["stopped_by"] == "SG502 model:openai:large is switched off: leaks"
    assert given.models.asked == []  # type: ignore[attr-defined]


def test_every_classification_has_a_rank() -> None:
    assert list(RANKS) == list(get_args(Clearance))
