"""Prompts as they go to a model, with their version and hash."""

from dataclasses import dataclass
from typing import Protocol

from sluicegate.services.models import Message

__all__ = ["Prompt", "Prompts"]


@dataclass(frozen=True, slots=True)
class Prompt:
    id: str
    version: str
    hash: str
    messages: tuple[Message, ...]

    @property
    def reference(self) -> str:
        return f"{self.id}@{self.version}"


class Prompts(Protocol):
    def render(self, id: str, **values: str) -> Prompt:
        """Fill a prompt file's placeholders. Values are inserted as text, never interpreted."""
        ...
