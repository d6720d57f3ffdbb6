"""Mails into Markdown: their plain text where they have one, else their HTML; signatures and quotes apart."""

import email
import email.policy
import re
from contextlib import suppress
from pathlib import Path

from sluicegate.retrieval.loaders.encoding import decoded, decoded_as, marked
from sluicegate.retrieval.loaders.markup import markdown, parsed

__all__ = ["read"]


def read(path: Path) -> tuple[str, str, tuple[str, ...]]:
    """Its text as Markdown, its subject, and notes. Raises `ValueError`."""
    data = path.read_bytes()
    data = decoded(data).encode() if marked(data) or b"\x00" in data[:100] else data
    message = email.message_from_bytes(data, policy=email.policy.default)
    attached = [part.get_filename() or part.get_content_type() for part in message.iter_attachments()]
    unread = f"its attachments are not read: {', '.join(attached)}" if attached else ""
    body = message.get_body(("plain", "html"))
    if body is None or not message.keys():
        raise ValueError(f"contains no text; {unread}" if unread else "not an e-mail with a text")
    html = body.get_content_subtype() == "html"
    payload = body.get_payload(decode=True)
    content, note = decoded_as(bytes(payload or b""), body.get_content_charset("utf-8"), markup=html)
    if html:
        text = markdown(parsed(content))
    else:
        # a signature is apart (RFC 3676, section 4.3), and what is quoted ends with its last mark
        content = re.sub(r"(?m)^-- ?$", "", content)
        content = re.sub(r"(?m)^(>.*)\n(?=[^>\n])", r"\1\n\n", content)
        # an indented line is no block of code here
        text = re.sub(r"(?m)^((?:[ \t]*>)*)[ \t]+", lambda found: f"{found[1]} " if found[1] else "", content)
    subject = ""
    with suppress(LookupError):  # it names an encoding that nobody knows
        subject = str(message["subject"] or "")
    return text, subject, tuple(filter(None, (note, unread)))
