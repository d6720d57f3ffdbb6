"""The shadow in its own process: it cannot slow, crash or fill the memory of the serving one.

    python -m sluicegate.evals.shadow.shadow_worker helpdesk      # reads run ids, one a line

The serving process writes the ids of answered runs into a pipe, without ever waiting: when the pipe is full, or nobody
reads it, the run is shed. The process beside reads each run from the home's records and hands it to a `Shadow`, with
its bounded queue and its daily caps. It has the lowest priority, and is the first to go when memory runs out.
"""

import contextlib
import logging
import os
import subprocess
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

from sluicegate.errors import RunError, ShadowNotFoundError
from sluicegate.evals.shadow.pairing import sampled, skip_reason
from sluicegate.evals.shadow.pairs import PairStore, Registration
from sluicegate.evals.shadow.shadow import outcome_of, shadow_of
from sluicegate.graphs.runtime.outcome import Outcome
from sluicegate.home import home, private_folder, write_private
from sluicegate.observe.tracing.storing.shared import open_store
from sluicegate.storage.database import is_there, place
from sluicegate.storage.schemas import SHADOW

__all__ = ["ShadowProcess"]

_PATIENCE_S = 60.0
"""Maximum delay in seconds before a crashing process is restarted; the first is a second, and each doubles."""

log = logging.getLogger(__name__)


class ShadowProcess:
    """The serving process's side. `refresh` and `close` are for one thread, `offer` for any."""

    def __init__(
        self, workflow: str, command: tuple[str, ...] = (sys.executable, "-m", "sluicegate.evals.shadow.shadow_worker")
    ) -> None:
        self._workflow, self._command = workflow, command
        self._at: Registration | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe = -1
        self._shed: Counter[str] = Counter()
        self._deaths, self._not_before, self._since = 0, 0.0, 0.0

    def offer(self, outcome: Outcome) -> str:
        """Offer a finished run. Returns at once and never raises; the reason if it was not taken, else empty."""
        at, pipe = self._at, self._pipe
        if at is None:
            return "no shadow"
        try:
            if reason := skip_reason(outcome, at):
                return reason
            if not sampled(at.plan, outcome.state):
                return "not sampled"
            os.write(pipe, f"{outcome.run}\n".encode())
        except BlockingIOError:
            return self._let_go("queue full")
        except OSError:
            return self._let_go("no process")
        except Exception as error:
            return self._let_go(f"not comparable: {type(error).__name__}")
        return ""

    @property
    def state(self) -> str:
        """For people: ``none``, ``running``, or ``down`` while it is to be started again."""
        return "none" if self._at is None else "running" if self._process else "down"

    def refresh(self) -> None:
        """Start or stop the process as the home's comparisons say, and note what was shed. Raises `RunError`."""
        at = self._registered()
        if self._at and (at is None or at.number != self._at.number):
            self._stop(2.0)
        if at and self._at is None:
            self._deaths, self._not_before = 0, 0.0
        self._at = at
        if self._process and self._process.poll() is not None:
            self._died(self._process.returncode)
        if at and self._process is None and time.monotonic() >= self._not_before:
            self._start()

    def close(self, deadline_s: float = 2.0) -> None:
        """Stop the process, what it has not done is left undone."""
        self._stop(deadline_s)
        self._at = None

    def _let_go(self, reason: str) -> str:
        self._shed[reason] += 1
        return reason

    def _registered(self) -> Registration | None:
        if not is_there(place(), SHADOW):
            return None
        pairs = PairStore()
        try:
            if self._at and self._shed:
                shed, self._shed = self._shed, Counter()
                pairs.count_shed(self._at.number, shed)
            return pairs.running(self._workflow)
        except ShadowNotFoundError:
            return None
        finally:
            pairs.close()

    def _start(self) -> None:
        self._since = time.monotonic()
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            [*self._command, self._workflow],
            # what it says would fill a disk or a pipe; why it left is in its log
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            # a Ctrl-C is for the one that serves; this one leaves when its pipe closes
            start_new_session=True,
        )  # fmt: skip
        assert self._process.stdin
        os.set_blocking(self._process.stdin.fileno(), False)
        self._pipe = self._process.stdin.fileno()

    def _died(self, status: int) -> None:
        if time.monotonic() - self._since > _PATIENCE_S:
            self._deaths = 0
        pause = min(2.0**self._deaths, _PATIENCE_S)
        self._deaths, self._not_before = self._deaths + 1, time.monotonic() + pause
        log.warning("the shadow of %s exited with %s; restarting in %g s", self._workflow, status, pause)
        self._let_go("process died")
        self._forget()

    def _stop(self, deadline_s: float) -> None:
        process = self._process
        if process is None:
            return
        self._forget()
        try:
            process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _forget(self) -> None:
        process, self._process, self._pipe = self._process, None, -1
        if process and process.stdin:
            with contextlib.suppress(OSError):
                process.stdin.close()


def _humble() -> None:
    os.nice(19)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("800")


def main(workflow: str) -> None:
    """The process beside: read run ids until the pipe closes. Its last error is in ``shadow/process.log``."""
    _humble()
    try:
        _work(workflow)
    except BaseException:
        write_private(private_folder(home() / "shadow") / "process.log", traceback.format_exc())
        raise


def _work(workflow: str) -> None:
    shadow = shadow_of(workflow)
    if shadow is None:
        return
    store = open_store()
    for line in sys.stdin:
        try:
            shadow.after(outcome_of(line.strip(), store))
        except RunError:
            # its records are gone
            continue
    shadow.close(0.5)
    # a challenger that hangs on a thread would keep the process
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
