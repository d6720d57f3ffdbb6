"""Shadows and their pairs, in the home or on the server: what is compared under which plan, and the results.

A request is claimed before the challenger runs, so that two workers, of one machine or of many, never pair it twice. A
claim is in work for as long as its pair can take; one without a pair after that, which a crash leaves, counts as a
request that was not shadowed.
"""

import gc
import json
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sluicegate.errors import RunError, ShadowNotFoundError
from sluicegate.evals.promotion.gates import Pair
from sluicegate.evals.promotion.plan import Plan
from sluicegate.graphs.runtime.versions import kept
from sluicegate.storage.database import Execute, Place, open_database, place
from sluicegate.storage.schemas import SHADOW

__all__ = ["CAPS", "PAIRED_BEFORE", "PairStore", "Registration", "today"]

PAIRED_BEFORE = "paired before"
"""No pair is made, and none is missing."""
CAPS = ("daily cost", "daily pairs")
"""Why a request is left for another day."""
_RECORDED_S = 30.0
"""Seconds after the challenger's time is up in which a pair is measured and written, on a busy machine too."""


@dataclass(frozen=True, slots=True)
class Registration:
    """One shadow, as registered at its start."""

    number: int
    workflow: str
    champion: str
    """The champion's file."""
    champion_digest: str
    challenger: str
    challenger_digest: str
    labels: str
    """A file of labelled requests that may be recognised in the traffic; empty when none."""
    plan: Plan
    plan_digest: str
    started_at: str
    stopped_at: str | None

    def challenger_here(self) -> Path:
        """The challenger's file on this machine: where another one registered it, the kept copy. Raises `RunError`
        SG604, SG607, SG625."""
        file = Path(self.challenger)
        return file if file.is_file() else kept(self.challenger_digest)

    @property
    def compared(self) -> dict[str, Any]:
        """What is compared with what, and by which plan, as plain data."""
        return {
            "workflow": self.workflow,
            "plan": self.plan.plan,
            "plan_digest": self.plan_digest,
            "champion": {"file": self.champion, "digest": self.champion_digest},
            "challenger": {"file": self.challenger, "digest": self.challenger_digest},
        }


