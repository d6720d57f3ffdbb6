"""YAML with places: what is read, where it stands, and which surprises are refused."""

from pathlib import Path

import pytest
import yaml

from sluicegate.graphs.config import source
from sluicegate.graphs.config.overlay import overlay
from sluicegate.graphs.config.source import MAX_BYTES, Source, read


def _read(tmp_path: Path, text: str, name: str = "w.yaml") -> Source:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8", newline="")
    return read(path)


def _at(found: Source, *pointer: str | int, of_key: bool = False) -> tuple[int, int]:
    place = found.place(pointer, of_key=of_key)
    return place.line, place.column


def test_every_key_and_value_has_a_place(tmp_path: Path) -> None:
    found = _read(tmp_path, "# note\na: 1\nb:\n  - x\n  - {c: 'd', e: [f]}\n")
    assert found.data == {"a": 1, "b": ["x", {"c": "d", "e": ["f"]}]}
    assert _at(found, "a") == (2, 4)
    assert _at(found, "a", of_key=True) == (2, 1)
    assert _at(found, "b", 0) == (4, 5)
    assert _at(found, "b", 1, "c") == (5, 9)
    assert _at(found, "b", 1, "e", 0) == (5, 18)
    # what is absent is missed at the key around it
    assert _at(found, "b", 1, "absent") == (5, 5)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1), ("-7", -7), ("0x1F", 31), ("1.5", 1.5), ("1e3", 1000.0), (".5", 0.5), ("true", True),
        ("False", False), ("null", None), ("~", None), ("", None), ("3.11.2", "3.11.2"), ("24h", "24h"), ("'no'", "no"),
        ('"1.10"', "1.10"), ("y", "y"), ("a:b", "a:b"), ("12:75", "12:75"),
    ],
)  # fmt: skip
def test_plain_values_are_read_as_yaml_1_2_does(tmp_path: Path, text: str, value: object) -> None:
    found = _read(tmp_path, f"a: {text}\n")
    assert found.problems == ()
    assert found.data == {"a": value}
    assert type(found.data["a"]) is type(value)


@pytest.mark.parametrize(
    "text", ["yes", "No", "ON", "off", "010", "0o17", "0b11", "12:30", "1_000", "2026-01-31", "2026-1-3 10:00:00"]
)
def test_what_yaml_readers_disagree_on_is_refused(tmp_path: Path, text: str) -> None:
    found = _read(tmp_path, f"a: {text}\n")
    assert [(problem.code, str(problem.place)) for problem in found.problems] == [("SG103", f"{found.path}:1:4")]
    # the trap is real: an older reader gives no text, or text where a newer one gives a number
    assert not isinstance(yaml.safe_load(text), str) or text == "0o17"


@pytest.mark.parametrize("key", ["on", "Yes", "~", "true", "null"])
def test_keys_that_readers_turn_into_something_else_are_refused(tmp_path: Path, key: str) -> None:
    assert [problem.code for problem in _read(tmp_path, f"{key}: 1\n").problems] == ["SG103"]
    assert _read(tmp_path, f'"{key}": 1\n').problems == ()


def test_keys_of_the_language_may_be_plain(tmp_path: Path) -> None:
    path = tmp_path / "w.yaml"
    path.write_text("no: respond\n")
    assert read(path, plain_keys=frozenset({"no"})).problems == ()
    assert read(path).problems != ()


