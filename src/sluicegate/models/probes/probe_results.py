"""Probe results, stored in the home folder by the model's identity.

New weights under an old name have another identity and so no result: a measurement never outlives what it measured.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sluicegate.home import home
from sluicegate.services import LabelScale, ProbeTask
from sluicegate.storage.schemas import PROBES
from sluicegate.storage.sqlite import connect, explained

__all__ = ["Result", "admitted", "below_minimum", "keep", "result"]


@dataclass(frozen=True, slots=True)
class Result:
    """One probe of one model."""

    task: ProbeTask
    right: int
    rows: int
    ms_p50: float
    """Median milliseconds of a row."""
    probe: str
    """Hash of the probe's rows."""
    at: str
    """When it was measured, ISO 8601 in UTC."""
    scale: LabelScale | None = None
    """Of the label probe: how much the model's letters tell; None where it gives no token probabilities."""

    @property
    def accuracy(self) -> float:
        return self.right / self.rows if self.rows else 0.0


def keep(identity: str, measured: Result) -> None:
    """Store a result in place of the model's former one. Raises `RunError`."""
    connection, scale = connect(home() / "probes.sqlite", PROBES), measured.scale
    try:
        with explained("the probe results"):
            connection.execute(
                "INSERT OR REPLACE INTO probes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(identity, measured.task, measured.right, measured.rows, measured.ms_p50),
                    *(measured.probe, measured.at, *((scale.said, scale.prior) if scale else (None, None))),
                ),
            )
    finally:
        connection.close()


def result(identity: str, task: ProbeTask) -> Result | None:
    """The stored result of a model's probe, or None."""
    path = home() / "probes.sqlite"
    if not path.exists():
        return None
    connection = connect(path, PROBES)
    try:
        row = connection.execute("SELECT * FROM probes WHERE identity = ? AND task = ?", (identity, task)).fetchone()
    finally:
        connection.close()
    if not row:
        return None
    scale = None if row["said"] is None else LabelScale(row["said"], row["prior"])
    return Result(task, row["right_"], row["rows"], row["ms_p50"], row["probe"], row["at"], scale)


def admitted(identity: str, task: ProbeTask, minimum: float) -> bool | None:
    """Whether a model's measured accuracy reaches `minimum`; None when it was not measured."""
    found = result(identity, task)
    return None if found is None else found.accuracy >= minimum


def below_minimum(identity: str, minimum: Mapping[ProbeTask, float]) -> tuple[str, list[str]]:
    """What is below its minimum, as text (empty when nothing is), and the tasks that were never measured."""
    short: list[str] = []
    unknown: list[str] = []
    for task, least in minimum.items():
        found = result(identity, task)
        if found is None:
            unknown.append(task)
        elif found.accuracy < least:
            short.append(f"{task} {found.accuracy:.2f} < {least:g}")
    return ", ".join(short), unknown
