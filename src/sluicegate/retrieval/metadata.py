"""What a document's metadata says: who may read it, whether it is approved, and until when.

Values are read as text and converted here, so that YAML rewrites none of them (``version: 1.10`` stays 1.10). Keys of
other systems may close a document (``draft: true``) but never open it. A key that looks like a misspelling of one that
protects is an error: ``valid_untill`` must not make a document valid forever.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Annotated, Any, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from sluicegate.retrieval.acl import Document, clearance_rank, day_number
from sluicegate.retrieval.config import Clearance, IndexConfig, Reader

__all__ = ["DocumentFacts", "document", "protects"]


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


def protects(key: str, value: Any = None) -> bool:
    """Whether a key of metadata, as written, protects the document; with a `value`, whether this one does, such as
    ``draft: true``. Of the keys of other systems only those that are hardly ever the words of a text."""
    plain = _plain(key)
    if plain in _PROTECTING:
        return value is None or value != ""
    said = str(value).strip(" \t\"'*_`").casefold()
    if plain in _EXPIRY:
        return value is None or bool(_DAY.match(said))
    return plain in _HARDLY_WORDS and (value is None or said in _CLOSING[plain])


def _plain(key: str) -> str:
    return re.sub(r"[\s_-]", "", key).casefold()


def document(raw: Mapping[str, Any], config: IndexConfig, *, file: str, title: str, text_hash: str) -> Document:
    """An index's record of a document with the metadata `raw`; the index's defaults fill what is absent.

    `file`, `title` and `text_hash` stand in for an absent id and source, title and version. Raises `ValueError`.
    """
    _check(raw)
    closed, until, least = _elsewhere(raw)
    try:
        facts = DocumentFacts.model_validate({key: value for key, value in raw.items() if not _absent(value)})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        what = first["msg"].removeprefix("Value error, ")
        raise ValueError(f"metadata {'.'.join(str(part) for part in first['loc'])}: {what}") from error
    readers = config.readers if facts.readers is None else facts.readers
    days = [day for day in (facts.valid_until, *until) if day]
    return Document(
        id=facts.id or file,
        version=facts.version or text_hash[:12],
        title=facts.title or title,
        source=facts.source or file,
        owner=facts.owner or "",
        approved=(config.approved if facts.approved is None else facts.approved) and not closed,
        readers=tuple(sorted(set(readers))),
        clearance=max([facts.clearance or config.clearance, *least], key=clearance_rank),
        valid_until=day_number(min(days, default=None)),
        tags=facts.tags,
    )


def _absent(value: Any) -> bool:
    return value in ("", "~", "null")


def _check(raw: Mapping[str, Any]) -> None:
    """Raises `ValueError` where a key that protects is misspelt, empty or not at the top."""
    for key, value in raw.items():
        if key in _OURS:
            if _absent(value) and key in _PROTECTS:
                raise ValueError(f"metadata {key} is empty; give it a value or leave it out")
            continue
        near = next((ours for ours in _PROTECTS if _misspelt(_plain(key), _plain(ours))), None)
        if near:
            raise ValueError(f"unknown metadata {key!r}; did you mean {near!r}?")
        inner = next((name for name in _names(value) if _plain(name) in _PROTECTING), None)
        if inner:
            raise ValueError(f"metadata {inner!r} stands under {key!r}, where it is not read; move it to the top")


def _names(value: Any) -> Iterator[str]:
    """Every key inside a value."""
    if isinstance(value, Mapping):
        for key, entry in cast("Mapping[str, Any]", value).items():
            yield key
            yield from _names(entry)
    elif isinstance(value, list):
        for entry in cast("list[Any]", value):
            yield from _names(entry)


def _misspelt(word: str, ours: str) -> bool:
    """Whether it is at most two edits away: typos hardly ever change the first letter (`headers` is no `readers`)."""
    return word[:1] == ours[:1] and abs(len(word) - len(ours)) <= 2 and _edits(word, ours) <= 2


def _edits(one: str, other: str) -> int:
    """Levenshtein's distance."""
    row = list(range(len(other) + 1))
    for above, letter in enumerate(one):
        diagonal, row[0] = above, above + 1
        for at, second in enumerate(other):
            diagonal, row[at + 1] = row[at + 1], min(row[at + 1] + 1, row[at] + 1, diagonal + (letter != second))
    return row[-1]


