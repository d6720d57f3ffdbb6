"""`sluicegate batch`: run, task and status, as a user calls them."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from sluicegate.cli import app
from sluicegate.errors import SluicegateError
from sluicegate.tasks import classify
from tests.support.batching import CALL, letters, rows_of, written
from tests.support.openai_server import OpenAiServer

MAILS = [{"id": "a", "text": "The parcel was broken and nobody answers me!"}, {"id": "b", "text": "Great, thank you."}]


def batch(*given: object) -> Result:
    return CliRunner().invoke(app, ["batch", *map(str, given)])


def told(result: Result) -> str:
    """What it says of a mistake, on a line."""
    error = result.exception
    return f"{error.code} {error.message}" if isinstance(error, SluicegateError) else " ".join(result.stderr.split())


def said(result: Result) -> dict[str, Any]:
    return json.loads(result.stdout)


@pytest.mark.slow
def test_run_status_and_run_again(server: OpenAiServer, tmp_path: Path) -> None:
    workflow, out = letters(tmp_path / "wf", server.url), tmp_path / "out"
    rows = [{"key": 1, "text": "One."}, {"key": 2, "text": "Two."}, {"key": 3, "text": ""}]
    command = ["run", workflow, rows_of(tmp_path / "in.jsonl", rows), "--out", out, "--id", "key", "--block-rows", 2]
    first = batch(*command, "--as", "cleo", "--role", "employee", "--concurrency", 2, "--json")
    assert first.exit_code == 1, first.output
    found = said(first)
    assert (found["workflow"], found["complete"], found["blocks"]) == ("letters", True, {"done": 2, "all": 2})
    assert (found["rows"], found["status"], found["failed"]) == (3, {"answered": 2}, {"SG601": 1})
    assert (found["usd"], found["this_time"]["rows"]) == (2 * CALL / 1e6, 3)
    assert [row["id"] for row in written(out)] == ["1", "2"]
    status = said(batch("status", out, "--json"))
    assert {**found, "this_time": status["this_time"]} == status
    again = batch(*command)
    assert again.exit_code == 1
    assert "3 of 3 rows, complete" in again.stdout
    assert "failed: SG601 1" in again.stdout
    assert len(server.requests) == 2


@pytest.mark.slow
def test_a_cap_and_then_more(server: OpenAiServer, tmp_path: Path) -> None:
    workflow, out = letters(tmp_path / "wf", server.url), tmp_path / "out"
    command = ["run", workflow, rows_of(tmp_path / "in.jsonl", 4), "--out", out, "--block-rows", 2]
    refused = batch(*command, "--max-cost", 0.0001, "--number", "--limit", 3)
    assert refused.exit_code == 1
    assert told(refused).startswith("SG501")
    assert "0 of 2 blocks done" in batch("status", out).stdout
    assert batch(*command, "--number", "--limit", 3, "--settle", "--json").exit_code == 0
    assert server.requests == []
    done = batch(*command, "--max-cost", 1, "--number", "--limit", 3)
    assert done.exit_code == 0, done.output
    assert [row["id"] for row in written(out)] == ["1", "2", "3"]
    other = batch(*command)
    assert other.exit_code == 1
    assert told(other).startswith("SG707")


@pytest.mark.slow
def test_tasks_of_the_embedded_models(tmp_path: Path) -> None:
    data, out = rows_of(tmp_path / "mails.jsonl", MAILS), tmp_path / "classified"
    labels = ["--label", "complaint=an angry complaint", "--label", "praise=a thankful message"]
    result = batch("task", "classify", data, *labels, "--out", out, "--json")
    assert result.exit_code == 0, result.output
    assert (said(result)["workflow"], said(result)["status"]) == ("classify", {"answered": 2})
    chosen = {"complaint": "an angry complaint", "praise": "a thankful message"}
    alone = [asyncio.run(classify(mail["text"], chosen)) for mail in MAILS]
    assert [(row["label"], row["confidence"]) for row in written(out)] == [(one.value, one.confidence) for one in alone]
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps({"type": "object", "properties": {"mail": {"type": "string", "format": "email"}}}))
    data = rows_of(tmp_path / "notes.jsonl", [{"id": "a", "text": "Write to ann@example.org."}])
    out = tmp_path / "extracted"
    result = batch("task", "extract", data, "--schema", schema, "--out", out)
    assert result.exit_code == 0, result.output
    assert json.loads(written(out)[0]["answer"]) == {"mail": "ann@example.org"}


@pytest.mark.parametrize(
    ("given", "what"),
    [
        (["task", "guess", "in.jsonl"], "choose classify, extract, tag, summarise or route"),
        (["task", "classify", "in.jsonl", "--label", "one"], "give at least 2"),
        (["task", "extract", "in.jsonl"], "is needed for extract"),
        (["task", "route", "in.jsonl"], "is needed for route"),
        (["task", "summarise", "nowhere.jsonl"], "SG601"),
        (["task", "summarise", "in.jsonl", "--engine", "spark"], "choose local or ray"),
    ],
)
def test_mistakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: list[str], what: str) -> None:
    monkeypatch.chdir(tmp_path)
    rows_of(tmp_path / "in.jsonl", 1)
    result = batch(*given, "--out", tmp_path / "out")
    assert result.exit_code in (1, 2)
    assert what in told(result)


def test_no_batch_there(tmp_path: Path) -> None:
    result = batch("status", tmp_path)
    assert result.exit_code == 1
    assert told(result).startswith("SG603")
