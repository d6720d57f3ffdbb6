"""The messages of the HTTP API. The OpenAPI document is made from these models."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, JsonValue, model_validator

from sluicegate.graphs.runtime.intake import MAX_ATTACHMENTS, printable
from sluicegate.plain_data import VISIBLE
from sluicegate.run_summary import Status
from sluicegate.serving.http.callers import Named
from sluicegate.serving.progress import FinishedStep
from sluicegate.state import Priority

__all__ = [
    "Approval",
    "Approvals",
    "Ask",
    "Cited",
    "Conversation",
    "Conversations",
    "ConversationsWanted",
    "Decide",
    "Feedback",
    "Given",
    "Health",
    "Page",
    "Problem",
    "Run",
    "Served",
    "StepDone",
    "Text",
    "Trail",
    "Turn",
    "Turns",
    "TurnsWanted",
    "WorkflowCard",
    "WorkflowList",
]


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)


class _Out(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Ask(_In):
    """A request."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"text": "How do I reset my password?", "request_id": "ticket-1234"}]}
    )

    text: str = Field(min_length=1, json_schema_extra={"pattern": VISIBLE})
    """The request's text."""
    workflow: str = Field(default="", max_length=200)
    """The workflow that it is for; may be left out where only one is served."""
    attachments: dict[Annotated[str, Field(min_length=1, max_length=200)], str] = Field(
        default_factory=dict[str, str], max_length=MAX_ATTACHMENTS
    )
    """Tables that come with it, as CSV, by the names of their files."""
    request_id: str = Field(default="", max_length=200)
    """Names the request: sending it again with the same id gives the same run, never a second one."""
    session: str = Field(default="", max_length=200)
    """A name for the conversation that the run is the next turn of, among your own; traces show it."""
    principal: Named | None = None
    """The user it is sent for; only with a token that may act on behalf of others."""
    priority: Priority | None = None
    """Before which requests it is carried where they wait: your own level, by your roles, or a lower one."""
    stream: bool = False
    """Answer with server-sent events: `run`, a `step` for each finished one, then `result` or `problem`."""


_EDITED_ONLY: dict[str, JsonValue] = {
    "if": {"properties": {"verdict": {"const": "edit"}}},
    "then": {
        "anyOf": [
            {"properties": {"text": {"pattern": VISIBLE}}, "required": ["text"]},
            {"properties": {"arguments": {"type": "object"}}, "required": ["arguments"]},
        ]
    },
    "else": {"properties": {"text": {"const": ""}, "arguments": {"type": "null"}}},
}


class Decide(_In):
    """A decision on a waiting run. What to send instead comes with `edit`, and only there."""

    model_config = ConfigDict(json_schema_extra=_EDITED_ONLY)

    verdict: Literal["approve", "edit", "reject"]
    reason: Annotated[str, Field(max_length=2000), AfterValidator(printable)] = ""
    """The reason; the requester reads it when the request is rejected."""
    text: str = Field(default="", max_length=200_000)
    """For `edit`: the text to send instead of the draft."""
    arguments: dict[str, JsonValue] | None = None
    """For `edit` where a tool call waits: the arguments to change; null takes one out."""
    changed: Literal["refuse", "kept", "migrate"] = "refuse"
    """If the workflow has changed since: refuse, finish on the version it started with, or continue on this one."""
    principal: Named | None = None
    """The approver; only with a token that may act on behalf of others."""

    @model_validator(mode="after")
    def _edited_only(self) -> Self:
        given, self.text = self.text, printable(self.text)
        if self.verdict == "edit":
            fits = bool(self.text.strip()) or self.arguments is not None
        else:
            fits = not given and self.arguments is None
        if not fits:
            raise ValueError("text or arguments: one is required for the verdict edit, and allowed only there")
        return self


class Reply(_In):
    """The requester's answer to what a run asks."""

    text: str = Field(min_length=1, max_length=200_000, json_schema_extra={"pattern": VISIBLE})
    principal: Named | None = None
    """The requester; only with a token that may act on behalf of others."""


class Feedback(_In):
    """A score of a run."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")
    """Such as `helpful`; `correct_intent` with a label as value corrects the class, and is labelled data."""
    value: FiniteFloat | bool | Annotated[str, Field(max_length=200)]
    comment: Annotated[str, Field(max_length=2000), AfterValidator(printable)] = ""
    principal: Named | None = None
    """The scorer; only with a token that may act on behalf of others."""


class Cited(_Out):
    marker: str
    """As it appears in the answer, such as `[1]`."""
    document: str
    version: str
    title: str


class Awaited(_Out):
    """The decision that a run waits for."""

    id: str
    """Of the approval; the same as the run's."""
    approvers: str
    deadline: datetime
    """When the request is refused without a decision."""


class Asked(_Out):
    """What a run asks its requester: send the answer to its `answer`, or as the next turn of its conversation."""

    text: str
    deadline: datetime
    """When the run goes on without an answer."""


class Edited(_Out):
    """The arguments of a tool call, as they were shown and as a person changed them."""

    before: dict[str, Any]
    after: dict[str, Any]


class Run(_Out):
    """The current state of a run."""

    run: str
    status: Status
    path: str
    """`cache`, `slm`, `rag-slm`, `rag-llm`, `tool`, `human` or `refused`; empty before its end."""
    answer: str
    """Empty while a person has not decided on it, and for a reader who may not read all of its sources."""
    reason: str
    """Why it was refused, waits or failed, or why its answer is withheld."""
    citations: list[Cited]
    intent: str | None
    risk: str | None
    confidence: float | None
    """Calibrated probability that the intent is right."""
    threshold: float | None
    answer_confidence: float | None
    model: str
    """The model that really answered, as `provider:model`."""
    fallback: str
    """The primary model and the error code of why it did not answer; empty when it did."""
    prompt_tokens: int
    completion_tokens: int
    usd: float
    ms: float
    """Working time, without waiting for people."""
    workflow: str
    version: str
    digest: str
    approval: Awaited | None
    question: Asked | None = None
    edited: Edited | None = None
    """In the reply to an `edit` of arguments."""


