"""The benchmark of small and large models: it generates nothing twice, and its curve is the one it says."""

from pathlib import Path

import pytest

from benchmarks import hybrid
from benchmarks.hybrid import Calls, Remembering, Scored, Used, escalated, key_of, picture, summary
from sluicegate.services import Completion, Message, ModelRequest, ModelStep, TokenLogprob

ASKED = ModelRequest("llm", [Message("user", "How long?")], max_tokens=8, logprobs=1)


class Counting(ModelStep):
    """Models that answer everything alike, and say what they were asked."""

    def __init__(self) -> None:
        self.asked: list[ModelRequest] = []

    def describe(self, role: str) -> str:
        return f"embedded:{role}"

    async def chat(self, request: ModelRequest) -> Completion:
        self.asked.append(request)
        token = TokenLogprob("Six", -0.5, (("Six", -0.5), ("Two", -1.0)))
        return Completion("Six weeks.", "embedded:llm", "embedded:llm", 1000, 100, "stop", 5.0, 0.0, logprobs=(token,))


async def test_what_was_answered_is_never_asked_again_and_costs_the_same(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    models, used = Counting(), Used()
    hybrid._USED.set(used)
    first = await Remembering(models, Calls(path), {"llm": "hash"}).chat(ASKED)
    assert models.asked[1:] == [ASKED], "the first call is the one that loads the model"
    path.write_text(path.read_text() + '{"key": "cut off')
    again, asked = Used(), len(models.asked)
    hybrid._USED.set(again)
    assert await Remembering(models, Calls(path), {"llm": "hash"}).chat(ASKED) == first
    assert len(models.asked) == asked
    assert (again.tokens, again.usd, again.large) == (1100, pytest.approx(0.00045), 1)
    assert again == used
    await Remembering(models, Calls(path), {"llm": "another model"}).chat(ASKED)
    assert models.asked[-1] == ASKED


def test_everything_that_can_change_an_answer_is_in_the_key() -> None:
    other = [
        ModelRequest("llm", [Message("system", "How long?")], max_tokens=8, logprobs=1),
        ModelRequest("llm", ASKED.messages, max_tokens=9, logprobs=1),
        ModelRequest("llm", ASKED.messages, max_tokens=8, logprobs=1, seed=1),
        ModelRequest("llm", ASKED.messages, max_tokens=8, logprobs=1, temperature=0.7),
        ModelRequest("llm", ASKED.messages, max_tokens=8, logprobs=1, schema={"type": "object"}),
    ]
    assert len({key_of("hash", one) for one in [ASKED, *other]} | {key_of("other", ASKED)}) == 7
    assert key_of("hash", ASKED) == key_of("hash", ModelRequest("slm", ASKED.messages, max_tokens=8, logprobs=1))


def scored(*rows: tuple[float | None, float | None, int]) -> list[Scored]:
    return [
        Scored(right, confidence, 1.0, Used(seconds=2.0, tokens=10, large=large)) for right, confidence, large in rows
    ]


def test_the_curve_gives_the_least_certain_to_the_large_model_first() -> None:
    small = scored((1.0, 0.9, 0), (0.0, 0.2, 0), (0.0, 0.5, 0), (1.0, None, 0), (None, 0.1, 0))
    large = scored((0.0, 0.9, 1), (1.0, 0.9, 1), (0.0, 0.9, 1), (1.0, None, 1), (1.0, 0.9, 1))
    curve = escalated({"all-slm": small, "all-llm": large})
    assert curve == [(0.0, 0.5), (0.25, 0.75), (0.5, 0.75), (0.75, 0.5), (1.0, 0.5)]


def test_a_summary_counts_what_was_graded_and_what_was_run() -> None:
    found = summary(scored((1.0, 0.9, 0), (0.0, 0.2, 2), (None, 0.5, 1)))
    assert (found["right"], found["graded"], found["without"], found["rows"]) == (1, 2, 1, 3)
    assert (found["tokens"], found["seconds"]) == (10, 2.0)
    low, high = found["interval"]
    assert low < 0.5 < high


def test_the_picture_is_svg_with_a_point_for_each_way_of_running() -> None:
    from xml.etree import ElementTree

    rows = scored((1.0, 0.9, 0), (0.0, 0.2, 1))
    points = {name: summary(rows) for name in ("workflow", "all-slm", "all-llm")}
    drawn = picture({"0.5B/1.5B": [(0.0, 0.5), (1.0, 1.0)]}, {"0.5B/1.5B": points})
    tags = [element.tag.rpartition("}")[2] for element in ElementTree.fromstring(drawn).iter()]
    assert (tags.count("polyline"), tags.count("circle"), tags.count("rect")) == (1, 1, 3)
