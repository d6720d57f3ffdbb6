"""The kill switch: a model, an intent or a workflow stays off until somebody switches it on again.

One small document (`storage.documents`): a file of the home, or a row of the server that machines share. A check in a
home costs one `stat`, so a switch takes effect in all its processes at their next check. With a server it takes effect
on all machines `following.TRUSTED_S` after it was made, at the latest. What cannot be read, for that long where there
is a server, switches everything off, since its content is unknown.
"""

import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sluicegate.errors import BudgetError, CorruptError, NotWaitingError, RunError, nearest
from sluicegate.storage.documents import DocumentDraft, FileDocument, document

__all__ = ["KINDS", "KillSwitch", "Switched"]

KINDS = ("model", "intent", "workflow")


@dataclass(frozen=True, slots=True)
class Switched:
    """One thing that is off."""

    name: str
    """``model:openai:gpt-5-mini``, ``intent:refund``, ``workflow:helpdesk``; ``model:*`` is every model."""
    reason: str
    by: str
    at: str
    """ISO 8601 in UTC."""


class KillSwitch:
    """Reads and writes the switches of one home, or of the machines that share a server; safe to share between threads
    and processes."""

    def __init__(self, path: Path | None = None) -> None:
        """With `path`, the switches of that file. Raises `RunError` SG606, SG607, SG612 or SG625."""
        self._document = FileDocument(path) if path else document("switches", _both)
        self._seen: tuple[str | None, dict[str, Switched]] = (None, {})

    def check(self, *, model: str = "", intent: str = "", workflow: str = "") -> Switched | None:
        """The first of these that is off, or None. Costs a few microseconds, also with a server."""
        off = self._current()
        if not off:
            return None
        for kind, name in (("workflow", workflow), ("intent", intent), ("model", model)):
            if name:
                found = off.get(f"{kind}:{name}") or off.get(f"{kind}:*")
                if found:
                    return found
        return off.get("*")

    def entries(self) -> list[Switched]:
        """Everything that is off, by name."""
        return sorted(self._current().values(), key=lambda switched: switched.name)

    def off(self, name: str, *, reason: str, by: str, once: bool = False) -> Switched:
        """Switch `name` off, with a reason and who did it. Raises `BudgetError` SG502 for a name of no known kind, and
        `RunError` SG605 when it is off already and must be switched `once`."""
        _checked(name)
        with self._writing() as (entries, draft):
            switched = Switched(name, reason, by, draft.at.isoformat(timespec="seconds"))
            if once and name in entries:
                raise NotWaitingError(f"{name} is off already")
            entries[name] = switched
        return switched

    def on(self, name: str, *, since: str | None = None) -> bool:
        """Switch `name` on again; False when it was not off, or not `since` the time of its entry."""
        with self._writing() as (entries, _):
            if since is not None and name in entries and entries[name].at != since:
                return False
            return entries.pop(_checked(name), None) is not None

    def _current(self) -> dict[str, Switched]:
        seen = self._seen
        try:
            text = self._document.read()
            if text is not seen[0]:
                self._seen = seen = (text, _parsed(text))
        except (RunError, ValueError, TypeError, KeyError) as error:
            return {
                "*": Switched("*", f"the switches cannot be read, so everything is treated as off: {error}", "", "")
            }
        return seen[1]

    @contextmanager
    def _writing(self) -> Generator[tuple[dict[str, Switched], DocumentDraft]]:
        """The entries, written back in one step while no other process writes."""
        with self._document.changing() as draft:
            try:
                entries = _parsed(draft.text)
            except (ValueError, TypeError, KeyError) as error:
                message = f"{self._document.name} is corrupt: {error}"
                raise CorruptError(message, hint="Move it away; everything it switched off is then on again") from error
            yield entries, draft
            draft.text = _written(entries)


def _parsed(text: str | None) -> dict[str, Switched]:
    rows: list[dict[str, Any]] = [] if text is None else json.loads(text)
    return {row["name"]: Switched(**row) for row in rows}


def _written(entries: dict[str, Switched]) -> str:
    return json.dumps([asdict(entry) for entry in entries.values()], ensure_ascii=False, indent=2)


def _both(shared: str | None, own: str) -> str:
    """What is off on the server or in a home is off."""
    return _written(_parsed(own) | _parsed(shared))


def _checked(name: str) -> str:
    kind, divider, rest = name.partition(":")
    if kind not in KINDS or not divider or not rest:
        near = nearest(kind, KINDS)
        suggestion = f"; did you mean {near!r}?" if near else ""
        hint = f"Write one of {', '.join(KINDS)}, ':' and a name"
        raise BudgetError("SG502", f"{name!r} cannot be switched{suggestion}", hint=hint)
    return name
