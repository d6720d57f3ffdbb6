"""Sessions of browsers: a cookie that holds, sealed, the token that somebody signed in with, and that of their forms.

Nothing is kept on the server, so every process of a home knows every session. A session ends with its time, with its
cookie, or when its token is no longer accepted.
"""

import base64
import hashlib
import json
import os
import secrets
import stat
import zlib
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Literal

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from starlette.requests import Request
from starlette.responses import Response

from sluicegate.errors import CorruptError, RunError, UnwritableError
from sluicegate.home import home, make_private
from sluicegate.serving.http.console.page import ROOT

__all__ = ["BrowserSession", "Sessions", "over_tls"]

_LIFE_S = 12 * 3600
_MOST = 4000
"""Bytes of a cookie that browsers keep, less its attributes."""


@dataclass(frozen=True, slots=True)
class BrowserSession:
    csrf: str
    """Comes back with every form."""
    token: str = ""
    """The bearer token; empty where callers are known without one, and before somebody has signed in."""
    who: str = ""
    """The viewer whose forms these are."""


class Sessions:
    """As the cookies of requests have them."""

    def of(self, request: Request) -> BrowserSession | None:
        """The session of a request; None where there is none, or where it is over."""
        try:
            packed = self.sealing("session").decrypt(self.got(request), ttl=_LIFE_S)
        except InvalidToken:
            return None
        return BrowserSession(**json.loads(zlib.decompress(packed)))

    def new(self, token: str = "", who: str = "") -> BrowserSession:
        return BrowserSession(secrets.token_urlsafe(24), token, who)

    def sealing(self, purpose: str) -> Fernet:
        """With a key of this home for one purpose: what was sealed for another cannot be opened."""
        derived = HKDF(SHA256(), 32, None, purpose.encode()).derive(self._secret)
        return Fernet(base64.urlsafe_b64encode(derived))

    def keep(self, request: Request, response: Response, session: BrowserSession) -> None:
        """Let the browser have it. Raises `RunError` SG619 for a token that does not fit into a cookie."""
        sealed = self.sealing("session").encrypt(zlib.compress(json.dumps(asdict(session)).encode())).decode()
        if len(sealed) > _MOST:
            raise RunError("SG619", "this token is too long for a cookie", hint="Ask the operator for a shorter one")
        self.put(request, response, sealed, life_s=_LIFE_S)

    def end(self, request: Request, response: Response) -> None:
        self.put(request, response, "", life_s=0)

    def got(self, request: Request, kind: str = "") -> str:
        """What the browser has brought of what `put` gave it."""
        sealed = request.cookies.get(self._name(request, kind), "")
        return sealed + "=" * (-len(sealed) % 4)

    def put(
        self,
        request: Request,
        response: Response,
        sealed: str,
        *,
        life_s: int,
        kind: str = "",
        same_site: Literal["strict", "lax"] = "strict",
    ) -> None:
        """Into a cookie of the console's; for no time at all to take it away."""
        response.set_cookie(
            # base64's padding would have the cookie quoted
            self._name(request, kind), sealed.rstrip("="), max_age=life_s, path=_path(request),
            secure=over_tls(request), httponly=True, samesite=same_site,
        )  # fmt: skip

    def _name(self, request: Request, kind: str) -> str:
        # browsers send a cookie to every port of a host: servers of two homes must not take each other's for theirs
        return f"{'__Host-' if over_tls(request) else ''}sluicegate-{kind}{self._mark}"

    @cached_property
    def _key(self) -> bytes:
        """Of this home, created at its first use; `SLUICEGATE_CONSOLE_KEY` shares one between machines."""
        if configured := os.environ.get("SLUICEGATE_CONSOLE_KEY"):
            return configured.encode()
        try:
            path = home() / "keys" / "console.key"
            if not path.exists():
                make_private(path, Fernet.generate_key())
            if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise CorruptError(f"the console's key {path} is readable by other users", hint=f"chmod 600 {path}")
            return path.read_bytes()
        except OSError as error:
            raise UnwritableError(f"the console's key cannot be read or created: {error.strerror}") from error

    @cached_property
    def _secret(self) -> bytes:
        try:
            Fernet(self._key)
        except ValueError as error:
            raise CorruptError(
                "the console's key is not 32 bytes in base64url",
                hint="Unset SLUICEGATE_CONSOLE_KEY, or delete keys/console.key of the home: everybody signs in again",
            ) from error
        return base64.urlsafe_b64decode(self._key)

    @cached_property
    def _mark(self) -> str:
        return hashlib.sha256(self._key).hexdigest()[:8]


def over_tls(request: Request) -> bool:
    return request.url.scheme == "https"


def _path(request: Request) -> str:
    # `__Host-` is only for cookies of the whole host
    return "/" if over_tls(request) else ROOT
