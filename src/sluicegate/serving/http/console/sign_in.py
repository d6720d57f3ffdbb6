"""Signing in and out."""

from starlette.requests import Request
from starlette.responses import Response

from sluicegate.errors import SluicegateError
from sluicegate.serving.http.console.guarding import caller_by, form_of, inside, see_other
from sluicegate.serving.http.console.page import ROOT
from sluicegate.serving.http.console.rendering import console_of, render
from sluicegate.serving.http.problems import of_error

__all__ = ["PATH", "sign_in", "sign_in_page", "sign_out", "signed_in"]

PATH = f"{ROOT}/sign-in"


async def sign_in_page(request: Request) -> Response:
    target = inside(request.query_params.get("next", ""))
    try:
        caller_by(request, request.state.session.token)
    except SluicegateError:
        return _asked(request, target)
    return see_other(target)


async def sign_in(request: Request) -> Response:
    """By a token that was typed in."""
    form = form_of(request)
    target, token = inside(form.get("next", "")), form.get("token", "").strip()
    if not token:
        return _asked(request, target, "Enter a token", 422)
    try:
        return signed_in(request, token, target)
    except SluicegateError as error:
        problem = of_error(error)
        return _asked(request, target, f"{problem.detail[:1].upper()}{problem.detail[1:]}", problem.status)


def signed_in(request: Request, token: str, target: str) -> Response:
    """A session of whom this bearer token names, as every way to sign in ends. Raises `RunError` SG619."""
    sessions = console_of(request).sessions
    who = caller_by(request, token).principal["id"]
    response = see_other(inside(target))
    sessions.keep(request, response, sessions.new(token, who))
    return response


async def sign_out(request: Request) -> Response:
    token = request.state.session.token
    for way in console_of(request).ways:
        if target := await way.left(token):
            # no redirect: a form of ours may lead nowhere else
            response = render(request, "arriving.html", target=target, why="You are signed out here.")
            break
    else:
        response = see_other(PATH)
    console_of(request).sessions.end(request, response)
    return response


def _asked(request: Request, target: str, wrong: str = "", status: int = 200) -> Response:
    ways = [{"label": way.label, "path": way.routes[0].path} for way in console_of(request).ways]
    return render(request, "sign_in.html", target=target, wrong=wrong, ways=ways, status=status)
