"""A batch that reads from object storage and writes to it, on a real S3 server: as on a disk, whole files only."""

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from pyarrow import Table, fs, parquet
from typer.testing import CliRunner

from sluicegate.batch.engines.engine import Engine
from sluicegate.batch.run import open_batch, standing
from sluicegate.cli import app
from sluicegate.errors import RunError, SluicegateError
from tests.support.batching import CALL, letters, wanted
from tests.support.openai_server import OpenAiServer
from tests.support.s3 import BUCKET, S3Server


@pytest.fixture
def shelf(s3: S3Server) -> str:
    """A prefix that no other test uses, with six letters: three as JSON lines, two as CSV, one as Parquet."""
    shelf = f"s3://{BUCKET}/{uuid.uuid4().hex}"
    rows = [{"id": f"r{n}", "text": f"Letter {n}."} for n in range(6)]
    put(f"{shelf}/in/a.jsonl", "".join(json.dumps(row) + "\n" for row in rows[:3]).encode())
    put(
        f"{shelf}/in/b.csv",
        "id;text\r\n{};{}\r\n{};{}\r\n".format(*(v for r in rows[3:5] for v in r.values())).encode(),
    )
    with opened(f"{shelf}/in/c.parquet") as file:
        parquet.write_table(Table.from_pylist(rows[5:]), file)
    return shelf


def opened(uri: str) -> Any:
    system, path = fs.FileSystem.from_uri(uri)
    return system.open_output_stream(path)


def put(uri: str, content: bytes) -> None:
    with opened(uri) as file:
        file.write(content)


def written(out: str, folder: str = "rows") -> list[dict[str, Any]]:
    system, path = fs.FileSystem.from_uri(f"{out}/{folder}")
    files = system.get_file_info(fs.FileSelector(path, allow_not_found=True))
    return [row for file in files for row in parquet.read_table(file.path, filesystem=system).to_pylist()]


def batch(*given: object) -> Result:
    return CliRunner().invoke(app, ["batch", *map(str, given)])


@pytest.mark.slow
def test_every_format_of_a_prefix_comes_out_once(
    engine: Engine, server: OpenAiServer, tmp_path: Path, shelf: str
) -> None:
    asked = wanted(letters(tmp_path / "wf", server.url), f"{shelf}/in", f"{shelf}/out", block_rows=2)
    assert open_batch(asked).run(engine).complete
    assert sorted(row["id"] for row in written(f"{shelf}/out")) == [f"r{n}" for n in range(6)]
    assert {(row["status"], row["usd_micros"]) for row in written(f"{shelf}/out")} == {("answered", CALL)}
    assert open_batch(asked).run(engine).new_rows == 0
    assert (len(server.requests), standing(f"{shelf}/out").complete) == (6, True)


@pytest.mark.slow
def test_a_block_that_is_not_there_is_done_again_and_no_other(server: OpenAiServer, tmp_path: Path, shelf: str) -> None:
    command = ["run", letters(tmp_path / "wf", server.url), f"{shelf}/in", "--out", f"{shelf}/out", "--block-rows", 2]
    first = batch(*command)
    assert first.exit_code == 0, first.output
    rows = written(f"{shelf}/out")
    system, path = fs.FileSystem.from_uri(f"{shelf}/out/rows")
    lost, *_ = [file.path for file in system.get_file_info(fs.FileSelector(path))]
    system.delete_file(lost)
    assert "complete" not in batch("status", f"{shelf}/out").stdout
    again = batch(*command, "--json")
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)["this_time"]["rows"] == 2
    assert written(f"{shelf}/out") == rows
    assert len(server.requests) == 6, "the runs of that block had ended"


@pytest.mark.slow
def test_input_that_was_replaced_is_refused(server: OpenAiServer, tmp_path: Path, shelf: str) -> None:
    command = ["run", letters(tmp_path / "wf", server.url), f"{shelf}/in", "--out", f"{shelf}/out"]
    assert batch(*command).exit_code == 0
    put(f"{shelf}/in/a.jsonl", b'{"id": "r0", "text": "Another letter."}\n')
    error = batch(*command).exception
    assert isinstance(error, SluicegateError)
    assert error.code == "SG707"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value"), [("AWS_SECRET_ACCESS_KEY", "wrong"), ("AWS_ENDPOINT_URL", "http://127.0.0.1:9")]
)
def test_a_store_that_does_not_let_in_or_is_not_there_is_named(
    server: OpenAiServer, tmp_path: Path, shelf: str, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(RunError, match=BUCKET) as told:
        open_batch(wanted(letters(tmp_path / "wf", server.url), f"{shelf}/in", f"{shelf}/out"))
    assert told.value.code == "SG607"
    assert server.requests == []
