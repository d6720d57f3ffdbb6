"""Several processes on one port, as they are: killed under load, drained, replaced."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import ROOT
from tests.support.scraping import OPERATOR, value
from tests.support.stand import let_go, written
from tests.support.stand_workers import pids
from tests.support.waiting import until

pytestmark = pytest.mark.slow

SERVER = "import sys; from tests.support.stand_workers import main; sys.exit(main(sys.argv[1]))"


class Server:
    """Two workers on fakes, and their supervisor."""

    def __init__(self, folder: Path, kind: str = "") -> None:
        self.log = folder / "log"
        with self.log.open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-c", SERVER, kind],
                stdout=subprocess.PIPE, stderr=errors, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
            )  # fmt: skip
        assert self.process.stdout
        self.address = self.process.stdout.readline().strip()

    def client(self) -> httpx.Client:
        """Each call on a connection of its own, which any worker may take."""
        return httpx.Client(
            base_url=self.address,
            headers={"x-user": "ann", "x-roles": "employee", "connection": "close"},
            timeout=60,
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    def workers(self) -> set[int]:
        """The processes that serve."""
        return {pid for pid in pids() if not gone(pid)}

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(120)


def gone(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    until(lambda: len(made.workers()) == 2)
    yield made
    made.process.kill()
    made.process.wait()
    assert made.process.stdout
    made.process.stdout.close()


def ask(server: Server, text: str, request_id: str) -> dict[str, Any]:
    """As a caller does who repeats a call that was cut off."""
    while True:
        try:
            with server.client() as client:
                response = client.post("/v1/runs", json={"text": text, "request_id": request_id})
        except httpx.TransportError:
            continue
        if response.status_code != 503:
            return response.json()


def test_a_worker_that_is_killed_under_load_loses_nothing_and_is_replaced(server: Server) -> None:
    before = server.workers()
    with ThreadPoolExecutor(8) as pool, server.client() as client:

        def answered() -> float:
            text = client.get("/metrics", headers=OPERATOR).text
            return value(text, "sluicegate_runs_total", status="answered") if "sluicegate_runs_total{" in text else 0

        asked = [pool.submit(ask, server, "hold on" if number < 4 else "How?", f"r-{number}") for number in range(40)]
        counted = until(lambda: (now := answered()) >= 4 and now)
        killed = before.pop()
        os.kill(killed, signal.SIGKILL)
        until(lambda: len(server.workers() - {killed}) == 2)
        let_go()
        said = [each.result() for each in asked]
        assert {each["status"] for each in said} == {"answered"}
        assert len({each["run"] for each in said}) == 40
        for each in said:
            assert client.get(f"/v1/runs/{each['run']}").json()["status"] == "answered"
        # what the killed one had counted is counted still, whichever worker is asked, and what it left is counted too
        until(lambda: answered() >= counted + 4)
        until(lambda: value(client.get("/metrics", headers=OPERATOR).text, "sluicegate_requests_in_progress") == 0)
        texts = [client.get("/metrics", headers=OPERATOR).text for _ in range(6)]
    assert len({value(text, "sluicegate_runs_total", status="answered") for text in texts}) == 1
    assert "another one starts" in server.log.read_text()
    assert server.end() == 0


def test_counts_are_those_of_all_workers(server: Server) -> None:
    with server.client() as client:
        for number in range(20):
            assert client.post("/v1/runs", json={"text": f"How {number}?"}).status_code == 200
        held = [threading.Thread(target=ask, args=(server, "hold on", f"h-{number}")) for number in range(4)]
        for each in held:
            each.start()

        def scraped() -> str:
            return client.get("/metrics", headers=OPERATOR).text

        until(lambda: value(scraped(), "sluicegate_requests_in_progress") == 4)
        texts = [scraped() for _ in range(8)]
        # what is true of each of them alone is left out
        assert not any("process_resident_memory_bytes" in text for text in texts)
        assert {value(text, "sluicegate_runs_total", status="answered") for text in texts} == {20}
        assert {value(text, "sluicegate_serving") for text in texts} == {1}
        let_go()
        for each in held:
            each.join()
        until(lambda: value(scraped(), "sluicegate_requests_in_progress") == 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_all_workers(server: Server, number: int) -> None:
    said = list[dict[str, Any]]()
    held = [threading.Thread(target=lambda n=n: said.append(ask(server, "hold on", f"h-{n}"))) for n in range(6)]
    for each in held:
        each.start()
    with server.client() as client:
        until(lambda: value(client.get("/metrics", headers=OPERATOR).text, "sluicegate_requests_in_progress") == 6)
    server.process.send_signal(number)

    def refused() -> bool:
        host, port = server.address.removeprefix("http://").split(":")
        with socket.socket() as probe:
            return probe.connect_ex((host, int(port))) != 0

    until(refused)
    let_go()
    for each in held:
        each.join()
    assert [each["status"] for each in said] == ["answered"] * 6
    assert server.process.wait(120) == 0


def test_workers_end_with_their_supervisor(server: Server) -> None:
    workers = server.workers()
    server.process.kill()
    until(lambda: all(map(gone, workers)))


def test_one_that_cannot_begin_ends_the_server(tmp_path: Path) -> None:
    made = Server(tmp_path, "broken")
    assert made.address == ""
    assert made.process.wait(120) == 3
    assert made.process.stdout
    made.process.stdout.close()


def test_one_that_keeps_dying_is_started_ever_more_rarely(tmp_path: Path) -> None:
    made = Server(tmp_path, "dying")
    until(lambda: "starts in 2 s" in made.log.read_text())
    told = [line.rpartition("starts in ")[2] for line in made.log.read_text().splitlines() if "starts in" in line]
    assert told.index("0 s") < told.index("2 s")
    # 1 where one died before the signal came to it
    assert made.end() in (0, 1)
    assert made.process.stdout
    made.process.stdout.close()


def test_the_command_serves_folders_with_workers(tmp_path: Path) -> None:
    for name in ("alpha", "beta"):
        written(tmp_path / "flows" / name / "workflow.yaml", name)
    command = [sys.executable, "-m", "sluicegate", "serve", str(tmp_path / "flows"), "--as", "ann", "--workers", "2"]
    with (tmp_path / "log").open("w") as errors:
        process = subprocess.Popen([*command, "--port", "0", "--grace", "0"], stderr=errors)

    def said() -> str:
        return (tmp_path / "log").read_text()

    until(lambda: said().count("is served at") == 2)
    address = said().split()[-1]
    assert [line.split()[0] for line in said().splitlines() if "is served at" in line] == ["alpha", "beta"]
    ready = httpx.get(f"{address}/readyz", timeout=60).json()
    assert [each["workflow"] for each in ready["workflows"]] == ["alpha", "beta"]
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == 0
    (tmp_path / "flows" / "beta" / "workflow.yaml").write_text("workflow: beta\n")
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "beta/workflow.yaml" in refused.stderr
