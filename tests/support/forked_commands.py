"""Commands of the command line, each in a fork of a process that has imported everything: the imports are most of each.

Run by its path it needs the package alone, from wherever that is installed: it reads one command a line, as JSON
(``{"command": [...], "cwd": ..., "environment": {...}}``), and answers with its exit status and what it wrote.
"""

import importlib
import json
import os
import sys
import tempfile
import traceback
from pathlib import Path

from sluicegate import cli
from sluicegate.language import language_of
from sluicegate.lazy_modules import postponed
from sluicegate.retrieval import table

__all__ = ["carried_out", "imported"]

IMPORTED = (
    "langgraph.graph",
    "sluicegate.cli.graph",
    "sluicegate.cli.ingest",
    "sluicegate.cli.init",
    "sluicegate.cli.run",
    "sluicegate.cli.trace",
    "sluicegate.graphs.runtime.run",
    "sluicegate.observe.auditor",
    "sluicegate.observe.tracing.tracer",
    "sluicegate.retrieval.ingest",
)


def imported(*more: str) -> None:
    """Import what commands do, of LanceDB what starts no thread."""
    with postponed(table._CLIENT):
        importlib.import_module("lancedb")
        importlib.import_module("lancedb.index")
    for name in (*IMPORTED, *more):
        importlib.import_module(name)
    language_of("Where does this go?")


def carried_out(command: list[str], written: Path, environment: dict[str, str], cwd: str = ".") -> int:
    """The exit status of the command in a fork of this process, which writes to `written`."""
    child = os.fork()
    if not child:
        status = 70
        try:
            os.environ.update(environment)
            for number, name in ((1, "stdout"), (2, "stderr")):
                os.dup2(os.open(written / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
            os.chdir(cwd)
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
    imported()
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder)
        for line in sys.stdin:
            asked = json.loads(line)
            status = carried_out(asked["command"], written, asked["environment"], asked["cwd"])
            said = {name: (written / name).read_text(encoding="utf-8") for name in ("stdout", "stderr")}
            print(json.dumps({"status": status, **said}), flush=True)


if __name__ == "__main__":
    main()
