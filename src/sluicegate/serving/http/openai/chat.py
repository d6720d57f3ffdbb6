"""Chat Completions: `POST /v1/chat/completions`."""

import json
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
from sluicegate.serving.http.openai.history import questions
from sluicegate.serving.http.openai.messages import ChatCall, ChatChoice, ChatCompletion, ChatMessage, ChatUsage
from sluicegate.serving.http.problems import of_error

__all__ = ["complete"]


async def complete(request: Request) -> Response:
    caller, call = await signed(request, ChatCall, errors.misfit)
    ignored = parameters.ignored(call.model_extra or {}, parameters.CHAT)
    taken = await take_on(request, caller, call, questions(call.messages, "messages"), ignored=ignored)
    headers = {"x-request-id": taken.run}
    if call.stream:
        usage = bool(call.stream_options and call.stream_options.include_usage)
        return StreamingResponse(_chunks(taken, usage=usage), headers=headers, media_type="text/event-stream")
    reply = await taken.whole()
    completion = ChatCompletion(
        id=f"chatcmpl-{taken.run}",
        created=taken.created,
        model=taken.model,
        choices=[ChatChoice(message=ChatMessage(content=reply.text))],
        usage=_usage(reply),
        sluicegate=reply.fields,
    )
    response = as_json(completion)
    response.headers.update(headers)
    return response


async def _chunks(taken: Taken, *, usage: bool) -> AsyncGenerator[str]:
    """The reply as OpenAI streams it. Where nothing may be sent before the whole is checked, it comes in one piece."""

    def chunk(*choices: dict[str, Any], **more: Any) -> str:
        said = {
            "id": f"chatcmpl-{taken.run}",
            "object": "chat.completion.chunk",
            "created": taken.created,
            "model": taken.model,
            "choices": choices,
            **({"usage": None} if usage else {}),
            **more,
        }
        return _data(said)

    def delta(said: dict[str, Any], finish: str | None = None, **more: Any) -> str:
        return chunk({"index": 0, "delta": said, "logprobs": None, "finish_reason": finish}, **more)

    yield delta({"role": "assistant", "content": "", "refusal": None})
    try:
        async with aclosing(taken.pieces()) as pieces:
            async for piece in pieces:
                if piece is None:
                    yield ALIVE
                elif isinstance(piece, str):
                    yield delta({"content": piece})
                else:
                    yield delta({}, "stop", sluicegate=piece.fields.model_dump(mode="json"))
                    if usage:
                        yield chunk(usage=_usage(piece).model_dump())
    except SluicegateError as error:
        yield _data({"error": errors.described(of_error(error, run=taken.run))})
    else:
        yield "data: [DONE]\n\n"


def _usage(reply: Reply) -> ChatUsage:
    prompt, completion = reply.fields.prompt_tokens, reply.fields.completion_tokens
    return ChatUsage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion)


def _data(said: dict[str, Any]) -> str:
    return f"data: {json.dumps(said, ensure_ascii=False)}\n\n"
