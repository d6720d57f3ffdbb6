"""The standard input and output of an upstream server, with a bound on each of its messages.

The SDK's own transport keeps a line until it ends, however long it is: a server that floods would fill this process's
memory. Here such a line ends the connection. What is no message is passed on as the fault that it is.
"""

import asyncio
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
from mcp import types
from mcp.client.stdio import get_default_environment
from mcp.shared.message import SessionMessage

from sluicegate.nodes.tools.mcp import McpServer

__all__ = ["bounded_stdio"]

_GRACE_S = 2.0
"""Seconds that a server has to end, once its input is closed and once more after SIGTERM."""


@asynccontextmanager
async def bounded_stdio(server: McpServer, most: int, ended: asyncio.Event) -> AsyncGenerator[tuple[Any, Any]]:
    """Start the server; its two streams of messages, none of which is longer than `most` bytes. `ended` is set when no
    more will come. Raises `OSError`."""
    process = await asyncio.create_subprocess_exec(
        server.command,
        *server.args,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**get_default_environment(), **server.env},
        limit=most,
        start_new_session=True,
    )
    assert process.stdin
    assert process.stdout
    given, read = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    write, taken = anyio.create_memory_object_stream[SessionMessage](0)
    tasks = [
        asyncio.create_task(_reading(process.stdout, given, ended)),
        asyncio.create_task(_writing(process.stdin, taken, given)),
    ]
    try:
        yield read, write
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.shield(_ended(process, tasks))
        for stream in (given, read, write, taken):
            stream.close()


async def _reading(output: asyncio.StreamReader, given: Any, ended: asyncio.Event) -> None:
    """Ends with the server's output, or with a line that is too long."""
    async with given:
        try:
            while line := await output.readline():
                try:
                    message = SessionMessage(types.jsonrpc_message_adapter.validate_json(line, by_name=False))
                except ValueError as error:
                    await given.send(error)
                else:
                    await given.send(message)
        except (ValueError, anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass
        finally:
            # before whoever waits for an answer learns that none will come, and calls again
            ended.set()


async def _writing(input: asyncio.StreamWriter, taken: Any, given: Any) -> None:
    with suppress(OSError):
        async with taken:
            async for message in taken:
                input.write(message.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")
                await input.drain()
    # who waits for an answer learns that none will come
    await given.aclose()


async def _ended(process: asyncio.subprocess.Process, tasks: list[asyncio.Task[None]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)
    assert process.stdin
    process.stdin.close()
    for ending in (None, signal.SIGTERM, signal.SIGKILL):
        if ending is not None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, ending)
        with suppress(TimeoutError):
            async with asyncio.timeout(_GRACE_S):
                # its output is read on, or it could not end
                await process.communicate()
                return
