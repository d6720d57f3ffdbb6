"""The config block ``tracing:``."""

import os
import re
from importlib.metadata import version
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from sluicegate.state import NOBODY, Clearance, Principal

__all__ = ["PII", "TraceReaders", "TraceSettings"]

PII = Literal["email", "phone", "iban", "card", "ip"]
"""The kinds of personal data that patterns can find; names and places are not among them."""


def _environment() -> str:
    named = os.environ.get("SLUICEGATE_ENVIRONMENT") or os.environ.get("LANGFUSE_TRACING_ENVIRONMENT") or "default"
    return re.sub(r"[^a-z0-9_-]", "-", named.lower())[:40]


def _release() -> str:
    return os.environ.get("SLUICEGATE_RELEASE") or os.environ.get("LANGFUSE_RELEASE") or version("sluicegate")


class TraceReaders(BaseModel):
    """Who reads where traces are sent: Langfuse, or what an OTLP collector feeds."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    roles: tuple[str, ...] = ()
    """The roles that everybody has who reads there."""
    groups: tuple[str, ...] = ()
    """The groups that everybody is in who reads there."""
    clearance: Clearance = "internal"
    """The lowest clearance among them."""

    def fewer(self, other: "TraceReaders") -> "TraceReaders":
        """What is true of the readers of both."""
        return TraceReaders(
            roles=tuple(role for role in self.roles if role in other.roles),
            groups=tuple(group for group in self.groups if group in other.groups),
            clearance=next(one for one in get_args(Clearance) if one in (self.clearance, other.clearance)),
        )

    @property
    def principal(self) -> Principal:
        return {"id": NOBODY, "roles": [*self.roles], "groups": [*self.groups], "clearance": self.clearance}


class TraceSettings(BaseModel):
    """How much of a run's texts its trace keeps, and under which user, environment and release it is recorded."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    payloads: Literal["full", "masked", "hashes"] = "masked"
    """`masked` replaces secrets and personal data by their kind, `full` keeps texts as they are but for secrets,
    `hashes` keeps only a keyed hash and the length of every request, prompt, answer, argument, result and of what
    people wrote as reasons and comments."""
    pii: tuple[PII, ...] = ("email", "phone", "iban", "card")
    """The personal data that `masked` replaces."""
    patterns: dict[str, str] = Field(default_factory=dict)
    """Further regular expressions to replace, by the name to put in their place."""
    payload_limit: int = Field(default=32_000, ge=200)
    """Characters kept of one text; the rest is cut, with a note of its length."""
    users: Literal["hashed", "plain"] = "hashed"
    """Whether traces name users by a keyed hash or by their plain id."""
    readers: TraceReaders = TraceReaders()
    """Who reads at the destinations of traces. Of a run that rests on documents, texts are sent there only if policy
    lets these readers read all of them; by default, only if all may read them."""
    environment: str = Field(default_factory=_environment, pattern=r"^[a-z0-9_-]{1,40}$", validate_default=True)
    """Langfuse's environment (names that begin with ``langfuse`` are its own); `SLUICEGATE_ENVIRONMENT` sets the
    default."""
    release: str = Field(default_factory=_release, max_length=200)
    """The release of the application; `SLUICEGATE_RELEASE` sets the default."""

    def stricter(self, other: "TraceSettings") -> "TraceSettings":
        """These, keeping nothing of a text that `other` does not keep."""
        both = {**other.patterns, **self.patterns}
        for name in self.patterns.keys() & other.patterns.keys():
            if self.patterns[name] != other.patterns[name]:
                both[name] = f"(?:{self.patterns[name]})|(?:{other.patterns[name]})"
        return self.model_copy(
            update={
                "payloads": max(self.payloads, other.payloads, key=_STRICTNESS.index),
                "pii": tuple(dict.fromkeys((*self.pii, *other.pii))),
                "patterns": both,
                "payload_limit": min(self.payload_limit, other.payload_limit),
                "users": "hashed" if "hashed" in (self.users, other.users) else "plain",
                "readers": self.readers.fewer(other.readers),
            }
        )


_STRICTNESS = ("full", "masked", "hashes")
