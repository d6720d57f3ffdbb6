"""Values from models and tools: what is written of them, and which branch they lead to."""

import json
from typing import Any, cast

import ormsgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sluicegate.errors import RunError
from sluicegate.graphs.conditions.conditions import Conditions
from sluicegate.graphs.proofs.flow import Edge, Flow, FlowNode
from sluicegate.graphs.runtime.build import decide
from sluicegate.plain_data import MAX_DEPTH, MAX_TEXT, MAX_VALUES, plain

letters = st.characters() | st.characters(categories=["Cs"])
scalars = st.none() | st.booleans() | st.integers() | st.integers(2**63 - 2, 2**70) | st.floats() | st.text(letters)
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(letters), inner), max_leaves=20)


@pytest.mark.slow
@given(values)
@example([10**30, -(2**63), 2**63, float("nan"), float("-inf"), "\ud800", {"\udfff": 1}])
def test_what_is_written_can_be_held_by_every_part_of_a_run(value: Any) -> None:
    found, notes = plain(value)
    assert plain(found) == (found, [])
    assert json.loads(json.dumps(found, ensure_ascii=False, allow_nan=False).encode()) == found
    assert ormsgpack.unpackb(ormsgpack.packb(found)) == found
    assert bool(notes) == (json.dumps(found) != json.dumps(value))


@pytest.mark.parametrize(
    ("value", "found", "note"),
    [
        (10**30, str(10**30), "a whole number beyond 64 bits became text"),
        pytest.param(
            1 << 20_000, "a whole number of 20001 bits", "a whole number beyond 64 bits became text", id="huge"
        ),
        (float("inf"), None, "inf became null"),
        ("a\ud800b", "a\ufffdb", "half a surrogate pair became U+FFFD"),
        ("\ud83d\ude00", "😀", "half a surrogate pair became U+FFFD"),
        (b"raw", "b'raw'", "bytes became text"),
    ],
)
def test_what_is_replaced_is_said(value: Any, found: Any, note: str) -> None:
    assert plain({"a": [value]}, "fields") == ({"a": [found]}, [f"fields.a: {note}"])


def test_size_and_depth_are_bounded() -> None:
    text, notes = plain("x" * 10_000_000)
    assert (len(text), len(notes)) == (MAX_TEXT, 1)
    many, notes = plain(["x" * MAX_TEXT] * 100)
    assert sum(map(len, many)) <= 1_000_000 + 100 * 100
    rows, notes = plain([1] * 1_000_000)
    assert (len(rows), len(notes)) == (MAX_VALUES, 1)
    deep: Any = []
    for _ in range(5_000):
        deep = [deep]
    found, depth = plain(deep)[0], 0
    while found:
        found, depth = found[0], depth + 1
    assert depth == MAX_DEPTH


@pytest.mark.parametrize("large", [[0] * 1_000_000, ["x" * MAX_TEXT] * 100])
def test_what_uses_up_the_room_leaves_the_shape_of_a_state(large: list[Any]) -> None:
    call = {"tool": "look", "arguments": {"more": large}, "key": "k" * 32, "status": "done", "result": large, "ms": 1.0}
    answer = {"text": "Found it.", "citations": []}
    found, _ = plain({"tool_calls": [call], "answer": answer})
    assert found["answer"] == answer
    assert {**found["tool_calls"][0], "arguments": 0, "result": 0} == {**call, "arguments": 0, "result": 0}
    assert plain(found)[0] == found


LARGE = "has(extraction.fields.amount) && extraction.fields.amount > 1000"
BRANCHES = {text: Conditions().compile(text) for text in (LARGE, "extraction.fields.amount > 1000")}


def branch(text: str, fields: Any) -> str:
    node = FlowNode("x", "extract", edges=(Edge("ask", text), Edge("act")))
    flow = Flow("x", {"x": node, "ask": FlowNode("ask", "refuse"), "act": FlowNode("act", "respond")})
    state = {"run": {"visits": {}}, "extraction": {"fields": plain(fields)[0], "missing": [], "complete": True}}
    return decide(flow, node, BRANCHES, cast("Any", state))["to"]


@pytest.mark.slow
@given(values)
@example(10**30)
@example(float("nan"))
@example("\ud800")
@example(None)
@example(True)
def test_what_cannot_be_compared_takes_no_branch(amount: Any) -> None:
    """A large amount asks a person; what is no number must not go the way of a small one."""
    number = isinstance(plain(amount)[0], int | float) and not isinstance(amount, bool)
    for text in BRANCHES:
        if number:
            assert branch(text, {"amount": amount}) == ("ask" if amount > 1000 else "act")
        else:
            with pytest.raises(RunError, match="cannot be evaluated") as caught:
                branch(text, {"amount": amount})
            assert caught.value.code == "SG632"


@pytest.mark.parametrize("text", BRANCHES)
def test_what_is_not_there_is_unknown(text: str) -> None:
    assert branch(text, {}) == "act"
