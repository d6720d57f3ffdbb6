"""The config block `indexes:`, one `IndexConfig` per index.

Defaults fail closed: a document without `approved` and `readers` is stored but never retrieved, unless the index sets
defaults for them.
"""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from sluicegate.errors import nearest

__all__ = ["EVERYONE", "ChunkConfig", "Clearance", "IndexConfig", "Language", "Reader"]

Clearance = Literal["public", "internal", "confidential", "restricted"]
"""From the least to the most confidential."""

Language = Literal[
    "Arabic",
    "Danish",
    "Dutch",
    "English",
    "Finnish",
    "French",
    "German",
    "Greek",
    "Hungarian",
    "Italian",
    "Norwegian",
    "Portuguese",
    "Romanian",
    "Russian",
    "Spanish",
    "Swedish",
    "Tamil",
    "Turkish",
]
"""Languages with a stemmer and a stop word list."""


def _labelled(reader: str) -> str:
    if reader != EVERYONE and not re.fullmatch(r"(role|group|user):.*\S.*", reader):
        meant = EVERYONE if nearest(reader, [EVERYONE]) else f"role:{reader}, group:{reader} or user:{reader}"
        raise ValueError(f"the reader {reader!r} is none of {EVERYONE}, role:NAME, group:NAME, user:ID; write {meant}")
    return reader


EVERYONE = "everyone"

Reader = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), AfterValidator(_labelled)
]
"""``everyone``, ``role:NAME``, ``group:NAME`` or ``user:ID``."""

_OneOrMore = BeforeValidator(
    lambda value: [value] if isinstance(value, str) else value, json_schema_input_type=str | list[str]
)


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ChunkConfig(_Block):
    """How documents are split into passages."""

    size: int = Field(default=800, ge=100, le=20_000)
    """Maximum size of a passage in characters."""
    overlap: int = Field(default=100, ge=0)
    """Maximum overlap with the previous passage in characters."""

    @model_validator(mode="after")
    def _overlap_is_smaller(self) -> "ChunkConfig":
        if self.overlap >= self.size:
            raise ValueError(f"overlap ({self.overlap}) must be smaller than size ({self.size})")
        return self


class IndexConfig(_Block):
    """One index: where its documents are, how they are split and searched, and defaults for their metadata."""

    path: Annotated[tuple[str, ...], _OneOrMore, Field(min_length=1)]
    """Folder or files of knowledge, relative to the workflow's file: one path or a list."""
    embedder: str = "embedder"
    """The role, under `models:`, that turns passages and questions into vectors."""
    k: int = Field(default=3, ge=1, le=50)
    """Default number of passages that a search returns."""
    minimum_score: float = Field(default=0.15, ge=0.0, le=1.0)
    """Minimum score of a passage: cosine similarity with the question, plus the share for common words."""
    hybrid: bool = True
    """Hybrid search: by keywords as well as by meaning, with added scores."""
    language: Language = "English"
    """The language of the keyword search's word stems and stop words."""
    chunk: ChunkConfig = ChunkConfig()
    """How documents are split into passages."""
    approved: bool = False
    """Default for documents without `approved`. Documents that are not approved are never retrieved."""
    readers: Annotated[tuple[Reader, ...], _OneOrMore] = ()
    """Readers of a document without `readers`: ``everyone``, ``role:NAME``, ``group:NAME``, ``user:ID``. Empty:
    nobody."""
    clearance: Clearance = "internal"
    """The clearance needed to read a document without `clearance`."""
    max_file_mb: float = Field(default=50.0, gt=0, le=2000)
    """Files larger than this many megabytes are reported, not read."""
    keep_removed_days: int = Field(default=7, ge=0, le=3650)
    """Days that the text of a removed or replaced passage stays available to runs that cited it; it is not searchable
    from the moment of removal."""
