"""A browser's sign-in at a provider: authorization code with PKCE, as RFC 9700 (best current practice) has it.

`begin` makes what a browser must bring back: `state` and `nonce` bind the answer to it, the verifier (S256) binds the
code to us. `finish` takes the answer. The authorization server is the one that it was begun with: each has a redirect
URI of its own, and `iss` (RFC 9207) must be right where the provider sends it.
"""

import base64
import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

from sluicegate.serving.http.callers.caller import Named
from sluicegate.serving.http.callers.oidc.mapping import named
from sluicegate.serving.http.callers.oidc.provider import IdentityProvider, ProviderError, fetch
from sluicegate.serving.http.callers.oidc.settings import Issuer, OidcSettings, SignIn
from sluicegate.serving.http.callers.oidc.verification import RefusedTokenError, id_claims, unverified

__all__ = ["Attempt", "CodeFlow", "SignedIn"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """A sign-in under way, which only the browser that began it has."""

    state: str
    nonce: str
    verifier: str
    target: str
    """Where to go afterwards."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Who signed in, and until when the provider vouches for it."""

    subject: str
    person: Named
    until: float
    refresh: str = ""
    """A refresh token, where the provider gave one."""


class CodeFlow:
    """The sign-in of one issuer."""

    def __init__(
        self,
        settings: OidcSettings,
        issuer: Issuer,
        sign_in: SignIn,
        provider: IdentityProvider,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.issuer, self.sign_in, self.now = issuer, sign_in, now
        self._address, self._provider = settings.address, provider
        self._redirect_uri = settings.redirect_uri(issuer)

    async def begin(self, target: str) -> tuple[Attempt, str]:
        """What the browser must bring back, and the provider's address to send it to. Raises `ProviderError`."""
        metadata = await self._provider.metadata()
        if metadata.authorization_endpoint is None:
            raise ProviderError(f"{self.issuer.issuer} has no authorization endpoint")
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        attempt = Attempt(state, nonce, verifier, target)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(attempt.verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {
            "response_type": "code",
            "client_id": self.sign_in.client_id,
            "redirect_uri": self._redirect_uri,
            "scope": " ".join(self.sign_in.scopes),
            "state": attempt.state,
            "nonce": attempt.nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return attempt, _with_query(metadata.authorization_endpoint, asked)

    async def finish(self, attempt: Attempt, answer: Mapping[str, str]) -> SignedIn:
        """Raises `RefusedTokenError` for an answer that is not this attempt's, and `ProviderError`."""
        if not hmac.compare_digest(answer.get("state", "").encode(), attempt.state.encode()):
            raise RefusedTokenError("state of another sign-in")
        metadata = await self._provider.metadata()
        said_by = answer.get("iss")
        if said_by != self.issuer.issuer and (said_by or metadata.authorization_response_iss_parameter_supported):
            raise RefusedTokenError("answer of another issuer")
        if "error" in answer or not answer.get("code"):
            # its own words may be anybody's: the address is in the hands of whoever made the link
            raise RefusedTokenError("declined by the provider", "the provider did not sign you in")
        tokens = await self._tokens(
            {
                "grant_type": "authorization_code",
                "code": answer["code"],
                "redirect_uri": self._redirect_uri,
                "code_verifier": attempt.verifier,
            }
        )
        return await self._signed_in(tokens, nonce=attempt.nonce)

    async def renew(self, before: SignedIn) -> SignedIn:
        """By the refresh token; the new one, where there is one, takes its place. Raises `RefusedTokenError` when the
        provider does not vouch any more, and `ProviderError`."""
        tokens = await self._tokens({"grant_type": "refresh_token", "refresh_token": before.refresh})
        found = await self._signed_in({"refresh_token": before.refresh, **tokens}, nonce="")
        if found.subject != before.subject:
            raise RefusedTokenError("renewed for somebody else")
        return found

    async def sign_out_address(self) -> str:
        """Where the browser ends its session with the provider, too; empty where that has no such place."""
        try:
            end = (await self._provider.metadata()).end_session_endpoint
        except ProviderError:
            end = None
        back = {"client_id": self.sign_in.client_id, "post_logout_redirect_uri": f"{self._address}/console/sign-in"}
        return _with_query(end, back) if end else ""

    async def _tokens(self, form: dict[str, str]) -> dict[str, Any]:
        metadata = await self._provider.metadata()
        if metadata.token_endpoint is None:
            raise ProviderError(f"{self.issuer.issuer} has no token endpoint")
        client, secret = self.sign_in.client_id, os.environ.get(self.sign_in.client_secret_env, "")
        login = None
        if not secret:
            form |= {"client_id": client}
        elif "client_secret_basic" in metadata.token_endpoint_auth_methods_supported:
            # RFC 6749, section 2.3.1: encoded as a form before it is encoded as a login
            login = quote_plus(client), quote_plus(secret)
        else:
            form |= {"client_id": client, "client_secret": secret}
        try:
            return await fetch(metadata.token_endpoint, form=form, login=login)
        except ProviderError as error:
            if error.status in (400, 401):
                raise RefusedTokenError(f"not granted by the token endpoint: {error.status}") from None
            raise

    async def _signed_in(self, tokens: dict[str, Any], *, nonce: str) -> SignedIn:
        text, refresh = tokens.get("id_token"), tokens.get("refresh_token")
        if not isinstance(text, str):
            raise RefusedTokenError("no ID token")
        token = unverified(text)
        await self._provider.ready(token.kid)
        claims = id_claims(token, self.issuer, self._provider, nonce=nonce, now=self.now())
        return SignedIn(
            claims["sub"], named(claims, self.issuer), claims["exp"], refresh if isinstance(refresh, str) else ""
        )


def _with_query(address: str, query: Mapping[str, str]) -> str:
    return f"{address}{'&' if urlsplit(address).query else '?'}{urlencode(query)}"
