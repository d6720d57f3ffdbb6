"""What a workflow says about its knowledge: the `indexes:` block, one `IndexConfig` per index.

Defaults fail closed: a document that does not say who approved it and who may read it is stored but never retrieved,
unless the index says otherwise for all of its documents.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

__all__ = ["ChunkConfig", "Clearance", "IndexConfig", "Language", "Reader"]

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

Reader = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
"""``everyone``, ``role:NAME``, ``group:NAME`` or ``user:ID``; a bare name is a role or a group of that name."""

_OneOrMore = BeforeValidator(
    lambda value: [value] if isinstance(value, str) else value, json_schema_input_type=str | list[str]
)


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ChunkConfig(_Block):
    """How documents are cut into passages."""

    size: int = Field(default=800, ge=100, le=20_000)
    """Characters that a passage may have at most."""
    overlap: int = Field(default=100, ge=0)
    """Characters that a passage may share with the one before it."""

    @model_validator(mode="after")
    def _overlap_is_smaller(self) -> "ChunkConfig":
        if self.overlap >= self.size:
            raise ValueError(f"overlap ({self.overlap}) must be smaller than size ({self.size})")
        return self


class IndexConfig(_Block):
    """One index: where its documents are, how they are cut and searched, and what holds for those that do not say."""

    path: Annotated[tuple[str, ...], _OneOrMore, Field(min_length=1)]
    """Folder or files of knowledge, relative to the workflow's file: one path or a list."""
    embedder: str = "embedder"
    """The role, under `models:`, that turns passages and questions into vectors."""
    k: int = Field(default=3, ge=1, le=50)
    """How many passages a search returns when its node does not say."""
    minimum_score: float = Field(default=0.15, ge=0.0, le=1.0)
    """Passages whose score is lower are left out: cosine similarity with the question, and what shared words add."""
    hybrid: bool = True
    """Search by words as well as by meaning, and add both scores."""
    language: Language = "English"
    """The language whose word stems and stop words the search by words uses."""
    chunk: ChunkConfig = ChunkConfig()
    """How documents are cut into passages."""
    approved: bool = False
    """Whether a document that does not say is approved. Documents that are not approved are never retrieved."""
    readers: Annotated[tuple[Reader, ...], _OneOrMore] = ()
    """Who may read a document that does not say: ``everyone``, ``role:NAME``, ``group:NAME``, ``user:ID``. Empty:
    nobody."""
    clearance: Clearance = "internal"
    """The clearance needed to read a document that does not say."""
    max_file_mb: float = Field(default=50.0, gt=0, le=2000)
    """Files larger than this many megabytes are reported, not read."""
    keep_removed_days: int = Field(default=7, ge=0, le=3650)
    """Days that the words of a removed or replaced passage stay available to runs that cited it; they are no longer
    found from the moment of removal."""
