"""Responses: `POST /v1/responses`."""

import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from sluicegate.errors import SluicegateError
from sluicegate.serving.http.calls import as_json, signed
from sluicegate.serving.http.events import ALIVE
from sluicegate.serving.http.openai import errors, parameters
from sluicegate.serving.http.openai.asking import Reply, Taken, take_on
from sluicegate.serving.http.openai.errors import CallRefusal
from sluicegate.serving.http.openai.history import questions
from sluicegate.serving.http.openai.messages import (
    CallMessage,
    Completed,
    OutputText,
    ResponseCall,
    ResponseReply,
    ResponseUsage,
)
from sluicegate.serving.http.problems import of_error

__all__ = ["respond"]

_PREFIX = "resp_"


async def respond(request: Request) -> Response:
    caller, call = await signed(request, ResponseCall, errors.misfit)
    ignored = parameters.ignored(call.model_extra or {}, parameters.RESPONSES)
    if call.conversation is not None and call.previous_response_id is not None:
        raise CallRefusal(
            "Mutually exclusive parameters: 'conversation' and 'previous_response_id'.",
            param="previous_response_id",
            code="mutually_exclusive_parameters",
        )
    named = call.conversation if isinstance(call.conversation, str | None) else call.conversation.id
    items = [CallMessage(role="user", content=call.input)] if isinstance(call.input, str) else call.input
    taken = await take_on(
        request,
        caller,
        call,
        questions(items, "input"),
        ignored=ignored,
        session=named or "",
        after=(call.previous_response_id or "").removeprefix(_PREFIX),
    )
    headers = {"x-request-id": taken.run}
    if call.stream:
        return StreamingResponse(_events(taken, call), headers=headers, media_type="text/event-stream")
    response = as_json(_reply(taken, call, await taken.whole()))
    response.headers.update(headers)
    return response


def _reply(taken: Taken, call: ResponseCall, reply: Reply | None) -> ResponseReply:
    """The response; one that has only begun, where there is no reply yet."""
    said = ResponseReply(
        id=f"{_PREFIX}{taken.run}",
        created_at=taken.created,
        status="in_progress",
        metadata=call.metadata or {},
        model=taken.model,
        output=[],
        previous_response_id=call.previous_response_id,
    )
    if reply is None:
        return said
    fields = reply.fields
    return said.model_copy(
        update={
            "status": "completed",
            "output": [_message(taken, reply.text)],
            "conversation": {"id": fields.session} if fields.session else None,
            "usage": ResponseUsage(
                input_tokens=fields.prompt_tokens,
                output_tokens=fields.completion_tokens,
                total_tokens=fields.prompt_tokens + fields.completion_tokens,
            ),
            "sluicegate": fields,
        }
    )


def _message(taken: Taken, text: str) -> Completed:
    return Completed(id=f"msg_{taken.run}", status="completed", content=[OutputText(text=text)])


async def _events(taken: Taken, call: ResponseCall) -> AsyncGenerator[str]:
    """The reply as OpenAI streams it. Where nothing may be sent before the whole is checked, it comes in one piece."""
    number = -1

    def event(type: str, **said: Any) -> str:
        nonlocal number
        number += 1
        body = {"type": type, "sequence_number": number, **said}
        return f"event: {type}\ndata: {json.dumps(body, ensure_ascii=False)}\n\n"

    def whole(type: str, reply: Reply | None = None, **more: Any) -> str:
        return event(type, response=_reply(taken, call, reply).model_dump(mode="json") | more)

    item, part = {"output_index": 0}, {"output_index": 0, "content_index": 0, "item_id": f"msg_{taken.run}"}
    empty, text = OutputText(text="").model_dump(), ""
    yield whole("response.created")
    yield whole("response.in_progress")
    begun = _message(taken, "").model_copy(update={"status": "in_progress", "content": []})
    yield event("response.output_item.added", **item, item=begun.model_dump())
    yield event("response.content_part.added", **part, part=empty)
    try:
        async with aclosing(taken.pieces()) as pieces:
            async for piece in pieces:
                if piece is None:
                    yield ALIVE
                elif isinstance(piece, str):
                    text += piece
                    yield event("response.output_text.delta", **part, delta=piece, logprobs=[])
                else:
                    # as it was streamed, which is more than the answer where that took the place of something
                    done = Reply(text, piece.fields)
                    message = _message(taken, text).model_dump()
                    yield event("response.output_text.done", **part, text=text, logprobs=[])
                    yield event("response.content_part.done", **part, part=message["content"][0])
                    yield event("response.output_item.done", **item, item=message)
                    yield whole("response.completed", done)
    except SluicegateError as error:
        said = errors.described(of_error(error, run=taken.run))
        failed = {"code": "server_error", "message": said["message"]}
        yield whole("response.failed", status="failed", error=failed, completed_at=time.time())
