"""An issuer of a test's own: keys, metadata and tokens, honest ones and those that nobody honest makes."""

import asyncio
import base64
import hmac
import json
from collections.abc import Callable
from typing import Any

from joserfc import jws, jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey
from starlette.datastructures import Headers

from sluicegate.serving.http.callers.oidc.bearer import OidcCallers
from sluicegate.serving.http.callers.oidc.provider import IdentityProvider
from sluicegate.serving.http.callers.oidc.settings import OidcSettings
from sluicegate.serving.http.callers.token_file import TokenFile

ISSUER = "https://login.example.org/realms/acme"
NOW = 1_800_000_000
RSA = RSAKey.generate_key(2048, {"kid": "rsa"})
EC = ECKey.generate_key("P-256", {"kid": "ec"})
OKP = OKPKey.generate_key("Ed25519", {"kid": "okp"})
THEIRS = RSAKey.generate_key(2048, {"kid": "rsa"})
"""An attacker's, under the id of ours."""

SETTINGS: dict[str, Any] = {
    "address": "https://sluicegate.example.org",
    "issuers": [
        {
            "issuer": ISSUER,
            "audiences": ["sluicegate"],
            "roles": {
                "claim": "realm_access.roles",
                "map": {"staff": "employee", "desk": ["employee", "helpdesk-lead"]},
            },
            "groups": {"claim": ["https://acme.example/groups"], "map": {"/finance": "finance"}},
            "clearance": {"claim": "level", "map": {"c": "confidential", "r": "restricted"}},
        }
    ],
}


class Published:
    """In the place of the network: a provider's metadata and key set, and how often each was fetched."""

    def __init__(self, *keys: Any, issuer: str = ISSUER) -> None:
        self.keys: list[dict[str, Any]] = [key.as_dict(private=False) for key in keys or (RSA, EC, OKP)]
        self.metadata: dict[str, Any] = {
            "issuer": issuer,
            "jwks_uri": f"{issuer}/jwks",
            "authorization_endpoint": f"{issuer}/auth",
            "token_endpoint": f"{issuer}/token",
        }
        self.fetched: list[str] = []
        self.fails: Exception | None = None

    async def __call__(self, url: str, **_: Any) -> dict[str, Any]:
        self.fetched.append(url)
        await asyncio.sleep(0)
        if self.fails:
            raise self.fails
        return {"keys": self.keys} if url.endswith("/jwks") else self.metadata


def claims(**other: Any) -> dict[str, Any]:
    """Of an honest access token; None leaves a claim out."""
    said = {"iss": ISSUER, "sub": "u-1", "aud": "sluicegate", "exp": NOW + 600, "iat": NOW - 60, "client_id": "portal"}
    return {name: value for name, value in (said | other).items() if value is not None}


def token(
    body: dict[str, Any] | None = None, key: Any = RSA, alg: str = "RS256", typ: str | None = "at+jwt", **header: Any
) -> str:
    about = {"alg": alg, "kid": key.kid, **({"typ": typ} if typ else {}), **header}
    registry = jws.JWSRegistry(algorithms=[alg], strict_check_header=False)
    registry.max_header_length = 10**6
    about = {name: value for name, value in about.items() if value is not None}
    return jwt.encode(about, claims() if body is None else body, key, registry=registry, default_type=None)


def signed(header: str, body: str, key: Any = RSA) -> str:
    """A token of texts that no library would write, with a good signature all the same."""
    from joserfc.jws import JWSRegistry

    head, payload = (base64.urlsafe_b64encode(each.encode()).rstrip(b"=") for each in (header, body))
    signature = JWSRegistry.algorithms["RS256"].sign(head + b"." + payload, key)
    return b".".join((head, payload, base64.urlsafe_b64encode(signature).rstrip(b"="))).decode()


def unsigned(header: dict[str, Any], body: dict[str, Any], signature: str = "") -> str:
    parts = [base64.urlsafe_b64encode(json.dumps(each).encode()).rstrip(b"=").decode() for each in (header, body)]
    return ".".join((*parts, signature))


def callers(
    published: Published | None = None,
    *,
    tokens: TokenFile | None = None,
    clock: Callable[[], float] = lambda: 0.0,
    now: Callable[[], float] = lambda: NOW,
    **issuer: Any,
) -> OidcCallers:
    """`issuer` are other settings of the one issuer."""
    said = SETTINGS | {"issuers": [SETTINGS["issuers"][0] | issuer]}
    fetching = published or Published()
    return OidcCallers(
        OidcSettings.model_validate_json(json.dumps(said)),
        tokens,
        now=now,
        provider=lambda issuer: IdentityProvider(issuer, fetching=fetching, clock=clock),
    )


def bearing(text: str) -> Headers:
    return Headers({"authorization": f"Bearer {text}"})


def with_secret(secret: str, header: dict[str, Any]) -> str:
    """A token whose HS256 is right for who takes `secret` to be one."""
    text = unsigned(header | {"alg": "HS256"}, claims())
    mac = hmac.digest(secret.encode(), text.rstrip(".").encode(), "sha256")
    return text + base64.urlsafe_b64encode(mac).rstrip(b"=").decode()
