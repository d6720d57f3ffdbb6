"""Authentication: callers are identified by what the operator trusts, never by their own claims.

A server uses one of three methods: bearer tokens in a file of the operator's (only their hashes are kept), a
header that a gateway in front sets, or one fixed user for local trials.
"""

import hashlib
import hmac
import os
import secrets
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol, cast, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from sluicegate.errors import RunError
from sluicegate.files import read_bounded
from sluicegate.home import distrust, private_opener
from sluicegate.state import Clearance, Principal
from sluicegate.storage.file_lock import locked_file

__all__ = ["Caller", "Callers", "Claims", "FixedCaller", "Headers", "Named", "Token", "TokenFile", "TrustedHeader"]

_PREFIX = "sg_"
_MOST = 16_000_000
"""Bytes of the file of tokens."""


class Headers(Protocol):
    """A request's headers; names in any case."""

    def getlist(self, key: str) -> list[str]: ...


class Named(BaseModel):
    """A person, as a token or an application's call names them."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: str
    roles: list[str] = []
    groups: list[str] = []
    clearance: Clearance = "internal"

    def principal(self) -> Principal:
        return cast("Principal", self.model_dump())


class Claims(BaseModel):
    """What an application may say of the people it acts for; a clearance up to its own."""

    model_config = ConfigDict(extra="forbid")

    roles: list[str] = []
    groups: list[str] = []


@dataclass(frozen=True, slots=True)
class Caller:
    principal: Principal
    name: str
    """Of the token; empty for the other ways."""
    claims: Claims | None = None
    """What this caller, an application, may say of the users it acts for; None: it may name none."""

    def acting_for(self, named: Named | None) -> Principal:
        """The requester: the caller, or whom the call names. Raises `RunError` SG610 for more than it may claim."""
        if named is None:
            return self.principal
        if self.claims is None:
            raise RunError(
                "SG610",
                "this token may not name a principal",
                hint="Omit `principal`: the token identifies the requester",
            )
        ranks, own = get_args(Clearance), self.principal["clearance"]
        claimed = {
            "role": [role for role in named.roles if role not in self.claims.roles],
            "group": [group for group in named.groups if group not in self.claims.groups],
            "clearance": [named.clearance] if ranks.index(named.clearance) > ranks.index(own) else [],
        }
        for what, excess in claimed.items():
            if excess:
                raise RunError(
                    "SG610",
                    f"this token may not claim the {what} {excess[0]!r} for a principal",
                    hint="Ask the operator: sluicegate token add --on-behalf has --claim-role, --claim-group and "
                    "--clearance",
                )
        return named.principal()


class Callers(Protocol):
    def of(self, headers: Headers) -> Caller:
        """Raises `RunError` SG619."""
        ...


class Token(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    sha256: str
    """Hash of the whole token. It has 256 random bits, so a slow hash would add nothing."""
    principal: Named
    on_behalf: bool = False
    claims: Claims = Claims()
    """With `on_behalf`: what its calls may say of the people they name; by default nothing but who they are."""
    made: datetime
    expires: datetime | None = None


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    tokens: list[Token] = []


class TokenFile:
    """The operator's file of tokens, read anew when it has changed: a revoked token is rejected immediately."""

    def __init__(self, path: Path, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.path, self._now = path, now
        self._lock = threading.Lock()
        self._stamp: tuple[int, int, int] | None = None
        self._tokens: list[Token] = []

    def of(self, headers: Headers) -> Caller:
        given = headers.getlist("authorization")
        scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        if scheme.lower() != "bearer":
            raise RunError("SG619", "a token is required", hint="Send: Authorization: Bearer TOKEN")
        hashed = hashlib.sha256(token.strip().encode()).hexdigest()
        # every one is compared, each in constant time: how long it takes says nothing about which
        found = [each for each in self.tokens() if hmac.compare_digest(each.sha256, hashed)]
        if not found or (found[0].expires and found[0].expires <= self._now()):
            raise RunError("SG619", "unknown or expired token", hint="Ask the operator for another")
        token = found[0]
        return Caller(token.principal.principal(), token.name, token.claims if token.on_behalf else None)

    def tokens(self) -> list[Token]:
        """Raises `RunError` SG623: an untrustworthy file authenticates nobody."""
        try:
            found = self.path.stat()
            stamp = (found.st_mtime_ns, found.st_ino, found.st_size)
            with self._lock:
                if stamp != self._stamp:
                    if why := distrust(found):
                        raise _distrusted(self.path, why, f"chmod 600 {self.path}, or chown it")
                    self._tokens = _File.model_validate_json(read_bounded(self.path, _MOST)).tokens
                    self._stamp = stamp
                return self._tokens
        except FileNotFoundError:
            raise _distrusted(self.path, "file not found", "Create a token: sluicegate token add NAME") from None
        except (OSError, ValidationError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is damaged"
            raise _distrusted(self.path, f"cannot read it: {why}", "Restore it") from error

    def add(self, name: str, principal: Named, *, claims: Claims | None = None, valid: timedelta | None = None) -> str:
        """A new token; only this return value has it. With `claims` it may act on behalf of others.

        Raises `RunError` SG623, also when the name is taken.
        """
        token = _PREFIX + secrets.token_urlsafe(32)
        now = self._now()
        with self._changing() as tokens:
            if any(each.name == name for each in tokens):
                raise _distrusted(self.path, f"it already has a token {name!r}", f"sluicegate token revoke {name}")
            tokens.append(
                Token(
                    name=name,
                    sha256=hashlib.sha256(token.encode()).hexdigest(),
                    principal=principal,
                    on_behalf=claims is not None,
                    claims=claims or Claims(),
                    made=now,
                    expires=now + valid if valid else None,
                )
            )
        return token

    def revoke(self, name: str) -> bool:
        """Revoke a token; False when there was none of this name."""
        with self._changing() as tokens:
            left = [each for each in tokens if each.name != name]
            gone = len(left) < len(tokens)
            tokens[:] = left
        return gone

    @contextmanager
    def _changing(self) -> Generator[list[Token]]:
        """The file's tokens as a list to change; written as a whole, readable by its owner only."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with locked_file(self.path.with_name(self.path.name + ".lock")):
            tokens = [*self.tokens()] if self.path.exists() else []
            yield tokens
            staged = self.path.with_name(f"{self.path.name}.{secrets.token_hex(4)}")
            with open(staged, "x", encoding="utf-8", opener=private_opener) as out:
                out.write(_File(tokens=tokens).model_dump_json(indent=1) + "\n")
                out.flush()
                os.fsync(out.fileno())
            staged.replace(self.path)


@dataclass(frozen=True, slots=True)
class TrustedHeader:
    """The user that a gateway sets in its headers. Only for a server that is reachable only through that gateway."""

    user: str
    roles: str = ""
    """Header of the roles, comma-separated; empty when the gateway names none."""
    groups: str = ""

    def of(self, headers: Headers) -> Caller:
        name = self._one(headers, self.user).strip()
        if not name:
            raise RunError("SG619", "the gateway sent no user", hint=f"It must set {self.user}")
        roles, groups = (
            [each.strip() for each in self._one(headers, header).split(",") if each.strip()] if header else []
            for header in (self.roles, self.groups)
        )
        return Caller(Named(id=name, roles=roles, groups=groups).principal(), "")

    def _one(self, headers: Headers, header: str) -> str:
        found = headers.getlist(header)
        if len(found) > 1:
            # one is the gateway's, but the other could be the client's
            raise RunError(
                "SG619", f"duplicate header {header}", hint=f"Configure the gateway to strip client-supplied {header}"
            )
        return found[0] if found else ""


@dataclass(frozen=True, slots=True)
class FixedCaller:
    """Every caller is this user: for local trials, on a server that answers to the names of the loopback address."""

    principal: Principal

    def of(self, headers: Headers) -> Caller:
        del headers
        return Caller(self.principal, "")


def _distrusted(path: Path, why: str, hint: str) -> RunError:
    return RunError("SG623", f"the tokens of {path}: {why}", hint=hint)
