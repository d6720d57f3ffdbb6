"""What calls of models a visit of a node makes at most, before it makes any.

Budgets reserve it for all branches and items before the first of them begins; estimates add it up over a whole run. A
call's bound is what `model_governance` reserves for it, with the longest prompt that it can have.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from sluicegate.services import Prompts, Services

__all__ = ["AROUND", "FEEDBACK", "CallBound", "PromptSizes", "sent_back"]

AROUND = 100
"""Tokens of numbers and headings around the sources of a prompt, and of the words around an answer sent back."""
FEEDBACK = 400
"""Tokens of the feedback on a failed first draft."""


@dataclass(frozen=True, slots=True)
class CallBound:
    """A call at its upper bound."""

    role: str
    """The role whose model is called."""
    prompt: int
    """Tokens."""
    answer: int = 0
    """Tokens."""
    size: Literal["slm", "llm"] = "slm"


@dataclass(frozen=True, slots=True)
class PromptSizes:
    """What the prompts of a run hold at most."""

    question: str
    sources: int
    """Tokens of the passages that a prompt may show."""
    answer: int
    """Maximum output tokens of any intent."""
    prompts: Prompts
    tokens: Callable[[str], int]
    schemas: Callable[[], Mapping[str, str]]
    """The JSON Schemas of the intents' tools, by the tools' names."""
    item: int = 0
    """Tokens of an item that is not known yet."""

    @classmethod
    def of(cls, services: Services, question: str, sources: int) -> "PromptSizes":
        intents = services.workflow.intents.values()
        return cls(
            question,
            sources,
            max((one.max_tokens for one in intents), default=256),
            services.prompts,
            services.models.tokens,
            lambda: {one.tool: json.dumps(services.tools.schema(one.tool)) for one in intents if one.tool},
        )

    def prompt(self, id: str, **values: str) -> int:
        """Tokens of a prompt without sources and feedback, with an item that it may show."""
        rendered = self.prompts.render(id, question=self.question, **values)
        return sum(self.tokens(message.content) for message in rendered.messages) + self.item


def sent_back(role: str, prompt: int, answer: int, size: Literal["slm", "llm"] = "slm") -> CallBound:
    """A call whose answer must fit a schema: one that does not is sent back once."""
    return CallBound(role, 2 * (prompt + answer) + AROUND, 2 * answer, size)
