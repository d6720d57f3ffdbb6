"""The steps of a run as rows: a row has what its step changed, and leaves the rest to the row of the step before it.

Channel versions are those that changed, of a list that only grew the row has the new elements, and of a map the entries
that changed, so that a run's rows grow with what its steps did and not with all that was there. A row is packed by
itself: rows of the same run may be rewritten while another process adds the next one.
"""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import ormsgpack

from sluicegate.errors import CorruptError

__all__ = ["ALONE", "PACKED", "UPON", "StepRow", "pack", "unpack"]

ALONE, UPON = "zlib", "zlib+"
"""How a row says that it is whole, or a change upon its parent's. `PACKED` are both."""
PACKED = frozenset({ALONE, UPON})
_ADDED = "+"
"""In the place of a value's type: the header and the new elements of a msgpack array that had the others before."""
_CHANGED = "~"
"""Likewise: a msgpack map of the entries that are new or other ones, of a map that had the rest before."""
_NAMES = """
label alternatives risk medium high low task short-answer synthesis out_of_scope by head max_tokens tool version title
source score span hash classification internal public text confidence answerability threshold citations marker document
prompt prompt_hash finish stop fallback features mean_logprob least_logprob has_logprobs grounding length finished
quoted similarity margin retrieval overlap usd estimated_usd prompt_tokens completion_tokens slm_calls llm_calls
stopped stopped_by failed failures results guard pii secrets grounded citations passed action pass reason ms verdict
allow deny rules reason errors hit key age_s artifact path approval decided_at asked_at draft extraction fields missing
complete arguments extra v ts updated_channels source input loop step parents __start__ __input__ request principal
tool_calls answer documents cache policy intent route checks spend channel cli api received_at language size cleaned
roles employee groups clearance id workflow digest started_at refused answered status running visits shadow run trail
branch:to: 00000001. msgpack null 2026-11-27T00:00:00.000000+00:00 node kind visit at ms branch to condition otherwise
values skipped reason
"""
_WORDS = b"".join(bytes([0xA0 | len(name)]) + name.encode() for name in _NAMES.split())
"""The dictionary: names that rows repeat, as msgpack writes them. It is part of the format and never changes."""


@dataclass(slots=True)
class StepRow:
    """One checkpoint, with the values of the channels that it changed."""

    rest: Mapping[str, Any]
    """What a checkpoint says besides its id, its values and these:"""
    versions: Mapping[str, str]
    seen: Mapping[str, Mapping[str, Any]]
    metadata: Mapping[str, Any]
    values: Mapping[str, tuple[str, bytes]]
    """By channel, of the version above: type and serialized value."""


def pack(step: StepRow, before: StepRow | None, dumps: Callable[[Any], bytes]) -> tuple[str, bytes]:
    """The row of a step: its type and content; `before` is its parent, where that is at hand."""
    if before and not (before.versions.keys() <= step.versions.keys() and before.seen.keys() <= step.seen.keys()):
        before = None
    values: dict[str, tuple[str, bytes]] = dict(step.values)
    versions, seen = step.versions, step.seen
    if before:
        versions = {key: version for key, version in versions.items() if before.versions.get(key) != version}
        seen = {node: triggers for node, triggers in seen.items() if before.seen.get(node) != triggers}
        for channel, value in values.items():
            old = before.values.get(channel)
            if old and (change := _added(old, value) or _changed(old, value)):
                values[channel] = change
    packer = zlib.compressobj(9, zdict=_WORDS)
    content = dumps([step.rest, step.metadata, versions, seen, values])
    return UPON if before else ALONE, packer.compress(content) + packer.flush()


def unpack(kind: str, packed: bytes, before: StepRow | None, loads: Callable[[bytes], Any]) -> StepRow:
    """The step of a row. Raises `RunError` SG606 when it cannot be read."""
    if kind == UPON and before is None:
        raise _unreadable("the step before it is missing")
    unpacker = zlib.decompressobj(zdict=_WORDS)
    try:
        rest, metadata, versions, seen, values = loads(unpacker.decompress(packed) + unpacker.flush())
        values = {channel: (type_, value) for channel, (type_, value) in values.items()}
        if kind == UPON and before:
            values = {channel: _whole(before.values.get(channel), value) for channel, value in values.items()}
            versions, seen = {**before.versions, **versions}, {**before.seen, **seen}
    except (zlib.error, ValueError, TypeError, AttributeError) as error:
        raise _unreadable(str(error)) from error
    return StepRow(rest, versions, seen, metadata, values)


def _unreadable(why: str) -> CorruptError:
    return CorruptError(
        f"cannot read the checkpoint: {why}",
        hint="Restore it from a backup, or move it away to start with an empty one",
    )


def _added(old: tuple[str, bytes], new: tuple[str, bytes]) -> tuple[str, bytes] | None:
    """A value as an addition to `old`, where it is one."""
    if old[0] != new[0] or not (had := _header(old)) or not (has := _header(new)):
        return None
    before, value = old[1][had:], new[1]
    # msgpack is prefix-free: what begins with the bytes of these elements begins with the elements
    return (_ADDED, value[:has] + value[has + len(before) :]) if value.startswith(before, has) else None


def _changed(old: tuple[str, bytes], new: tuple[str, bytes]) -> tuple[str, bytes] | None:
    """A map as what it has otherwise than `old`, where that says the same to the byte."""
    before, after = _entries(old), _entries(new)
    if before is None or after is None:
        return None
    missing = object()
    other = {key: value for key, value in after.items() if before.get(key, missing) != value}
    return (_CHANGED, _packed(other)) if _packed(before | other) == new[1] else None


def _whole(old: tuple[str, bytes] | None, value: tuple[str, bytes]) -> tuple[str, bytes]:
    if value[0] not in (_ADDED, _CHANGED):
        return value
    if old is None:
        raise ValueError("a value goes on that has not begun")
    if value[0] == _CHANGED:
        before, other = _entries(old), _entries(("msgpack", value[1]))
        if before is None or other is None:
            raise ValueError("what goes on is not a map")
        return old[0], _packed(before | other)
    has = _header(("msgpack", value[1]))
    return old[0], value[1][:has] + old[1][_header(old) :] + value[1][has:]


def _header(value: tuple[str, bytes]) -> int:
    """Bytes before the first element of a msgpack array; 0 for anything else."""
    kind, data = value
    if kind != "msgpack" or not data:
        return 0
    return 1 if 0x90 <= data[0] <= 0x9F else {0xDC: 3, 0xDD: 5}.get(data[0], 0)


def _entries(value: tuple[str, bytes]) -> dict[Any, Any] | None:
    """Those of a msgpack map of plain data; None for anything else."""
    kind, data = value
    if kind != "msgpack" or not data or not (0x80 <= data[0] <= 0x8F or data[0] in (0xDE, 0xDF)):
        return None
    try:
        return ormsgpack.unpackb(data, option=ormsgpack.OPT_NON_STR_KEYS)
    except ValueError:
        # it has types of LangGraph's own
        return None


def _packed(entries: dict[Any, Any]) -> bytes:
    return ormsgpack.packb(entries, option=ormsgpack.OPT_NON_STR_KEYS)
