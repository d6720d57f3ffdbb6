"""What to do about a trouble is quoted, by the embedder's reading of questions and sentences.

`remedies.jsonl` has passages of ten domains in five languages, written for this, each with questions that report its
trouble and questions for one of its facts. The domains of the part ``tune`` chose the examples of `remedy`, those of
``held`` chose nothing.
"""

from collections.abc import Sequence

import pytest

from benchmarks.quoting import measured
from sluicegate.nodes.writing.quoting import shortlist
from sluicegate.nodes.writing.remedy import EXAMPLES, remedy
from tests.support.answering import state
from tests.support.fakes import FakeModels, services

EACH = len(EXAMPLES) // 4
# trouble, enquiry, instruction, statement: each pole on an axis of its own
POLES = [[1.0, 0.0, 0.0, 0.0]] * EACH + [[0.0, 1.0, 0.0, 0.0]] * EACH
POLES += [[0.0, 0.0, 1.0, 0.0]] * EACH + [[0.0, 0.0, 0.0, 1.0]] * EACH
TROUBLE, ENQUIRY = [1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]


def told(instructs: float) -> list[float]:
    """A sentence so far on the side of instructions; 0 is half-way."""
    return [0.0, 0.0, 0.5 + instructs / 2, 0.5 - instructs / 2]


@pytest.mark.parametrize(
    ("question", "sentences", "matched", "found"),
    [
        pytest.param(TROUBLE, [-0.5, -0.2, 0.6, -0.4], 1, 2, id="the instruction after the trouble"),
        pytest.param(ENQUIRY, [-0.5, -0.2, 0.6, -0.4], 1, None, id="an enquiry needs none"),
        pytest.param(TROUBLE, [-0.5, -0.2, -0.1], 1, None, id="no sentence tells what to do"),
        pytest.param(TROUBLE, [-0.5, 0.6], 1, None, id="the matched one tells it itself"),
        pytest.param(TROUBLE, [0.5, -0.2, 0.5], 1, 2, id="of equal ones the one that follows"),
        pytest.param(TROUBLE, [-0.2, 0.5, -0.1, 0.52], 0, 1, id="a nearer one for a little less clear"),
        pytest.param(TROUBLE, [0.7, -0.2, -0.1], 1, 0, id="one before the trouble, where there is no other"),
    ],
)
def test_the_instruction_that_goes_with_a_sentence(
    question: Sequence[float], sentences: Sequence[float], matched: int, found: int | None
) -> None:
    assert remedy(question, [told(one) for one in sentences], matched, POLES) == found


def test_an_embedder_that_tells_nothing_apart_finds_none() -> None:
    assert remedy([1.0, 0.0], [[1.0, 0.0]] * 3, 0, [[1.0, 0.0]] * len(EXAMPLES)) is None


async def test_no_examples_are_embedded_where_nothing_is_always_quoted_beside_the_best() -> None:
    models = FakeModels()
    given = services(models=models)
    texts = ["One thing. Another thing.", "More."]
    for quotes in (0, 1):
        found = await shortlist(state(given), given, "What?", texts, quotes=quotes)
        assert found.always == quotes
    assert not [text for _, texts in models.embedded for text in texts if text in EXAMPLES]


@pytest.mark.slow
async def test_remedies_of_domains_that_chose_nothing_are_quoted() -> None:
    found = await measured("embedded:all-minilm-l6-v2", ["en"], "held")
    assert (found["trouble"], found["trouble nearest"], found["trouble instructed"]) == (15, 6, 12)
    assert found["fact instructed"] == found["fact nearest"] == found["fact"] == 11
