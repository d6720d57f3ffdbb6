"""Where runs wait: the threads that are at an interrupt, a row each, which their checkpoints write and take away."""

from collections.abc import Sequence

from sluicegate.storage.database import Database

__all__ = ["Interrupts"]


class Interrupts:
    """The rows of one database of checkpoints. Raises as `Database` does."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def threads(self, workflow: str = "") -> Sequence[str]:
        """Longest-waiting first: all, or those of this workflow and those that were not scheduled yet."""
        which = ("WHERE workflow IN (?, '')", (workflow,)) if workflow else ("", ())
        return self._threads(f"{which[0]} ORDER BY id", which[1])

    def after(self, cursor: str, workflow: str, limit: int) -> Sequence[tuple[str, str]]:
        """As `threads`, from behind a cursor on, so many at most: each with the cursor that stands behind it."""
        with self._database.reading() as execute:
            rows = execute(
                "SELECT id, thread FROM waiting WHERE (? = '' OR workflow IN (?, '')) AND id > ? ORDER BY id LIMIT ?",
                (workflow, workflow, cursor, limit),
            )
        return [(row["id"], row["thread"]) for row in rows]

    def unscheduled(self) -> Sequence[str]:
        """The threads that have come to an interrupt since somebody looked, longest-waiting first."""
        return self._threads("WHERE workflow = '' ORDER BY id", ())

    def schedule(self, thread: str, workflow: str, deadline: str) -> None:
        """Note whose interrupt this is, and its deadline, ISO 8601 in UTC."""
        with self._database.writing() as execute:
            execute("UPDATE waiting SET workflow = ?, deadline = ? WHERE thread = ?", (workflow, deadline, thread))

    def overdue(self, workflow: str, now: str) -> Sequence[str]:
        """The threads of a workflow that are past their deadlines; whatever else waits is not read."""
        return self._threads("WHERE workflow = ? AND deadline < ? ORDER BY deadline", (workflow, now))

    def unannounced(self) -> Sequence[tuple[str, str]]:
        """The threads that no webhook has, longest-waiting first, with the checkpoints that they wait at."""
        with self._database.reading() as execute:
            rows = execute("SELECT thread, id FROM waiting WHERE announced = 0 ORDER BY id")
        return [(row["thread"], row["id"]) for row in rows]

    def announced(self, thread: str, checkpoint: str) -> None:
        with self._database.writing() as execute:
            execute("UPDATE waiting SET announced = 1 WHERE thread = ? AND id = ?", (thread, checkpoint))

    def _threads(self, which: str, values: Sequence[str]) -> Sequence[str]:
        with self._database.reading() as execute:
            return [row["thread"] for row in execute(f"SELECT thread FROM waiting {which}", values)]  # noqa: S608
