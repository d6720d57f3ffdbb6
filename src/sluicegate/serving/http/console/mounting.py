"""The console as routes of the application, the headers of its answers, and its errors as pages."""

from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from sluicegate.serving.http.callers import Callers
from sluicegate.serving.http.calls import Fault
from sluicegate.serving.http.console import sign_in
from sluicegate.serving.http.console.guarding import address, guarded, see_other
from sluicegate.serving.http.console.page import HOME, ROOT, PageRoute
from sluicegate.serving.http.console.pages import PAGES, link
from sluicegate.serving.http.console.rendering import Console, console_of, is_partial, render, static_file
from sluicegate.serving.http.console.sessions import Sessions
from sluicegate.serving.http.console.sign_on import sign_on_ways
from sluicegate.serving.links.links import PLACE

__all__ = ["console", "console_headers", "console_routes", "is_console", "problem_page"]

_POLICY = "; ".join(
    (
        "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self'", "connect-src 'self'",
        "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'",
    )
)  # fmt: skip
_HEADERS = [
    (b"content-security-policy", _POLICY.encode()),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    # its path tells no other site what is looked at; without an origin a form could not be told from a forged one
    (b"referrer-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
]
# an approval link is known to who holds it, and told to nobody: not to other pages here either
_OF_LINKS = [(name, b"no-referrer" if name == b"referrer-policy" else value) for name, value in _HEADERS]
_TLS_ONLY = (b"strict-transport-security", b"max-age=31536000")


def console(callers: Callers) -> Console:
    sessions = Sessions()
    return Console(PAGES, sign_on_ways(callers, sessions), sessions, by_token=callers.by_token)


def console_routes(made: Console) -> list[PageRoute]:
    """Every handler behind its guard."""
    pages = [each for page in made.pages for each in page.routes]
    ways = [each for way in made.ways for each in way.routes]

    async def home(_: Request) -> Response:
        return see_other(HOME)

    return [
        PageRoute(f"{ROOT}/static/{{mark}}/{{name}}", static_file),
        PageRoute(f"{ROOT}/", home),
        PageRoute(sign_in.PATH, guarded(sign_in.sign_in_page, signed_in=False, bounced=False)),
        PageRoute(sign_in.PATH, guarded(sign_in.sign_in, signed_in=False), "POST"),
        PageRoute(f"{ROOT}/sign-out", guarded(sign_in.sign_out, signed_in=False), "POST"),
        *(replace(each, handler=guarded(each.handler, signed_in=False, bounced=False)) for each in ways),
        *(replace(each, handler=guarded(each.handler, signed_in=False, bounced=False)) for each in link.ROUTES),
        *(replace(each, handler=guarded(each.handler)) for each in pages),
    ]


def is_console(scope: Scope) -> bool:
    path: str = scope["path"]
    return path == ROOT or path.startswith(f"{ROOT}/")


def console_headers(scope: Scope) -> list[tuple[bytes, bytes]]:
    """What every answer under `/console` has."""
    path: str = scope["path"]
    headers = _OF_LINKS if path.startswith(f"{PLACE}/") else _HEADERS
    return [*headers, _TLS_ONLY] if scope["scheme"] == "https" else headers


def problem_page(request: Request, fault: Fault) -> Response:
    """An error as a person sees it; who is not signed in is asked to, and comes back."""
    problem, made = fault.problem, console_of(request)
    if problem.status == 401 and request.method == "GET" and not is_partial(request) and (made.by_token or made.ways):
        query = f"?{request.url.query}" if request.url.query else ""
        return see_other(address(sign_in.PATH, next=request.url.path + query))
    return render(request, "problem.html", status=problem.status, problem=problem, sign_in=sign_in.PATH)
