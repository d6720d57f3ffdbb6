"""Callers by the access tokens of OpenID providers, alone or beside those of a token file."""

import logging
import time
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sluicegate.errors import RunError
from sluicegate.serving.http.callers.caller import Caller, Callers, Headers, bearer
from sluicegate.serving.http.callers.oidc.mapping import named
from sluicegate.serving.http.callers.oidc.provider import IdentityProvider, ProviderError
from sluicegate.serving.http.callers.oidc.settings import Issuer, OidcSettings
from sluicegate.serving.http.callers.oidc.verification import (
    RefusedTokenError,
    Unverified,
    access_claims,
    unverified,
)
from sluicegate.serving.http.callers.token_file import PREFIX, TokenFile

__all__ = ["OidcCallers", "refusal"]

_METADATA = "/.well-known/oauth-protected-resource"

log = logging.getLogger(__name__)


class OidcCallers(Callers):
    """With a token file, what begins as its tokens do is looked up there and nowhere else."""

    def __init__(
        self,
        settings: OidcSettings,
        tokens: TokenFile | None = None,
        *,
        now: Callable[[], float] = time.time,
        provider: Callable[[str], IdentityProvider] = IdentityProvider,
    ) -> None:
        self.settings, self._tokens, self.now = settings, tokens, now
        self.providers = {each.issuer: provider(each.issuer) for each in settings.issuers}
        self.challenge = f'Bearer resource_metadata="{settings.address}{_METADATA}"'
        self.by_token = tokens is not None
        self.routes = (Route(_METADATA, self._metadata),)

    async def ready(self, headers: Headers) -> None:
        try:
            text = bearer(headers)
            if not self._of_file(text):
                token = unverified(text)
                await self.providers[self._issuer(token).issuer].ready(token.kid)
        except (RunError, RefusedTokenError):
            pass  # `of` says so

    def of(self, headers: Headers) -> Caller:
        """Raises `RunError` SG619, SG610 (a scope is missing), and SG660 when the provider's keys cannot be had."""
        try:
            text = bearer(headers)
            if self._tokens and self._of_file(text):
                return self._tokens.of(headers)
            return self._verified(unverified(text))
        except RefusedTokenError as error:
            raise refusal(error) from None

    def _verified(self, token: Unverified) -> Caller:
        issuer = self._issuer(token)
        provider = self.providers[issuer.issuer]
        if not provider.reachable:
            raise ProviderError(f"{issuer.issuer} does not answer, so its tokens cannot be checked")
        claims = access_claims(token, issuer, provider, now=self.now())
        return Caller(named(claims, issuer).principal(), "", issuer.applications.get(claims["sub"]))

    def _issuer(self, token: Unverified) -> Issuer:
        """Whose token it says it is. What no key can have signed in an allowed way is worth no fetch."""
        issuer = self.settings.of(token.issuer)
        if issuer is None or not issuer.audiences:
            raise RefusedTokenError("of an issuer that is not listed")
        if token.header.get("alg") not in issuer.algorithms:
            raise RefusedTokenError("algorithm not allowed")
        return issuer

    async def _metadata(self, _: Request) -> Response:
        """Whose tokens this server takes (RFC 9728), for clients that find out by themselves, as those of MCP do."""
        believed = [each for each in self.settings.issuers if each.audiences]
        scopes = dict.fromkeys(scope for each in believed for scope in each.scopes)
        return JSONResponse(
            {
                "resource": self.settings.address,
                "authorization_servers": [each.issuer for each in believed],
                "scopes_supported": [*scopes],
                "bearer_methods_supported": ["header"],
            }
        )

    def _of_file(self, token: str) -> bool:
        return self._tokens is not None and token.startswith(PREFIX)


def refusal(error: RefusedTokenError) -> RunError:
    """What a caller hears of it: nothing that helps to make a better one. The operator's log has the reason."""
    log.info("token refused: %s", error)
    return RunError(error.code, error.told or "the token is not accepted", hint="Sign in again for another one")
