"""What a real Ollama server adds to a request, for the stand-in: its defaults, a Modelfile's parameters, thinking.

Read off version 0.24.0: `api/types.go` (`DefaultOptions`, `Options.FromMap`, `ThinkValue`), `server/routes.go`
(`ChatHandler`, `GetModelInfo`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["DEFAULTS", "About", "Refused", "constrained", "effective", "thoughts_of"]

DEFAULTS: Mapping[str, Any] = {
    "num_predict": -1,
    "num_keep": 4,
    "temperature": 0.8,
    "top_k": 40,
    "top_p": 0.9,
    "min_p": 0.0,
    "typical_p": 1.0,
    "repeat_last_n": 64,
    "repeat_penalty": 1.1,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "seed": -1,
    "stop": [],
    "num_ctx": 4096,
    "num_batch": 512,
    "num_gpu": -1,
    "num_thread": 0,
}
SAMPLING = (
    *("top_k", "top_p", "min_p", "typical_p", "repeat_last_n"),
    *("repeat_penalty", "presence_penalty", "frequency_penalty"),
)
"""Those that the sampler takes under the same names here."""

CHATML = """{{- range .Messages }}<|im_start|>{{ .Role }}
{{ .Content }}<|im_end|>
{{ end }}<|im_start|>assistant
"""

LEVELS = {"low": 1, "medium": 2, True: 2, "high": 3, "max": 3}


class Refused(Exception):  # noqa: N818 - an answer, not a fault
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True)
class About:
    """What the server knows of a model besides its weights."""

    family: str = "llama"
    thinks: Literal["never", "when told", "always"] = "never"
    """``always``, as gpt-oss: whatever `think` says."""
    parser: str = ""
    """A model with a parser of its own is constrained by `format` only after it has thought."""
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The Modelfile's."""
    thoughts: str = "Let me see. "
    template: str = CHATML

    @property
    def printed(self) -> str:
        """`parameters` as `/api/show` prints them."""
        rows = [
            (k, each)
            for k, value in self.parameters.items()
            for each in (value if isinstance(value, list) else [value])
        ]
        return "\n".join(f"{name:<30} {_go(value)}" for name, value in rows)


def effective(about: About, body: Mapping[str, Any]) -> dict[str, Any]:
    """The options that apply: the server's, the Modelfile's, the request's, each over the one before."""
    return {**DEFAULTS, **about.parameters, **(body.get("options") or {})}


def thoughts_of(name: str, about: About, think: Any) -> list[str]:
    """The tokens that a model thinks before it answers; more at a higher level."""
    if isinstance(think, str) and think not in LEVELS:
        legal = 'must be "high", "medium", "low", "max", true, or false'
        raise Refused(400, f'invalid think value: "{think}" ({legal})')
    if about.thinks == "never":
        if think:
            raise Refused(400, f'"{name}" does not support thinking')
        return []
    if think is None or (about.thinks == "always" and isinstance(think, bool)):
        think = True
    return about.thoughts.split() * LEVELS[think] if think else []


def constrained(about: About, wanted: Any, thoughts: list[str]) -> Any:
    """The `format` that is applied: a parser waits for the end of thinking, which does not come without thinking."""
    return None if about.parser and not thoughts else wanted


def _go(value: Any) -> str:
    return json.dumps(value) if isinstance(value, str) else f"{value:g}"
