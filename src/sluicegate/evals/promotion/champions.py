"""Which version of a workflow serves: one document per workflow (`storage.documents`), ``champions/NAME.json`` in the
home, or a row of the server that machines share.

It is replaced as a whole, so a reader sees the old version or the new one. Every change is an entry of its
history and an event of the audit log, which is written first: what cannot be logged does not happen.
`champion` is cheap enough to ask before every request, and so a running process follows a promotion without restart,
on whatever machine it was made.
"""

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict

from sluicegate.errors import CorruptError, NotWaitingError, RunError
from sluicegate.graphs.runtime.versions import kept
from sluicegate.observe.audit.log import open_audit
from sluicegate.storage.database import Place, place
from sluicegate.storage.documents import DocumentDraft, SmallDocument, document
from sluicegate.storage.postgres import Server

__all__ = [
    "Changed",
    "ServedVersion",
    "champion",
    "history",
    "promote",
    "resumes_on",
    "rollback",
    "served",
    "withdrawn",
]

Changed = Literal["refuse", "kept", "migrate"]
"""What to do with a run of another version than the serving one: refuse, finish on that, continue on this."""


class ServedVersion(TypedDict):
    """One change of the serving version."""

    version: int
    """Counts the changes, from 1."""
    action: str
    """``start``, ``promote`` or ``rollback``."""
    path: str
    """On the machine that made the change; others have their copy of the digest elsewhere."""
    digest: str
    back: int
    """The version that a rollback goes to; 0 when there is none."""
    at: str
    by: str
    facts: dict[str, Any]
    """The evidence: plan, pairs, reason and note of a promotion, the reason of a rollback."""


_WORDS = ("reason", "note")

_SEEN: dict[tuple[Place, str], tuple[str, tuple[ServedVersion, Path]]] = {}
"""By place and document: its text, and what it says."""


def champion(workflow: str) -> Path | None:
    """The file of the serving version; None when nothing was ever promoted: then the given file serves. As `served`."""
    found = served(workflow)
    return found[1] if found else None


def served(workflow: str) -> tuple[ServedVersion, Path] | None:
    """The change by which a version serves, and the file of it; None when nothing was ever promoted.

    With a server the file is this machine's copy of the version, brought here when it is new. Reads the pointer each
    call, which costs a `stat` while it is unchanged, also with a server. Raises `RunError` SG606 (corrupt), SG607, and
    with a server SG604 (a version that was never kept there), SG612, SG625 and SG690 (it cannot be read).
    """
    at = _document(workflow)
    text, known = at.read(), _SEEN.get((place(), at.name))
    if text is None:
        return None
    if known and known[0] is text:
        return known[1]
    (*_, entry) = _parsed(text, at)
    found = entry, kept(entry["digest"]) if isinstance(place(), Server) else Path(entry["path"])
    _SEEN[place(), at.name] = (text, found)
    return found


def history(workflow: str) -> list[ServedVersion]:
    """Every change, oldest first; the last one serves. Raises as `champion` does, but for SG604."""
    at = _document(workflow)
    return _parsed(at.read(), at)


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

    With a server, both must be kept there, so that every machine can serve them. Promoting the serving version changes
    nothing. Raises `RunError` SG604, SG606, SG607, SG625, and SG605 as `rollback` does.
    """
    with _changing(workflow) as (entries, change):
        if entries and entries[-1]["digest"] == digest:
            return entries[-1]
        _check_serving(workflow, entries, serving)
        if not entries:
            start, own = before
            entries.append(change.entry(1, "start", start, own, 0, by, {}))
            if own == digest:
                return entries[-1]
        last = entries[-1]["version"]
        return change.make(entries, change.entry(last + 1, "promote", path, digest, last, by, facts))


def rollback(workflow: str, *, by: str, reason: str, serving: int | None = None) -> ServedVersion:
    """Roll back to the previous version. Raises `RunError` SG618 when there is none, and SG605 when `serving` is given
    and is not the version that serves, 0 for the named file: somebody was faster."""
    with _changing(workflow) as (entries, change):
        _check_serving(workflow, entries, serving)
        by_version = {entry["version"]: entry for entry in entries}
        target = by_version.get(entries[-1]["back"]) if entries else None
        if target is None:
            raise RunError("SG618", f"{workflow} has no previous version", hint="Nothing has been promoted since")
        facts = {"from": entries[-1]["digest"], "reason": reason}
        number, path = entries[-1]["version"] + 1, Path(target["path"])
        new = change.entry(number, "rollback", path, target["digest"], target["back"], by, facts)
        return change.make(entries, new)


def _check_serving(workflow: str, entries: list[ServedVersion], serving: int | None) -> None:
    now = entries[-1]["version"] if entries else 0
    if serving is not None and serving != now:
        raise NotWaitingError(
            f"version {now} of {workflow} serves by now, not version {serving}", hint="Look at the versions again"
        )


@dataclass(frozen=True, slots=True)
class _Change:
    """One change of a pointer, while nobody else makes one."""

    workflow: str
    draft: DocumentDraft

    def entry(
        self, version: int, action: str, path: Path, digest: str, back: int, by: str, facts: Mapping[str, Any]
    ) -> ServedVersion:
        if isinstance(place(), Server):
            path = kept(digest, shared=True)
        return {
            "version": version,
            "action": action,
            "path": str(path.resolve()),
            "digest": digest,
            "back": back,
            "at": self.draft.at.isoformat(timespec="seconds"),
            "by": by,
            "facts": dict(facts),
        }

    def make(self, entries: list[ServedVersion], new: ServedVersion) -> ServedVersion:
        # reasons are written by people: the log keeps them as keyed hashes
        words = {key: str(value) for key, value in new["facts"].items() if key in _WORDS}
        facts = {key: value for key, value in new["facts"].items() if key not in _WORDS}
        log = open_audit()
        try:
            log.append(
                f"champion.{new['action']}",
                actor=new["by"],
                workflow=self.workflow,
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
        self.draft.text = _written(self.workflow, entries)
        return new


@contextmanager
def _changing(workflow: str) -> Generator[tuple[list[ServedVersion], _Change]]:
    """One change at a time, across processes and machines."""
    at = _document(workflow)
    with at.changing() as draft:
        yield _parsed(draft.text, at), _Change(workflow, draft)


def _document(workflow: str) -> SmallDocument:
    return document(f"champions/{workflow}", _merged)


def _merged(shared: str | None, own: str) -> str:
    """Of machines that had pointers of their own, the first to come decides."""
    json.loads(own)["history"]
    return own if shared is None else shared


def _parsed(text: str | None, at: SmallDocument) -> list[ServedVersion]:
    if text is None:
        return []
    try:
        return json.loads(text)["history"]
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptError(f"{at.name} is corrupt", hint="Restore it from a backup") from error


def _written(workflow: str, entries: list[ServedVersion]) -> str:
    return json.dumps({"workflow": workflow, "history": entries}, ensure_ascii=False, indent=1)
