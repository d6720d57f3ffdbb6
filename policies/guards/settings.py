"""Settings common to all guards."""

from typing import Annotated, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sluicegate.state import FailureAction

__all__ = ["GuardSettings"]


class GuardSettings(BaseModel):
    """Settings common to all guards."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    action: FailureAction = "refuse"
    """What to ask for when the guard fails or cannot run; `redact` only where the guard finds spans (one that cannot
    run then asks for `refuse`, because nothing was redacted)."""
    timeout_ms: Annotated[int, Field(ge=1, le=600_000)] = 2000
    """Time budget; a guard that is not done by then counts as failed."""

    redacts: ClassVar[bool] = False
    """Whether the guard finds spans, which is what `redact` needs."""

    @model_validator(mode="after")
    def _redacts_what_it_finds(self) -> Self:
        if self.action == "redact" and not self.redacts:
            raise ValueError("this guard finds no spans to redact; use regenerate, escalate, human or refuse")
        return self
