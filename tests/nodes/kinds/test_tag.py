"""The kind `tag`: what it finds, what it leaves of other nodes' finds, and that the task of its name finds the same."""

import math
from typing import Any

import pytest
from pydantic import ValidationError

from sluicegate import tasks
from sluicegate.nodes.kinds.tag import TAG, Tag, TagWords
from sluicegate.nodes.model_governance import governed
from sluicegate.services import EmbeddingRequest, Embeddings, Services
from sluicegate.state import State
from tests.support.answering import state
from tests.support.fakes import FakeModels, FakePolicy, services

NEAR = {"people": 0.9, "network": 0.6, "food": 0.2, "holiday": 0.1}


class Angles(FakeModels):
    """Embeds what names one of `NEAR` at that cosine to everything else."""

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        self.embedded.append((request.role, tuple(request.texts)))
        cosines = [next((near for word, near in NEAR.items() if word in text), 1.0) for text in request.texts]
        return Embeddings([[near, math.sqrt(1 - near**2)] for near in cosines], f"fake:{request.role}", "fake")


async def marked(given: Services, before: State | None = None, **settings: Any) -> dict[str, Any]:
    tags = {name: TagWords(**words) for name, words in settings.pop("tags").items()}
    return await governed(TAG.make("mark", Tag(tags=tags, **settings)), before or state(given), given)


FOUR: dict[str, dict[str, Any]] = {
    "urgent": {"describe": "what keeps people from working"}, "network": {}, "food": {}, "holiday": {},
}  # fmt: skip


async def test_without_limits_a_tag_must_come_near_the_nearest() -> None:
    """0.7 of 0.9 is more than the network's 0.6."""
    tags = (await marked(services(models=Angles()), tags=FOUR))["tags"]
    assert tags["found"] == ["urgent"]
    assert tags["scores"] == {"urgent": 0.9, "network": 0.6, "food": 0.2, "holiday": 0.1}
    assert tags["limits"] == dict.fromkeys(FOUR, 0.63)


async def test_each_tag_may_have_a_limit_of_its_own() -> None:
    limits = {"urgent": 0.95, "network": 0.6, "food": 0.2}
    given = {name: {**words, **({"limit": limits[name]} if name in limits else {})} for name, words in FOUR.items()}
    tags = (await marked(services(models=Angles()), tags=given))["tags"]
    assert tags["found"] == ["network", "food"], "the limit itself is enough"
    assert tags["limits"] == {**limits, "holiday": 0.63}


async def test_most_keeps_the_nearest() -> None:
    low = {name: {**words, "limit": 0.05} for name, words in FOUR.items()}
    assert (await marked(services(models=Angles()), tags=low))["tags"]["found"] == list(FOUR)
    assert (await marked(services(models=Angles()), tags=low, most=1))["tags"]["found"] == ["urgent"]


async def test_what_is_near_to_nothing_has_no_tag() -> None:
    tags = (await marked(services(models=Angles()), tags={"holiday": {}}))["tags"]
    assert (tags["found"], tags["limits"]) == ([], {"holiday": 0.15})


async def test_the_request_or_the_draft_is_looked_at() -> None:
    given = services(models=Angles())
    before: Any = {**state(given), "answer": {"text": "All about food.", "citations": []}}
    await marked(given, before, tags={"network": {}})
    await marked(given, before, tags={"odd_name": {"describe": ""}}, of="draft", model="slm")
    assert given.models.embedded == [  # type: ignore[attr-defined]
        ("embedder", ("How do I reset it?", "This is about network.")),
        ("slm", ("All about food.", "This is about odd name.")),
    ]


async def test_what_another_node_found_stays_and_what_this_one_found_before_goes() -> None:
    given = services(models=Angles())
    other = {"found": ["leak", "network"], "scores": {"leak": 0.7, "network": 0.65}, "limits": {"leak": 0.5}}
    before: Any = {**state(given), "tags": {**other, "limits": {"leak": 0.5, "network": 0.6}}}
    tags = (await marked(given, before, tags={"urgent": FOUR["urgent"], "network": {"limit": 0.61}}))["tags"]
    assert tags["found"] == ["urgent", "leak"], "the highest score first; the network is no longer near enough"
    assert tags["scores"] == {"leak": 0.7, "urgent": 0.9, "network": 0.6}


@pytest.mark.parametrize("why", ["no draft", "an empty draft", "not allowed"])
async def test_what_could_not_be_looked_for_has_no_score(why: str) -> None:
    """Nor the score of an earlier visit, when the text was another one."""
    given = services(models=Angles(), policy=FakePolicy({"use_model"} if why == "not allowed" else set()))
    earlier = {"found": ["network"], "scores": {"network": 0.6}, "limits": {"network": 0.5}}
    draft = {"no draft": {}, "an empty draft": {"answer": {"text": "", "citations": []}}}
    before: Any = {**state(given), **draft.get(why, {}), "tags": earlier}
    update = await marked(given, before, tags={"network": {}}, of="request" if why == "not allowed" else "draft")
    assert update["tags"] == {"found": [], "scores": {}, "limits": {}}
    assert given.models.embedded == []  # type: ignore[attr-defined]
    assert update.get("spend", {}).get("stopped", False) is (why == "not allowed")


@pytest.mark.parametrize(
    "wrong",
    [{"tags": {}}, {"tags": {"a b": {}}}, {"tags": {"a": {"limit": 0}}}, {"tags": {"a": {"limit": 1.1}}},
     {"tags": {"a": {"words": "x"}}}, {"tags": {"a": {}}, "most": 0}, {"tags": {"a": {}}, "of": "answer"}],
)  # fmt: skip
def test_settings_are_strict(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Tag.model_validate(wrong)


@pytest.mark.slow
async def test_the_task_and_the_node_find_the_same() -> None:
    models = tasks.default_models()
    words = {"network": "network, wifi and VPN", "payroll": "salaries and payslips", "food": "the canteen"}
    given = services(models=models)
    before = state(given)
    before["request"]["text"] = "The wifi is down and my payslip is wrong."
    tags = (await marked(given, before, tags={name: {"describe": about} for name, about in words.items()}))["tags"]
    found = await tasks.tag(before["request"]["text"], words, models=models)
    assert found.value == tags["found"] == ["network", "payroll"]
    strict = await tasks.tag(before["request"]["text"], words, limits={"network": 0.99}, models=models)
    assert strict.value == ["payroll"]
