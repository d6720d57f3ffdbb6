"""One command of the command line as a machine of its own would run it.

The home and the server are what the environment says; the stores are real, models and router are stand-ins. With
`DIES_AFTER`, the process is killed after that node.
"""

import os
import signal
import sys
import warnings
from typing import Any

from sluicegate import cli
from sluicegate.graphs.runtime import factory as opening
from tests.support.fakes import FakeModels, FakeRetriever, FakeRouter

_real = opening.open_workflow


def _opened(path: Any, **options: Any) -> Any:
    opened = _real(path, **options)
    fatal, node = os.environ.get("DIES_AFTER"), opened.tracer.branch

    def branch(name: str, *rest: Any, **named: Any) -> Any:
        node(name, *rest, **named)
        if name == fatal:
            opened.tracer.flush(5.0)
            os.kill(os.getpid(), signal.SIGKILL)

    opened.tracer.branch = branch
    return opened


def command(*words: str) -> None:
    """Run the command line with these words, and leave."""
    warnings.simplefilter("ignore")
    sys.argv = ["sluicegate", *words]
    opening.ModelSet = lambda _: FakeModels({"slm": "We wrote to <EMAIL_1>."})  # type: ignore[assignment, misc]
    opening._router = lambda *_: FakeRouter("risky")  # type: ignore[assignment]
    opening.LanceRetriever = lambda *_, **__: FakeRetriever()  # type: ignore[assignment, misc]
    opening.open_workflow = _opened
    cli.main()
