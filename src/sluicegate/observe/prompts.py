"""Prompts managed in Langfuse, with the file in the workflow's folder as fallback.

A prompt file's front matter names the Langfuse prompt that replaces it:

    ---
    id: answer
    version: 2
    langfuse: helpdesk-answer@production
    ---

Loading a workflow fetches each such prompt once, by its label. Without keys the file is used. When Langfuse cannot be
reached or has no such prompt, the text that this process fetched last continues, and before any was fetched the file.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from sluicegate.observe.exporters.langfuse import Keys, sdk

__all__ = ["Fetch", "Fetched", "Reference", "langfuse_prompts", "reference"]

_FRONT_MATTER = re.compile(r"\A---\n(.*?\n)---\n", re.DOTALL)
_REFERENCE = re.compile(r"^langfuse:[ \t]*[\"']?([^@\s\"']+)(?:@([\w.-]+))?[\"']?[ \t]*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Reference:
    """What a prompt file's front matter says."""

    name: str
    label: str
    line: int
    """Of the file, from 1."""
    without: str
    """The file's text with an empty line in its place: the fallback, which refers to nothing."""

    def __str__(self) -> str:
        return f"{self.name}@{self.label}"


@dataclass(frozen=True, slots=True)
class Fetched:
    text: str | None
    """In the form of a prompt file; None when there is none."""
    version: str = ""
    """``langfuse:NAME@VERSION``."""
    fault: str = ""
    """Why Langfuse did not answer: the text is the last one known."""


Fetch = Callable[[str, Reference], Fetched]
"""``(prompt id, reference)`` to the text; never raises."""

_last: dict[tuple[str, str, str, str], Fetched] = {}
"""What was fetched last, by host, public key, reference and prompt id."""


def reference(text: str) -> Reference | None:
    """The reference in a prompt file's front matter; the label defaults to ``production``."""
    matter = _FRONT_MATTER.match(text)
    found = _REFERENCE.search(text, matter.start(1), matter.end(1)) if matter else None
    if found is None:
        return None
    without = text[: found.start()] + text[found.end() :]
    return Reference(found[1], found[2] or "production", text.count("\n", 0, found.start()) + 1, without)


def langfuse_prompts(keys: Keys | None = None, *, timeout_s: int = 3) -> Fetch | None:
    """A `Fetch` with the configured keys; None without any.

    A server that cannot be reached is asked once: its other prompts do not wait for the same timeout again.
    """
    keys = keys or Keys.configured()
    if keys is None:
        return None
    unreachable = ""

    def fetch(id: str, named: Reference) -> Fetched:
        nonlocal unreachable
        key = (keys.host, keys.public, str(named), id)
        fault = unreachable
        if not fault:
            try:
                prompt = sdk(keys).get_prompt(
                    named.name,
                    label=named.label,
                    cache_ttl_seconds=0,
                    max_retries=0,
                    fetch_timeout_seconds=timeout_s,
                )
                version = f"langfuse:{prompt.name}@{prompt.version}"
                text = f"---\nid: {id}\nversion: {version}\n---\n{_sections(prompt.prompt)}\n"
            # the SDK raises its API's, its transport's and its own errors; none may stop a workflow from loading
            except Exception as error:
                fault = _reason(error)
                unreachable = "" if getattr(error, "status_code", None) else fault
            else:
                _last[key] = Fetched(text, version)
                return _last[key]
        return replace(_last.get(key, Fetched(None)), fault=fault)

    return fetch


def _sections(prompt: Any) -> str:
    """A text prompt as it is, a chat prompt as the sections of a prompt file."""
    if isinstance(prompt, str):
        return prompt
    return "\n\n".join(f"# {message['role']}\n{message['content']}" for message in prompt if "role" in message)


def _reason(error: Exception) -> str:
    status = getattr(error, "status_code", None)
    return f"{type(error).__name__} {status}" if status else type(error).__name__
