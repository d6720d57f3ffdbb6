"""What a JSON Web Token must be to be believed: RFC 8725, RFC 9068 and OpenID Connect Core 3.1.3.7, item by item.

| RFC 8725 | here |
| --- | --- |
| 3.1, 3.2 algorithms | only those of the issuer's list, which can hold asymmetric ones only; a key serves the type and the `alg` it is made for |
| 3.3 all operations | nested tokens (`cty`) and encrypted ones are refused: nothing is taken out of one unchecked |
| 3.4 inputs, 3.5 entropy | points off their curve and RSA keys below 2048 bits are no keys; there are no shared secrets |
| 3.6 compression | only in encrypted tokens, which are refused |
| 3.7 UTF-8 | header and claims are one JSON object each, no name twice, no NaN, and so small that parsing costs nothing |
| 3.8 issuer, subject | `iss` chooses the issuer by its exact text, and only that issuer's keys are tried; `sub` must be there |
| 3.9 audience | one of the issuer's `audiences` (access tokens), the console's client (ID tokens) |
| 3.10 received claims | `kid` is looked up in a table; `jku`, `x5u`, `jwk` and `x5c` are never read; any `crit` is refused |
| 3.11, 3.12 typing | an access token says so in `typ`, and has nothing that only ID tokens have; an ID token is believed for a sign-in only, by its nonce |

Beyond it: `exp` is required, `nbf` and `iat` may not lie ahead, a token that is bound to a key of its holder (`cnf`) is
refused, since nothing here asks for that key.
"""  # noqa: E501 - a table

import base64
import json
import math
from dataclasses import dataclass
from typing import Any, cast

from joserfc import jws
from joserfc.errors import JoseError

from sluicegate.serving.http.callers.oidc.provider import IdentityProvider
from sluicegate.serving.http.callers.oidc.settings import Issuer

__all__ = ["MAX_CHARACTERS", "RefusedTokenError", "Unverified", "access_claims", "id_claims", "unverified"]

MAX_CHARACTERS = 16_384
_MAX_TEXT = 255
"""Of a subject or a key's id."""
_OF_ID_TOKENS = ("nonce", "at_hash", "c_hash", "s_hash")
_OTHER_KINDS = ("ID", "Refresh", "Offline", "Logout", "Initial")
"""What Keycloak calls, in the claim `typ`, its tokens that are no access tokens."""


class RefusedTokenError(Exception):
    """A token that is not believed. What it says is for the operator's log, except `told`, for the caller."""

    def __init__(self, reason: str, told: str = "", code: str = "SG619") -> None:
        super().__init__(reason)
        self.told, self.code = told, code


@dataclass(frozen=True, slots=True)
class Unverified:
    """What a token says of itself, to find out by what it is to be checked; nothing in it is believed."""

    text: str
    header: dict[str, Any]
    claims: dict[str, Any]

    @property
    def issuer(self) -> Any:
        return self.claims.get("iss")

    @property
    def kid(self) -> Any:
        return self.header.get("kid")


def unverified(token: str) -> Unverified:
    """Raises `RefusedTokenError` for what is not a signed token of bounded size."""
    if len(token) > MAX_CHARACTERS:
        raise RefusedTokenError("too large")
    if token.count(".") != 2 or not token.isascii():
        raise RefusedTokenError("not a signed JSON Web Token")
    header, claims, _ = token.split(".")
    found = Unverified(token, _object(header), _object(claims))
    kid = found.kid
    if kid is not None and not (isinstance(kid, str) and 0 < len(kid) <= _MAX_TEXT):
        raise RefusedTokenError("kid is no name")
    if "crit" in found.header or "b64" in found.header:
        raise RefusedTokenError("critical extension")
    if "cty" in found.header:
        raise RefusedTokenError("nested token")
    return found


