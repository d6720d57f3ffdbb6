"""The metadata that stands in a document: YAML, TOML or JSON at its top, or the meta tags of a page.

What protects a document must not be overlooked: metadata that stands where it is not read is an error, since the
document would be open without it.
"""

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from sluicegate.retrieval.metadata import protects

__all__ = ["html_metadata", "parse", "split_front_matter"]

_MOST = 64_000
"""Characters of metadata that are read; more is a mistake or an attack."""
_TOP = 40
"""Lines in which metadata in a wrong place is looked for."""
_BEFORE = re.compile(r"(?:\s|<!--.*?-->)*", re.DOTALL)
_CODE = re.compile(r"\s*(?:```|~~~|\{%-?\s*(?:end)?(?:code|highlight)|\{\{[<%]\s*/?\s*(?:code|highlight))")
_ENTRY = re.compile(
    r"[\s>*|<!{:#+-]{0,8}[\"'`*_]{0,2}([A-Za-z][\w-]{2,30}(?: [\w-]{2,30}){0,2})[\"'`*_]{0,2}\s{0,3}[:=]\s*(\S.*)?$"
)


def split_front_matter(text: str) -> tuple[dict[str, Any], str]:
    """The metadata at the top, and the rest; before it there may be empty lines and comments.

    Raises `ValueError` when it has no end or cannot be read, or when metadata that protects stands further below.
    """
    raw, body = _front_matter(text)
    below = _overlooked(body)
    if below:
        raise ValueError(
            f"looks like metadata but is not read: {below!r}; put it between two lines '---' at the top of the file"
        )
    return raw, body


def _front_matter(text: str) -> tuple[dict[str, Any], str]:
    before = _BEFORE.match(text)
    start = before.end() if before else 0
    start = text.rfind("\n", 0, start) + 1 if not text[:start].endswith("\n") and "\n" in text[:start] else start
    lines = text[start:].splitlines(keepends=True)
    fence = lines[0].strip() if lines else ""
    if fence.startswith("{"):
        return _json(text, start)
    if not re.fullmatch(r"-{3,}|\+{3,}", fence):
        return {}, text
    first, strict = lines[1] if len(lines) > 1 else "", fence in {"---", "+++"} and start == 0
    ends = {"---", "...", fence} if fence[0] == "-" else {fence}
    end = next((number for number, line in enumerate(lines[1:], start=1) if line.strip() in ends), 0)
    if not end:
        if strict:
            raise ValueError(f"front matter starts with {fence!r} on the first line but does not end")
        return {}, text
    inner = "".join(lines[1:end])
    if not strict and not re.match(r"[\w-]+\s*[:=]", first):
        return {}, text  # a rule across the page, and another one below
    return (_toml(inner) if fence[0] == "+" else parse(inner)), "".join(lines[end + 1 :])


def _overlooked(body: str) -> str:
    """A line near the top that would protect the document, had it been read; empty without one."""
    within = code = begun = False
    for line in body.splitlines()[:_TOP]:
        if _CODE.match(line):
            within = not within
            # a block with which the text begins shows nothing: it is metadata
            code = within and begun
        begun = begun or bool(line.strip())
        entry = None if code else _ENTRY.match(line)
        if entry and protects(entry[1], (entry[2] or "").rstrip("->| ,}")):
            return line.strip()[:80]
    return ""


def _json(text: str, start: int) -> tuple[dict[str, Any], str]:
    try:
        value, end = json.JSONDecoder(object_pairs_hook=_unique).raw_decode(text, start)
    except json.JSONDecodeError:
        return {}, text
    return _texts(value), text[end:]


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    _once([key for key, _ in pairs])
    return dict(pairs)


def _toml(text: str) -> dict[str, Any]:
    if len(text) > _MOST:
        raise ValueError(f"metadata is larger than {_MOST} characters")
    try:
        return _texts(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"metadata is not valid TOML: {error}") from error


def _texts(value: Any) -> Any:
    """Values as text, as YAML's are read."""
    if isinstance(value, Mapping):
        return {str(key): _texts(entry) for key, entry in value.items()}  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    if isinstance(value, list):
        return [_texts(entry) for entry in value]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


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
    _once([str(key.value) for key, _ in root.value])
    return dict(value)


def _once(keys: Sequence[str]) -> None:
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise ValueError(f"metadata has {', '.join(twice)} twice")


def html_metadata(soup: Any) -> dict[str, Any]:
    """A page's meta tags by name, without the prefix `sluicegate:`; of several that protect none may win."""
    raw: dict[str, Any] = {}
    for tag in soup.find_all("meta"):
        name = str(tag.get("name") or tag.get("property") or "").strip()
        name = name.rpartition(":")[2].casefold() if name.casefold().startswith(("sluicegate:", "article:")) else name
        content = str(tag.get("content") or "").strip()
        if name and name in raw and raw[name] != content and protects(name, content):
            raise ValueError(f"metadata has {name} twice")
        if name:
            raw[name.casefold() if protects(name.casefold(), content) else name] = content
    return raw
