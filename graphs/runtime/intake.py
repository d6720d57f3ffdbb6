"""The input layer: what a request must be before the first node sees it.

Bytes become text (UTF-8, else the encoding a byte-order mark names), text becomes NFC without control
characters, and size has a limit. Changes are noted in the request, so a trace shows them.
"""

import uuid
from datetime import datetime
from typing import Literal

from sluicegate.language import language_of
from sluicegate.plain_data import MAX_BYTES, clean, plain, printable
from sluicegate.state import Principal, Request

__all__ = ["MAX_BYTES", "clean", "new_run_id", "principal", "printable", "request", "session_name"]

Clearance = Literal["public", "internal", "confidential", "restricted"]


def new_run_id() -> str:
    """Sorts by time: 12 hexadecimal digits of milliseconds, then 12 random ones."""
    milliseconds = int(datetime.now().astimezone().timestamp() * 1000)
    return f"{milliseconds:012x}{uuid.uuid4().hex[:12]}"


def session_name(given: str) -> str:
    """A name from outside, as traces and terminals can hold it."""
    return printable(plain(given)[0])


def request(raw: str | bytes, *, channel: str, id: str, received_at: datetime) -> Request:
    """Clean `raw` and describe it. Raises as `clean` does."""
    text, changed = clean(raw)
    return {
        "id": id,
        "text": text,
        "channel": channel,
        "received_at": received_at.isoformat(),
        "language": language_of(text),
        "size": len(raw) if isinstance(raw, bytes) else len(raw.encode("utf-8", "replace")),
        "cleaned": changed,
    }


def principal(
    id: str, roles: list[str] | None = None, groups: list[str] | None = None, clearance: Clearance = "internal"
) -> Principal:
    return {"id": id, "roles": roles or [], "groups": groups or [], "clearance": clearance}
