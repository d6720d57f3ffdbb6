"""The config block `conversation:`."""

from pydantic import BaseModel, ConfigDict, Field

from sluicegate.policies.config import Duration

__all__ = ["ConversationConfig"]


class ConversationConfig(BaseModel):
    """Requests that name a session are turns of a conversation: a later one may refer to those before it."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    turns: int = Field(default=8, ge=1, le=50)
    """How many turns back a turn may refer to. Only answered ones count."""
    ttl: Duration = 30 * 86_400.0
    """How long a conversation lasts after its last turn, as seconds or ``30d``; the next one begins anew."""
