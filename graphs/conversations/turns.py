"""Which runs are the turns of a conversation, in which order, and that one is taken at a time.

A name is the person's own: two people may give the same one to two conversations, and neither can tell. A row says
where a turn is; what was asked and answered is in its run alone, so that redaction, retention and erasure of runs are
those of turns. A turn is open from when it is taken until its run has ended, failed or waits, and has no successor
until then: one that was cut short is resumed first.
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol

from sluicegate.errors import ConversationBusyError, NoTurnError
from sluicegate.graphs.conversations.config import ConversationConfig
from sluicegate.policies.guards.redaction import unnumbered
from sluicegate.state import State, Turn, question
from sluicegate.storage.database import Place, open_database
from sluicegate.storage.schemas import CONVERSATIONS

__all__ = ["ConversationRow", "Conversations", "Runs", "TurnRow", "no_conversation"]

_NAME = 100
"""Characters of a conversation's name in the names of those that part from it."""


class Runs(Protocol):
    """What is known of runs, by their ids."""

    def last_state(self, run: str) -> State | None: ...

    def waits(self, run: str) -> bool:
        """For a person."""
        ...

    def in_progress(self, run: str) -> bool:
        """Some process is working on it."""
        ...


@dataclass(frozen=True, slots=True)
class TurnRow:
    """Where a turn of a conversation is."""

    number: int
    run: str
    digest: str
    """The version that it was answered by."""
    at: str


@dataclass(frozen=True, slots=True)
class ConversationRow:
    """A conversation in a list."""

    name: str
    turns: int
    began_at: str
    last_at: str


