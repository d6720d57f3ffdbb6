"""The input layer: what a request must be before the first node sees it.

Bytes become text (UTF-8, else the encoding a byte-order mark names), text becomes NFC without control
characters, and size has a limit. Changes are noted in the request, so a trace shows them.
"""

import codecs
import re
import unicodedata
import uuid
from datetime import datetime
from typing import Literal

from sluicegate.errors import RunError
from sluicegate.language import language_of
from sluicegate.plain_data import plain
from sluicegate.state import Principal, Request

__all__ = ["MAX_BYTES", "clean", "new_run_id", "principal", "printable", "request", "session_name"]

MAX_BYTES = 200_000
"""The largest request, in UTF-8 bytes; longer material is a document to ingest, not a request."""

_CONTROL = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
)
_BYTE_ORDER_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}

Clearance = Literal["public", "internal", "confidential", "restricted"]


def new_run_id() -> str:
    """Sorts by time: 12 hexadecimal digits of milliseconds, then 12 random ones."""
    milliseconds = int(datetime.now().astimezone().timestamp() * 1000)
    return f"{milliseconds:012x}{uuid.uuid4().hex[:12]}"


def printable(text: str) -> str:
    """Without control characters and marks that turn the direction of text, which hide what others are shown."""
    return _CONTROL.sub("", text)


def session_name(given: str) -> str:
    """A name from outside, as traces and terminals can hold it."""
    return printable(plain(given)[0])


def clean(raw: str | bytes) -> tuple[str, list[str]]:
    """The text, and what was changed in it.

    Raises `RunError` SG601 (nothing left), SG602 (larger than `MAX_BYTES`).
    """
    changed: list[str] = []
    if isinstance(raw, bytes):
        raw = _decoded(raw, changed)
    if len(raw.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise RunError(
            "SG602",
            f"the request has more than {MAX_BYTES:,} bytes",
            hint="Ask about part of it, or ingest it as a document",
        )
    text = raw.replace("\r\n", "\n").replace("\r", "\n")
    if any(0xD800 <= ord(letter) <= 0xDFFF for letter in text):
        text = text.encode("utf-8", "replace").decode("utf-8")
        changed.append("encoding")
    if (composed := unicodedata.normalize("NFC", text)) != text:
        text = composed
        changed.append("nfc")
    if (bare := printable(text)) != text:
        text = bare
        changed.append("control-characters")
    text = text.strip()
    if not text:
        raise RunError("SG601", "the request is empty", hint="Describe what you need")
    return text, changed


def _decoded(raw: bytes, changed: list[str]) -> str:
    if len(raw) > 4 * MAX_BYTES:
        raise RunError("SG602", f"the request has more than {MAX_BYTES:,} bytes", hint="Ask about part of it")
    for mark, encoding in _BYTE_ORDER_MARKS.items():
        if raw.startswith(mark):
            changed.append("encoding")
            return raw.decode(encoding, "replace")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("cp1252", "replace")
        if "\0" in text or len(_CONTROL.findall(text)) + text.count("\ufffd") > len(text) / 20:
            raise RunError("SG601", "the request is not text", hint="Send it as text, in UTF-8") from None
        changed.append("encoding")
        return text


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
