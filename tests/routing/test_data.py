"""Bad rows are named by line, all at once; nothing is guessed."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from sluicegate.errors import ConfigError
from sluicegate.routing.data import joined, read_escalations, read_labelled

Write = Callable[..., Path]


def refused(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        read_labelled(path)
    return str(caught.value).replace(str(path.parent), "")


def test_reads_jsonl_csv_and_gzip(written: Write, tmp_path: Path) -> None:
    lines = '{"text": "a, b", "label": "x"}\n\n{"text": "c\\nd", "label": "y", "more": 1}\n'
    plain = read_labelled(written(lines))
    assert (plain.texts, plain.labels) == (["a, b", "c\nd"], ["x", "y"])
    packed = tmp_path / "rows.jsonl.gz"
    packed.write_bytes(gzip.compress(lines.encode()))
    assert read_labelled(packed).texts == plain.texts
    table = read_labelled(written('text,label\n"a, b",x\n"c\nd",y\n', "rows.csv"))
    assert (table.texts, table.labels) == (plain.texts, plain.labels)


def test_every_bad_row_is_named_by_line(written: Write) -> None:
    said = refused(
        written(
            '{"text": "fine", "label": "x"}\n'
            "{broken\n"
            '{"text": "", "label": "x"}\n'
            '{"text": "no label"}\n'
            '["a"]\n'
            '{"text": 5, "label": "x"}\n'
            '{"text": "Fine ", "label": "y"}\n'
        )
    )
    assert said.splitlines()[0].startswith("/rows.jsonl:2:1: SG140 not JSON")
    assert said.splitlines()[1:] == [
        "/rows.jsonl:3:1: SG140 `text` is empty",
        "/rows.jsonl:4:1: SG140 no `label`",
        "/rows.jsonl:5:1: SG140 not a JSON object",
        "/rows.jsonl:6:1: SG140 `text` is not text",
        "/rows.jsonl:7:1: SG140 labelled 'y' here, but the same text is labelled 'x' in line 1",
    ]


def test_csv_rows_are_named_by_their_first_line(written: Write) -> None:
    assert ":4:1: SG140 3 cells where the header has 2" in refused(
        written('text,label\n"two\nlines",x\na,b,c\n', "rows.csv")
    )


def test_what_would_have_to_be_guessed_is_a_bad_row(written: Write) -> None:
    said = refused(
        written('{"text": "a", "label": "x", "label": "y"}\n{"text": "\\ud800", "label": "x"}\n' + "[" * 100_000 + "\n")
    )
    assert said.splitlines() == [
        "/rows.jsonl:1:1: SG140 not JSON: the field `label` occurs twice",
        "/rows.jsonl:2:1: SG140 `text` contains an unpaired surrogate (U+D800)",
        "/rows.jsonl:3:1: SG140 JSON nested too deeply",
    ]


def test_a_header_that_will_not_do_is_said_once(written: Write) -> None:
    assert refused(written("text;label\na;x\nb;y\n", "rows.csv")) == (
        "/rows.csv:1:1: SG140 the header has no `text`: it has `text;label`"
    )
    assert refused(written("text,label,label\na,x,y\n", "rows.csv")) == (
        "/rows.csv:1:1: SG140 the header has `label` twice"
    )
    with pytest.raises(ConfigError, match="the header has no `strong_correct`"):
        read_escalations(written("prompt,weak_correct\nhi,1\n", "rows.csv"))


def test_a_table_with_a_byte_order_mark(written: Write, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"\xef\xbb\xbftext,label\r\na,x\r\n")
    assert read_labelled(path).texts == ["a"]


def test_twenty_rows_are_reported_and_the_rest_counted(written: Write) -> None:
    assert "and 10 more bad rows" in refused(written("x\n" * 30))


def test_files_that_cannot_be_read(written: Write, tmp_path: Path) -> None:
    assert "SG101" in refused(tmp_path / "absent.jsonl")
    assert "SG140" in refused(written(""))
    latin = tmp_path / "latin.jsonl"
    latin.write_bytes('{"text": "fine", "label": "x"}\n{"text": "caf\xe9", "label": "x"}'.encode("latin-1"))
    assert ":2:1: SG109" in refused(latin)
    cut = tmp_path / "cut.jsonl.gz"
    packed = gzip.compress(b"x" * 1000)
    for damaged in (packed[:20], packed[:14] + b"\xff\xff" + packed[16:], packed + b"more"):
        cut.write_bytes(damaged)
        assert "SG101 cannot read" in refused(cut)


def test_repeated_rows_count_once(written: Write) -> None:
    rows = read_labelled(written('{"text": "Hello  you", "label": "x"}\n{"text": "hello you", "label": "x"}\n'))
    assert (len(rows), rows.repeated) == (1, 1)


def test_files_that_disagree(written: Write) -> None:
    one = read_labelled(written('{"text": "a", "label": "x"}\n', "one.jsonl"))
    other = read_labelled(written('{"text": "A", "label": "y"}\n{"text": "b", "label": "y"}\n', "other.jsonl"))
    with pytest.raises(ConfigError, match="SG140"):
        joined([one, other])
    assert joined([one, one]).texts == ["a"]


def test_escalations(written: Write) -> None:
    rows = read_escalations(written("prompt,weak_correct,strong_correct\nhi,true,0\n", "rows.csv"))
    assert (rows.prompts, rows.weak, rows.strong) == (["hi"], [True], [False])
    with pytest.raises(ConfigError, match="must be true or false"):
        read_escalations(written('{"prompt": "hi", "weak_correct": "maybe", "strong_correct": true}\n'))
