"""Which sentence of a passage tells what to do about the trouble that a question reports.

The sentence nearest to "my mailbox is full" says when a mailbox is full. What helps stands near it, in other words, and
similarity alone leaves it out. No word marks an instruction in every language, but an embedder that knows a language
places instructions and statements apart: a text is read by its place on the line from the mean of some statements to
the mean of some instructions, and a question likewise between enquiries and reports of trouble. 0 is half-way, where
both are as near, so that there is no limit to choose.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["EXAMPLES", "remedy"]

Vector = Sequence[float]

_TROUBLE = (
    "It does not work any more.",
    "Something is broken, what should I do?",
    "I have a problem with it.",
    "How do I repair it?",
)
_ENQUIRY = ("How much is it?", "How long does it take?", "When does it open?", "Which one is it, and who decides?")
_INSTRUCTION = (
    "Open it, press the button and wait until it is done.",
    "Take it out, clean it and put it back.",
    "Call the service desk and ask for a new one.",
    "Go to the settings, choose the entry and confirm.",
)
_STATEMENT = (
    "It has two parts and weighs three kilograms.",
    "It costs twenty euros and lasts for five years.",
    "This means that it is broken or empty.",
    "The office is open until five o'clock.",
)
EXAMPLES = (*_TROUBLE, *_ENQUIRY, *_INSTRUCTION, *_STATEMENT)
"""The texts to embed beside the question and the sentences.

On passages of five domains written for this (`tests/nodes/writing/remedies.jsonl`, part ``tune``) four of each kind in
English told troubles and instructions apart as well as eight in five languages, also in those languages."""

_EACH = len(EXAMPLES) // 4
_AWAY = 0.05
"""What an instruction loses for each sentence between it and the one that was matched. A passage rarely has more than
one instruction that is as clear; from 0 to 0.4 the same ones were found in the part ``tune``."""


def remedy(question: Vector, sentences: Sequence[Vector], matched: int, examples: Sequence[Vector]) -> int | None:
    """The place of the instruction that goes with the sentence at `matched`, which is nearest to the question.

    `sentences` are those of its passage, in order, `examples` the vectors of `EXAMPLES`. None for a question that
    reports no trouble, and where no other sentence tells what to do.
    """
    means = np.asarray(examples, np.float64).reshape(4, _EACH, -1).mean(axis=1)
    troubled, instructs = _between(means[0], means[1]), _between(means[2], means[3])
    if troubled(question) <= 0:
        return None
    told = {at: instructs(one) for at, one in enumerate(sentences) if at != matched}
    clear = {at: value for at, value in told.items() if value > 0}
    return max(clear, key=lambda at: clear[at] - _AWAY * _gap(matched, at), default=None)


def _between(one: NDArray[np.float64], other: NDArray[np.float64]) -> Callable[[Vector], float]:
    """Places on the line between two means: 1 at `one`, -1 at `other`, and 0 everywhere where the two are the same."""
    axis, middle = one - other, (one + other) / 2
    scale = float(axis @ axis) / 2
    return lambda vector: float((np.asarray(vector, np.float64) - middle) @ axis) / scale if scale else 0.0


def _gap(matched: int, at: int) -> int:
    """How many sentences lie between; an instruction seldom comes before its trouble, which counts as one more."""
    return at - matched - 1 if at > matched else matched - at
