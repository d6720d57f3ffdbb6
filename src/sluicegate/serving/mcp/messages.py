"""What the tools of the MCP server take and give; their JSON Schemas are made from these models."""

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

from sluicegate.graphs.runtime.intake import MAX_ATTACHMENTS, printable
from sluicegate.run_summary import Status
from sluicegate.serving.http.messages import Asked, Awaited, Cited, Run

__all__ = [
    "ApprovalsCall",
    "CitedResource",
    "DecisionCall",
    "ReplyCall",
    "RunCall",
    "RunResult",
    "WorkflowCall",
    "WorkflowCallWithTables",
]


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)


class WorkflowCall(_Arguments):
    """A request to a workflow."""

    text: str = Field(min_length=1)
    """The request, in the requester's own words."""
    session: str = Field(default="", max_length=200)
    """A name for the conversation that this request belongs to, among the requester's own."""
    request_id: str = Field(default="", max_length=200)
    """Names the request: calling again with the same id gives the same run, never a second one."""


class WorkflowCallWithTables(WorkflowCall):
    """The same, to a workflow that reads tables."""

    attachments: dict[Annotated[str, Field(min_length=1, max_length=200)], str] = Field(
        default_factory=dict[str, str], max_length=MAX_ATTACHMENTS
    )
    """Tables that come with the request, as CSV, by the names of their files."""


class RunCall(_Arguments):
    """Which run is looked up."""

    run: str
    """The run's id."""


class ReplyCall(RunCall):
    """The requester's answer to what a run asks."""

    text: str = Field(min_length=1, max_length=200_000)
    """The answer, in the requester's own words."""


class ApprovalsCall(_Arguments):
    """Which waiting runs are listed."""

    workflow: str = Field(default="", max_length=200)
    """Only the runs of this workflow."""
    limit: int = Field(default=20, ge=1, le=100)
    """How many at most."""
    after: str = Field(default="", pattern=r"^[0-9A-Za-z-]{0,64}$")
    """The `next` of the page before; without it, the list begins with the longest-waiting."""


class DecisionCall(RunCall):
    """A decision on a run that waits for one."""

    verdict: Literal["approve", "edit", "reject"]
    reason: Annotated[str, Field(max_length=2000), AfterValidator(printable)] = ""
    """The reason; the requester reads it when the request is rejected."""
    text: Annotated[str, Field(max_length=200_000), AfterValidator(printable)] = ""
    """For `edit`: the text to send instead of the draft."""
    arguments: dict[str, JsonValue] | None = None
    """For `edit` where a tool call waits: the arguments to change; null takes one out."""


class CitedResource(Cited):
    """A source of the answer."""

    uri: str
    """The resource that has the passages which the run read of it."""


class RunResult(BaseModel):
    """The current state of a run."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    run: str
    """Its id."""
    workflow: str
    status: Status
    """`answered` and `refused` are final; `waiting` is for a person or a time, `running` takes longer."""
    path: str
    """What answered: `cache`, `slm`, `rag-slm`, `rag-llm`, `tool` or `human`; `refused`; empty before the end."""
    answer: str
    reason: str
    """Why it was refused, waits or failed, or why its answer is withheld."""
    citations: list[CitedResource]
    intent: str | None
    confidence: float | None
    """Calibrated probability that the intent is right."""
    usd: float
    approval: Awaited | None
    """The decision of a person that it waits for."""
    question: Asked | None
    """What it asks the requester."""

    @classmethod
    def of(cls, said: Run, uri_of: Callable[[str, str], str]) -> "RunResult":
        """`uri_of` a run and a document it cites."""
        shared = {name: getattr(said, name) for name in cls.model_fields if name != "citations"}
        cited = [CitedResource(**dict(each), uri=uri_of(said.run, each.document)) for each in said.citations]
        return cls(**shared, citations=cited)
