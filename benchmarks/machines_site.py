"""Where `machines.py` measures: one PostgreSQL, one desk outside, and the servers and workers that are started."""

import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psycopg

from tests.faults.machines.database import Database
from tests.faults.machines.desk import OutsideDesk
from tests.faults.machines.machine import Machine
from tests.faults.machines.workflow import written
from tests.support.loopback import free_port


class Site:
    """Database, desk and machines of one measurement."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.number = folder, 0
        self.database = Database(folder / "database", "127.0.0.1", free_port())
        self.desk = OutsideDesk("127.0.0.1", 0)
        self.flow = written(folder / "flow", self.desk.url)
        self.started: list[Machine] = []

    def machine(self, *, shared: bool = True) -> Machine:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SLUICEGATE_")}
        if shared:
            environment["SLUICEGATE_DATABASE_URL"] = self.database.url()
        self.number += 1
        made = Machine(self.folder / f"machine-{self.number}", environment, self.desk.url)
        self.started.append(made)
        return made

    @contextmanager
    def server(self, *words: str, shared: bool = True) -> Generator[tuple[Machine, str]]:
        """A server, and its address."""
        machine, port = self.machine(shared=shared), free_port()
        machine.start(
            "serve", str(self.flow), "--port", str(port), "--trust-header", "x-user", "--trust-roles", "x-roles",
            "--no-reload", "--grace", "0", "--drain", "5", "--waiting", "2000", "--per-principal", "2000", *words,
        )  # fmt: skip
        address = f"http://127.0.0.1:{port}"
        until(lambda: _ready(address), machine)
        try:
            yield machine, address
        finally:
            machine.kill()

    @contextmanager
    def workers(self, count: int, concurrency: int = 16) -> Generator[list[Machine]]:
        """So many workers, each ready to take runs."""
        machines = [self.machine() for _ in range(count)]
        for machine in machines:
            machine.start("worker", str(self.flow), "--concurrency", str(concurrency), "--drain", "1")
        for machine in machines:
            until(
                lambda machine=machine: machine.log.exists() and "is carried here" in machine.log.read_text(), machine
            )
        try:
            yield machines
        finally:
            for machine in machines:
                # one that is stopped cannot be ended in another way
                machine.kill()

    def query(self, sql: str) -> dict[str, Any]:
        from psycopg.rows import dict_row

        with psycopg.connect(self.database.url(), autocommit=True, row_factory=dict_row) as connection:
            done = connection.execute(sql)  # type: ignore[arg-type]
            return (done.fetchone() if done.description else None) or {}

    def close(self) -> None:
        for machine in self.started:
            machine.kill()
        self.desk.close()
        self.database.stop()


def until(holds: Callable[[], object], machine: Machine | None = None) -> None:
    given_up = time.monotonic() + 240
    while not holds():
        assert machine is None or machine.alive, machine.log.read_text()[-3000:]
        assert time.monotonic() < given_up, "it did not come"
        time.sleep(0.02)


def _ready(address: str) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"{address}/readyz", trust_env=False).status_code == 200
    return False
