"""The config block `indexes:`, one `IndexConfig` per index.

Defaults fail closed: a document without `approved` and `readers` is stored but never retrieved, unless the index sets
defaults for them.
"""

import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

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


def _a_store(store: str) -> str:
    if "://" not in store:
        if Path(store).is_absolute():
            return str(Path(store))
        raise ValueError(f"the store {store!r} is no s3://BUCKET/PREFIX and no absolute path of a shared folder")
    parts = urlsplit(store)
    if parts.username or parts.password or "@" in parts.netloc or parts.query or parts.fragment:
        # not repeated: the message would be in logs
        raise ValueError(
            "the store has credentials or parameters in its URL; credentials come from the AWS_* variables or a profile"
        )
    if parts.scheme != "s3" or not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", parts.netloc):
        raise ValueError(f"the store {store!r} is no s3://BUCKET/PREFIX and no absolute path of a shared folder")
    if not parts.path.strip("/") or any(part in {"", ".", ".."} for part in parts.path.strip("/").split("/")):
        raise ValueError(f"the store {store!r} has no prefix, under which one index lies: s3://{parts.netloc}/PREFIX")
    return store.rstrip("/")


Store = Annotated[str, StringConstraints(strip_whitespace=True, max_length=900), AfterValidator(_a_store)]
"""``s3://BUCKET/PREFIX``, or the absolute path of a folder that machines share. Never with credentials."""

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
    store: Store | None = None
    """Where the index is kept for many machines: `s3://BUCKET/PREFIX`, or the absolute path of a shared folder. One
    machine ingests, all read; by default the index is in the home of the machine that ingested it."""
    store_outage_hours: float = Field(default=24.0, ge=0.0, le=720.0)
    """Hours that readers go on with the version they have while the store cannot be reached; then they refuse."""
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
