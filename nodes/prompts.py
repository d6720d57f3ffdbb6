"""Prompts as files: Markdown with front matter for id and version, one section per message, ``{{name}}`` to fill.

A file has ``# system`` and ``# user`` sections; without them the whole text is the user's message. Values are inserted
as they are and not expanded again, so a placeholder inside a document is only text.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, cast

from sluicegate.errors import ConfigError, Problem
from sluicegate.services import Message, Prompt

__all__ = ["PromptFile", "PromptSet", "fill", "parse", "placeholders"]

_PLACEHOLDER = re.compile(r"\{\{\s*([\w.]+)\s*\}\}")
_MEANT = re.compile(r"\{\{\s*([\w. -]+?)\s*\}\}")
"""A mistyped placeholder: one with a space or a hyphen in its name would go to the model as it is."""
_SECTION = re.compile(r"^# (system|user|assistant)[ \t]*$", re.MULTILINE)
_FRONT_MATTER = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)


@dataclass(frozen=True, slots=True)
class PromptFile:
    id: str
    version: str
    hash: str
    """SHA-256 of the file's text."""
    sections: tuple[tuple[str, str], ...]


def fill(template: str, values: Mapping[str, str]) -> str:
    """Replace each ``{{name}}`` by its value; an unknown name becomes an empty text."""
    return _PLACEHOLDER.sub(lambda match: values.get(match[1], ""), template)


def placeholders(template: str) -> Iterator[tuple[str, int]]:
    """The name and position of each placeholder, including those with an invalid name."""
    for match in _MEANT.finditer(template):
        yield match[1], match.start()


def parse(text: str, id: str) -> PromptFile:
    """Read a prompt file's text; `id` is used when its front matter has none. A missing version is ``0``."""
    matter = _FRONT_MATTER.match(text)
    facts = dict(re.findall(r"^(\w+):[ \t]*(.*?)[ \t]*$", matter[1], re.MULTILINE)) if matter else {}
    body = text[matter.end() :] if matter else text
    parts = _SECTION.split(body)
    sections = tuple(zip(parts[1::2], (part.strip() for part in parts[2::2]), strict=True)) or (("user", body.strip()),)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return PromptFile(facts.get("id") or id, (facts.get("version") or "0").strip("'\""), digest, sections)


class PromptSet:
    """A workflow's prompts."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        """`texts` are those of prompt files, by id."""
        self._prompts = {name: parse(text, name) for name, text in texts.items()}

    def ids(self) -> list[str]:
        return sorted(self._prompts)

    def render(self, id: str, **values: str) -> Prompt:
        """Fill a prompt. Raises `ConfigError` SG114 for an unknown id."""
        try:
            prompt = self._prompts[id]
        except KeyError:
            raise ConfigError([Problem("SG114", f"unknown prompt {id!r}", choices=tuple(self.ids()))]) from None
        messages = tuple(
            Message(
                cast("Literal['system', 'user', 'assistant']", role),
                re.sub(r"\n{3,}", "\n\n", fill(text, values)).strip(),
            )
            for role, text in prompt.sections
        )
        return Prompt(prompt.id, prompt.version, prompt.hash, messages)
