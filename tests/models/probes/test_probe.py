"""The probes: their rows, how they are scored, and where the result goes."""

import json
from collections.abc import Sequence

import pytest

from sluicegate.errors import ModelError
from sluicegate.models.probes.probe import TASKS, interval, probe, rows_of
from sluicegate.models.provider import ModelResponse
from sluicegate.services import ModelRequest


class Scripted:
    """Knows each probe's right answers, and gives them for the first `right` rows."""

    def __init__(self, task: str, right: int) -> None:
        rows = rows_of(task)  # type: ignore[arg-type]
        self.answers = [_right(task, row) if number < right else _wrong(task) for number, row in enumerate(rows)]

    async def chat(self, request: ModelRequest) -> ModelResponse:
        return ModelResponse(self.answers.pop(0), 10, 5, "stop")

    async def embed(self, texts: Sequence[str], *, passages: bool = False) -> list[list[float]]:
        raise NotImplementedError

    async def identity(self) -> str:
        return "scripted"

    async def warm(self) -> None: ...


def _right(task: str, row: dict[str, object]) -> str:
    if task == "label":
        return json.dumps({"label": row["label"]})
    if task == "extract":
        return json.dumps(row["value"])
    if task == "review":
        return json.dumps({"supported": "yes" if row["supported"] else "no"})
    return f"It is {row['accepted'][0]}."  # type: ignore[index]


def _wrong(task: str) -> str:
    extracted = {"item": "?", "quantity": 0, "room": "?"}
    return {"extract": json.dumps(extracted), "answer": "I do not know."}.get(task, "not JSON")


@pytest.mark.slow
@pytest.mark.parametrize("task", list(TASKS))
async def test_right_answers_are_told_from_wrong_ones(task: str) -> None:
    rows = rows_of(task)  # type: ignore[arg-type]
    assert len(rows) >= 20
    seen: list[int] = []
    scripted = Scripted(task, right=len(rows) - 1)
    scripted.answers.append(_wrong(task))  # an answer that is not JSON is asked for once more
    measured = await probe(scripted, task, on_progress=lambda done, _: seen.append(done))  # type: ignore[arg-type]
    assert (measured.right, measured.rows) == (len(rows) - 1, len(rows))
    assert seen == list(range(1, len(rows) + 1))


@pytest.mark.parametrize("task", ["label", "review"])
def test_no_answer_is_much_more_frequent_than_the_others(task: str) -> None:
    answers = [str(row.get("label", row.get("supported"))) for row in rows_of(task)]  # type: ignore[arg-type]
    counts = [answers.count(answer) for answer in set(answers)]
    assert max(counts) - min(counts) <= 2


async def test_a_model_that_cannot_be_reached_is_no_wrong_answer() -> None:
    class Down(Scripted):
        async def chat(self, request: ModelRequest) -> ModelResponse:
            raise ModelError("SG301", "is down")

    with pytest.raises(ModelError, match="is down"):
        await probe(Down("label", 0), "label")


@pytest.mark.parametrize(
    ("right", "rows", "low", "high"), [(0, 0, 0, 1), (0, 20, 0, 0.161), (20, 20, 0.839, 1), (15, 20, 0.531, 0.888)]
)
def test_the_interval_is_wilsons(right: int, rows: int, low: float, high: float) -> None:
    assert interval(right, rows) == pytest.approx((low, high), abs=0.001)
