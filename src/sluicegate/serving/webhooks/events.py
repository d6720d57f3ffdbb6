"""What webhooks tell of each kind of event: the forms of `data`, and of the whole, version 1.

Nothing here holds words of a request, of a draft or of a person, and nothing names a person, unless the destination's
`texts` and `people` say so.
"""

from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict

__all__ = ["EVENTS", "VERSION", "EventType", "ForPerson", "events_schema"]

EventType = Literal["approval.waiting", "approval.decided", "budget.80", "budget.100", "incident.opened"]

EVENTS: tuple[EventType, ...] = get_args(EventType)
VERSION = 1


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class ForPerson(_Data):
    """A link by which one person decides, once."""

    url: str
    id: str
    """The person's."""
    expires_at: str


class Words(_Data):
    """Texts of a run, masked as the workflow's traces are; only with `texts: masked`."""

    request: str
    draft: str = ""
    """Empty where not everybody may read what it was made from."""
    reason: str = ""
    """Why a person is asked; what the person who decided has said."""


class _OfRun(_Data):
    run: str
    workflow: str
    version: str
    digest: str
    node: str
    intent: str
    risk: str
    asked_at: str
    requester: str | None = None
    """Who asked; only with `people: true`."""
    texts: Words | None = None


class ApprovalWaiting(_OfRun):
    """A run has come to a person."""

    approvers: str
    escalate_to: str | None
    deadline: str
    asked_by: list[str]
    """The workflows through which it asks, the innermost last."""
    link: ForPerson | None = None
    """Where the destination asks for one, and that person may decide on this run."""


class ApprovalDecided(_OfRun):
    """A person has decided, or nobody did in time."""

    verdict: Literal["approve", "edit", "reject", "timeout"]
    decided_at: str
    by: str | None = None
    """Who decided; only with `people: true`."""


class BudgetReached(_Data):
    """80 % of a cap are spent; or all of it is, or there was no room for a call."""

    workflow: str
    cap: str
    """Such as `per_day_usd`."""
    of: str
    """The intent that it is for; empty for the whole workflow."""
    period: str
    """The day or month, in UTC."""
    percent: Literal[80, 100]
    unit: Literal["usd", "tokens", "calls"]
    limit: float
    spent: float


class IncidentOpened(_Data):
    """An incident was opened."""

    id: str
    kind: str
    system: str
    """The workflow, or `audit log`."""
    source: str
    """The rule, the guard or the cap."""
    severity: str
    description: str
    aware_at: str
    deadline: str | None
    """Of the report that its severity asks for."""


class Tested(_Data):
    """Somebody has tested the destination."""

    message: str


_FORMS: dict[str, type[BaseModel]] = {
    "approval.waiting": ApprovalWaiting,
    "approval.decided": ApprovalDecided,
    "budget.80": BudgetReached,
    "budget.100": BudgetReached,
    "incident.opened": IncidentOpened,
    "webhook.test": Tested,
}


def events_schema() -> dict[str, Any]:
    """JSON Schema, draft 2020-12, of what a destination of the shape `json` gets."""
    from pydantic.json_schema import models_json_schema

    forms = list(dict.fromkeys(_FORMS.values()))
    _, found = models_json_schema([(form, "serialization") for form in forms], ref_template="#/$defs/{model}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "An event of Sluicegate",
        "oneOf": [
            {
                "type": "object",
                "required": ["type", "version", "timestamp", "data"],
                "additionalProperties": False,
                "properties": {
                    "type": {"const": kind},
                    "version": {"const": VERSION},
                    "timestamp": {"type": "string", "format": "date-time", "description": "When it happened."},
                    "data": {"$ref": f"#/$defs/{form.__name__}"},
                },
            }
            for kind, form in _FORMS.items()
        ],
        "$defs": found["$defs"],
    }
