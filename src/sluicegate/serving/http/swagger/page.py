"""`GET /docs` and what the page loads."""

from functools import cache
from importlib.resources import files

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

__all__ = ["ROUTES"]

_TYPES = {"swagger-ui-bundle.js": "text/javascript", "start.js": "text/javascript", "swagger-ui.css": "text/css"}
# Swagger UI styles single elements, and its pictures are data
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


async def _page(_: Request) -> Response:
    return Response(_content("page.html"), media_type="text/html", headers={"content-security-policy": _POLICY})


async def _file(request: Request) -> Response:
    name: str = request.path_params["file"]
    if name not in _TYPES:
        raise HTTPException(404)
    return Response(_content(name), media_type=_TYPES[name], headers={"cache-control": "public, max-age=86400"})


@cache
def _content(name: str) -> bytes:
    return (files("sluicegate.serving.http.swagger") / "files" / name).read_bytes()


ROUTES = [Route("/docs", _page), Route("/docs/{file}", _file)]
