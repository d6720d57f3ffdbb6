"""Processes that carry runs, for the tests of this folder."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.serving.execution import carrying
from tests.support.processes import PROCESSES, Started


class Carrier:
    """A process that carries."""

    def __init__(self, folder: Path, name: str, *texts: str, running: int, drain_s: float) -> None:
        environment = {**os.environ, "SLUICEGATE_HOME": str(folder / name)}
        mine, its = PROCESSES.Pipe()
        given = (its, str(folder), running, drain_s, texts)
        self._process = Started(folder / f"{name}-said", environment, carrying.main, *given).process
        its.close()
        assert mine.recv() == "ready"
        mine.close()

    @property
    def pid(self) -> int:
        assert self._process.pid
        return self._process.pid

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self) -> int:
        """Its exit status, once it has ended."""
        self._process.join()
        assert self._process.exitcode is not None
        return self._process.exitcode

    def close(self) -> None:
        self._process.kill()
        self._process.join()


Carriers = Callable[..., Carrier]


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Carriers]:
    """Start a process with the home of this name, and wait until it carries."""
    with ExitStack() as living:

        def started(name: str, *texts: str, running: int = 4, drain_s: float = 30) -> Carrier:
            carrier = Carrier(tmp_path, name, *texts, running=running, drain_s=drain_s)
            living.callback(carrier.close)
            return carrier

        yield started


def calls(folder: Path) -> list[str]:
    """The processes that have called a model, call by call."""
    return (folder / "calls").read_text().split() if (folder / "calls").exists() else []
