"""What the console is made of: pages with their entries in the navigation, and ways to sign in."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from sluicegate.serving.http.callers import Caller

__all__ = ["HOME", "ROOT", "Handler", "Page", "PageRoute", "SignInWay"]

ROOT = "/console"
HOME = ROOT
"""Where the console opens."""

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class PageRoute:
    path: str
    """Whole, such as ``/console/runs/{run}``."""
    handler: Handler
    method: str = "GET"


def _everybody(_request: Request, _viewer: Caller) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Page:
    """Some routes that belong together."""

    title: str
    """In the navigation; empty for what has no entry there."""
    routes: Sequence[PageRoute]
    """The entry leads to the first."""
    shown: Callable[[Request, Caller], bool] = _everybody
    """Whether this viewer has the entry; it must be quick. The routes still ask the policies themselves."""


@dataclass(frozen=True, slots=True)
class SignInWay:
    """Another way to sign in than by typing a token: a button on the sign-in page that leads to the first route, which
    anybody may call. It ends with a session that has a token of its own kind."""

    label: str
    routes: Sequence[PageRoute]
    caller: Callable[[str], Caller | None]
    """Whom such a token names; None for one of another kind. Raises `RunError` SG619 when it is over."""
    renewed: Callable[[str], Awaitable[str]]
    """Another token in place of one that is over; empty where there is none."""
    left: Callable[[str], Awaitable[str]]
    """Where a browser goes that signs out with such a token; empty for the sign-in page."""
