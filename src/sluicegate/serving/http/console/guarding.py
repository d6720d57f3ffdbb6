"""What stands before every handler of the console: who looks, and whether a form is from a page of theirs."""

import hmac
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import ImmutableMultiDict, MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from sluicegate.errors import SluicegateError
from sluicegate.serving.http.callers import Caller
from sluicegate.serving.http.calls import Fault, body_of, caller_of
from sluicegate.serving.http.console.page import HOME, ROOT, Handler
from sluicegate.serving.http.console.rendering import console_of, render
from sluicegate.serving.http.console.sessions import BrowserSession
from sluicegate.serving.http.problems import of_status

__all__ = [
    "Form",
    "address",
    "caller_by",
    "form_of",
    "guarded",
    "inside",
    "see_other",
    "still_viewing",
    "viewer_of",
]

Form = ImmutableMultiDict[str, str]

_CROSSED = "You came here by a link on another site."
_FIELDS = 500
"""Fields of a form, at most."""


def guarded(handler: Handler, *, signed_in: bool = True, bounced: bool = True) -> Handler:
    """The handler behind its guard: `viewer_of` and `form_of` tell it what was found. Without `signed_in` anybody may
    come; without `bounced` also by a redirect from elsewhere."""

    async def guarding(request: Request) -> Response:
        sessions = console_of(request).sessions
        known = sessions.of(request)
        renewed = await _renewed(request, known) if known else None
        known = renewed or known
        if bounced and known is None and _from_elsewhere(request):
            # Browsers keep the cookie back where a link on another site leads here. The next step is our own page's.
            target = address(f"{ROOT}/sign-in", next=_here(request))
            return render(request, "arriving.html", target=target, why=_CROSSED)
        request.state.session = known or sessions.new()
        request.state.new_session = known is None or renewed is not None
        if request.method == "POST":
            _check_origin(request)
            if known is None:
                raise _forged("it came without a session")
        if signed_in:
            _know(request, known)
        if request.method == "POST":
            request.state.form = await _checked_form(request, request.state.session)
        response = await handler(request)
        if renewed and "set-cookie" not in response.headers:
            sessions.keep(request, response, request.state.session)
        return response

    return guarding


def viewer_of(request: Request) -> Caller:
    return request.state.viewer


def still_viewing(request: Request) -> Caller | None:
    """The viewer as they are now, for an answer that takes long; None where their session has ended."""
    known = console_of(request).sessions.of(request)
    try:
        viewer = caller_by(request, known.token if known else "")
    except SluicegateError:
        return None
    return viewer if viewer.principal["id"] == viewer_of(request).principal["id"] else None


def form_of(request: Request) -> Form:
    """The fields of a form that was sent."""
    return request.state.form


def caller_by(request: Request, token: str) -> Caller:
    """Whom this token names, or the request itself where it is empty. Raises `RunError` SG619."""
    for way in console_of(request).ways:
        if caller := way.caller(token):
            request.state.caller = request.state.principal = caller.principal["id"]
            return caller
    headers = MutableHeaders(raw=[pair for pair in request.headers.raw if pair[0] != b"authorization"])
    if token:
        headers["authorization"] = f"Bearer {token}"
    return caller_of(request, headers)


def address(path: str, **query: str) -> str:
    """An address of the console."""
    return f"{path}?{urlencode(query)}" if query else path


def inside(target: str) -> str:
    """Where to go after signing in: an address of the console, or its first page for any other."""
    plain = target.isascii() and target.isprintable() and "\\" not in target
    return target if plain and (target == ROOT or target.startswith((f"{ROOT}/", f"{ROOT}?"))) else HOME


def see_other(target: str) -> Response:
    return RedirectResponse(target, 303)


async def _renewed(request: Request, known: BrowserSession) -> BrowserSession | None:
    """The same session with a token in place of its own, where that is over and can be had again."""
    for way in console_of(request).ways:
        if token := await way.renewed(known.token):
            return replace(known, token=token)
    return None


def _know(request: Request, known: BrowserSession | None) -> None:
    viewer = request.state.viewer = caller_by(request, known.token if known else "")
    who = viewer.principal["id"]
    if known is None or known.who != who:
        if request.method == "POST":
            raise _forged("it was filled in by somebody else")
        request.state.session = console_of(request).sessions.new(known.token if known else "", who)
        request.state.new_session = True


def _here(request: Request) -> str:
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")


def _from_elsewhere(request: Request) -> bool:
    return request.method == "GET" and request.headers.get("sec-fetch-site") == "cross-site"


def _check_origin(request: Request) -> None:
    """Browsers say which site's page sends a form; scripts of other sites cannot change it."""
    headers: Mapping[str, str] = request.headers
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site not in (None, "same-origin") or (site is None and origin is None):
        raise _forged("it is from another site")
    # a gateway may have changed the host, and then the browser's word counts
    if site is None and urlsplit(origin or "").netloc != headers.get("host"):
        raise _forged("it is from another site")


async def _checked_form(request: Request, session: BrowserSession) -> Form:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise Fault(of_status(415, "the body is not a form"))
    try:
        text = (await body_of(request)).decode("ascii")
        form = ImmutableMultiDict(parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_FIELDS))
    except ValueError:
        raise Fault(of_status(400, "the form cannot be read")) from None
    if not hmac.compare_digest(form.get("csrf", "").encode(), session.csrf.encode()):
        raise _forged("its token is another session's")
    return form


def _forged(why: str) -> Fault:
    return Fault(
        of_status(
            403,
            f"this form was not taken: {why}",
            hint="Nothing was done. Open the page again, sign in if it asks you to, and send the form from there",
        )
    )
