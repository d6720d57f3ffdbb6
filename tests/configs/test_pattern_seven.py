"""Pattern 7 from the first command to the last, on the embedded models: the commands of its page, in their order.

Traffic goes through a server in a process of its own; the challenger runs in the process beside it.
"""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from tests.support import ROOT
from tests.support.waiting import until

pytestmark = pytest.mark.slow

FOLDER = ROOT / "configs" / "patterns" / "7-shadow-evaluation"
PAGE = (FOLDER / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    shlex.split(line)
    for block in re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]


def command(*words: str) -> list[str]:
    """The page's command that begins so, without the program's name."""
    return next(each[1:] for each in COMMANDS if each[1 : len(words) + 1] == [*words])


def call(given: list[str], *more: str) -> str:
    import importlib

    module = importlib.import_module(f"sluicegate.cli.{given[0]}")
    result = CliRunner().invoke(module.app, [*given[1:], *more])
    assert result.exit_code == 0, (given, result.output, result.exception)
    return result.stdout


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    monkeypatch.chdir(ROOT)
    call(command("ingest"))
    process = subprocess.Popen(
        [sys.executable, "-m", "sluicegate", *command("serve"), "--port", "0", "--per-principal", "24"],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr
    line = ""
    while "is served at" not in line:
        line = process.stderr.readline()
        assert line, "the server left"
    with httpx.Client(base_url=line.strip().rsplit(" ", 1)[1], timeout=120) as client:
        yield client
    process.terminate()
    process.stderr.close()
    assert process.wait(60) == 0


def test_from_the_shadow_to_the_promotion_and_back(client: httpx.Client, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (FOLDER / "examples" / "traffic.jsonl").read_text().splitlines()]

    def ready() -> dict[str, Any]:
        return client.get("/readyz").json()["workflows"][0]

    def ask(text: str) -> dict[str, Any]:
        return client.post("/v1/runs", json={"text": text}).json()

    def status() -> dict[str, Any]:
        return json.loads(call(command("shadow", "status"), "--json"))[0]

    call(command("shadow", "start"))
    until(lambda: ready()["shadow"] == "running")
    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(ask, [row["text"] for row in rows]))
    assert [(each["intent"], each["status"] == "refused") for each in said] == [
        (row["intent"], row["refused"]) for row in rows
    ]
    until(lambda: status()["pairs"] == len(rows))
    assert status()["shed"] == {}
    # nothing of the challenger is seen by who asked: every answer was the champion's
    assert {each["version"] for each in said} == {"1"}

    promote = [each if not each.endswith(".html") else str(tmp_path / "verdict.html") for each in command("promote")]
    verdict = json.loads(call(promote, "--json"))
    assert verdict["verdict"] == "PROMOTE"
    assert verdict["reason"].startswith("Every gate passes, and correct is better by +0.")
    assert [(gate["kind"], gate["state"]) for gate in verdict["gates"]] == [
        ("validity", "passed"), ("safety", "passed"), ("safety", "passed"), ("no worse", "passed"),
        ("no worse", "passed"), ("better", "passed"),
    ]  # fmt: skip
    page = (tmp_path / "verdict.html").read_text()
    assert "Differences by slice" in page
    assert "intent: mail" in page
    # the forest, and a sequence for each metric
    assert page.count("<svg") == 4
    # a running server follows
    until(lambda: ready()["promoted"] == 2)
    served = ask(rows[0]["text"])
    assert served["version"] == "2"
    assert all(fact in served["answer"] for fact in rows[0]["facts"])
    until(lambda: ready()["shadow"] == "none")
    call(command("rollback"))
    until(lambda: ready()["promoted"] == 3)
    assert ask(rows[0]["text"])["version"] == "1"


def test_the_page_shows_what_its_files_say() -> None:
    """What the page prints was printed; what stands in the files of today must still give it."""
    rows = (FOLDER / "examples" / "traffic.jsonl").read_text().splitlines()
    assert f"{len(rows)} of {len(rows)}" in PAGE
    assert "PROMOTE" in PAGE
    for each in COMMANDS:
        for part in each:
            if part.startswith("configs/"):
                assert (ROOT / part).exists(), part