class TurnsWanted(BaseModel):
    """Which conversation is shown."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    session: str = Field(min_length=1, max_length=200)
    """The `session` that its requests named."""
    workflow: str = Field(default="", max_length=200)
    """The workflow that it is held with; may be left out where only one is served."""


class Turn(_Out):
    """One turn of a conversation."""

    number: int
    at: datetime
    question: str
    """What was asked; empty where its run has been deleted."""
    result: Run | None
    """Null where its run has been deleted, or has not begun."""


class Turns(_Out):
    """A conversation, first turn first."""

    session: str
    turns: list[Turn]


class ConversationsWanted(BaseModel):
    """Whose conversations are listed."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    workflow: str = Field(default="", max_length=200)
    """Only those that are held with this workflow."""


class Conversation(_Out):
    """One of your conversations."""

    session: str
    workflow: str
    """The workflow that it is held with."""
    turns: int
    began_at: datetime
    last_at: datetime


class Conversations(_Out):
    """Your conversations, the last used first."""

    conversations: list[Conversation]


class Decided(_Out):
    """One branch that was decided."""

    node: str
    taken: str
    not_taken: list[str]
    condition: str
    values: dict[str, Any]
    confidence: float | None
    threshold: float | None
    reason: str


class Trail(_Out):
    """The decisions of a run, in their order, masked as the workflow says."""

    run: str
    decisions: list[Decided]


class Approval(_Out):
    """A waiting run, with the evidence."""

    id: str
    workflow: str
    intent: str
    principal: str
    """The requester."""
    request: str
    reason: str
    """The reason for the approval."""
    withheld: str
    """Why draft, proposal, sources and checks are not shown, and a decision would be refused; empty when they are."""
    draft: str
    proposal: dict[str, Any]
    """The tool that would be called, and its arguments; empty when none would."""
    edits: Literal["text", "arguments"]
    """What the verdict `edit` takes."""
    sources: list[dict[str, str]]
    checks: list[dict[str, Any]]
    approvers: str
    deadline: datetime


class MakeLink(_In):
    """A link by which one person decides on a waiting run, once."""

    principal: Named | None = None
    """Who may decide by it; by default the caller. Only for tokens made with `--on-behalf`, within their claims."""
    hours: float = Field(default=24, gt=0, le=720)
    """How long it may be used; not longer than the run waits."""


class MadeLink(_Out):
    id: str
    """What it is listed and revoked by."""
    path: str
    """Its address on this server. Whoever has it may use it: send it to its person only."""
    expires: datetime


class Page(BaseModel):
    """Which of many are listed."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    limit: int = Field(default=50, ge=1, le=100)
    """How many at most."""
    after: str = Field(default="", pattern=r"^[0-9A-Za-z-]{0,64}$")
    """The `next` of the page before; without it, the list begins with the longest-waiting."""
    workflow: str = Field(default="", max_length=200)
    """Only the runs of this workflow."""


class Approvals(_Out):
    approvals: list[Approval]
    next: str
    """What `after` takes for the next page; empty when this is the last. A page may be short although more follow."""


class Given(_Out):
    id: str
    run: str
    name: str
    value: float | bool | str


class Export(_Out):
    """One of the systems that traces are sent to, without its address."""

    to: str
    """``langfuse`` or ``otlp``."""
    unsent: int
    """Observations and scores that wait or were dropped since the start; the local store has them."""
    last_outage: datetime | None
    """When it last took nothing; null: never since the start."""


class StoredIndex(_Out):
    """An index on a store, as this process reads it; without the store's address."""

    index: str
    version: int
    confirmed: datetime
    """When the store last said that this version serves."""
    stale: bool
    """Whether the last look at the store failed, so that a later version may be there."""


class Served(_Out):
    """A workflow as it is served now."""

    workflow: str
    version: str
    digest: str
    promoted: int
    """The number of the promotion that serves; 0 for the given file."""
    inside: int
    """Active and queued requests."""
    shadow: Literal["none", "running", "down"]
    fault: str
    """The error code of why a promoted version, or the file as it is now, is not served; empty when it is."""
    exports: list[Export]
    stored: list[StoredIndex]
    """Those that were searched since the start."""


class Health(_Out):
    status: Literal["ready", "closing"]
    inside: int
    """Active and queued requests."""
    fault: str
    """The error code of why a workflow in a served folder is not served at all; empty when all are."""
    workflows: list[Served]


class WorkflowCard(_Out):
    """A workflow that requests may be sent to."""

    name: str
    version: str
    digest: str
    purpose: str
    conversations: bool
    """Whether its runs may be turns of a conversation, by their `session`."""


class WorkflowList(_Out):
    """The workflows that are served, by their names."""

    workflows: list[WorkflowCard]


class Problem(_Out):
    """What went wrong (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    """Stable, such as `SG620`."""
    hint: str
    run: str
    """The run it is about; empty when none."""


class Text(_Out):
    text: str
    """The next piece of the answer; it has passed its checks."""


class StepDone(_Out):
    node: str
    to: str
    reason: str

    @classmethod
    def of(cls, step: FinishedStep) -> "StepDone":
        return cls(**step)
