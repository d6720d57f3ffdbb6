"""The bodies of OpenAI's API, as far as they are read or written here. The OpenAPI document is made from these models.

A body may have more than a model names: `parameters` says what becomes of it.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from sluicegate.serving.http.callers import Named
from sluicegate.serving.http.messages import Run
from sluicegate.state import Priority

__all__ = [
    "CallMessage",
    "ChatCall",
    "ChatCompletion",
    "Completed",
    "ModelCard",
    "ModelCards",
    "ResponseCall",
    "ResponseReply",
    "RunFields",
]


class _Read(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True, use_attribute_docstrings=True)


class _Written(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class ContentPart(_Read):
    type: str
    text: str | None = None


class CallMessage(_Read):
    """A message of a history; in Responses, any item of the input."""

    type: str = "message"
    role: str = ""
    content: str | list[ContentPart] | None = None


class CallExtension(BaseModel):
    """What a call may say besides OpenAI's parameters."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)

    session: str = Field(default="", max_length=200)
    """A name for the conversation, as in `POST /v1/runs`; of the history, only the last question is then read."""
    principal: Named | None = None
    """The user it is sent for, with roles and groups; only with a token that may act on behalf of others."""
    priority: Priority | None = None
    """As in `POST /v1/runs`."""


class StreamOptions(_Read):
    include_usage: bool | None = None


class _Call(_Read):
    model: str
    """The workflow's name."""
    stream: bool | None = None
    user: str | None = Field(default=None, max_length=200)
    """With a token that may act on behalf of others: the id of the user it is sent for. Otherwise it only tells
    apart the histories of an application's users."""
    safety_identifier: str | None = Field(default=None, max_length=200)
    """The same, where there is no `user`; it never names the requester."""
    sluicegate: CallExtension | None = None


class ChatCall(_Call):
    """A call of Chat Completions."""

    messages: list[CallMessage] = Field(min_length=1)
    stream_options: StreamOptions | None = None


class ConversationName(_Read):
    id: Annotated[str, Field(max_length=200)]


class ResponseCall(_Call):
    """A call of Responses."""

    input: str | list[CallMessage]
    previous_response_id: str | None = Field(default=None, max_length=200)
    conversation: Annotated[str, Field(max_length=200)] | ConversationName | None = None
    metadata: dict[str, str] | None = None
    """Given back with the reply."""


class RunFields(Run):
    """A reply's run, as `GET /v1/runs/{id}` has it."""

    session: str
    """The conversation that it is a turn of; empty when none."""
    ignored: list[str]
    """Parameters of the call that nothing was done with."""
    replaced: str
    """What had been streamed, where the answer does not begin with it; empty otherwise."""


class ChatMessage(_Written):
    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class ChatChoice(_Written):
    index: int = 0
    message: ChatMessage
    logprobs: None = None
    finish_reason: Literal["stop"] = "stop"


class ChatUsage(_Written):
    """The tokens of all models that the run has called."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatCompletion(_Written):
    id: str
    """``chatcmpl-`` and the run."""
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: ChatUsage
    sluicegate: RunFields


class OutputText(_Written):
    type: Literal["output_text"] = "output_text"
    text: str
    annotations: list[JsonValue] = []
    logprobs: list[JsonValue] = []


class Completed(_Written):
    """The message that a response has as its output."""

    id: str
    type: Literal["message"] = "message"
    status: Literal["in_progress", "completed"]
    role: Literal["assistant"] = "assistant"
    content: list[OutputText]


class ResponseUsage(_Written):
    """The tokens of all models that the run has called. How many of them a provider had cached is not known."""

    input_tokens: int
    input_tokens_details: dict[str, int] = {"cached_tokens": 0, "cache_write_tokens": 0}
    output_tokens: int
    output_tokens_details: dict[str, int] = {"reasoning_tokens": 0}
    total_tokens: int


class ResponseReply(_Written):
    id: str
    """``resp_`` and the run."""
    object: Literal["response"] = "response"
    created_at: int
    status: Literal["in_progress", "completed", "failed"]
    error: dict[str, str] | None = None
    incomplete_details: None = None
    instructions: None = None
    metadata: dict[str, str]
    model: str
    output: list[Completed]
    parallel_tool_calls: bool = False
    previous_response_id: str | None
    conversation: dict[str, str] | None = None
    temperature: None = None
    text: dict[str, Any] = {"format": {"type": "text"}}
    tool_choice: Literal["auto"] = "auto"
    tools: list[JsonValue] = []
    top_p: None = None
    truncation: Literal["disabled"] = "disabled"
    usage: ResponseUsage | None = None
    sluicegate: RunFields | None = None


class ModelCard(_Written):
    """A workflow."""

    id: str
    object: Literal["model"] = "model"
    created: int
    """When this server was started."""
    owned_by: str = "sluicegate"
    sluicegate: dict[str, str]
    """Its `version`, `digest` and `purpose`."""


class ModelCards(_Written):
    object: Literal["list"] = "list"
    data: list[ModelCard]
