"""A server on the loopback that speaks OpenAI's Chat Completions, as vLLM, SGLang, llama.cpp and LM Studio do.

What it answers is set by the test; whether it gives the usage, and thinking in a field of its own, differs between
servers: a stream has usage only where `stream_options.include_usage` asks for it, and some servers never give it.
"""

import json
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.support.loopback import LoopbackServer


@dataclass
class Says:
    content: str = "Hi."
    thinking: str = ""
    field: str = "reasoning_content"
    """The field that thinking is in; newer servers call it ``reasoning``."""
    usage: dict[str, Any] | None = None
    finish: str = "stop"
    arguments: str = ""
    """A tool call with these arguments."""
    die_after: int | None = None
    """Close the connection after so many chunks."""


class OpenAiServer(LoopbackServer):
    """Serves while its block runs; `url`, `says` and `requests` are for the test."""

    def __init__(self) -> None:
        self.says = Says()
        self.requests: list[dict[str, Any]] = []
        server = self

        class Handler(_Handler):
            openai = server

        self.url = f"{self.listen(Handler)}/v1"


class _Handler(BaseHTTPRequestHandler):
    openai: OpenAiServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None: ...

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.openai.requests.append(body)
        says = self.openai.says
        head = {"id": "chatcmpl-1", "created": 1, "model": body["model"]}
        if body.get("stream"):
            self._stream(says, head, body)
            return
        message: dict[str, Any] = {"role": "assistant", "content": says.content}
        if says.thinking:
            message[says.field] = says.thinking
        if says.arguments:
            call = {"name": "Answer", "arguments": says.arguments}
            message["tool_calls"] = [{"id": "call_1", "type": "function", "function": call}]
        choice = {"index": 0, "message": message, "finish_reason": says.finish}
        reply = {**head, "object": "chat.completion", "choices": [choice]}
        self._send(json.dumps(reply | ({"usage": says.usage} if says.usage else {})).encode(), "application/json")

    def _stream(self, says: Says, head: dict[str, Any], body: dict[str, Any]) -> None:
        deltas = [{"role": "assistant", "content": ""}]
        deltas += [{says.field: f"{word} "} for word in says.thinking.split()]
        deltas += [{"content": piece} for piece in says.content.splitlines(keepends=True)]
        chunks: list[dict[str, Any]] = [
            {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas
        ]
        chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": says.finish}]})
        if says.usage and (body.get("stream_options") or {}).get("include_usage"):
            chunks.append({"choices": [], "usage": says.usage})
        lines = [json.dumps({**head, "object": "chat.completion.chunk", **chunk}) for chunk in chunks]
        sent = "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"][: says.die_after]).encode()
        self._send(sent, "text/event-stream", cut=says.die_after is not None)

    def _send(self, raw: bytes, kind: str, *, cut: bool = False) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        # a connection that breaks off has sent less than it said it would
        self.send_header("Content-Length", str(len(raw) + cut))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(raw)
        self.close_connection = True
