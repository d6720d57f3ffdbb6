"""Bearer tokens in a file of the operator's: `sluicegate token add` makes them, and only their hashes are kept."""

import hashlib
import hmac
import os
import secrets
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from sluicegate.errors import RunError
from sluicegate.files import read_bounded
from sluicegate.home import distrust, private_opener
from sluicegate.serving.http.callers.caller import Caller, Callers, Claims, Headers, Named, bearer
from sluicegate.storage.file_lock import locked_file

__all__ = ["PREFIX", "Token", "TokenFile"]

PREFIX = "sg_"
"""What every token begins with."""
_MOST = 16_000_000
"""Bytes of the file of tokens."""


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


class TokenFile(Callers):
    """The operator's file of tokens, read anew when it has changed: a revoked token is rejected immediately."""

    def __init__(self, path: Path, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.path, self._now = path, now
        self._lock = threading.Lock()
        self._stamp: tuple[int, int, int] | None = None
        self._tokens: list[Token] = []

    def of(self, headers: Headers) -> Caller:
        hashed = hashlib.sha256(bearer(headers).encode()).hexdigest()
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
        token = PREFIX + secrets.token_urlsafe(32)
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


def _distrusted(path: Path, why: str, hint: str) -> RunError:
    return RunError("SG623", f"the tokens of {path}: {why}", hint=hint)