class PairStore:
    """Safe to use from any thread, by several processes, and on a server by many machines. Raises `RunError` SG606 to
    SG608 of a file, SG625 of a server."""

    def __init__(self, where: Place | None = None) -> None:
        """By default where this machine keeps what it does."""
        self._database = open_database(where or place(), SHADOW)

    def start(
        self,
        workflow: str,
        plan: Plan,
        *,
        champion: tuple[str, str],
        challenger: tuple[str, str],
        labels: str = "",
    ) -> Registration:
        """Fix a comparison; `champion` and `challenger` are file and digest. The same one again is continued.

        Raises `RunError` SG616 when another comparison of this workflow runs or this plan's name has pairs already.
        """
        versions = (champion[1], challenger[1])
        with self._database.alone("shadows") as execute:
            rows = execute(
                "SELECT *, (SELECT count(*) FROM pairs WHERE shadow = shadows.number) AS pairs FROM shadows "
                "WHERE workflow = ? ORDER BY number",
                (workflow,),
            )
            for row in rows:
                known = _registration(row)
                if (known.plan_digest, known.champion_digest, known.challenger_digest) == (plan.digest, *versions):
                    execute("UPDATE shadows SET stopped_at = NULL WHERE number = ?", (known.number,))
                    return known
                if known.plan.plan == plan.plan and known.plan_digest != plan.digest and row["pairs"]:
                    raise RunError(
                        "SG616",
                        f"the plan {plan.plan!r} has changed since its first pair",
                        hint="Restore it, or start again under another name",
                    )
                if known.stopped_at is None:
                    raise RunError(
                        "SG616",
                        f"{workflow} already has a shadow, under the plan {known.plan.plan!r}",
                        hint=f"Stop it first: sluicegate shadow stop {workflow}",
                    )
            (made,) = execute(
                "INSERT INTO shadows (workflow, champion, champion_digest, challenger, challenger_digest, labels, "
                "plan, plan_digest, started_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING number",
                (
                    *(workflow, *champion, *challenger, labels, plan.model_dump_json(), plan.digest),
                    datetime.now(UTC).isoformat(),
                ),
            )
        return self._one("number = ?", made["number"])

    def stop(self, workflow: str) -> Registration:
        """Stop pairing; the pairs stay. Raises `RunError` SG617."""
        found = self.running(workflow)
        self.end(found)
        return self._one("number = ?", found.number)

    def end(self, at: Registration) -> None:
        """Stop pairing for this one, if nobody has; the pairs stay."""
        with self._database.writing() as execute:
            execute(
                "UPDATE shadows SET stopped_at = ? WHERE number = ? AND stopped_at IS NULL",
                (datetime.now(UTC).isoformat(), at.number),
            )

    def running(self, workflow: str) -> Registration:
        """Raises `RunError` SG617 when none runs."""
        return self._one("workflow = ? AND stopped_at IS NULL", workflow)

    def under(self, workflow: str, plan: Plan) -> Registration:
        """The newest comparison under exactly this plan. Raises `RunError` SG616 (it changed), SG617 (none)."""
        try:
            return self._one("workflow = ? AND plan_digest = ?", workflow, plan.digest)
        except RunError:
            if any(known.plan.plan == plan.plan for known in self.all() if known.workflow == workflow):
                raise RunError(
                    "SG616",
                    f"the plan {plan.plan!r} is not the one that its shadow was started with",
                    hint="Restore it, or start a shadow under another name",
                ) from None
            raise

    def all(self) -> list[Registration]:
        """Every comparison, newest first."""
        with self._database.reading() as execute:
            rows = execute("SELECT * FROM shadows ORDER BY number DESC")
        return [_registration(row) for row in rows]

    def is_running(self, number: int) -> bool:
        with self._database.reading() as execute:
            rows = execute("SELECT stopped_at FROM shadows WHERE number = ?", (number,))
        return bool(rows) and rows[0]["stopped_at"] is None

    def claim(self, at: Registration, champion_run: str) -> str:
        """Claim a request within the day's caps; the reason if refused (`CAPS`, `PAIRED_BEFORE`), else an empty text.

        One transaction: however many workers ask, no more than `daily.pairs` are taken on. What a pair costs is known
        when it is done; until then it counts as the dearest of the day, so that the cap is passed only where a pair is
        dearer than all before it.
        """
        day, daily = today(), at.plan.daily
        with self._database.alone("shadows") as execute:
            known = execute(
                "SELECT 1 AS one FROM claims WHERE shadow = ? AND champion_run = ?", (at.number, champion_run)
            )
            if known:
                return PAIRED_BEFORE
            usd, count = _spent(execute, at.number, day)
            if daily.usd and usd + _under_way(execute, at.number, day) >= daily.usd:
                return "daily cost"
            if count >= daily.pairs:
                return "daily pairs"
            execute("INSERT INTO claims VALUES (?, ?, ?)", (at.number, champion_run, day))
            until = time.time() + at.plan.timeout_s + _RECORDED_S
            execute("INSERT INTO working VALUES (?, ?, ?)", (at.number, champion_run, until))
        return ""

    def release(self, number: int, champion_run: str) -> None:
        """Release a claim without a result, so that another worker may take it."""
        with self._database.writing() as execute:
            execute("DELETE FROM claims WHERE shadow = ? AND champion_run = ?", (number, champion_run))
            _done(execute, number, champion_run)

    def add(self, number: int, pair: Pair, *, usd: float) -> None:
        with self._database.alone("shadows") as execute:
            execute(
                "INSERT INTO pairs (shadow, champion_run, day, usd, pair) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT DO NOTHING",
                (number, pair.champion_run, pair.day, usd, json.dumps(asdict(pair), ensure_ascii=False)),
            )
            _done(execute, number, pair.champion_run)

    def count_shed(self, number: int, reasons: Mapping[str, int]) -> None:
        with self._database.writing() as execute:
            execute.many(
                "INSERT INTO shed VALUES (?, ?, ?) "
                "ON CONFLICT (shadow, reason) DO UPDATE SET count = shed.count + excluded.count",
                [(number, reason, count) for reason, count in reasons.items() if count],
            )

    def shed(self, number: int) -> dict[str, int]:
        """Sampled requests that were not shadowed, by reason; ``lost``: claimed, but nothing came of it."""
        with self._database.reading() as execute:
            rows = execute("SELECT reason, count FROM shed WHERE shadow = ?", (number,))
            lost = _open(execute, number) - _in_work(execute, number)
        found = {row["reason"]: row["count"] for row in rows}
        return found | ({"lost": lost} if lost > 0 else {})

    def in_work(self, number: int) -> int:
        """Requests whose pair is being made."""
        with self._database.reading() as execute:
            return _in_work(execute, number)

    def spent(self, number: int, day: str) -> tuple[float, int]:
        """Dollars and claims of a day."""
        with self._database.reading() as execute:
            return _spent(execute, number, day)

    def pairs(self, number: int) -> list[Pair]:
        """In the order they were made."""
        with self._database.reading() as execute:
            rows = execute("SELECT pair FROM pairs WHERE shadow = ? ORDER BY number", (number,))
        with _uncollected():
            return [_pair(json.loads(row["pair"])) for row in rows]

    def count(self, number: int) -> int:
        """How many there are."""
        with self._database.reading() as execute:
            row = execute("SELECT count(*) AS n FROM pairs WHERE shadow = ?", (number,))[0]
        return row["n"]

    def claimed(self, number: int, among: Sequence[str]) -> set[str]:
        """Those of `among`, a page of runs, that were taken on."""
        marks = ", ".join("?" * len(among))
        with self._database.reading() as execute:
            if not among:
                return set()
            rows = execute(
                f"SELECT champion_run FROM claims WHERE shadow = ? AND champion_run IN ({marks})",  # noqa: S608 - marks
                (number, *among),
            )
        return {row["champion_run"] for row in rows}

    def close(self) -> None:
        self._database.close()

    def _one(self, where: str, *values: Any) -> Registration:
        with self._database.reading() as execute:
            rows = execute(
                f"SELECT * FROM shadows WHERE {where} ORDER BY number DESC LIMIT 1",  # noqa: S608 - our own texts only
                values,
            )
        if not rows:
            raise ShadowNotFoundError("no such shadow", hint="Start one: sluicegate shadow start")
        return _registration(rows[0])


