"""The input layer: what a request must be before the first node sees it.

Bytes become text (UTF-8, else the encoding a byte-order mark names), text becomes NFC without control
characters, and size has a limit. Changes are noted in the request, so a trace shows them.
"""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import PurePath
from typing import Literal

from sluicegate.errors import RunError
from sluicegate.files import csv_text
from sluicegate.language import language_of
from sluicegate.plain_data import MAX_BYTES, clean, cleaned, plain, printable
from sluicegate.policies.config import PRIORITIES, LimitsConfig
from sluicegate.state import Attachment, Principal, Priority, Request, Run

__all__ = [
    "MAX_ATTACHMENTS",
    "MAX_BYTES",
    "attached",
    "clean",
    "in_words",
    "new_run_id",
    "principal",
    "printable",
    "priority",
    "priority_of",
    "request",
    "session_name",
]

MAX_ATTACHMENTS = 3
_AS_TABLE = "CSV, with the columns' names in its first row"
_TABLES = frozenset({"", ".csv", ".tsv", ".txt"})

Clearance = Literal["public", "internal", "confidential", "restricted"]


def new_run_id() -> str:
    """Sorts by time: 12 hexadecimal digits of milliseconds, then 12 random ones."""
    milliseconds = int(datetime.now().astimezone().timestamp() * 1000)
    return f"{milliseconds:012x}{uuid.uuid4().hex[:12]}"


def session_name(given: str) -> str:
    """A name from outside, as traces and terminals can hold it."""
    return printable(plain(given)[0])


def in_words(attachments: Sequence[Attachment]) -> None:
    """Raises `RunError` SG626 when an answer to a question has attachments."""
    if attachments:
        raise RunError("SG626", "an answer to a question takes no attachments", hint="Answer in words")


def attached(files: Mapping[str, str | bytes]) -> list[Attachment]:
    """The tables that come with a request, by the names of their files: CSV of every dialect, cleaned as its text is.

    Raises `RunError` SG602 (too many or too large), SG638 (one is no table).
    """
    if len(files) > MAX_ATTACHMENTS:
        what = f"the request has {len(files)} attachments, and {MAX_ATTACHMENTS} are allowed"
        raise RunError("SG602", what, hint="Join the tables, or send several requests")
    return [_attached(_file_name(name), data) for name, data in files.items()]


def _attached(name: str, data: str | bytes) -> Attachment:
    from sluicegate.retrieval.loaders import UNREAD
    from sluicegate.retrieval.loaders.encoding import decoded
    from sluicegate.retrieval.loaders.grid import read_csv

    _bounded(name, data)
    suffix = PurePath(name).suffix.lower()
    if suffix not in _TABLES:
        hint = f"Save it as {UNREAD.get(suffix, _AS_TABLE)}"
        raise RunError("SG638", f"{name} is not a table: {suffix} is not read as one", hint=hint)
    try:
        text = decoded(data) if isinstance(data, bytes) else data
        table = csv_text(_even(*read_csv(cleaned(text, []))))
    except ValueError as error:
        raise RunError("SG638", f"{name} is not a table: {error}", hint=f"Save it as {_AS_TABLE}") from error
    _bounded(name, table)
    return {"name": name, "text": table}


def _bounded(name: str, data: str | bytes) -> None:
    size = len(data.encode("utf-8", "surrogatepass")) if isinstance(data, str) else len(data)
    if size > MAX_BYTES:
        what = f"{name} has {size:,} bytes, and an attachment may have {MAX_BYTES:,}"
        raise RunError("SG602", what, hint="Send several requests, or ingest it as a document")


def _file_name(given: str) -> str:
    return session_name(PurePath(given).name)[:200] or "attachment"


def _even(above: Sequence[str], columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """The table with every cell in one line, and every row as long as the first. Raises `ValueError`, also where a text
    stands above it, which would be lost."""
    if above:
        raise ValueError(f"{above[0][:60]!r} stands above its columns' names")
    names = [" ".join(name.split()) or f"column_{number}" for number, name in enumerate(columns, start=1)]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"two of its columns are named {twice!r}")
    for number, row in enumerate(rows, start=1):
        if len(row) > len(names):
            raise ValueError(f"row {number} has {len(row)} cells, and there are {len(names)} columns")
    return [names, *([*(" ".join(cell.split()) for cell in row), *[""] * (len(names) - len(row))] for row in rows)]


def request(
    raw: str | bytes, *, channel: str, id: str, received_at: datetime, attachments: Sequence[Attachment] = ()
) -> Request:
    """Clean `raw` and describe it. Raises as `clean` does."""
    text, changed = clean(raw)
    made: Request = {
        "id": id,
        "text": text,
        "channel": channel,
        "received_at": received_at.isoformat(),
        "language": language_of(text),
        "size": len(raw) if isinstance(raw, bytes) else len(raw.encode("utf-8", "replace")),
        "cleaned": changed,
    }
    if attachments:
        made["attachments"] = [*attachments]
    return made


def priority(limits: LimitsConfig, asker: Principal, wanted: str = "") -> Priority:
    """The priority of a request: its requester's own, or the lower one that is `wanted`.

    Raises `RunError` SG735 for one above their own, SG736 for a word that is none.
    """
    own = limits.highest_priority(asker["roles"])
    if not wanted:
        return own
    if wanted not in PRIORITIES:
        raise RunError("SG736", f"{wanted!r} is no priority", hint=f"Write one of: {', '.join(PRIORITIES)}")
    rank, highest = PRIORITIES.index(wanted), PRIORITIES.index(own)
    if rank > highest:
        allowed = " or ".join(PRIORITIES[: highest + 1])
        raise RunError("SG735", f"{asker['id']} may not ask with priority {wanted}", hint=f"Ask with {allowed}")
    return PRIORITIES[rank]


def priority_of(run: Run) -> Priority:
    """That of a run that is written down."""
    return run.get("priority", "normal")


def principal(
    id: str, roles: list[str] | None = None, groups: list[str] | None = None, clearance: Clearance = "internal"
) -> Principal:
    return {"id": id, "roles": roles or [], "groups": groups or [], "clearance": clearance}
