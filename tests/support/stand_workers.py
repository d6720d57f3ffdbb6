"""What a worker of a test's server does: it serves the workflow of `stand`, or it dies."""

import os
import socket
import sys
import time
from collections.abc import Callable
from functools import partial

from sluicegate import Limits
from sluicegate.home import home
from sluicegate.serving.http.server import bound, serve
from sluicegate.serving.process.workers import supervise
from sluicegate.serving.workflows import Workflows
from tests.support import stand

__all__ = ["main", "pids"]


def pids() -> set[int]:
    """The workers of this home that have begun to serve, dead ones too."""
    file = home() / "workers"
    return {int(line) for line in file.read_text().split()} if file.exists() else set()


def work(kind: str, listening: socket.socket, ready: Callable[[str], None]) -> None:
    if kind == "broken":
        sys.exit(3)

    def started(address: str) -> None:
        with (home() / "workers").open("a") as out:
            out.write(f"{os.getpid()}\n")
        ready(address)

    if kind == "dying":
        started("")
        time.sleep(0.1)
        os._exit(1)
    workflows = Workflows([stand.service(limits=Limits(grace_s=0, per_principal=100))])
    serve(workflows, stand.GATEWAY, listening=listening, started=started)
    os._exit(0)


def main(kind: str) -> int:
    """Two workers, and their supervisor."""
    with bound("127.0.0.1", 0) as listening:
        listening.listen()
        return supervise(partial(work, kind), listening, 2, started=partial(print, flush=True))
