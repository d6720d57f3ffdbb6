"""A receiver of webhooks on the loopback, and files of webhooks that send to it."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from tests.support.loopback import LoopbackServer

__all__ = ["SECRET", "Clock", "Hooked", "Hooks", "hooks_file"]

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
"""The one of the specification's examples."""


@dataclass(frozen=True, slots=True)
class Hooked:
    """A message as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def said(self) -> dict[str, Any]:
        return json.loads(self.body)


class Hooks(LoopbackServer):
    """Answers each message with the next of `answers`: a status with headers; the last one stays."""

    def __init__(self, *answers: tuple[int, dict[str, str]]) -> None:
        self.answers = [*(answers or ((200, {}),))]
        self.got: list[Hooked] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.got.append(Hooked(self.path, headers, body))
                status, more = receiver.answers.pop(0) if len(receiver.answers) > 1 else receiver.answers[0]
                self.send_response(status)
                for name, value in more.items():
                    self.send_header(name, value)
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, format: str, *args: Any) -> None: ...

        self.url = self.listen(Handler)
        # a sender that has read the status leaves without the rest
        self._http.handle_error = lambda request, client_address: None  # type: ignore[method-assign]

    @property
    def types(self) -> list[str]:
        return [each.said["type"] for each in self.got]


class Clock:
    """The time, as far as it is moved."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return datetime.now(UTC).timestamp() + self.ahead


def hooks_file(folder: Path, url: str, **settings: Any) -> Path:
    """A file with one destination, ``ops``, whose secret is in a file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "secret").write_text(SECRET, encoding="ascii")
    made = {"url": url, "secret": {"file": "secret"}, **settings}
    path = folder / "webhooks.yaml"
    path.write_text(json.dumps({"base_url": "https://desk.example.com", "destinations": {"ops": made}}), "utf-8")
    return path
