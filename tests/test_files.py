"""Files that anybody may have written: what is read of them, and where a character stands."""

import errno
import gzip
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from sluicegate.cli.run import requests_in
from sluicegate.errors import ConfigError, RunError, SluicegateError
from sluicegate.evals.evaluation.cache_eval import read_pairs
from sluicegate.evals.evaluation.cases import read_cases
from sluicegate.files import ALLOWED, MAX_ROWS_BYTES, json_lines, line_and_column, read_bounded
from sluicegate.graphs.runtime.intake import principal
from sluicegate.nodes.tools.mcp import servers
from sluicegate.policies.guards.measure import load_rows
from sluicegate.routing.data import read_labelled
from sluicegate.serving.http.callers import TokenFile


def test_no_more_than_the_limit_is_read_of_a_regular_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"12345")
    assert read_bounded(file, 5) == b"12345"
    with pytest.raises(OSError, match="larger than 4 bytes") as caught:
        read_bounded(file, 4)
    assert caught.value.errno == errno.EFBIG


def test_of_a_huge_file_nothing_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    with file.open("wb") as sparse:
        sparse.truncate(1_500_000_000)
    monkeypatch.setattr(os, "open", lambda *_args, **_more: pytest.fail("it was opened"))
    with pytest.raises(OSError, match="larger than 1,000,000 bytes"):
        read_bounded(file, 1_000_000)


@pytest.mark.parametrize(
    "read",
    [read_cases, read_pairs, read_labelled, load_rows, lambda file: requests_in(str(file), principal("ann", []))],
)
def test_rows_that_an_operator_names_are_bounded(read: Callable[[Path], object], tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    with file.open("wb") as sparse:
        sparse.truncate(MAX_ROWS_BYTES + 1)
    with pytest.raises(SluicegateError, match="larger than 256,000,000 bytes"):
        read(file)


def test_packed_rows_are_bounded_by_what_they_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "rows.jsonl.gz"
    file.write_bytes(gzip.compress(b'{"text": "a", "attack": true}\n' * 1000))
    monkeypatch.setattr("sluicegate.policies.guards.measure.MAX_ROWS_BYTES", 10_000)
    with pytest.raises(ConfigError, match="larger than 10,000 bytes unpacked"):
        load_rows(file)


def test_the_operators_lists_are_bounded(own_home: Path) -> None:
    own_home.mkdir(exist_ok=True)
    for name in ("mcp.json", "tokens.json"):
        with (own_home / name).open("wb") as sparse:
            sparse.truncate(100_000_000)
        (own_home / name).chmod(0o600)
    with pytest.raises(ConfigError, match="larger than 1,000,000 bytes"):
        servers()
    with pytest.raises(RunError, match="larger than 16,000,000 bytes"):
        TokenFile(own_home / "tokens.json").tokens()


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        for path, kind in [
            (tmp_path, "a folder"),
            (tmp_path / "pipe", "a pipe"),
            (tmp_path / "socket", "a socket"),
            (Path("/dev/zero"), "a device"),
        ]:
            with pytest.raises(OSError, match=f"it is {kind}"):
                read_bounded(path, 100)


def test_a_file_outside_is_refused_through_links_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("secret")
    (tmp_path / "own" / "link").symlink_to(tmp_path / "other" / "file")
    (tmp_path / "own" / "folder").symlink_to(tmp_path / "other")
    outside = [tmp_path / "own" / name for name in ("link", "folder/file", "../other/file")]
    for path in outside:
        with pytest.raises(PermissionError, match="outside the workflow's folder"):
            read_bounded(path, 100, within=[tmp_path / "own"])
    monkeypatch.setenv(ALLOWED, os.pathsep.join([str(tmp_path / "else"), str(tmp_path / "other")]))
    assert {read_bounded(path, 100, within=[tmp_path / "own"]) for path in outside} == {b"secret"}


def test_lines_end_as_editors_show_them() -> None:
    text = "a\u2028b\x85c\r\nd\re\n\x0bf"
    assert [line_and_column(text, text.index(letter)) for letter in "abcdef"] == [
        (1, 1), (1, 3), (1, 5), (2, 1), (3, 1), (4, 2),
    ]  # fmt: skip


def test_a_row_ends_at_a_newline_only_and_its_line_is_the_editors() -> None:
    text = '{"a": "\u2028\x85\x0b"}\r\n\r\n{"b":\r1}\n\n{"c": 1}\r'
    assert [(line, row.strip()) for line, row in json_lines(text)] == [
        (1, '{"a": "\u2028\x85\x0b"}'), (3, '{"b":\r1}'), (6, '{"c": 1}'),
    ]  # fmt: skip


ROWS: list[tuple[Callable[[Path], list[str]], str]] = [
    (lambda file: [case.text for case in read_cases(file)], '{"text": "TEXT"}'),
    (lambda file: [row.subject.text for row in load_rows(file)], '{"text": "TEXT", "attack": true}'),
    (lambda file: [pair.one for pair in read_pairs(file)], '{"one": "TEXT", "other": "x", "same": true}'),
    (lambda file: read_labelled(file).texts, '{"text": "TEXT", "label": "a"}'),
    (lambda file: [str(text) for text, _ in requests_in(str(file), principal("me", ["employee"]))], '{"text": "TEXT"}'),
]


@pytest.mark.parametrize(("read", "row"), ROWS, ids=["cases", "guards", "pairs", "labels", "requests"])
def test_every_reader_of_rows_has_the_same_lines(read: Callable[[Path], list[str]], row: str, tmp_path: Path) -> None:
    file, odd = tmp_path / "rows.jsonl", "a\u2028b\x85c\u2029d"
    one, other = row.replace("TEXT", odd), row.replace("TEXT", f"{odd}2").replace(": ", ":\r", 1)
    file.write_bytes(f"\ufeff{one}\r\n\n{other}\n".encode())
    assert read(file) == [odd, f"{odd}2"]
    file.write_bytes(f"{one}\r\n\n{other}\n{'[' * 200_000}\n".encode())
    with pytest.raises(ConfigError) as caught:
        read(file)
    assert [one.place and one.place.line for one in caught.value.problems] == [5]
