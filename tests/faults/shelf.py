"""An index that is being brought up to date by processes that are killed, and what a reader finds afterwards.

``python -m tests.faults.shelf FOLDER CASE …`` imports once; for each case it forks an ingest that dies, then a reader
and an ingest that goes on, and prints one JSON line. A case is ``update|first|rebuild POINT``, where a point is as in
`desk`, or ``after:N`` for a kill from outside after N milliseconds.
"""

import asyncio
import importlib
import json
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from sluicegate.errors import RetrievalError
from sluicegate.lazy_modules import postponed
from sluicegate.retrieval import table as tables
from sluicegate.retrieval.acl import by_labels
from sluicegate.retrieval.config import IndexConfig
from sluicegate.retrieval.ingest import ingest
from sluicegate.retrieval.lance import LanceRetriever
from tests.faults.desk import arm, in_a_process
from tests.support.knowledge import TODAY, HashEmbedder, person

CONFIG = IndexConfig(path=("knowledge",), minimum_score=0.0)
OLD = {f"knowledge/{number}.md": f"vpn old {number}" for number in range(4)} | {"knowledge/gone.md": "vpn old gone"}
NEW = {f"knowledge/{number}.md": f"vpn new {number}" for number in range(4)} | {"knowledge/added.md": "vpn new added"}


def written(folder: Path, documents: dict[str, str]) -> None:
    shutil.rmtree(folder / "knowledge", ignore_errors=True)
    for name, words in documents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"---\napproved: true\nreaders: everyone\nclearance: public\n---\n{words}\n", encoding="utf-8")


def brought_up(home: Path, *, rebuild: bool = False) -> None:
    asyncio.run(ingest(home / "kb", [], CONFIG, HashEmbedder(), folders=[home], now=lambda: TODAY, rebuild=rebuild))


def found(home: Path) -> dict[str, str] | str:
    """Every document with its words, as a new reader finds them; a code where it is refused."""

    async def search() -> dict[str, str]:
        retriever = LanceRetriever(home, {"kb": CONFIG}, HashEmbedder(), readable=by_labels, now=lambda: TODAY)
        passages = await retriever.search("kb", "vpn", person(), k=50)
        words = {passage["id"]: retriever.text(passage) for passage in passages}
        retriever.close()
        return words

    try:
        return asyncio.run(search())
    except RetrievalError as error:
        return error.code


def killed_later(milliseconds: float) -> None:
    def kill() -> None:
        time.sleep(milliseconds / 1000)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()


def imported() -> None:
    """Its import takes longer than an ingest; nothing of it runs in this process."""
    with postponed(tables._CLIENT):
        importlib.import_module("lancedb")
        importlib.import_module("lancedb.index")


def main() -> None:
    imported()
    folder = Path(sys.argv[1])
    base = folder / "base"

    def begun() -> None:
        written(base, OLD)
        brought_up(base)

    assert in_a_process(begun)[0] == 0
    for number, case in enumerate(sys.argv[2:]):
        mode, point = case.split(" ")
        home = folder / str(number)
        if mode != "first":
            shutil.copytree(base, home)
        written(home, NEW)

        def doomed(mode: str = mode, point: str = point, home: Path = home) -> None:
            when, _, milliseconds = point.partition(":")
            killed_later(float(milliseconds)) if when == "after" else arm(point)
            brought_up(home, rebuild=mode == "rebuild")

        def after(home: Path = home) -> Any:
            before = found(home)
            brought_up(home)
            then = found(home)
            # an ingest with nothing to do looks at no table; the next one with something to do tidies
            written(home, {**NEW, "knowledge/later.md": "vpn later"})
            brought_up(home)
            return {"reader": before, "then": then, "tables": len(list((home / "kb").glob("*.lance")))}

        killed, _ = in_a_process(doomed)
        status, left = in_a_process(after)
        print(json.dumps({"case": case, "killed": killed, "status": status, "found": left}), flush=True)


if __name__ == "__main__":
    main()
