"""Signing in to the console at an OpenID provider.

The session's cookie is `SameSite=Strict`, so a browser keeps it back on whatever another site leads to, the provider's
redirect included. Two things follow. What binds the answer to the browser that asked is in a cookie of its own, which
is `Lax`, lives for ten minutes and is worth nothing but this one sign-in. And the answer is a page of ours that goes on
by itself: a redirect from here would still count as the provider's, and would arrive without the new session.

A session's token is made here and sealed with a key of the home: who signed in, until when, and the refresh token. It
never leaves the session's cookie, which is sealed itself, and the API does not take it. When it is over it is renewed
once for all requests that come with it, since a provider may take a refresh token that is used twice for a stolen one.
"""

import asyncio
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, replace

from cryptography.fernet import InvalidToken
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from sluicegate.errors import RunError
from sluicegate.serving.http.callers import Caller, Callers, Named
from sluicegate.serving.http.callers.oidc.bearer import OidcCallers, refusal
from sluicegate.serving.http.callers.oidc.code_flow import Attempt, CodeFlow, SignedIn
from sluicegate.serving.http.callers.oidc.provider import ProviderError
from sluicegate.serving.http.callers.oidc.verification import RefusedTokenError
from sluicegate.serving.http.calls import Fault
from sluicegate.serving.http.console.guarding import inside
from sluicegate.serving.http.console.page import ROOT, PageRoute, SignInWay
from sluicegate.serving.http.console.rendering import render
from sluicegate.serving.http.console.sessions import Sessions
from sluicegate.serving.http.problems import of_error

__all__ = ["sign_on_ways"]

_PREFIX = "sgs_"
_ATTEMPT = "sign-in-"
_ATTEMPT_S = 600
_LONGEST_REFRESH = 1_800
"""Characters; the cookie holds no more. The session of a longer one ends with its ID token."""
_REMEMBERED_S = 30.0
"""How long requests that are under way may still come with the token that was renewed."""


def sign_on_ways(callers: Callers, sessions: Sessions) -> Sequence[SignInWay]:
    """One button for each provider that people sign in at."""
    if not isinstance(callers, OidcCallers):
        return ()
    flows = [
        CodeFlow(callers.settings, issuer, issuer.sign_in, callers.providers[issuer.issuer], callers.now)
        for issuer in callers.settings.issuers
        if issuer.sign_in
    ]
    believed = hashlib.sha256(callers.settings.model_dump_json().encode()).hexdigest()[:16]
    return [_SignOn(flow, sessions, believed).way() for flow in flows]


class _SignOn:
    def __init__(self, flow: CodeFlow, sessions: Sessions, believed: str) -> None:
        """`believed` names what the operator's file says: a session does not outlast a change of that."""
        self._flow, self._sessions = flow, sessions
        self._marks = {"issuer": flow.issuer.issuer, "believed": believed}
        self._renewals: dict[str, tuple[float, asyncio.Task[str]]] = {}

    def way(self) -> SignInWay:
        slug = self._flow.sign_in.slug
        return SignInWay(
            label=f"Sign in with {self._flow.sign_in.name}",
            routes=(
                PageRoute(f"{ROOT}/sign-in/with/{slug}", self._begin),
                PageRoute(f"{ROOT}/sign-in/return/{slug}", self._finish),
            ),
            caller=self.caller,
            renewed=self.renewed,
            left=self._left,
        )

    async def _begin(self, request: Request) -> Response:
        attempt, address = await self._flow.begin(inside(request.query_params.get("next", "")))
        response = RedirectResponse(address, 303)
        sealed = self._sessions.sealing("sign-in").encrypt(json.dumps(asdict(attempt) | self._marks).encode()).decode()
        self._sessions.put(request, response, sealed, kind=_ATTEMPT, life_s=_ATTEMPT_S, same_site="lax")
        return response

    async def _finish(self, request: Request) -> Response:
        try:
            attempt = self._attempt(request)
            signed = await self._flow.finish(attempt, request.query_params)
        except RefusedTokenError as error:
            # not as 401, which would lead to the sign-in page and from there back to this answer
            problem = of_error(refusal(error)).model_copy(update={"status": 400, "title": "Not signed in"})
            raise Fault(problem) from None
        request.state.session = self._sessions.new(self._sealed(signed), signed.person.id)
        request.state.new_session = True
        response = render(request, "arriving.html", target=attempt.target, why="You are signed in.")
        self._sessions.put(request, response, "", kind=_ATTEMPT, life_s=0, same_site="lax")
        return response

    def _attempt(self, request: Request) -> Attempt:
        sealed = self._sessions.got(request, _ATTEMPT)
        try:
            found = json.loads(self._sessions.sealing("sign-in").decrypt(sealed, ttl=_ATTEMPT_S))
        except InvalidToken:
            raise RefusedTokenError(
                "begun in no browser", "this sign-in was not begun in this browser, or too long ago"
            ) from None
        if any(found.pop(name) != value for name, value in self._marks.items()):
            raise RefusedTokenError("begun with another issuer")
        return Attempt(**found)

    def caller(self, token: str) -> Caller | None:
        """Whom the token of a session names; None when it is not of this way. Raises `RunError` SG619."""
        signed = self._opened(token)
        if signed is None:
            return None
        if signed.until <= self._flow.now():
            raise RunError("SG619", "the session has ended", hint="Sign in again")
        return Caller(signed.person.principal(), "")

    async def renewed(self, token: str) -> str:
        """Another token in place of one that is over; empty when it is not, and where the provider gives none."""
        now = self._flow.now()
        signed = self._opened(token)
        if signed is None or signed.until > now or not signed.refresh:
            return ""
        self._renewals = {known: (at, task) for known, (at, task) in self._renewals.items() if at > now - _REMEMBERED_S}
        key = hashlib.sha256(token.encode()).hexdigest()
        if key not in self._renewals:
            self._renewals[key] = (now, asyncio.create_task(self._renewal(signed)))
        return await asyncio.shield(self._renewals[key][1])

    async def _renewal(self, signed: SignedIn) -> str:
        try:
            return self._sealed(await self._flow.renew(signed))
        except RefusedTokenError as error:
            refusal(error)
        except ProviderError:
            pass  # it is logged, and the session ends
        return ""

    async def _left(self, token: str) -> str:
        return await self._flow.sign_out_address() if self._opened(token) else ""

    def _sealed(self, signed: SignedIn) -> str:
        kept = signed if len(signed.refresh) <= _LONGEST_REFRESH else replace(signed, refresh="")
        said = asdict(kept) | {"person": signed.person.model_dump()} | self._marks
        return _PREFIX + self._sessions.sealing("signed in").encrypt(json.dumps(said).encode()).decode()

    def _opened(self, token: str) -> SignedIn | None:
        if not token.startswith(_PREFIX):
            return None
        try:
            said = json.loads(self._sessions.sealing("signed in").decrypt(token.removeprefix(_PREFIX)))
        except InvalidToken:
            return None
        if any(said.pop(name) != value for name, value in self._marks.items()):
            return None
        return SignedIn(**said | {"person": Named(**said["person"])})
