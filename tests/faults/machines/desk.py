"""What is outside of all machines: the model that is paid for each call, and the desk where an order is placed.

Both are one HTTP server that no fault touches, so what it has counted is the truth. An order is placed once for each
idempotency key; a call with a key that it has seen gets the first answer. Of each call it notes which order it was for
(every text and every action names its order), when, and of which version the workflow was that made it.
"""

import json
import random
import re
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["CALL_TOKENS", "CALL_USD", "OutsideDesk"]

CALL_TOKENS = (100, 20)
"""Prompt and completion tokens of each call of the model."""
CALL_USD = 0.001
"""What it costs, by the price in `workflow`."""
_ORDER = re.compile(r"order (\w+)")


@dataclass
class Counted:
    """All that was asked for."""

    model_calls: Counter[str] = field(default_factory=Counter[str])
    """By order."""
    model_times: list[tuple[datetime, str]] = field(default_factory=list[tuple[datetime, str]])
    """When each call of the model came, and the version of its workflow."""
    keys: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """The idempotency keys that an order was placed with: more than one is a repeated effect."""
    placed_at: list[datetime] = field(default_factory=list[datetime])
    """When each order was placed."""
    asked_again: int = 0
    """Calls with a key that had been seen."""


class OutsideDesk:
    """Serves on `address` while its block runs."""

    def __init__(self, address: str, port: int, *, seconds: tuple[float, float] = (0.0, 0.0), seed: int = 0) -> None:
        """Answers of the model take between `seconds`."""
        self.counted = Counted()
        self.seconds, self._chance, self._lock = seconds, random.Random(seed), threading.Lock()
        desk = self

        class Handler(_Handler):
            outside = desk

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A caller that was killed reads no answer."""

        self._http = Server((address, port), Handler)
        self.url = f"http://{address}:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def answered(self, model: str, text: str) -> str:
        """What the model says, after its time."""
        found = _ORDER.search(text)
        order = found[1] if found else ""
        with self._lock:
            seconds = self._chance.uniform(*self.seconds)
            self.counted.model_calls[order] += 1
            self.counted.model_times.append((datetime.now(UTC), model.removeprefix("desk-")))
        time.sleep(seconds)
        return json.dumps({"item": f"order {order}"})

    def placed(self, order: str, key: str) -> dict[str, Any]:
        with self._lock:
            keys = self.counted.keys[order]
            if key in keys:
                self.counted.asked_again += 1
            else:
                self.counted.placed_at.append(datetime.now(UTC))
            keys.add(key)
        return {"id": f"T-{order}"}


class _Handler(BaseHTTPRequestHandler):
    outside: OutsideDesk
    protocol_version = "HTTP/1.1"
    # headers and body in one packet: else each answer waits for the other side's delayed acknowledgement
    wbufsize = -1
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None: ...

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/api/show":
            self._say({"details": {"family": "desk"}, "capabilities": ["completion"]})
        elif self.path == "/api/chat":
            text = self.outside.answered(body["model"], body["messages"][-1]["content"])
            prompt, completion = CALL_TOKENS
            self._say(
                {
                    "model": body["model"], "message": {"role": "assistant", "content": text}, "done": True,
                    "done_reason": "stop", "prompt_eval_count": prompt, "eval_count": completion,
                }
            )  # fmt: skip
        elif self.path == "/orders":
            self._say(self.outside.placed(body["order"], body["key"]))
        else:
            self._say({})

    def do_GET(self) -> None:
        self._say({"models": []})

    def _say(self, reply: dict[str, Any]) -> None:
        raw = json.dumps(reply).encode() + b"\n"
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(raw)
        self.close_connection = True
