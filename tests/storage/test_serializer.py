"""A row of a checkpoint restores plain data and LangGraph's own types; whatever else it names is not run."""

import datetime
import os
from pathlib import Path
from typing import Any

import ormsgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.serde import jsonplus
from langgraph.types import Interrupt, Send

from sluicegate.errors import CorruptError
from sluicegate.graphs.runtime.checkpoints import open_checkpoints
from sluicegate.storage.serializer import PlainDataSerializer
from sluicegate.storage.step_rows import StepRow, pack

serializer = PlainDataSerializer()

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.mark.slow
@given(plain)
def test_plain_data_comes_back(value: Any) -> None:
    assert serializer.loads_typed(serializer.dumps_typed(value)) == value


def test_types_of_langgraph_come_back() -> None:
    now = datetime.datetime.now(datetime.UTC)
    value = [Interrupt({"asked": [1]}, id="i"), Send("node", {"a": now}), {"b": {1, 2}}, HumanMessage("hello")]
    assert serializer.loads_typed(serializer.dumps_typed(value)) == value


def _ext(code: int, *named: Any) -> bytes:
    def pack(value: Any) -> Any:
        return value if isinstance(value, ormsgpack.Ext) else None

    return ormsgpack.packb(ormsgpack.Ext(code, ormsgpack.packb(named, default=pack)))


FORMS = {
    "one argument": (jsonplus.EXT_CONSTRUCTOR_SINGLE_ARG, "touch {}"),
    "positional": (jsonplus.EXT_CONSTRUCTOR_POS_ARGS, ["touch {}"]),
    "by name": (jsonplus.EXT_CONSTRUCTOR_KW_ARGS, {"command": "touch {}"}),
    "pydantic 1": (jsonplus.EXT_PYDANTIC_V1, {"command": "touch {}"}),
    "pydantic 2": (jsonplus.EXT_PYDANTIC_V2, {"command": "touch {}"}),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("strict", [None, "false"])
def test_a_row_that_names_a_function_runs_nothing(
    form: str, strict: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if strict:
        monkeypatch.setenv("LANGGRAPH_STRICT_MSGPACK", strict)
    code, argument = FORMS[form]
    mark = tmp_path / "ran"
    filled = ormsgpack.unpackb(ormsgpack.packb(argument).replace(b"\xa8touch {}", _text(f"touch {mark}")))
    row = _ext(code, "os", "system", filled, "model_validate_json")
    with pytest.raises(CorruptError, match="neither plain data"):
        PlainDataSerializer().loads_typed(("msgpack", row))
    # and where it is an argument of something that is safe
    inner = ormsgpack.Ext(code, ormsgpack.packb(["os", "system", filled, "x"]))
    nested = _ext(jsonplus.EXT_CONSTRUCTOR_SINGLE_ARG, "builtins", "set", [inner])
    with pytest.raises(CorruptError, match="neither plain data"):
        PlainDataSerializer().loads_typed(("msgpack", nested))
    assert not mark.exists()


def _text(text: str) -> bytes:
    return ormsgpack.packb(text)


@pytest.mark.parametrize(
    ("kind", "row", "problem"),
    [
        ("json", b'{"lc": 2, "type": "constructor", "id": ["os", "system"], "args": ["true"]}', "type 'json'"),
        ("pickle", b"cos\nsystem\n(S'true'\ntR.", "type 'pickle'"),
        ("msgpack", b"\xc1", "neither plain data"),
        ("msgpack", _ext(jsonplus.EXT_METHOD_SINGLE_ARG, "datetime", "datetime", "x", "now"), "neither plain data"),
        ("msgpack", _ext(jsonplus.EXT_NUMPY_ARRAY, "f8", [1], "C", b"12345678"), "neither plain data"),
        ("msgpack", _ext(99, 1), "neither plain data"),
    ],
)
def test_other_forms_are_corrupt(kind: str, row: bytes, problem: str) -> None:
    with pytest.raises(CorruptError, match=problem):
        serializer.loads_typed((kind, row))


def test_the_checkpoints_of_a_home_refuse_a_forged_row(tmp_path: Path) -> None:
    checkpoints = open_checkpoints(tmp_path)
    place: Any = {"configurable": {"thread_id": "r", "checkpoint_ns": ""}}
    version = checkpoints.get_next_version(None, None)
    checkpoint: Any = {**empty_checkpoint(), "channel_values": {"answer": "a"}, "channel_versions": {"answer": version}}
    checkpoints.put(place, checkpoint, {}, {"answer": version})
    forged = _ext(jsonplus.EXT_CONSTRUCTOR_POS_ARGS, "os", "mkdir", [os.fspath(tmp_path / "ran")])
    with checkpoints._database.writing("r") as execute:  # type: ignore[reportPrivateUsage]
        step = StepRow({}, {"answer": version}, {}, {}, {"answer": ("msgpack", forged)})
        execute("UPDATE checkpoints SET checkpoint = ?", (pack(step, None, ormsgpack.packb)[1],))
    with pytest.raises(CorruptError):
        checkpoints.get_tuple(place)
    checkpoints.close()
    assert not (tmp_path / "ran").exists()
