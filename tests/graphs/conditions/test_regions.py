"""The values that the proofs enumerate: conditions cannot tell any other value from all of them."""

import itertools
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluicegate.graphs.conditions.conditions import Condition, Conditions
from sluicegate.graphs.conditions.regions import regions

LIMITS = (0.0, 0.5, -1.5, 0.5000000000000001, sys.float_info.max)
CHANNELS = ("web", "mail", "")


def compiled(*texts: str) -> list[Condition]:
    return [Conditions(nodes=("a",)).compile(text) for text in texts]


@st.composite
def atoms(draw: st.DrawFn) -> str:
    """Comparisons of two numbers with limits and each other, of a whole number, a text and a list of texts."""
    order = draw(st.sampled_from(["<", "<=", ">", ">=", "==", "!="]))
    limit = draw(st.sampled_from(LIMITS))
    number, other = draw(st.permutations(["answer.confidence", "answer.threshold"]))
    return draw(
        st.sampled_from(
            [
                f"{number} {order} {limit!r}",
                f"{limit!r} {order} {number}",
                f"{number} {order} {other}",
                f"retrieval.count {order} {draw(st.integers(-2, 3))}",
                f"request.channel {draw(st.sampled_from(['==', '!=']))} {draw(st.sampled_from(CHANNELS))!r}",
                f"request.channel in [{draw(st.sampled_from(CHANNELS))!r}, 'fax']",
                f"'{draw(st.sampled_from(['lead', 'clerk']))}' in principal.roles",
            ]
        )
    )


numbers = st.sampled_from(LIMITS) | st.floats(allow_nan=False, allow_infinity=False)
values = st.fixed_dictionaries(
    {
        "answer.confidence": numbers,
        "answer.threshold": numbers,
        "retrieval.count": st.integers(-(2**63), 2**63 - 1),
        "request.channel": st.sampled_from(CHANNELS) | st.text(max_size=3),
        "principal.roles": st.lists(st.sampled_from(["lead", "clerk", "boss"])),
    }
)


@pytest.mark.slow
@settings(max_examples=400)
@given(st.lists(atoms(), min_size=1, max_size=4), values)
def test_some_enumerated_values_give_what_any_values_give(texts: list[str], chosen: dict[str, Any]) -> None:
    conditions = compiled(*texts)
    found = regions(conditions)
    assert found.keys() == {name for condition in conditions for name in condition.fields}
    results = [condition.known(chosen) for condition in conditions]
    enumerated = (dict(zip(found, each, strict=True)) for each in itertools.product(*found.values()))
    assert any([condition.known(facts) for condition in conditions] == results for facts in enumerated)


@pytest.mark.parametrize(
    "text",
    [
        "answer.confidence + answer.threshold > 1.0",
        "request.channel.startsWith('w')",
        "['web'].exists(each, request.channel == each)",
        "size(principal.roles) == 0",
        "'lead' in principal.roles && principal.roles == ['lead']",
        "request.channel < 'web'",
        "retrieval.count == int(tool.ms)",
        "'a' in tags.found",
    ],
)
def test_a_field_that_is_read_in_another_way_stays_unknown(text: str) -> None:
    assert regions(compiled(text)) == {}
    plain = compiled("request.channel == 'web'", "answer.confidence < 0.5", "retrieval.count > 1")
    reads = compiled(text)[0].fields
    assert regions([*compiled(text), *(one for one in plain if one.fields & reads)]) == {}


def test_many_fields_compared_with_each_other_stay_unknown() -> None:
    four = ("answer.confidence", "answer.threshold", "answer.answerability", "router.threshold")
    assert regions(compiled(*(f"{one} < {other}" for one, other in itertools.pairwise(four)))) == {}
