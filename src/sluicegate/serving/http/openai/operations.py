"""The endpoints of OpenAI's API."""

from functools import partial

from sluicegate.serving.http.calls import Operation
from sluicegate.serving.http.openai.chat import complete
from sluicegate.serving.http.openai.errors import CallError
from sluicegate.serving.http.openai.messages import (
    ChatCall,
    ChatCompletion,
    ModelCard,
    ModelCards,
    ResponseCall,
    ResponseReply,
)
from sluicegate.serving.http.openai.models import model, models
from sluicegate.serving.http.openai.responses import respond

__all__ = ["OPENAI"]

_Operation = partial(Operation, error=CallError)
_FAILS = (400, 401, 403, 404, 408, 409, 413, 429, 500, 502, 503)

OPENAI: tuple[Operation, ...] = (
    _Operation(
        "GET", "/v1/models", "models", "The workflows, as OpenAI's models", models, ModelCards, problems=(401, 503)
    ),
    _Operation("GET", "/v1/models/{model}", "model", "One of them", model, ModelCard, problems=(401, 404, 503)),
    _Operation(
        "POST", "/v1/chat/completions", "chat", "OpenAI's Chat Completions", complete, ChatCompletion, ChatCall,
        problems=_FAILS, streams=True,
    ),
    _Operation(
        "POST", "/v1/responses", "respond", "OpenAI's Responses", respond, ResponseReply, ResponseCall,
        problems=_FAILS, streams=True,
    ),
)  # fmt: skip