def access_claims(token: Unverified, issuer: Issuer, provider: IdentityProvider, *, now: float) -> dict[str, Any]:
    """The claims of an access token (RFC 9068). Raises `RefusedTokenError`."""
    typ = str(token.header.get("typ", "")).lower().removeprefix("application/")
    if typ != issuer.token_type.lower() and not (issuer.token_type == "JWT" and typ in ("", "at+jwt")):  # noqa: S105
        raise RefusedTokenError(f"typ is not {issuer.token_type}")
    claims = _verified(token, issuer, provider, now)
    if not set(_audiences(claims)) & set(issuer.audiences):
        raise RefusedTokenError("for another audience")
    if any(name in claims for name in _OF_ID_TOKENS) or claims.get("typ") in _OTHER_KINDS or "events" in claims:
        raise RefusedTokenError("not an access token")
    if missing := [each for each in issuer.scopes if each not in _scopes(claims)]:
        raise RefusedTokenError("scope missing", f"the token lacks the scope {missing[0]}", "SG610")
    return claims


def id_claims(
    token: Unverified, issuer: Issuer, provider: IdentityProvider, *, nonce: str, now: float
) -> dict[str, Any]:
    """The claims of an ID token that answers a sign-in with this nonce; of one that renews it, when that is empty.

    Raises `RefusedTokenError`.
    """
    if str(token.header.get("typ", "JWT")).lower() != "jwt":
        raise RefusedTokenError("typ is not that of an ID token")
    claims = _verified(token, issuer, provider, now)
    client = issuer.sign_in.client_id if issuer.sign_in else ""
    audiences = _audiences(claims)
    if client not in audiences:
        raise RefusedTokenError("for another client")
    if claims.get("azp", client) != client or (len(audiences) > 1 and "azp" not in claims):
        raise RefusedTokenError("issued to another client")
    if "iat" not in claims:
        raise RefusedTokenError("iat missing")
    if nonce and claims.get("nonce") != nonce:
        raise RefusedTokenError("answers another sign-in")
    return claims


def _verified(token: Unverified, issuer: Issuer, provider: IdentityProvider, now: float) -> dict[str, Any]:
    registry = jws.JWSRegistry(algorithms=issuer.algorithms, strict_check_header=False)
    # the whole is bounded already; some providers put their certificates into the header
    registry.max_header_length = MAX_CHARACTERS
    for key in provider.keys(token.kid):
        try:
            jws.deserialize_compact(token.text, key, registry=registry)
            break
        except (JoseError, ValueError):
            continue
    else:
        raise RefusedTokenError("no key of the issuer's has signed it")
    claims = token.claims
    if claims.get("iss") != issuer.issuer:
        raise RefusedTokenError("of another issuer")
    subject = claims.get("sub")
    if not (isinstance(subject, str) and 0 < len(subject) <= _MAX_TEXT):
        raise RefusedTokenError("sub missing")
    if "cnf" in claims:
        raise RefusedTokenError("bound to a key of its holder")
    times = {name: _time(claims, name) for name in ("exp", "nbf", "iat")}
    if times["exp"] is None:
        raise RefusedTokenError("exp missing")
    if times["exp"] <= now - issuer.leeway_s:
        raise RefusedTokenError("expired", "the token has expired")
    if max(times["nbf"] or 0, times["iat"] or 0) > now + issuer.leeway_s:
        raise RefusedTokenError("not valid yet")
    return claims


def _object(part: str) -> dict[str, Any]:
    try:
        # pads it to a multiple of four; what is not of the alphabet of URLs is an error, not left out
        raw = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
        found = json.loads(raw.decode("utf-8"), object_pairs_hook=_once, parse_constant=_constant)
    except (ValueError, RecursionError):
        raise RefusedTokenError("header or claims are not JSON") from None
    if not isinstance(found, dict):
        raise RefusedTokenError("header or claims are not an object")
    return cast("dict[str, Any]", found)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name twice")
    return found


def _constant(name: str) -> Any:
    raise ValueError(name)


def _time(claims: dict[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None and name not in claims:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise RefusedTokenError(f"{name} is no time")
    return value


def _audiences(claims: dict[str, Any]) -> list[str]:
    found = claims.get("aud")
    listed = cast("list[Any]", found) if isinstance(found, list) else [found]
    if not listed or not all(isinstance(each, str) for each in listed):
        raise RefusedTokenError("aud is no name")
    return cast("list[str]", listed)


def _scopes(claims: dict[str, Any]) -> list[str]:
    """What the token is allowed: `scope` (RFC 9068), or `scp`, as Entra ID and Okta have it."""
    found = claims.get("scope", claims.get("scp", ""))
    if isinstance(found, str):
        return found.split()
    return [str(each) for each in cast("list[Any]", found)] if isinstance(found, list) else []
