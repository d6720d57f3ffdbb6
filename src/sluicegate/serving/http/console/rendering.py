"""Pages out of templates, and the files that they load."""

import hashlib
import json
import mimetypes
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from sluicegate.graphs.picture.picture import css
from sluicegate.serving.http.callers import Caller
from sluicegate.serving.http.console.amounts import FILTERS
from sluicegate.serving.http.console.page import ROOT, Page, SignInWay
from sluicegate.serving.http.console.sessions import BrowserSession, Sessions

__all__ = ["Console", "console_of", "environment", "is_partial", "render", "static", "static_file"]

_PACKAGE = "sluicegate.serving.http.console"


@dataclass(frozen=True, slots=True)
class Console:
    """Of one application, at its `app.state.console`."""

    pages: Sequence[Page]
    ways: Sequence[SignInWay]
    sessions: Sessions
    by_token: bool
    """Whether a token can be typed in."""


def console_of(request: Request) -> Console:
    return request.app.state.console


def render(request: Request, template: str, *, status: int = 200, **values: Any) -> Response:
    """A page, or a part of one. Besides `values` it knows `viewer` (None before sign-in), `csrf` for its forms, and
    what `environment` gives."""
    session: BrowserSession | None = getattr(request.state, "session", None)
    viewer: Caller | None = getattr(request.state, "viewer", None)
    console = console_of(request)
    text = environment().get_template(template).render(
        viewer=viewer,
        csrf=_hidden(session) if session else "",
        entries=_entries(request, console.pages, viewer) if viewer and not is_partial(request) else (),
        by_token=console.by_token,
        leaves=console.by_token or bool(console.ways),
        **values,
    )  # fmt: skip
    response = HTMLResponse(text, status)
    if session and request.state.new_session:
        console.sessions.keep(request, response, session)
    return response


def is_partial(request: Request) -> bool:
    """Whether the script asks, for a part of a page."""
    return request.headers.get("hx-request") == "true"


@cache
def environment() -> Environment:
    """Filters and functions that every template has are added here."""
    made = Environment(
        loader=PackageLoader(_PACKAGE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    names: dict[str, Any] = made.globals
    names.update(static=static, root=ROOT)
    filters: dict[str, Callable[..., Any]] = made.filters
    filters.update(FILTERS)
    filters.update(moment=_moment, left=_left, json=_json, split_at=_split_at, ticks=_ticks)
    return made


def _moment(at: datetime | str) -> str:
    """A time as people read it."""
    time = datetime.fromisoformat(at) if isinstance(at, str) else at
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1)


def _ticks(text: str) -> Markup:
    """A text whose parts between backticks are code."""
    parts = [
        Markup("<code>{}</code>").format(part) if at % 2 else escape(part) for at, part in enumerate(text.split("`"))
    ]
    return Markup("").join(parts) if len(parts) % 2 else escape(text)


def _split_at(text: str, marks: Collection[str]) -> list[str]:
    """The text in pieces, of which each of these marks is one of its own."""
    return re.split(f"({'|'.join(map(re.escape, marks))})", text) if marks else [text]


def _left(until: datetime | str, now: datetime) -> int:
    """Whole seconds until then."""
    return max(0, int((datetime.fromisoformat(str(until)) - now).total_seconds()))


def static(name: str) -> str:
    """The address of a file that pages load: another one when its content is another."""
    return f"{ROOT}/static/{_files()[name][0]}/{name}"


async def static_file(request: Request) -> Response:
    mark, content = _files().get(request.path_params["name"], ("", b""))
    if not mark or request.path_params["mark"] != mark:
        raise HTTPException(404)
    kind, _ = mimetypes.guess_type(request.path_params["name"])
    kept = {"cache-control": "public, max-age=31536000, immutable"}
    return Response(content, media_type=kind, headers=kept)


@cache
def _files() -> Mapping[str, tuple[str, bytes]]:
    folder = (files(_PACKAGE) / "static").iterdir()
    found = {each.name: each.read_bytes() for each in folder if each.name.endswith((".js", ".css", ".svg", ".txt"))}
    # of the pictures of graphs, which cannot have a style element of their own here
    found["graph.css"] = css().encode()
    return {name: (hashlib.sha256(content).hexdigest()[:16], content) for name, content in found.items()}


def _hidden(session: BrowserSession) -> Markup:
    return Markup('<input type="hidden" name="csrf" value="{}">').format(session.csrf)


def _entries(request: Request, pages: Sequence[Page], viewer: Caller) -> list[dict[str, Any]]:
    """The navigation. The entry whose address is the longest beginning of this page's is the current one."""
    shown = [(page.title, page.routes[0].path) for page in pages if page.title and page.shown(request, viewer)]
    here = request.url.path
    current = max((path for _, path in shown if here == path or here.startswith(f"{path}/")), key=len, default="")
    return [{"title": title, "path": path, "current": path == current} for title, path in shown]