@pytest.mark.parametrize(
    ("text", "code", "line", "column"),
    [
        ("a: [1, 2", "SG102", 1, 9),
        ("a: b: c", "SG102", 1, 5),
        ("a:\n\t- b", "SG102", 2, 1),
        ("a: 1\n---\nb: 2", "SG102", 2, 1),
        ("x: \0", "SG102", 1, 4),
        ("x: 1\ny: \ufffe", "SG102", 2, 4),
        ("a: *b", "SG102", 1, 4),
        ("a: &a [*a]", "SG102", 1, 8),
        ("? [a]\n: b", "SG102", 1, 3),
        ("", "SG102", 1, 1),
        ("# nothing\n", "SG102", 1, 1),
        ("a: 1\nb: 2\na: 3", "SG104", 3, 1),
        ("b: {<<: {a: 1}}", "SG103", 1, 5),
        ("a: !!python/object:os.system x", "SG103", 1, 4),
        ("a: .inf", "SG107", 1, 4),
        ("a: " + "9" * 500, "SG107", 1, 4),
        ("[" * 65, "SG108", 1, 65),
    ],
)
def test_broken_yaml_has_a_code_and_a_place(tmp_path: Path, text: str, code: str, line: int, column: int) -> None:
    found = _read(tmp_path, text)
    assert [(p.code, p.place and (p.place.line, p.place.column)) for p in found.problems] == [(code, (line, column))]


def test_tabs_have_a_mend(tmp_path: Path) -> None:
    assert _read(tmp_path, "a:\n\t- b").problems[0].hint == "Indent with spaces, not with tabs"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"a: 1\nb: caf\xe9")
    (tmp_path / "big").write_bytes(b"#" * (MAX_BYTES + 1))
    found = {name: read(tmp_path / name).problems[0] for name in ("absent", "", "latin", "big")}
    assert {name: problem.code for name, problem in found.items()} == {
        "absent": "SG101", "": "SG101", "latin": "SG109", "big": "SG108",
    }  # fmt: skip
    place = found["latin"].place
    assert place is not None
    assert (place.line, place.column) == (2, 7)


def test_an_alias_bomb_is_stopped_by_what_it_expands_to(tmp_path: Path) -> None:
    lines = ["a: &a [" + ", ".join("x" * 10) + "]"]
    lines += [f"{n}: &{n} [{', '.join(['*' + p] * 10)}]" for p, n in zip("abcdefgh", "bcdefghi", strict=True)]
    assert [problem.code for problem in _read(tmp_path, "\n".join(lines)).problems] == ["SG108"]


def test_harmless_aliases_are_allowed(tmp_path: Path) -> None:
    found = _read(tmp_path, "a: &x {b: 1}\nc: *x\n")
    assert (found.problems, found.data) == ((), {"a": {"b": 1}, "c": {"b": 1}})
    assert _at(found, "c", "b", of_key=True) == (2, 1)


@pytest.mark.parametrize(
    "text",
    [
        "a: one two here",
        "a: 'one ''two'' here'",
        'a: "one \\"two\\" here"',
        "a: >-\n  one\n  two\n  here",
        "a: |\n  one\n    two here\n",
        'a: "one\n  two here"',
    ],
)
def test_places_inside_text_pass_through_quotes_and_folds(tmp_path: Path, text: str) -> None:
    found = _read(tmp_path, text)
    place = found.within(("a",), str(found.data["a"]).index("here"))
    line = text.split("\n")[place.line - 1]
    assert line[place.column - 1 :].startswith("here")


def test_an_overlay_merges_maps_replaces_the_rest_and_removes_by_null(tmp_path: Path) -> None:
    base = _read(tmp_path, "a: {x: 1, y: [1, 2]}\nb: 2\nc: {d: 1}\n", "base.yaml")
    top = _read(tmp_path, "a: {y: [3], z: 4}\nb: null\n", "top.yaml")
    found = overlay(top, base)
    assert found.data == {"a": {"x": 1, "y": [3], "z": 4}, "c": {"d": 1}}
    files = {pointer: Path(found.place(pointer).file).name for pointer in (("a", "x"), ("a", "y", 0), ("c", "d"))}
    assert files == {("a", "x"): "base.yaml", ("a", "y", 0): "top.yaml", ("c", "d"): "base.yaml"}
    assert found.files == (top.path, base.path)


def test_the_python_reader_finds_the_same_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a: {x: [1, 'two']}\nb:\n  - c: >-\n      folded\n      text\n"
    fast = _read(tmp_path, text)
    monkeypatch.setattr(source, "_LOADER", yaml.SafeLoader)
    slow = _read(tmp_path, text)
    assert (fast.data, fast.entries) == (slow.data, slow.entries)
