"""What is read of an input: the same rows from every format, each once, whatever is wrong with some."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from sluicegate.batch.files.folder import input_files
from sluicegate.batch.files.plan import BlockPlan, Ids, make_plan
from sluicegate.batch.files.records import MAX_RECORD
from sluicegate.batch.files.rows import BlockReader, InputRow
from sluicegate.errors import ConfigError, RunError
from tests.support.batching import ANN

TEXTS = ["Hello.", 'She said "no",\nand left.', "Grüße; bis morgen", "a,b"]


def read(file: Path, *, block_rows: int = 3, column: str = "id", limit: int = 0) -> list[InputRow]:
    plan = BlockPlan.loads(
        make_plan(input_files(str(file)), id_column=column, block_rows=block_rows, limit=limit).dumps()
    )
    reader = BlockReader(ANN, column)
    found = [row for block in plan.blocks for row in reader.rows(block)]
    assert len(found) == plan.rows
    assert all(block.rows <= block_rows for block in plan.blocks)
    return found


def inputs(folder: Path) -> dict[str, Path]:
    rows = [{"id": f"r{n}", "text": text, "requester": "bob", "roles": "clerk"} for n, text in enumerate(TEXTS)]
    files = {kind: folder / f"in.{kind}" for kind in ("jsonl", "csv", "parquet")}
    files["jsonl"].write_text("\n".join(json.dumps(row) for row in rows))
    with files["csv"].open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    parquet.write_table(pa.Table.from_pylist(rows), files["parquet"], row_group_size=3)
    return files


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize("block_rows", [1, 2, 100])
def test_every_format_gives_the_same_rows(tmp_path: Path, kind: str, block_rows: int) -> None:
    found = read(inputs(tmp_path)[kind], block_rows=block_rows)
    assert [(row.id, row.text, row.number) for row in found] == [(f"r{n}", t, n + 1) for n, t in enumerate(TEXTS)]
    assert {(row.asker["id"], *row.asker["roles"]) for row in found} == {("bob", "clerk")}


def test_a_folder_is_one_input(tmp_path: Path) -> None:
    inputs(tmp_path)["csv"].unlink()
    assert [row.number for row in read(tmp_path, column="")] == [*range(1, 9)]
    with pytest.raises(ConfigError, match="same 'id'"):
        read(tmp_path)


def test_a_row_that_is_none_fails_alone(tmp_path: Path) -> None:
    file = tmp_path / "in.jsonl"
    wrong = [
        b"no json",
        b'["a"]',
        '{"id": "x", "text": "Grüße"}'.encode("latin-1"),
        b'{"id": "t"}',
        b'{"id": "e", "text": " "}',
    ]
    too_large = b'{"id": "l", "text": "' + b"a" * MAX_RECORD + b'"}'
    file.write_bytes(b"\n".join([b'{"id": "a", "text": "one"}', *wrong, b"", too_large, b'{"id": "b", "text": "two"}']))
    found = read(file)
    assert [(row.id, row.code) for row in found] == [
        ("a", ""), ("#2", "SG706"), ("#3", "SG706"), ("#4", "SG706"), ("t", "SG706"), ("e", "SG601"), ("#7", "SG602"),
        ("b", ""),
    ]  # fmt: skip


def test_a_quotation_mark_that_nobody_closes_does_not_end_the_input(tmp_path: Path) -> None:
    file = tmp_path / "in.csv"
    lines = [
        "id,text",
        "a,one",
        'b,"never closed',
        *(f"x{n},{'y' * 1000}" for n in range(MAX_RECORD // 1000)),
        "c,three",
    ]
    file.write_text("\n".join(lines))
    found = read(file, block_rows=2)
    assert (found[0].id, found[1].code, found[-1].id) == ("a", "SG602", "c")


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        (
            [{"id": "a", "text": "x"}, {"text": "y"}, {"id": "", "text": "z"}],
            ["row 2 has no 'id'", "row 3 has no 'id'"],
        ),
        ([{"id": n % 3, "text": "x"} for n in range(4)], ["rows 1 and 4 have the same 'id'"]),
    ],
)
def test_ids_are_looked_at_before_anything_is_paid(tmp_path: Path, rows: list[Any], what: list[str]) -> None:
    file = tmp_path / "in.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(ConfigError) as error:
        read(file)
    assert [problem.message for problem in error.value.problems] == what
    assert [row.id for row in read(file, column="", limit=2)] == ["1", "2"]


@pytest.mark.slow
@given(st.lists(st.text(max_size=3), max_size=40))
def test_ids_that_stand_twice_are_found(names: list[str]) -> None:
    with Ids() as ids:
        for number, name in enumerate(names):
            ids.add(name, number)
        found = ids.twice()
    assert all(names[one] == names[other] for one, other in found)
    assert bool(found) == (len({*names}) < len(names))


def test_nothing_to_read(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text("\n")
    for what in (tmp_path / "in.jsonl", tmp_path / "none.csv", tmp_path / "nowhere"):
        with pytest.raises(RunError, match="SG601"):
            read(what)
