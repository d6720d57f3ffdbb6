"""Kept versions on the server that machines share, so that a run can end elsewhere on the version it began with.

Which version is current is stored there too, for a machine that has never opened the workflow itself.
"""

import hashlib
from pathlib import Path
from typing import Any

from sluicegate.storage.database import Database, PostgresDatabase
from sluicegate.storage.postgres import Server
from sluicegate.storage.schemas import VERSIONS

__all__ = ["SharedVersions"]
_FOLDER = "folder"
"""Stands in for a hash."""


class SharedVersions:
    """Raises `RunError` SG625."""

    def __init__(self, server: Server) -> None:
        self._database: Database = PostgresDatabase(server, VERSIONS)

    def put(self, digest: str, folder: Path) -> None:
        """Keep a folder under a digest; costs one look-up when it is known."""
        with self._database.reading() as execute:
            if execute("SELECT 1 AS known FROM kept WHERE digest = ? LIMIT 1", (digest,)):
                return
        contents, rows = dict[str, bytes](), list[tuple[str, str, str]]()
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            if path.is_dir():
                rows.append((digest, name, _FOLDER))
            elif not path.is_symlink():  # a model's file: too large, and each machine has its own
                held = path.read_bytes()
                hashed = hashlib.sha256(held).hexdigest()
                contents[hashed] = held
                rows.append((digest, name, hashed))
        # in one order everywhere: two machines may keep versions that share files
        with self._database.writing() as execute:
            execute.many("INSERT INTO contents VALUES (?, ?) ON CONFLICT DO NOTHING", sorted(contents.items()))
            execute.many("INSERT INTO kept VALUES (?, ?, ?) ON CONFLICT DO NOTHING", rows)

    def get(self, digest: str, folder: Path) -> bool:
        """Write what is kept under a digest into `folder`; False when nothing is. Raises `OSError`."""
        with self._database.reading() as execute:
            rows: list[dict[str, Any]] = execute(
                "SELECT path, content, bytes FROM kept LEFT JOIN contents ON hash = content WHERE digest = ?"
                " ORDER BY path",
                (digest,),
            )
        for row in rows:
            target = folder / row["path"]
            if row["content"] == _FOLDER:
                target.mkdir(parents=True, exist_ok=True)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(row["bytes"])
        return bool(rows)

    def point(self, workflow: str, digest: str) -> None:
        """Make this version the current one of its name."""
        with self._database.writing() as execute:
            execute(
                "INSERT INTO present VALUES (?, ?) ON CONFLICT (workflow) DO UPDATE SET digest = excluded.digest",
                (workflow, digest),
            )

    def names(self) -> list[str]:
        """The workflows that have a current version, in order."""
        with self._database.reading() as execute:
            return [row["workflow"] for row in execute("SELECT workflow FROM present ORDER BY workflow")]

    def present(self, workflow: str) -> str:
        """The digest that is current; empty when there is none."""
        with self._database.reading() as execute:
            rows = execute("SELECT digest FROM present WHERE workflow = ?", (workflow,))
        return rows[0]["digest"] if rows else ""
