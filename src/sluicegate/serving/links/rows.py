"""Approval links as they are kept: what each is for, and how it ended. The link itself is made of its row and a key."""

import base64
import binascii
import hmac
import json
import secrets
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, cast

from sluicegate.errors import RunError
from sluicegate.graphs.runtime.waiting.approvals import Waiting
from sluicegate.serving.links.keys import link_keys
from sluicegate.state import Principal
from sluicegate.storage.database import Place, open_database, place
from sluicegate.storage.schemas import APPROVALS

__all__ = ["ApprovalLink", "LinkRows", "evidence_hash"]

_ID = 16
REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class ApprovalLink:
    id: str
    run: str
    node: str
    asked_at: str
    """Of the interrupt that it is for, ISO 8601."""
    shown: str
    """`evidence_hash` of what waited when it was made."""
    person: Principal
    """Who may decide by it, with the rights that were named when it was made; the policies are asked at each use."""
    expires_at: str
    made_at: str
    made_by: str
    ended: str = ""
    """The verdict that was given by it, or ``revoked``; empty while it may be used."""

    @property
    def token(self) -> str:
        """What stands in its address. Whoever has it may use it: it is shown to who asked for it, and nowhere else."""
        return self._signed_with(link_keys()[0])

    def is_of(self, token: str) -> bool:
        return any(hmac.compare_digest(self._signed_with(key), token) for key in link_keys())

    def _signed_with(self, key: bytes) -> str:
        rights = json.dumps(self.person, sort_keys=True)
        said = json.dumps([self.id, self.run, self.node, self.asked_at, self.shown, rights, self.expires_at])
        signature = hmac.new(key, said.encode(), sha256).digest()
        return base64.urlsafe_b64encode(bytes.fromhex(self.id) + signature).decode()


def evidence_hash(waiting: Waiting) -> str:
    """Of what a person decides on: another draft, call or source is another."""
    sources = [[one["id"], one["version"]] for one in waiting["documents"]]
    said = [waiting["draft"], waiting["proposal"], waiting["edits"], sources]
    return sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


class LinkRows:
    """The links of one home, or of the machines that share a server. Raises as `Database` does."""

    def __init__(self, where: Place | None = None, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._place, self._now = where or place(), now

    def add(
        self, waiting: Waiting, person: Principal, *, by: str, until: datetime, id: str = ""
    ) -> tuple[ApprovalLink, bool]:
        """A link for what waits, and whether it is new: an `id`, 32 hexadecimal digits, that was used before is the
        link of then."""
        link = ApprovalLink(
            id or secrets.token_hex(_ID),
            *(waiting["run"], waiting["node"], waiting["asked_at"], evidence_hash(waiting), person),
            *(until.astimezone(UTC).isoformat(), self._now().isoformat(), by),
        )
        values = (
            *(link.id, link.run, link.node, link.asked_at, link.shown, person["id"], json.dumps(person)),
            *(link.expires_at, link.made_at, by),
        )
        with closing(open_database(self._place, APPROVALS)) as database, database.writing() as execute:
            made = execute(
                "INSERT INTO links (id, run, node, asked_at, shown, person, rights, expires_at, made_at, made_by)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING RETURNING id",
                values,
            )
            rows = execute("SELECT * FROM links WHERE id = ?", (link.id,))
        return _link(rows[0]), bool(made)

    def of(self, token: str) -> ApprovalLink:
        """The link of this token, while it may be used. Raises `RunError` SG650, whose message is one plain sentence
        for who has opened it."""
        try:
            start = base64.b64decode(token, altchars=b"-_", validate=True)[:_ID].hex()
        except (binascii.Error, ValueError):
            start = ""
        with closing(open_database(self._place, APPROVALS)) as database, database.reading() as execute:
            rows = execute("SELECT * FROM links WHERE id = ?", (start,))
        link = _link(rows[0]) if rows else None
        if link is None or not link.is_of(token):
            raise RunError("SG650", "This link was not made here, or not all of it was copied.")
        if link.ended:
            said = "revoked" if link.ended == REVOKED else f"used already, to {link.ended}"
            raise RunError("SG650", f"This link was {said}.")
        if self._now() >= datetime.fromisoformat(link.expires_at):
            raise RunError("SG650", f"This link could be used until {link.expires_at[:16].replace('T', ' ')} UTC.")
        return link

    def end(self, id: str, how: str) -> bool:
        """Whether it had not ended before."""
        with closing(open_database(self._place, APPROVALS)) as database, database.writing() as execute:
            statement = "UPDATE links SET ended = ? WHERE id = ? AND ended = '' RETURNING id"
            return bool(execute(statement, (how, id)))

    def find(self, run: str = "", *, start: str = "") -> list[ApprovalLink]:
        """The links, of one run or whose ids begin like this if so, the newest first."""
        with closing(open_database(self._place, APPROVALS)) as database, database.reading() as execute:
            rows = execute(
                "SELECT * FROM links WHERE (? = '' OR run = ?) AND substr(id, 1, ?) = ? ORDER BY made_at DESC, id",
                (run, run, len(start), start),
            )
        return [_link(row) for row in rows]


def _link(row: dict[str, Any]) -> ApprovalLink:
    person = cast("Principal", json.loads(row["rights"]))
    return ApprovalLink(
        **{key: row[key] for key in ApprovalLink.__dataclass_fields__ if key != "person"}, person=person
    )
