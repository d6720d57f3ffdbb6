"""The kill switch: a model, an intent or a workflow stays off until somebody switches it on again.

One small JSON file in the home. Every check looks at the file's identity (one `stat`) and reads it again when it has
changed, so a switch takes effect in all running processes at their next check. A file that cannot be read switches
everything off, since its content is unknown.
"""

import json
import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sluicegate.errors import BudgetError, CorruptError, NotWaitingError, RunError, nearest
from sluicegate.home import home
from sluicegate.storage.file_lock import locked_file

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


_UNREADABLE = "the switch file cannot be read, so everything is treated as off"


class KillSwitch:
    """Reads and writes the switches of one home; safe to share between threads and processes."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or home() / "switches.json"
        self._seen: tuple[int, int, int] | None = None
        self._off: dict[str, Switched] = {}

    def check(self, *, model: str = "", intent: str = "", workflow: str = "") -> Switched | None:
        """The first of these that is off, or None. Costs a few microseconds."""
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
        switched = Switched(_checked(name), reason, by, datetime.now(UTC).isoformat(timespec="seconds"))
        with self._writing() as entries:
            if once and name in entries:
                raise NotWaitingError(f"{name} is off already")
            entries[name] = switched
        return switched

    def on(self, name: str, *, since: str | None = None) -> bool:
        """Switch `name` on again; False when it was not off, or not `since` the time of its entry."""
        with self._writing() as entries:
            if since is not None and name in entries and entries[name].at != since:
                return False
            return entries.pop(_checked(name), None) is not None

    def _current(self) -> dict[str, Switched]:
        try:
            status = self.path.stat()
        except FileNotFoundError:
            self._seen, self._off = None, {}
            return self._off
        except OSError as error:
            return _everything(error.strerror or str(error))
        seen = (status.st_ino, status.st_mtime_ns, status.st_size)
        if seen != self._seen:
            try:
                self._off = self._read()
            except (OSError, ValueError, TypeError) as error:
                self._off = _everything(str(error))
            self._seen = seen
        return self._off

    def _read(self) -> dict[str, Switched]:
        rows: list[dict[str, Any]] = json.loads(self.path.read_text(encoding="utf-8"))
        return {row["name"]: Switched(**row) for row in rows}

    @contextmanager
    def _writing(self) -> Generator[dict[str, Switched]]:
        """The entries, written back in one step while no other process writes."""
        try:
            with locked_file(self.path.with_suffix(".lock")):
                entries = self._read() if self.path.exists() else {}
                yield entries
                with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=self.path.parent, delete=False) as fresh:
                    json.dump([asdict(entry) for entry in entries.values()], fresh, ensure_ascii=False, indent=2)
                    fresh.flush()
                    os.fsync(fresh.fileno())
                Path(fresh.name).replace(self.path)
        except OSError as error:
            message = f"cannot write {self.path}: {error.strerror}"
            raise RunError("SG607", message, hint="Free space or check permissions") from error
        except (ValueError, TypeError) as error:
            message = f"{self.path} is corrupt: {error}"
            raise CorruptError(message, hint="Move it away; everything it switched off is then on again") from error


def _everything(fault: str) -> dict[str, Switched]:
    return {"*": Switched("*", f"{_UNREADABLE}: {fault}", "", "")}


def _checked(name: str) -> str:
    kind, divider, rest = name.partition(":")
    if kind not in KINDS or not divider or not rest:
        near = nearest(kind, KINDS)
        suggestion = f"; did you mean {near!r}?" if near else ""
        hint = f"Write one of {', '.join(KINDS)}, ':' and a name"
        raise BudgetError("SG502", f"{name!r} cannot be switched{suggestion}", hint=hint)
    return name
