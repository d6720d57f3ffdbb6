"""What the tools of the MCP server take and give; their JSON Schemas are made from these models."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from sluicegate.graphs.runtime.intake import MAX_ATTACHMENTS
from sluicegate.run_summary import Status
from sluicegate.serving.http.messages import Asked, Awaited, Cited, Run

__all__ = ["RunResult", "WorkflowCall", "WorkflowCallWithTables"]


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


class RunResult(BaseModel):
    """The current state of a run."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    run: str
    workflow: str
    status: Status
    """`answered` and `refused` are final; `waiting` is for a person, `running` takes longer."""
    path: str
    """What answered: `cache`, `slm`, `rag-slm`, `rag-llm`, `tool` or `human`; `refused`; empty before the end."""
    answer: str
    reason: str
    """Why it was refused, waits or failed, or why its answer is withheld."""
    citations: list[Cited]
    intent: str | None
    confidence: float | None
    """Calibrated probability that the intent is right."""
    usd: float
    approval: Awaited | None
    """The decision of a person that it waits for."""
    question: Asked | None
    """What it asks the requester."""

    @classmethod
    def of(cls, run: Run) -> "RunResult":
        return cls(**{name: getattr(run, name) for name in cls.model_fields})
