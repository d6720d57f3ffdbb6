"""Servers as processes: killed, started again, two on one home, drained."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from sluicegate.cli.serve import app
from sluicegate.errors import RunError
from sluicegate.serving.execution.recovery import _SETTLED_S
from sluicegate.serving.http.server import serve
from sluicegate.serving.limits import Limits
from tests.support.processes import PROCESSES
from tests.support.stand import GATEWAY, WORKFLOW, let_go, serve_alone
from tests.support.waiting import until

pytestmark = pytest.mark.slow

CONFIG = WORKFLOW / "workflow.yaml"


class Server:
    """`tests.support.stand` in a process of its own."""

    def __init__(self, *, drain_s: float = 20.0, grace_s: float = 0.0) -> None:
        mine, its = PROCESSES.Pipe()
        limits = Limits(drain_s=drain_s, grace_s=grace_s)
        self.process = PROCESSES.Process(target=serve_alone, args=(os.environ["SLUICEGATE_HOME"], limits, its.send))
        self.process.start()
        assert mine.poll(60)
        address = mine.recv()
        assert address.startswith("http://127.0.0.1:")
        self.client = httpx.Client(base_url=address, headers={"x-user": "ann", "x-roles": "employee"}, timeout=30)
        self.client.get("/healthz")

    def signal(self, number: int) -> None:
        assert self.process.pid
        os.kill(self.process.pid, number)

    def left(self) -> int | None:
        """Its status, once it has left."""
        self.process.join(100)
        return self.process.exitcode

    def ask(self, text: str, request_id: str) -> dict[str, Any]:
        return self.client.post("/v1/runs", json={"text": text, "request_id": request_id}).json()

    def asking(self, text: str, request_id: str) -> threading.Thread:
        """The call, on a thread; what becomes of it is kept in `said`."""

        def ask() -> None:
            try:
                self.said[request_id] = self.ask(text, request_id)
            except httpx.HTTPError as error:
                self.said[request_id] = {"error": type(error).__name__}

        thread = threading.Thread(target=ask)
        thread.start()
        return thread

    @property
    def said(self) -> dict[str, dict[str, Any]]:
        return self.__dict__.setdefault("_said", {})

    def close(self) -> None:
        self.client.close()
        self.process.kill()
        self.process.join()


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    started: list[Server] = []
    yield started
    for server in started:
        server.close()


def statuses(server: Server, runs: list[str]) -> list[str]:
    return [server.client.get(f"/v1/runs/{run}").json().get("status", "none") for run in runs]


def test_a_killed_server_loses_no_run(servers: list[Server]) -> None:
    servers.append(first := Server())
    waits = first.ask("access please", "w")["run"]
    asking = [first.asking("hold", f"r-{number}") for number in range(4)]
    running(5)
    first.signal(signal.SIGKILL)
    for thread in asking:
        thread.join()
    assert {said["error"] for said in first.said.values()} <= {"RemoteProtocolError", "ReadError"}
    let_go()
    # younger ones might be just beginning elsewhere
    time.sleep(_SETTLED_S)
    servers.append(second := Server())
    # one of them asks again and gets its run; the others are taken up by the server on its own
    again = second.ask("hold", "r-0")
    assert again["status"] == "answered"
    until(lambda: set(runs_of().values()) == {"answered", "waiting"})
    # no run is there twice, and none is lost
    assert sorted(runs_of().values()) == ["answered"] * 4 + ["waiting"]
    assert statuses(second, [waits]) == ["waiting"]
    lead = {"x-user": "lea", "x-roles": "helpdesk-lead"}
    decided = second.client.post(f"/v1/approvals/{waits}", json={"verdict": "approve"}, headers=lead)
    assert decided.json()["status"] == "answered"


def running(count: int) -> None:
    """Wait until so many runs have begun."""
    until(lambda: len(runs_of()) >= count)


def runs_of() -> dict[str, str]:
    from sluicegate.observe.tracing.store import Store

    store = Store(Path(os.environ["SLUICEGATE_HOME"]) / "store.sqlite")
    found = {row["run_id"]: row["status"] for row in store.runs(limit=100)}
    store.close()
    return found


def test_two_servers_on_one_home(servers: list[Server]) -> None:
    servers += [Server(), Server()]
    first, second = servers
    asking = [server.asking("hold", "same") for server in servers]
    until(lambda: all(server.client.get("/readyz").json()["inside"] == 1 for server in servers))
    let_go()
    asking += [servers[number % 2].asking(f"wait 0.1 {number}", f"r-{number}") for number in range(12)]
    for thread in asking:
        thread.join()
    said = {**first.said, **second.said}
    assert {each.get("status") for each in said.values()} == {"answered"}, said
    # both were asked the same, and it was done once
    assert first.said["same"]["run"] == second.said["same"]["run"]
    assert len(runs_of()) == 13
    waits = first.ask("access please", "w")["run"]
    lead = {"x-user": "lea", "x-roles": "helpdesk-lead"}
    assert second.client.post(f"/v1/approvals/{waits}", json={"verdict": "approve"}, headers=lead).status_code == 200
    assert first.client.post(f"/v1/approvals/{waits}", json={"verdict": "reject"}, headers=lead).status_code == 409
    assert statuses(first, [waits]) == ["answered"]


def test_sigterm_lets_what_is_at_work_finish(servers: list[Server]) -> None:
    servers.append(server := Server())
    asking = server.asking("hold", "r")
    running(1)
    server.signal(signal.SIGTERM)

    def turned_away() -> bool:
        try:
            httpx.get(str(server.client.base_url) + "/healthz")
        except httpx.ConnectError:
            return True
        except httpx.TransportError:
            # the system had taken the connection when the port was closed, and the server had not
            pass
        return False

    until(turned_away)
    assert asking.is_alive()
    let_go()
    asking.join()
    assert server.said["r"]["status"] == "answered"
    assert server.left() == 0


def test_readiness_ends_before_the_port_does(servers: list[Server]) -> None:
    servers.append(server := Server(grace_s=600))
    assert server.client.get("/readyz").status_code == 200
    server.signal(signal.SIGTERM)
    while (ready := server.client.get("/readyz")).status_code == 200:
        continue
    assert (ready.status_code, ready.json()["status"]) == (503, "closing")
    # who was sent here meanwhile is served
    assert server.client.get("/healthz").status_code == 200
    assert server.ask("How?", "late")["status"] == "answered"
    # an operator who does not want to wait says it twice
    server.signal(signal.SIGTERM)
    assert server.left() == 0


def test_what_does_not_finish_in_time_is_taken_up_later(servers: list[Server]) -> None:
    servers.append(server := Server(drain_s=0.5))
    asking = server.asking("hold", "r")
    running(1)
    server.signal(signal.SIGTERM)
    # what it is at would never end
    assert server.left() == 0
    asking.join()
    # the caller is told, and by which run
    run = server.said["r"]["run"]
    assert server.said["r"]["code"] == "SG620"
    assert runs_of() == {run: "running"}
    time.sleep(_SETTLED_S)
    # nobody asks again
    servers.append(second := Server())
    let_go()
    until(lambda: runs_of() != {run: "running"})
    assert (runs_of(), statuses(second, [run])) == ({run: "answered"}, ["answered"])


def test_who_is_told_the_address_may_call_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    class ToldError(Exception): ...

    def told(address: str) -> None:
        socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=5).close()
        raise ToldError

    class Opens:
        limits = Limits()

        async def open(self) -> None: ...

    service: Any = Opens()
    with pytest.raises(ToldError):
        serve(service, GATEWAY, host="127.0.0.1", port=0, started=told)


def test_an_address_that_is_taken_is_an_error_and_no_traceback() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "sluicegate", "serve", str(CONFIG), "--as", "ann", "--port", port],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert "SG624 cannot listen" in done.stderr
    assert "Traceback" not in done.stderr


def test_who_may_call_is_to_be_said(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    def refused(*given: str) -> str:
        result = CliRunner().invoke(app, [str(CONFIG), *given])
        assert isinstance(result.exception, RunError), result.output
        return result.exception.code

    assert refused() == "SG619"
    assert refused("--as", "ann", "--trust-header", "x-user") == "SG619"
    assert refused("--as", "ann", "--host", "0.0.0.0") == "SG619"
    assert refused("--as", "ann", "--oidc", str(tmp_path / "none.yaml")) == "SG619"
    assert refused("--tokens", str(tmp_path / "none.json")) == "SG623"


def test_without_the_extra_it_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    monkeypatch.setitem(sys.modules, "uvicorn", None)
    result = CliRunner().invoke(app, [str(CONFIG), "--as", "ann"])
    assert isinstance(result.exception, RunError)
    assert result.exception.code == "SG624"
    assert result.exception.hint == "Install it: pip install 'sluicegate[serve]'"
    assert json.dumps(result.exception.message).count("uvicorn") == 1
