"""A document's metadata: front matter, HTML meta tags, or a `FILE.meta.yaml` sidecar.

Values are read as text and converted here, so that YAML rewrites none of them (``version: 1.10`` stays 1.10). A key
that looks like a misspelt one of ours is an error: ``valid_untill`` must not make a document valid forever.
"""

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from sluicegate.errors import nearest
from sluicegate.retrieval.acl import Document, day_number
from sluicegate.retrieval.config import Clearance, IndexConfig, Reader

__all__ = ["DocumentFacts", "document", "parse", "split_front_matter"]

_MOST = 64_000
"""Characters of metadata that are read; more is a mistake or an attack."""


def _listed(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


class DocumentFacts(BaseModel):
    """The keys of front matter that the index uses; None where absent."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: str | None = None
    """Stable name of the document; its file's path when absent."""
    title: str | None = None
    source: str | None = None
    """Where people find it, such as a link; its file's path when absent."""
    version: str | None = None
    """The start of its content hash when absent."""
    owner: str | None = None
    approved: bool | None = None
    readers: Annotated[tuple[Reader, ...], BeforeValidator(_listed)] | None = None
    clearance: Clearance | None = None
    valid_until: date | None = None
    """The last day on which it may be retrieved."""
    tags: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()


def split_front_matter(text: str) -> tuple[str, str]:
    """The YAML between a first line ``---`` and the next one, and the rest. Raises `ValueError` when it has no end."""
    lines = text.splitlines(keepends=True)
    if not lines or lines[0].rstrip() != "---":
        return "", text
    for number, line in enumerate(lines[1:], start=1):
        if line.rstrip() in {"---", "..."}:
            return "".join(lines[1:number]), "".join(lines[number + 1 :])
    raise ValueError("front matter starts with '---' on the first line but does not end")


def parse(text: str) -> dict[str, Any]:
    """YAML metadata as a dict of texts, lists and dicts. Raises `ValueError`."""
    if len(text) > _MOST:
        raise ValueError(f"metadata is larger than {_MOST} characters")
    try:
        root = yaml.compose(text, Loader=yaml.BaseLoader)
        # BaseLoader makes nothing but text, lists and dicts
        value = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"metadata is not valid YAML: {' '.join(str(error).split())}") from error
    if root is None:
        return {}
    if not isinstance(root, yaml.MappingNode):
        raise ValueError("metadata is not a list of 'key: value' lines")  # noqa: TRY004 - the file is at fault
    keys = [str(key.value) for key, _ in root.value]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise ValueError(f"metadata has {', '.join(twice)} twice")
    return {key: entry for key, entry in value.items() if entry not in ("", "~", "null")}


def document(raw: Mapping[str, Any], config: IndexConfig, *, file: str, title: str, text_hash: str) -> Document:
    """An index's record of a document with the metadata `raw`; the index's defaults fill what is absent.

    `file`, `title` and `text_hash` stand in for an absent id and source, title and version. Raises `ValueError`.
    """
    for key in raw:
        near = None if key in DocumentFacts.model_fields else nearest(key, DocumentFacts.model_fields)
        if near:
            raise ValueError(f"unknown metadata {key!r}; did you mean {near!r}?")
    try:
        facts = DocumentFacts.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        what = first["msg"].removeprefix("Value error, ")
        raise ValueError(f"metadata {'.'.join(str(part) for part in first['loc'])}: {what}") from error
    readers = config.readers if facts.readers is None else facts.readers
    return Document(
        id=facts.id or file,
        version=facts.version or text_hash[:12],
        title=facts.title or title,
        source=facts.source or file,
        owner=facts.owner or "",
        approved=config.approved if facts.approved is None else facts.approved,
        readers=tuple(sorted(set(readers))),
        clearance=facts.clearance or config.clearance,
        valid_until=day_number(facts.valid_until),
        tags=facts.tags,
    )
