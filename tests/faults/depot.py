"""A stored index that is being brought up to date by processes that are killed, and what machines find afterwards.

``python -m tests.faults.depot FOLDER CASE …``, as `shelf`: for each case it forks an ingest that dies, then a reader on
another machine, an ingest on the first one that goes on, and the reader again. A case is ``update|first POINT``.
"""

import asyncio
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from sluicegate.errors import RetrievalError
from sluicegate.retrieval.stores.versions import StoredVersions
from tests.faults.desk import arm, in_a_process
from tests.faults.shelf import imported
from tests.support.machines import Site

NAMES = ("one", "two", "three")
OLD = {name: f"vpn old {name}" for name in NAMES}
NEW = {name: f"vpn new {name}" for name in NAMES}


def found(site: Site) -> dict[str, str] | str:
    try:
        return asyncio.run(site.machine("reader").found())
    except RetrievalError as error:
        return error.code


def ingested(site: Site) -> None:
    asyncio.run(site.machine("writer").ingest())


def named_by_none(site: Site) -> int:
    """Files on the store that the version which serves does not name, and no reader can be at."""
    with site.machine("writer").at():
        versions = StoredVersions(site.objects())
        pointer = versions.pointer()
        assert pointer
        versions.sweep(pointer, keep_s=0.0)
        manifest = versions.manifest(pointer)
        assert manifest
        return len({at.key for at in site.objects().list("files/")} - {file.key for file in manifest.files.values()})


def main() -> None:
    imported()
    folder = Path(sys.argv[1])
    for number, case in enumerate(sys.argv[2:]):
        mode, point = case.split(" ")
        site = Site(folder / str(number), str(folder / f"store-{number}"))

        def begun(site: Site = site) -> None:
            site.write("old")
            ingested(site)

        if mode != "first":
            assert in_a_process(begun)[0] == 0
        site.write("new")

        def doomed(point: str = point, site: Site = site) -> None:
            arm(point)
            ingested(site)

        def after(site: Site = site) -> Any:
            before = found(site)
            ingested(site)
            return {"reader": before, "then": found(site), "left": named_by_none(site)}

        killed, _ = in_a_process(doomed)
        status, left = in_a_process(after)
        print(json.dumps({"case": case, "killed": killed, "status": status, "found": left}), flush=True)
        shutil.rmtree(folder / str(number))


if __name__ == "__main__":
    main()
