"""`extends`: one source merged over another, keeping the places of both."""

from typing import Any, cast

from sluicegate.graphs.config.source import Pointer, Source, SourceEntry

__all__ = ["overlay"]


def overlay(top: Source, base: Source) -> Source:
    """`top` merged over `base`: maps merge by key, everything else replaces, null removes.

    Places point to the file that a value came from. Problems of both are kept, the base's first.
    """
    entries: dict[Pointer, SourceEntry] = {}
    data = _merge(top.data, base.data, (), top, base, entries)
    problems = (*base.problems, *top.problems)
    contents = {**base.contents, **top.contents}
    return Source(top.path, data, entries, problems, (*top.files, *base.files), contents, base)


def _merge(
    over: Any, under: Any, pointer: Pointer, top: Source, base: Source, entries: dict[Pointer, SourceEntry]
) -> Any:
    if not (isinstance(over, dict) and isinstance(under, dict)):
        _carry(over, pointer, top, entries)
        return cast("Any", over)
    above, below = cast("dict[str, Any]", over), cast("dict[str, Any]", under)
    if pointer in top.entries:
        entries[pointer] = top.entries[pointer]
    merged: dict[str, Any] = {}
    for key, value in below.items():
        step = (*pointer, key)
        if key not in above:
            _carry(value, step, base, entries)
            merged[key] = value
        elif above[key] is not None:
            merged[key] = _merge(above[key], value, step, top, base, entries)
    for key, value in above.items():
        if key not in below:
            _carry(value, (*pointer, key), top, entries)
            merged[key] = value
    return merged


def _carry(value: Any, pointer: Pointer, source: Source, entries: dict[Pointer, SourceEntry]) -> None:
    """Copy the places of a value and all that is in it."""
    if pointer in source.entries:
        entries[pointer] = source.entries[pointer]
    if isinstance(value, dict):
        for key, part in cast("dict[str, Any]", value).items():
            _carry(part, (*pointer, key), source, entries)
    elif isinstance(value, list):
        for position, part in enumerate(cast("list[Any]", value)):
            _carry(part, (*pointer, position), source, entries)