class Conversations:
    """The conversations of one workflow. Raises as `Database` does."""

    def __init__(
        self, place: Place, workflow: str, settings: ConversationConfig, *, now: Callable[[], datetime]
    ) -> None:
        self._workflow, self._settings, self._now = workflow, settings, now
        self._database = open_database(place, CONVERSATIONS)
        self.close = self._database.close

    def take_turn(self, state: State, runs: Runs) -> State:
        """The state that a new run begins with, with what the turns before it asked. A shadow run takes no turn.

        Raises `ConversationBusyError` SG641 while the turn before it is open.
        """
        run = state["run"]
        name, person = run.get("conversation", ""), state["principal"]["id"]
        rows = self._rows(person, name)
        last = rows[-1] if rows else None
        left = [last["run"]] if last and last["open"] and _abandoned(last, name, runs, run["id"]) else []
        lasting = not last or last["at"] >= self._oldest()
        earlier = [row for row in rows if lasting and row["run"] not in left]
        number = earlier[-1]["number"] + 1 if earlier else 1
        if not run["shadow"]:
            with self._database.writing() as execute:
                # what was there when it was read: of two at a time, the second finds its number taken
                for old in rows if not lasting else [row for row in rows if row["run"] in left]:
                    execute("DELETE FROM turns WHERE run = ? AND conversation = ?", (old["run"], name))
                got = execute(
                    "INSERT INTO turns VALUES (?, ?, ?, ?, ?, ?, ?, 1, '')"
                    " ON CONFLICT (workflow, person, conversation, number) DO NOTHING RETURNING run",
                    (self._workflow, person, name, number, run["id"], run["digest"], self._now().isoformat()),
                )
            if not got:
                raise _busy(name, self._rows(person, name)[-1]["run"])
        window = [(row["number"], runs.last_state(row["run"])) for row in earlier[-self._settings.turns :]]
        turns = [_turn(number, each) for number, each in window if each and each["run"]["status"] == "answered"]
        return {**state, "conversation": {"turn": number, "turns": turns}}

    def note(self, run: str, history: str) -> None:
        """By which hash the turns up to this one are found again."""
        with self._database.writing() as execute:
            execute("UPDATE turns SET history = ? WHERE run = ?", (history, run))

    def after(self, person: str, key: Literal["run", "history"], value: str) -> str:
        """The name of a person's conversation whose last turn is the one with this run or this hash: one that ends
        there or, where others have followed it everywhere, a new one that parts from it here. Empty when no turn has
        it."""
        own = "turns.workflow = ? AND turns.person = ?"
        followed = (
            "EXISTS (SELECT 1 FROM turns AS later WHERE later.workflow = turns.workflow AND later.person = turns.person"
            " AND later.conversation = turns.conversation AND later.number > turns.number)"
        )
        with self._database.reading() as execute:
            found = execute(
                f"SELECT conversation, number, {followed} AS followed FROM turns"  # noqa: S608
                f" WHERE {own} AND {key} = ? AND at >= ? ORDER BY followed, at DESC LIMIT 1",
                (self._workflow, person, value, self._oldest()),
            )
        if not found:
            return ""
        name, number = found[0]["conversation"], found[0]["number"]
        if not found[0]["followed"]:
            return name
        parted = f"{name[:_NAME]}~{secrets.token_hex(6)}"
        with self._database.writing() as execute:
            execute(
                "INSERT INTO turns SELECT workflow, person, ?, number, run, digest, at, open, history FROM turns"  # noqa: S608
                f" WHERE {own} AND conversation = ? AND number <= ?",
                (parted, self._workflow, person, name, number),
            )
        return parted

    def over(self, run: str) -> None:
        """A turn's run has ended, failed or waits: the next turn may be taken."""
        with self._database.writing() as execute:
            execute("UPDATE turns SET open = 0 WHERE run = ? AND open = 1", (run,))

    def reopen(self, run: str) -> None:
        """A turn's run goes on with its requester's answer."""
        with self._database.writing() as execute:
            execute("UPDATE turns SET open = 1 WHERE run = ?", (run,))

    def asking(self, person: str, name: str, asks: Callable[[str], bool]) -> str:
        """The run of a conversation's last turn, where that asks the person something; empty where it does not."""
        rows = self._lasting(person, name)
        return rows[-1].run if rows and asks(rows[-1].run) else ""

    def runs(self, person: str, name: str) -> list[str]:
        """The runs of a conversation, the last one first; none where it does not last."""
        return [row.run for row in reversed(self._lasting(person, name))]

    def version(self, person: str, name: str) -> str:
        """The digest that a conversation's last turn was answered by; empty before its first."""
        rows = self._lasting(person, name)
        return rows[-1].digest if rows else ""

    def turns(self, person: str, name: str) -> list[TurnRow]:
        """A person's conversation, first turn first. Raises `RunError` SG640 when they have none of this name."""
        rows = self._lasting(person, name)
        if not rows:
            raise no_conversation(name)
        return rows

    def all(self, person: str) -> list[ConversationRow]:
        """A person's conversations, the last used first."""
        with self._database.reading() as execute:
            rows = execute(
                "SELECT conversation, count(*) AS turns, min(at) AS began, max(at) AS last FROM turns"
                " WHERE workflow = ? AND person = ? GROUP BY conversation HAVING max(at) >= ? ORDER BY last DESC",
                (self._workflow, person, self._oldest()),
            )
        return [ConversationRow(row["conversation"], row["turns"], row["began"], row["last"]) for row in rows]

    def _lasting(self, person: str, name: str) -> list[TurnRow]:
        rows = self._rows(person, name)
        if not rows or rows[-1]["at"] < self._oldest():
            return []
        return [TurnRow(row["number"], row["run"], row["digest"], row["at"]) for row in rows]

    def _rows(self, person: str, name: str) -> list[dict[str, Any]]:
        with self._database.reading() as execute:
            return execute(
                "SELECT number, run, digest, at, open FROM turns"
                " WHERE workflow = ? AND person = ? AND conversation = ? ORDER BY number",
                (self._workflow, person, name),
            )

    def _oldest(self) -> str:
        """When a conversation must have had a turn to last until now."""
        return (self._now() - timedelta(seconds=self._settings.ttl)).isoformat()


def no_conversation(name: str) -> NoTurnError:
    """For a name that is nobody's and for one that is another's alike."""
    return NoTurnError(f"you have no conversation {name!r}", hint="A conversation is its requester's alone")


def _abandoned(row: Mapping[str, Any], name: str, runs: Runs, taking: str) -> bool:
    """Whether an open turn's process was killed before its run was written down. Raises SG641 where it is not over."""
    run = row["run"]
    state = runs.last_state(run)
    if state is None:
        # this run's own lock is held while its turn is taken again
        if run != taking and runs.in_progress(run):
            raise _busy(name, run)
        # it may have been written down between the two looks
        state = runs.last_state(run)
    if state and state["run"]["status"] == "running" and not runs.waits(run):
        raise _busy(name, run)
    return state is None


def _busy(name: str, run: str) -> ConversationBusyError:
    return ConversationBusyError(
        f"another turn of conversation {name!r} is being answered",
        hint=f"Wait for its answer, then send this again; if it was interrupted: sluicegate run CONFIG --run {run}",
    )


def _turn(number: int, state: State) -> Turn:
    request = state["request"]
    return {
        "number": number,
        "run": state["run"]["id"],
        # a placeholder's number is its run's: in another run it might stand for something else
        "question": unnumbered(request["text"]),
        "standalone": unnumbered(question(state)),
        "redacted": "redacted" in request["cleaned"],
    }
