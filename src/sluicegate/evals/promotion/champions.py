"""Which version of a workflow serves: one pointer file per workflow, ``champions/NAME.json`` in the home.

The file is replaced atomically, so a reader sees the old version or the new one. Every change is an entry of its
history and an event of the audit log, which is written first: what cannot be logged does not happen.
`champion` is cheap enough to ask before every request, and so a running process follows a promotion without restart.
"""

import json
import os
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypedDict

from sluicegate.errors import CorruptError, NotWaitingError, RunError
from sluicegate.home import home, private_folder, private_opener
from sluicegate.observe.audit.log import open_audit
from sluicegate.storage.file_lock import locked_file

__all__ = ["Changed", "ServedVersion", "champion", "history", "promote", "resumes_on", "rollback", "withdrawn"]

Changed = Literal["refuse", "kept", "migrate"]
"""What to do with a run of another version than the serving one: refuse, finish on that, continue on this."""


class ServedVersion(TypedDict):
    """One change of the serving version."""

    version: int
    """Counts the changes, from 1."""
    action: str
    """``start``, ``promote`` or ``rollback``."""
    path: str
    digest: str
    back: int
    """The version that a rollback goes to; 0 when there is none."""
    at: str
    by: str
    facts: dict[str, Any]
    """The evidence: plan, pairs, reason and note of a promotion, the reason of a rollback."""


_WORDS = ("reason", "note")

_SEEN: dict[Path, tuple[tuple[int, int, int], Path]] = {}


def champion(workflow: str) -> Path | None:
    """The file of the serving version; None when nothing was ever promoted: then the given file serves.

    Looks at the pointer's time each call and reads it only when it has changed. Raises `RunError` SG606 (corrupt).
    """
    file = _file(workflow)
    try:
        found = file.stat()
    except FileNotFoundError:
        return None
    stamp = (found.st_mtime_ns, found.st_ino, found.st_size)
    known = _SEEN.get(file)
    if known and known[0] == stamp:
        return known[1]
    path = Path(history(workflow)[-1]["path"])
    _SEEN[file] = (stamp, path)
    return path


def history(workflow: str) -> list[ServedVersion]:
    """Every change, oldest first; the last one serves."""
    file = _file(workflow)
    try:
        return json.loads(file.read_text(encoding="utf-8"))["history"]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptError(f"{file} is corrupt", hint="Restore it from a backup") from error


def resumes_on(workflow: str, digest: str, changed: Changed = "refuse") -> bool:
    """Whether a run continues on the version it started with: on request, or because that version has served here.

    A version that was promoted, or served before the first promotion, has not been edited: another one serves now, and
    its runs end on it. Otherwise a run continues on the serving version, which refuses another version's runs (SG604)
    unless it is to ``migrate`` them.
    """
    served = changed == "refuse" and any(entry["digest"] == digest for entry in history(workflow))
    return changed == "kept" or served


def withdrawn(workflow: str, digest: str) -> bool:
    """Whether a version was rolled back from, and not promoted again since."""
    for entry in reversed(history(workflow)):
        if entry["facts"].get("from") == digest:
            return True
        if entry["digest"] == digest:
            return False
    return False


def promote(
    workflow: str,
    *,
    path: Path,
    digest: str,
    before: tuple[Path, str],
    by: str,
    facts: Mapping[str, Any],
    serving: int | None = None,
) -> ServedVersion:
    """Make `path` the serving version. `before` is the champion's file and digest, for a rollback.

    Promoting the serving version changes nothing. Raises `RunError` SG606, SG607, and SG605 as `rollback` does.
    """
    with _locked(workflow) as entries:
        if entries and entries[-1]["digest"] == digest:
            return entries[-1]
        _check_serving(workflow, entries, serving)
        if not entries:
            start, own = before
            entries.append(_entry(1, "start", start, own, 0, by, {}))
            if own == digest:
                return entries[-1]
        last = entries[-1]["version"]
        return _change(workflow, entries, _entry(last + 1, "promote", path, digest, last, by, facts))


def rollback(workflow: str, *, by: str, reason: str, serving: int | None = None) -> ServedVersion:
    """Roll back to the previous version. Raises `RunError` SG618 when there is none, and SG605 when `serving` is given
    and is not the version that serves, 0 for the named file: somebody was faster."""
    with _locked(workflow) as entries:
        _check_serving(workflow, entries, serving)
        by_version = {entry["version"]: entry for entry in entries}
        target = by_version.get(entries[-1]["back"]) if entries else None
        if target is None:
            raise RunError("SG618", f"{workflow} has no previous version", hint="Nothing has been promoted since")
        facts = {"from": entries[-1]["digest"], "reason": reason}
        new = _entry(
            entries[-1]["version"] + 1, "rollback", Path(target["path"]), target["digest"], target["back"], by, facts
        )
        return _change(workflow, entries, new)


def _check_serving(workflow: str, entries: list[ServedVersion], serving: int | None) -> None:
    now = entries[-1]["version"] if entries else 0
    if serving is not None and serving != now:
        raise NotWaitingError(
            f"version {now} of {workflow} serves by now, not version {serving}", hint="Look at the versions again"
        )


def _change(workflow: str, entries: list[ServedVersion], new: ServedVersion) -> ServedVersion:
    # reasons are written by people: the log keeps them as keyed hashes
    words = {key: str(value) for key, value in new["facts"].items() if key in _WORDS}
    facts = {key: value for key, value in new["facts"].items() if key not in _WORDS}
    log = open_audit()
    try:
        log.append(
            f"champion.{new['action']}",
            actor=new["by"],
            workflow=workflow,
            risk="high",
            facts={
                "version": new["version"],
                "digest": new["digest"],
                "before": entries[-1]["digest"],
                **facts,
            },
            texts=words,
        )
    finally:
        log.close()
    entries.append(new)
    file = _file(workflow)
    staged = file.with_suffix(f".{os.getpid()}.new")
    try:
        with open(staged, "w", encoding="utf-8", opener=private_opener) as out:
            json.dump({"workflow": workflow, "history": entries}, out, ensure_ascii=False, indent=1)
            out.flush()
            os.fsync(out.fileno())
        staged.replace(file)
    except OSError as error:
        raise RunError("SG607", f"cannot write {file}: {error.strerror}") from error
    return new


@contextmanager
def _locked(workflow: str) -> Generator[list[ServedVersion]]:
    """One change at a time, across processes."""
    file = _file(workflow)
    with ExitStack() as held:
        try:
            private_folder(file.parent)
            held.enter_context(locked_file(file.with_suffix(".lock")))
        except OSError as error:
            raise RunError("SG607", f"cannot write {file.parent}: {error.strerror}") from error
        yield history(workflow)


def _file(workflow: str) -> Path:
    return home() / "champions" / f"{workflow}.json"


def _entry(
    version: int, action: str, path: Path, digest: str, back: int, by: str, facts: Mapping[str, Any]
) -> ServedVersion:
    return {
        "version": version,
        "action": action,
        "path": str(path.resolve()),
        "digest": digest,
        "back": back,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "by": by,
        "facts": dict(facts),
    }
