"""The command line in processes that need no start: everything is imported once, each command runs in a fork.

``python -m tests.faults.clerk`` reads one command a line, as JSON (``{"home": …, "command": […]}``), and answers with
its exit status and what it wrote, as one JSON line. The command is the real one, with every real store; the models
answer at once (see `tests.redteam.adversary`) and the router knows the two requests.
"""

import importlib
import json
import os
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

from sluicegate import cli
from sluicegate.graphs.runtime import factory as opening
from sluicegate.lazy_modules import postponed
from sluicegate.models.chain import ModelSet
from sluicegate.retrieval import table as tables
from sluicegate.services import Classification
from tests.redteam.adversary import FixedRouter, Obedient

IMPORTED = (
    "guardrails",
    "langgraph.graph",
    "sluicegate.cli.run",
    "sluicegate.graphs.runtime.run",
    "sluicegate.observe.auditor",
    "sluicegate.observe.tracing.tracer",
    "sluicegate.retrieval.ingest",
)


class ByWord(FixedRouter):
    async def classify(self, text: str) -> Classification:
        self.label = "open_ticket" if "order" in text else "network"
        return await super().classify(text)


def stand_in() -> None:
    """Models that need no weights, and a router that needs no model."""
    models = Obedient()
    ModelSet.chat = lambda self, request: models.chat(request)  # type: ignore[method-assign]
    ModelSet.embed = lambda self, request: models.embed(request)  # type: ignore[method-assign]
    real = opening.open_workflow

    def opened(path: Any, **named: Any) -> Any:
        return real(path, **named, change=lambda services: replace(services, router=ByWord()))

    opening.open_workflow = opened


def carried_out(command: list[str], home: str, written: Path) -> int:
    """The exit status of the command in a fork of this process, which writes to `written`."""
    child = os.fork()
    if not child:
        status = 70
        try:
            os.environ["SLUICEGATE_HOME"] = home
            for number, name in ((1, "stdout"), (2, "stderr")):
                os.dup2(os.open(written / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
            sys.argv = ["sluicegate", *command]
            try:
                cli.main()
            except SystemExit as left:
                status = left.code if isinstance(left.code, int) else int(bool(left.code))
            except BaseException:
                traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main() -> None:
    written = Path(sys.argv[1])
    with postponed(tables._CLIENT):
        importlib.import_module("lancedb")
        importlib.import_module("lancedb.index")
    for name in IMPORTED:
        importlib.import_module(name)
    stand_in()
    for line in sys.stdin:
        asked = json.loads(line)
        status = carried_out(asked["command"], asked["home"], written)
        said = {name: (written / name).read_text(encoding="utf-8") for name in ("stdout", "stderr")}
        print(json.dumps({"status": status, **said}), flush=True)


if __name__ == "__main__":
    main()
