"""A machine: a home, a network and a clock of its own, in which commands of Sluicegate's command line run.

A command is the real one, in a process forked from one that has imported everything. All that differs from an
installation is the tool that places orders, which an installed package would bring.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from importlib.metadata import EntryPoint
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from sluicegate import plugins
from tests.faults.machines import network
from tests.faults.machines.workflow import place_order
from tests.support import ROOT

__all__ = ["Machine"]

_FORKED = get_context("forkserver")
_FORKED.set_forkserver_preload(["tests.faults.machines.imported"])


class Machine:
    """One command at a time."""

    def __init__(
        self, folder: Path, environment: Mapping[str, str], desk: str, cable: network.Cable | None = None
    ) -> None:
        self.folder, self.cable = folder, cable
        self.home = folder / "home"
        self.home.mkdir(parents=True, mode=0o700)
        self._environment = {**environment, "SLUICEGATE_HOME": str(self.home)}
        self._desk = desk
        self._process: BaseProcess | None = None
        self.starts = 0

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def alive(self) -> bool:
        return bool(self._process and self._process.is_alive())

    @property
    def pid(self) -> int:
        assert self._process
        assert self._process.pid
        return self._process.pid

    def start(self, *words: str, ahead_s: float = 0.0) -> None:
        """Run ``sluicegate WORDS`` with a clock that is so many seconds ahead."""
        assert not self.alive
        self.starts += 1
        where = self.cable.path if self.cable else ""
        self._process = _FORKED.Process(
            target=_run,
            args=(words, self._environment, str(self.log), where, self._desk, ahead_s),
            daemon=True,
        )
        self._process.start()

    def call(self, work: Callable[..., None], *given: Any) -> None:
        """Call a function there, in the place of a command."""
        assert not self.alive
        where = self.cable.path if self.cable else ""
        self._process = _FORKED.Process(
            target=_called, args=(work, given, self._environment, str(self.log), where, self._desk), daemon=True
        )
        self._process.start()

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """`kill -9`, and wait until it is gone."""
        if self._process:
            self._process.kill()
            self._process.join()

    def stop(self, seconds: float = 30.0) -> int | None:
        """SIGTERM, and its exit status; None when it did not end in time."""
        assert self._process
        self._process.terminate()
        self._process.join(seconds)
        return self._process.exitcode

    def join(self) -> int | None:
        assert self._process
        self._process.join()
        return self._process.exitcode

    # --- its disk ---

    def give_small_disk(self, megabytes: int) -> None:
        """A disk of its own for the home, before the first start."""
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=700", "tmpfs", self.home], check=True)

    def fill(self, left_kb: int = 0) -> None:
        """Use its disk up."""
        about = os.statvfs(self.home)
        filler = self.home / "filler"
        left = max(0, about.f_bavail * about.f_frsize - left_kb * 1024)
        with filler.open("wb") as file:
            while left > 0:
                piece = min(left, 1 << 20)
                try:
                    file.write(b"x" * piece)
                    file.flush()
                except OSError:
                    break
                left -= piece

    def empty(self) -> None:
        (self.home / "filler").unlink(missing_ok=True)


def _enter(environment: Mapping[str, str], log: str, where: str, desk: str) -> None:
    """Be a process of that machine."""
    if where:
        network.enter(where)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(ROOT)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _install(desk)


def _called(
    work: Callable[..., None], given: Sequence[Any], environment: Mapping[str, str], log: str, where: str, desk: str
) -> None:
    _enter(environment, log, where, desk)
    work(*given)


def _run(
    words: Sequence[str], environment: Mapping[str, str], log: str, where: str, desk: str, ahead_s: float,
) -> None:  # fmt: skip
    _enter(environment, log, where, desk)
    if ahead_s:
        import time_machine

        time_machine.travel(datetime.now(UTC) + timedelta(seconds=ahead_s), tick=True).start()
    from sluicegate import cli

    sys.argv = ["sluicegate", *words]
    cli.main()


def _install(desk: str) -> None:
    """Register the tool, as an installed package does."""
    made = place_order(desk)

    class Entry(EntryPoint):
        def load(self) -> Any:
            return made

    def listed(*, group: str) -> list[EntryPoint]:
        return [Entry(made.name, "desk", group)] if group == "sluicegate.tools" else []

    plugins.entry_points = listed  # type: ignore[assignment]
