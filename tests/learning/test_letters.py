"""Label decoding's arithmetic: what is not listed, and confidences that hold what they say."""

import json
import math
import random

import pytest

from sluicegate.learning.letters import LETTERS, fitted, letter_probabilities, scaled
from sluicegate.services import LabelScale, TokenLogprob


def token(alternatives: dict[str, float], chosen: str) -> TokenLogprob:
    logprobs = {name: math.log(probability) for name, probability in alternatives.items()}
    return TokenLogprob(chosen, logprobs[chosen], tuple(logprobs.items()))


def test_a_letter_that_is_not_listed_counts_as_the_last_that_is() -> None:
    """A floor of its own would make the listed ones a thousand times as likely, which no model said."""
    listed = token({"A": 0.5, "printer": 0.3, "B": 0.02}, "A")
    found = letter_probabilities([listed], {"class": "A"}, 4)
    assert found == pytest.approx([0.5 / 0.56, 0.02 / 0.56, 0.02 / 0.56, 0.02 / 0.56])


def test_no_letter_is_likelier_than_the_one_chosen_among_them() -> None:
    """A grammar may choose a letter that is below all that is listed."""
    chosen = TokenLogprob("B", math.log(0.001), (("printer", math.log(0.9)), ("Your", math.log(0.05))))
    assert letter_probabilities([chosen], {"class": "B"}, 3) == pytest.approx([1 / 3] * 3)


def test_forms_of_a_letter_are_added() -> None:
    found = letter_probabilities([token({' "A': 0.3, "A": 0.1, '"B"': 0.2, "x": 0.05}, "A")], {"class": "A"}, 2)
    assert found == pytest.approx([0.4 / 0.6, 0.2 / 0.6])


@pytest.mark.parametrize("tokens", [[], [TokenLogprob("A", -0.1)], [token({"B": 0.9}, "B")]])
def test_no_token_tells(tokens: list[TokenLogprob]) -> None:
    assert letter_probabilities(tokens, {"class": "A"}, 2) == []


def drawn(rows: int, said: float, prior: float, seed: int) -> list[tuple[list[float], list[float], int]]:
    """Rows of a model that exaggerates: its letters are the truth to the power 1/said, times its prior."""
    made: list[tuple[list[float], list[float], int]] = []
    dice = random.Random(seed)
    for _ in range(rows):
        size = dice.choice([2, 4, 8])
        truth = [dice.gammavariate(0.3, 1.0) + 1e-4 for _ in range(size)]
        truth = [one / sum(truth) for one in truth]
        leaning = [dice.uniform(0.1, 1.0) for _ in range(size)]
        loud = [one ** (1 / said) * lean ** (prior / said) for one, lean in zip(truth, leaning, strict=True)]
        at = dice.choices(range(size), truth)[0]
        made.append(([one / sum(loud) for one in loud], [lean / sum(leaning) for lean in leaning], at))
    return made


@pytest.mark.slow
@pytest.mark.parametrize(("said", "prior"), [(0.3, 0.2), (1.0, 1.0), (0.7, 0.0)])
def test_nine_in_ten_means_nine_in_ten(said: float, prior: float) -> None:
    scale = fitted(drawn(300, said, prior, seed=1))
    assert scale.said == pytest.approx(said, abs=0.16)
    bins: dict[int, list[tuple[float, bool]]] = {}
    for told, leaning, at in drawn(6000, said, prior, seed=2):
        found = scaled(told, leaning, scale)
        top = max(range(len(found)), key=lambda place: found[place])
        bins.setdefault(int(found[top] * 10), []).append((found[top], top == at))
    for rows in (rows for rows in bins.values() if len(rows) > 200):
        claimed = sum(sure for sure, _ in rows) / len(rows)
        assert sum(right for _, right in rows) / len(rows) == pytest.approx(claimed, abs=0.06)


@pytest.mark.slow
def test_letters_that_tell_nothing_are_sure_of_nothing() -> None:
    dice = random.Random(3)
    rows: list[tuple[list[float], list[float], int]] = []
    for _ in range(300):
        said = [dice.gammavariate(0.3, 1.0) + 1e-6 for _ in range(4)]
        rows.append(([one / sum(said) for one in said], [0.25] * 4, dice.randrange(4)))
    scale = fitted(rows)
    assert scale.said <= 0.1
    assert max(scaled([0.999, 0.0005, 0.0003, 0.0002], [0.25] * 4, scale)) < 0.5


def test_no_more_labels_than_letters_are_in_the_probe() -> None:
    from sluicegate.models.probes.probe import _text  # pyright: ignore[reportPrivateUsage]

    rows = [json.loads(line) for line in _text("letters").splitlines()]
    assert len(rows) >= 60
    assert all(row["label"] in row["labels"] and len(row["labels"]) <= len(LETTERS) for row in rows)
    assert {len(row["labels"]) for row in rows} >= {2, 5, 10, 14}


def test_a_scale_is_plain_data() -> None:
    assert scaled([0.8, 0.2], [0.5, 0.5], LabelScale(0.0, 0.0)) == [0.5, 0.5]
