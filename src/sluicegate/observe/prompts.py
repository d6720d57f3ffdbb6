"""Prompts managed in Langfuse, with the file in the workflow's folder as fallback.

A prompt file names its replacement from Langfuse in its front matter:

    ---
    id: answer
    version: 2
    langfuse: helpdesk-answer@production
    ---

`managed` is what `sluicegate.nodes.prompts.PromptFolder` takes: with keys set it fetches that prompt by its label,
through the SDK's cache; without keys, or when the server has no such prompt or does not answer, the file's own text
is used.
"""

import re
import sys
from collections.abc import Callable
from typing import Any

from sluicegate.observe.exporters.langfuse import Keys, sdk

__all__ = ["Managed", "langfuse_prompts", "reference"]

Managed = Callable[[str, str], str | None]
"""``(id, text of the file) -> text to use instead``; None keeps the file's."""

_FRONT_MATTER = re.compile(r"\A---\n(.*?\n)---\n", re.DOTALL)
_REFERENCE = re.compile(r"^langfuse:[ \t]*[\"']?([^@\s\"']+)(?:@([\w.-]+))?[\"']?[ \t]*$", re.MULTILINE)


def reference(text: str) -> tuple[str, str] | None:
    """The name and label that a prompt file's front matter gives; the label defaults to ``production``."""
    matter = _FRONT_MATTER.match(text)
    found = _REFERENCE.search(matter[1]) if matter else None
    return (found[1], found[2] or "production") if found else None


def langfuse_prompts(
    keys: Keys | None = None,
    *,
    cache_s: int = 60,
    timeout_s: int = 3,
    warn: Callable[[str], object] = lambda line: sys.stderr.write(line + "\n"),
) -> Managed:
    """A `Managed` for the configured keys. `warn` gets one line for each prompt that falls back to its file."""
    keys = keys or Keys.configured()

    def managed(id: str, text: str) -> str | None:
        named = reference(text)
        if named is None or keys is None:
            return None
        name, label = named
        try:
            prompt = sdk(keys).get_prompt(
                name, label=label, cache_ttl_seconds=cache_s, max_retries=0, fetch_timeout_seconds=timeout_s
            )
        # the SDK raises its API's, its transport's and its own errors; none of them may stop a workflow from loading
        except Exception as error:
            warn(f"prompt {id}: {name}@{label} of Langfuse is unavailable ({_reason(error)}); using the file")
            return None
        return f"---\nid: {id}\nversion: langfuse:{prompt.name}@{prompt.version}\n---\n{_sections(prompt.prompt)}\n"

    return managed


def _sections(prompt: Any) -> str:
    """A text prompt as it is, a chat prompt as the sections of a prompt file."""
    if isinstance(prompt, str):
        return prompt
    return "\n\n".join(f"# {message['role']}\n{message['content']}" for message in prompt if "role" in message)


def _reason(error: Exception) -> str:
    status = getattr(error, "status_code", None)
    return f"{type(error).__name__} {status}" if status else type(error).__name__
