"""Labelled requests: one JSON object per line, the request and what is expected of the workflow.

    {"text": "…", "principal": {"id": "ann", "roles": ["employee"]}, "intent": "printing", "facts": ["35 megabytes"]}

`text` (or `input`) is needed, everything else is optional, and only what a row expects is scored.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sluicegate.errors import ConfigError, Place, Problem
from sluicegate.files import MAX_ROWS_BYTES, json_lines, read_bounded
from sluicegate.graphs.runtime.intake import principal
from sluicegate.state import Path as Way
from sluicegate.state import Principal

__all__ = ["Case", "ExpectedTool", "data_hash", "read_cases"]


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class _Asker(_Row):
    id: str = "eval"
    roles: list[str] = ["employee"]
    groups: list[str] = []
    clearance: str = Field(default="internal", pattern="^(public|internal|confidential|restricted)$")


class ExpectedTool(_Row):
    name: str
    arguments: dict[str, Any] = {}
    """Each argument that is named must have this value; texts need only contain it."""


class _Line(_Row):
    text: str = Field(min_length=1)
    """The request; `input` means the same."""
    principal: _Asker = _Asker()
    intent: str | None = None
    """The right label; `label` means the same."""
    path: Way | None = None
    facts: list[str] = []
    """Facts that the answer must contain, each as a piece of text; ``a|b`` accepts either."""
    answer: str | None = None
    """A complete reference answer."""
    citations: list[str] | None = None
    """Ids of the documents the answer must cite."""
    known: bool | None = None
    """False: no document has the answer, so any answer would be wrong; it must be refused or left to a person."""
    refused: bool | None = None
    """Whether the request must be refused (true) or must not be (false)."""
    tool: ExpectedTool | None = None
    """The call that must be made, or proposed to a person."""
    slice: list[str] = []
    """Tags to report separately."""

    @model_validator(mode="before")
    @classmethod
    def _other_names(cls, row: Any) -> Any:
        names = {"input": "text", "label": "intent"}
        return {names.get(key, key): value for key, value in row.items()} if isinstance(row, dict) else row  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType, reportUnknownMemberType]


@dataclass(frozen=True, slots=True)
class Case:
    """One labelled request."""

    id: str
    """Hash of the row's content."""
    text: str
    principal: Principal
    intent: str | None = None
    path: str | None = None
    facts: tuple[str, ...] = ()
    answer: str | None = None
    citations: tuple[str, ...] | None = None
    known: bool | None = None
    refused: bool | None = None
    tool: ExpectedTool | None = None
    slices: tuple[str, ...] = ()

    @property
    def expects_result(self) -> bool:
        """Whether the row expects a result, not only a path."""
        said = (self.answer, self.refused, self.tool)
        return bool(self.facts) or self.known is False or any(value is not None for value in said)

    @property
    def expected(self) -> dict[str, Any]:
        """What the row expects, as plain data."""
        said: Mapping[str, Any] = {
            "intent": self.intent,
            "path": self.path,
            "facts": list(self.facts) or None,
            "answer": self.answer,
            "citations": None if self.citations is None else list(self.citations),
            "known": self.known,
            "refused": self.refused,
            "tool": self.tool.model_dump() if self.tool else None,
        }
        return {key: value for key, value in said.items() if value is not None}


def read_cases(path: Path) -> list[Case]:
    """The rows of a file. Raises `ConfigError` SG101 (no file), SG140 with every bad row and its place."""
    try:
        text = read_bounded(path, MAX_ROWS_BYTES).decode("utf-8-sig")
    except OSError as error:
        raise ConfigError([Problem("SG101", f"cannot read {path}: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError([Problem("SG109", "not UTF-8", Place(str(path), line, 1), hint="Save it as UTF-8")]) from None
    cases: list[Case] = []
    problems: list[Problem] = []
    for number, line in json_lines(text):
        place = Place(str(path), number, 1)
        try:
            cases.append(_case(_Line.model_validate_json(line)))
        except ValidationError as error:
            for fault in error.errors():
                where = ".".join(map(str, fault["loc"])) or "row"
                problems.append(Problem("SG140", f"{where}: {fault['msg']}", place))
    if not cases and not problems:
        problems.append(Problem("SG140", "no labelled requests in the file", Place(str(path), 1, 1)))
    if problems:
        raise ConfigError(problems)
    return cases


def data_hash(cases: Sequence[Case]) -> str:
    """Of what the rows say, in any order."""
    return hashlib.sha256("".join(sorted(case.id for case in cases)).encode()).hexdigest()


def _case(line: _Line) -> Case:
    said = json.dumps(line.model_dump(mode="json"), sort_keys=True)
    asker = line.principal
    return Case(
        id=hashlib.sha256(said.encode()).hexdigest()[:24],
        text=line.text,
        principal=principal(asker.id, asker.roles, asker.groups, asker.clearance),  # pyright: ignore[reportArgumentType]
        intent=line.intent,
        path=line.path,
        facts=tuple(line.facts),
        answer=line.answer,
        citations=None if line.citations is None else tuple(line.citations),
        known=line.known,
        refused=line.refused,
        tool=line.tool,
        slices=tuple(line.slice),
    )
