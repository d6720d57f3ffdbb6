"""Policy files as text, with the position of each policy and word.

`cedarpy` reports no positions, so files are split into policies here and faults are located by searching for their
words. Only Cedar itself decides what a policy means.
"""

import json
import os
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from sluicegate.errors import Place, PolicyError
from sluicegate.files import LINE_END, read_bounded
from sluicegate.policies.config import PolicyConfig

__all__ = ["BASE", "CedarToken", "PolicyFile", "PolicyText", "base_schema", "policy_files"]

BASE = Path(__file__).parents[1] / "base"
"""The folder of the base policies and of the schema."""

_TOKEN = re.compile(r'//[^\n]*|\s+|"(?:\\.|[^"\\])*"|[A-Za-z_]\w*|\d+|::|==|!=|<=|>=|&&|\|\||.', re.DOTALL)


@dataclass(frozen=True, slots=True)
class CedarToken:
    text: str
    start: int
    """Offset in its file."""

    @property
    def end(self) -> int:
        return self.start + len(self.text)


@dataclass(frozen=True)
class PolicyFile:
    name: str
    """As error messages show it."""
    text: str
    path: Path | None = None
    """The file; None for a text that is in none."""

    @cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(found.end() for found in re.finditer("\n", self.text))]

    def place(self, offset: int) -> Place:
        line = bisect_right(self._line_starts, offset)
        return Place(self.name, line, offset - self._line_starts[line - 1] + 1)

    def policies(self) -> Iterator["PolicyText"]:
        """The file's policies in order; what follows the last ``;`` counts as an unfinished one."""
        return (PolicyText(self, tokens) for tokens in _policies(self.text))


@lru_cache(maxsize=256)
def _policies(text: str) -> tuple[tuple[CedarToken, ...], ...]:
    """The tokens of each policy of a file. They follow from its text, which every load of its workflow reads again."""
    found: list[tuple[CedarToken, ...]] = []
    tokens: list[CedarToken] = []
    for match in _TOKEN.finditer(text):
        word = match[0]
        if word.isspace() or word.startswith("//"):
            continue
        tokens.append(CedarToken(word, match.start()))
        if word == ";":
            found.append(tuple(tokens))
            tokens = []
    return (*found, tuple(tokens)) if tokens else tuple(found)


@dataclass(frozen=True)
class PolicyText:
    """One policy of a file."""

    file: PolicyFile
    tokens: tuple[CedarToken, ...]

    @property
    def text(self) -> str:
        return self.upto(len(self.tokens))

    @property
    def place(self) -> Place:
        return self.file.place(self.tokens[0].start)

    def upto(self, count: int) -> str:
        """The policy's text up to its first `count` tokens."""
        return self.file.text[self.tokens[0].start : self.tokens[count - 1].end]

    def find(self, word: str) -> Place | None:
        """The first position of a name, or of a string with that value."""
        spellings = {word, json.dumps(word, ensure_ascii=False)}
        return next((self.file.place(token.start) for token in self.tokens if token.text in spellings), None)


def base_schema() -> str:
    return (BASE / "schema.cedarschema").read_text(encoding="utf-8")


def policy_files(folder: Path | None = None, config: PolicyConfig | None = None) -> list[PolicyFile]:
    """The base policies and those of a workflow's folder, in a fixed order.

    Raises `PolicyError` SG201 for a file that cannot be read, and for a pattern other than the default that matches
    nothing: a policy that is named but absent must not be missed.
    """
    config = config or PolicyConfig()
    files = [_read(path, f"base/{path.name}") for path in sorted(BASE.glob("*.cedar"))] if config.base else []
    if folder is None:
        return files
    for pattern in config.files:
        found = sorted(folder.glob(pattern))
        if not found and pattern not in PolicyConfig().files:
            raise PolicyError(
                "SG201", f"no policy file matches {pattern!r} in {folder}", hint="Correct `policy: files:` or add it"
            )
        files += [_read(path, os.path.relpath(path, folder).replace(os.sep, "/"), [folder]) for path in found]
    return files


_MOST = 1_000_000
"""Bytes of one policy file."""


def _read(path: Path, name: str, within: Sequence[Path] = ()) -> PolicyFile:
    try:
        return PolicyFile(name, LINE_END.sub("\n", read_bounded(path, _MOST, within=within).decode()), path)
    except OSError as error:
        raise PolicyError("SG201", f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PolicyError("SG201", f"cannot read {path}: it is not UTF-8", hint="Save it as UTF-8 text") from error
