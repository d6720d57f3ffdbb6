"""A batch on a cluster that runs already: its actors have that machine's home and environment, and one server."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sluicegate.graphs.config.load import load
from sluicegate.policies.ledger.factory import open_ledger
from sluicegate.storage.postgres import URL
from tests.support.batching import CALL, letters, rows_of, written
from tests.support.loopback import free_port
from tests.support.openai_server import OpenAiServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0f" * 16}


@pytest.fixture
def cluster(server: OpenAiServer, postgres: str, tmp_path: Path) -> Iterator[str]:
    """The address of a Ray that somebody else has started, with two processors."""
    port, made_by = free_port(), Path(sys.executable).parent / "ray"
    # a path that has room for the names of sockets
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    environment = {**os.environ, **TOKEN, URL: postgres, "SLUICEGATE_HOME": str(tmp_path / "of-the-cluster")}
    command = [
        str(made_by), "start", "--head", "--block", f"--port={port}", "--num-cpus=2",
        "--include-dashboard=false", "--disable-usage-stats", f"--object-store-memory={128 * 2**20}",
        f"--temp-dir={folder}", f"--dashboard-agent-listen-port={free_port()}",
    ]  # fmt: skip
    log = tmp_path / "ray.log"
    with log.open("w") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def test_actors_of_another_machine_share_ledger_and_runs(
    cluster: str, server: OpenAiServer, postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workflow = letters(tmp_path / "wf", server.url, budget="{per_day_usd: 1}")
    command = [
        sys.executable, "-W", "ignore", "-m", "sluicegate", "batch", "run", str(workflow),
        str(rows_of(tmp_path / "in.jsonl", 7)), "--out", str(tmp_path / "out"), "--engine", "ray", "--actors", "2",
        "--block-rows", "3", "--json",
    ]  # fmt: skip
    environment = {**os.environ, **TOKEN, URL: postgres, "RAY_ADDRESS": cluster}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = written(tmp_path / "out")
    assert [(row["id"], row["status"]) for row in rows] == [(f"r{n}", "answered") for n in range(7)]
    monkeypatch.setenv(URL, postgres)
    (cap,) = [one for one in open_ledger(load(workflow).config.budget).caps("letters") if one.name == "per_day_usd"]
    assert (round(cap.spent * 1e6), cap.held, len(server.requests)) == (7 * CALL, 0, 7)
    # the runs are where the cluster's machines keep them, and so is what the driver does not share with them
    assert (tmp_path / "of-the-cluster").is_dir()
