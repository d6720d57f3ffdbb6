"""An MCP server over standard input and output: the process of one client, for one person.

Frames are lines of JSON. Other than the SDK's own transport this one bounds them, answers what is no JSON-RPC, and
lets calls in progress be answered when it is told to end or the client says no more.
"""

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp.types import (
    INVALID_REQUEST,
    PARSE_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
    RequestId,
    jsonrpc_message_adapter,
)
from pydantic import ValidationError

from sluicegate.serving.mcp.server import mcp_server
from sluicegate.serving.workflows import Workflows
from sluicegate.state import Principal

__all__ = ["serve_stdio"]

_Incoming = MemoryObjectSendStream[SessionMessage | Exception]
_Outgoing = MemoryObjectReceiveStream[SessionMessage]


async def serve_stdio(workflows: Workflows, person: Principal) -> None:
    """Serve until the client closes its end or is gone, or until SIGTERM or Ctrl-C. Calls in progress are then
    answered, for `drain_s` at most; accepted runs that take longer are resumed by the next service of the home.

    Standard input and output are the client's alone: what else is printed goes to standard error.
    """
    server = mcp_server(workflows, lambda _: person)
    client = _Client(workflows.limits.body_bytes)
    over = client.over
    async with workflows:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, over.set)
        incoming, read_stream = anyio.create_memory_object_stream[SessionMessage | Exception]()
        write_stream, outgoing = anyio.create_memory_object_stream[SessionMessage]()
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(client.read(incoming))
            tasks.create_task(client.write(outgoing))
            tasks.create_task(server.run(read_stream, write_stream, server.create_initialization_options()))
            await over.wait()
            await workflows.close()
            with suppress(TimeoutError):
                await asyncio.wait_for(client.quiet.wait(), workflows.limits.drain_s)
            reading.cancel()


class _Client:
    """The other end of the pipes."""

    def __init__(self, most: int) -> None:
        """`most`: bytes of a frame."""
        self._most = most
        self._input, self._output = os.dup(0), os.dup(1)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(2, 1)
        self.over = asyncio.Event()
        """It says no more, or is gone."""
        self.quiet = asyncio.Event()
        """It has an answer to whatever it has asked."""
        self.quiet.set()
        self._unanswered = set[RequestId]()
        self._frames = asyncio.Queue[bytes | None](1)
        loop = asyncio.get_running_loop()

        def put(frame: bytes | None) -> None:
            asyncio.run_coroutine_threadsafe(self._frames.put(frame), loop).result()

        # a thread that waits for input cannot be told to stop: it must not keep the process
        threading.Thread(target=self._lines, args=(put,), daemon=True).start()

    def _lines(self, put: Callable[[bytes | None], None]) -> None:
        with os.fdopen(self._input, "rb") as stream:
            while line := stream.readline(self._most + 1):
                whole, too_long = line.endswith(b"\n"), False
                while not whole and (rest := stream.readline(self._most + 1)):
                    whole, too_long = rest.endswith(b"\n"), True
                if too_long or line.strip():
                    put(b"" if too_long else line)
        put(None)

    async def read(self, incoming: _Incoming) -> None:
        """Pass on its messages, and answer what is none, until it says no more or this is cancelled."""
        async with incoming:
            while (frame := await self._frames.get()) is not None:
                message = self._message(frame)
                if isinstance(message, JSONRPCError):
                    await self._send(message)
                    continue
                if isinstance(message, JSONRPCRequest):
                    self._unanswered.add(message.id)
                    self.quiet.clear()
                elif isinstance(message, JSONRPCNotification) and message.method == "notifications/cancelled":
                    self._settled((message.params or {}).get("requestId"))
                await incoming.send(SessionMessage(message))
            self.over.set()
            # who says no more may still listen
            await asyncio.Event().wait()

    async def write(self, outgoing: _Outgoing) -> None:
        """Send it what the server says."""
        async with outgoing:
            async for each in outgoing:
                await self._send(each.message)
                if isinstance(each.message, JSONRPCResponse | JSONRPCError):
                    self._settled(each.message.id)

    def _settled(self, request: RequestId | None) -> None:
        """It is answered, or will not be, since the client does not want to know any more."""
        self._unanswered -= {request}
        if not self._unanswered:
            self.quiet.set()

    async def _send(self, message: JSONRPCMessage) -> None:
        line = message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n"
        try:
            await asyncio.to_thread(self._write_whole, line)
        except OSError:
            self.over.set()

    def _write_whole(self, line: bytes) -> None:
        while line:
            line = line[os.write(self._output, line) :]

    def _message(self, frame: bytes) -> JSONRPCMessage:
        """The message in a frame; for one without, the error that answers it."""
        if not frame:
            return _error(INVALID_REQUEST, f"the message has more than {self._most:,} bytes")
        try:
            return jsonrpc_message_adapter.validate_json(frame, by_name=False)
        except ValidationError as error:
            broken = any(each["type"] == "json_invalid" for each in error.errors(include_input=False))
            return _error(PARSE_ERROR, "Parse error") if broken else _error(INVALID_REQUEST, "Invalid request")


def _error(code: int, message: str) -> JSONRPCError:
    return JSONRPCError(jsonrpc="2.0", id=None, error=ErrorData(code=code, message=message))