def _done(execute: Execute, number: int, champion_run: str) -> None:
    execute("DELETE FROM working WHERE shadow = ? AND champion_run = ?", (number, champion_run))


def _in_work(execute: Execute, number: int) -> int:
    return execute("SELECT count(*) AS n FROM working WHERE shadow = ? AND until > ?", (number, time.time()))[0]["n"]


def _spent(execute: Execute, number: int, day: str) -> tuple[float, int]:
    usd = execute("SELECT coalesce(sum(usd), 0) AS usd FROM pairs WHERE shadow = ? AND day = ?", (number, day))[0][
        "usd"
    ]
    count = execute("SELECT count(*) AS n FROM claims WHERE shadow = ? AND day = ?", (number, day))[0]["n"]
    return usd, count


def _under_way(execute: Execute, number: int, day: str) -> float:
    """Dollars that the day's claims without a pair may come to."""
    dearest = execute("SELECT coalesce(max(usd), 0) AS usd FROM pairs WHERE shadow = ? AND day = ?", (number, day))[0][
        "usd"
    ]
    return dearest and dearest * _open(execute, number, day)


def _open(execute: Execute, number: int, day: str = "") -> int:
    """Claims without a pair."""
    of_day = "AND day = ? " if day else ""
    return execute(
        f"SELECT count(*) AS n FROM claims WHERE shadow = ? {of_day}AND NOT EXISTS (SELECT 1 FROM pairs WHERE "  # noqa: S608 - our own texts only
        "pairs.shadow = claims.shadow AND pairs.champion_run = claims.champion_run)",
        (number, day) if day else (number,),
    )[0]["n"]


def today() -> str:
    """The day in UTC, as caps and plans count it."""
    return datetime.now(UTC).date().isoformat()


def _registration(row: Any) -> Registration:
    names = (
        "number", "workflow", "champion", "champion_digest", "challenger", "challenger_digest", "labels",
        "plan_digest", "started_at", "stopped_at",
    )  # fmt: skip
    return Registration(plan=Plan.model_validate_json(row["plan"]), **{name: row[name] for name in names})


@contextmanager
def _uncollected() -> Generator[None]:
    """Without the collector, which looks again and again at new objects of which none is garbage: half the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _pair(said: dict[str, Any]) -> Pair:
    fields: dict[str, Any] = {
        **said,
        "events": tuple(said["events"]),
        "champion_events": tuple(said["champion_events"]),
        "withheld": tuple(said.get("withheld", ())),
    }
    fields.pop("request", None)  # of a time when pairs held texts
    return Pair(**fields)