def _elsewhere(raw: Mapping[str, Any]) -> tuple[bool, list[date], list[Clearance]]:
    """What the keys of other systems say: whether the document is closed, its last days, and the least clearance of its
    readers. They never open one. Raises `ValueError` for a value that cannot be read, and before its first day."""
    closed, until, least = False, list[date](), list[Clearance]()
    for key, value in raw.items():
        plain, said = _plain(key), str(value).strip().casefold()
        if plain in _EXPIRY | _FIRST_DAY and not _absent(value):
            found = _DAY.match(str(value))
            if not found and plain in _EXPIRY:
                raise ValueError(f"metadata {key}: {str(value)[:40]!r} is not a day such as 2027-12-31")
            day = date.fromisoformat(found[0]) if found else date.min
            if plain in _EXPIRY:
                until.append(day)
            elif day > datetime.now(tz=UTC).date():
                raise ValueError(f"metadata {key}: it is not to be read before {day}; ingest it again then")
            continue
        if plain in _CLOSING:
            closed = closed or said in _CLOSING[plain] or (plain in _PAST and bool(_DAY.match(said)))
            if plain in _YES_OR_NO and said not in _TRUE | _FALSE and not _DAY.match(said):
                raise ValueError(f"metadata {key}: {str(value)[:40]!r} is neither true nor false")
        if plain in _SECRECY:
            words = {*re.findall(r"\w+", said)}
            least.extend(clearance for clearance, asking in _SECRET.items() if words & asking)
    return closed, until, least


_OURS = frozenset(DocumentFacts.model_fields)
_PROTECTS = ("approved", "readers", "clearance", "valid_until")
_PROTECTING = frozenset(_plain(key) for key in _PROTECTS)
_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})
_YES_OR_NO = frozenset({"draft", "published", "private", "archived", "unlisted"})
_PAST = frozenset({"archived", "deleted", "obsolete", "retired", "superseded", "withdrawn"})
"""What has become of it, perhaps with the day."""
_NOT_FOR_READERS = frozenset(
    {"archived", "cancelled", "deleted", "draft", "embargoed", "expired", "hidden", "in progress", "in review",
     "needs review", "not approved", "not published", "obsolete", "pending", "private", "proposed", "rejected",
     "retired", "review", "superseded", "todo", "unapproved", "under review", "unlisted", "unpublished", "wip",
     "withdrawn", "work in progress"}
)  # fmt: skip
_CLOSING: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(("draft", "private", "unlisted", "hidden", "unpublished", "embargoed", *_PAST), _TRUE),
    "published": _FALSE,
    **dict.fromkeys(
        ("status", "state", "visibility", "access", "stage", "docstatus", "documentstatus", "publicationstatus",
         "publishstatus", "reviewstatus", "workflowstatus", "workflowstate", "lifecycle"),
        _NOT_FOR_READERS,
    ),
}  # fmt: skip
"""Keys of other systems, with the values that say that a document is not for readers."""
_FIRST_DAY = frozenset(
    {"availablefrom", "effectivedate", "effectivefrom", "embargo", "embargodate", "embargoeduntil", "embargountil",
     "golive", "publishat", "publishdate", "publishon", "validfrom", "visiblefrom"}
)  # fmt: skip
"""Keys of other systems for the first day."""
_SECRECY = frozenset(
    {"access", "accesslevel", "classification", "confidentiality", "securityclassification", "securitylevel",
     "sensitivity", "visibility"}
)  # fmt: skip
"""Keys of other systems for who may read it, by words that ask for a clearance."""
_SECRET: Mapping[Clearance, frozenset[str]] = {
    "confidential": frozenset({"confidential", "sensitive"}),
    "restricted": frozenset({"restricted", "secret", "strictly", "highly"}),
}
_HARDLY_WORDS = _YES_OR_NO | {"status", "docstatus", "documentstatus", "publicationstatus", "reviewstatus"}
_EXPIRY = frozenset(
    {"expiration", "expirationdate", "expirationtime", "expire", "expires", "expiresat", "expireson", "expiry",
     "expirydate", "unpublishdate", "unpublishon", "validthrough", "validto"}
)  # fmt: skip
"""Keys of other systems for the last day."""
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}(?=$|[T\s])")
