"""Processes of their own, each a fork of one in which everything is imported: the imports are most of a start."""

import multiprocessing.context
import os
from collections.abc import Callable, Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from tests.support import ROOT


class _Process(multiprocessing.context.ForkServerProcess):
    """With the environment given, or of who starts it; not that of the test that was the first to start one."""

    def __init__(
        self,
        *,
        target: Callable[..., object],
        args: tuple[Any, ...] = (),
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        super().__init__(target=_called, args=(dict(environment), target, args))


def _called(environment: dict[str, str], call: Callable[..., object], given: tuple[Any, ...]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    call(*given)


class _Processes(multiprocessing.context.ForkServerContext):
    Process = _Process


PROCESSES = _Processes()
PROCESSES.set_forkserver_preload(["tests.support.preloaded"])


class Started:
    """A call in a process of its own, with what it prints in two files of `folder`."""

    def __init__(self, folder: Path, environment: Mapping[str, str], call: Callable[..., None], *given: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._files = [folder / "out", folder / "errors"]
        self.process: BaseProcess = PROCESSES.Process(
            target=_inside, args=([str(file) for file in self._files], call, given), environment=environment
        )
        self.process.start()

    def ended(self) -> tuple[int, str, str]:
        """Its exit status, and what it printed."""
        self.process.join()
        assert self.process.exitcode is not None
        out, errors = (file.read_text(encoding="utf-8") for file in self._files)
        return self.process.exitcode, out, errors


def _inside(files: list[str], call: Callable[..., None], given: tuple[Any, ...]) -> None:
    os.chdir(ROOT)
    for number, file in enumerate(files, start=1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    call(*given)
