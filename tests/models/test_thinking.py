"""What a model thinks is no part of its answer."""

import math
from collections.abc import Sequence

import pytest

from sluicegate.models.provider import ModelResponse
from sluicegate.models.thinking import answered, apart
from sluicegate.services import ModelRequest, TokenLogprob

FORMS = [
    ("<think>\nhm\n</think>\n\nYes.", "Yes.", "hm"),
    ("<thinking>hm</thinking> Yes.", "Yes.", "hm"),
    ("<seed:think>hm</seed:think>Yes.", "Yes.", "hm"),
    ("[THINK]hm[/THINK]Yes.", "Yes.", "hm"),
    ("◁think▷hm◁/think▷Yes.", "Yes.", "hm"),
    ("<think></think>Yes.", "Yes.", ""),
    ('<think time="3">hm</think\n>Yes.', "Yes.", "hm"),
    ("<mm:think>hm</mm:think>Yes.", "Yes.", "hm"),
    ("<｜think｜>hm<｜/think｜>Yes.", "Yes.", "hm"),
    ("<|START_THINKING|>hm<|END_THINKING|><|START_RESPONSE|>Yes.<|END_RESPONSE|>", "Yes.", "hm"),
    ("<|begin_of_thought|>hm<|end_of_thought|>\n<|begin_of_solution|>Yes.<|end_of_solution|>", "Yes.", "hm"),
    ("<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>Yes.", "Yes.", "hm"),
    ("<think>hm</think><answer>Yes.</answer>", "Yes.", "hm"),
    ("<reasoning>hm</reasoning>\nYes.", "Yes.", "hm"),
    ("Here is my thought process: hm\nHere is my response: Yes.", "Yes.", "hm"),
    ("<reasoning> is a tag that was never closed.", "<reasoning> is a tag that was never closed.", ""),
    ("Put it in <reasoning>tags</reasoning> or <answer>.", "Put it in <reasoning>tags</reasoning> or <answer>.", ""),
    ("Here is my plan.", "Here is my plan.", ""),
    ("<think>a</think>Yes. <think>b</think>No.", "Yes. No.", "a\n\nb"),
    ("Yes, as <think>the tokens ran", "Yes, as", "the tokens ran"),
    ("It is written `<think>` and `</think>`.", "It is written `<think>` and `</think>`.", ""),
    ("1 < 2 [see 3]", "1 < 2 [see 3]", ""),
    ("Yes.", "Yes.", ""),
]
UNOPENED = ("hm, so\n</think>\n\nYes.", "Yes.", "hm, so")
"""A chat template has written the opening mark."""


@pytest.mark.parametrize(("text", "answer", "thinking"), [*FORMS, UNOPENED])
def test_the_text_has_none_of_it(text: str, answer: str, thinking: str) -> None:
    made = apart(ModelResponse(text, 1, 1, "stop"))
    assert (made.text, made.thinking) == (answer, thinking)


def test_confidence_is_that_of_the_answer_s_tokens() -> None:
    tokens = tuple(
        TokenLogprob(token, math.log(p)) for token, p in (("<think>", 0.1), ("hm</think>", 0.1), ("Yes", 0.8))
    )
    made = apart(ModelResponse("<think>hm</think>Yes", 1, 1, "stop", tokens))
    assert [token.token for token in made.logprobs] == ["Yes"]


class Streaming:
    def __init__(self, pieces: Sequence[str]) -> None:
        self.pieces = pieces

    async def chat(self, request: ModelRequest) -> ModelResponse:
        for piece in self.pieces:
            assert request.on_token
            request.on_token(piece)
        return ModelResponse("".join(self.pieces), 1, 1, "stop")


@pytest.mark.parametrize(("text", "answer", "thinking"), FORMS)
@pytest.mark.parametrize("size", [1, 3, 100])
async def test_a_stream_has_none_of_it(text: str, answer: str, thinking: str, size: int) -> None:
    pieces: list[str] = []
    request = ModelRequest("slm", (), 9, on_token=pieces.append)
    given = [text[at : at + size] for at in range(0, len(text), size)]
    made = await answered(Streaming(given).chat, request)
    assert "".join(pieces).strip() == answer == made.text
    assert made.thinking == thinking
