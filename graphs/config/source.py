"""YAML with a place for every key and value, and without its traps.

`read` gives the plain data of a file, the `Place` of every key and value by its pointer (the keys and positions from
the top, such as ``("nodes", "gate", "then", 0, "when")``), and every problem found, SG101 to SG109. Nothing is ever
raised for what a file contains.

A plain scalar is read as YAML 1.2 reads it (which is what editors do); one that YAML 1.1 reads as something else is a
problem, not a surprise: ``on``, ``no``, ``010``, ``12:30``, ``1_000``, a date. Keys are text. Merge keys and tags are
not part of the language; aliases are, within a bound on what they expand to.
"""

import bisect
import errno
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from sluicegate.errors import Place, Problem
from sluicegate.files import LINE_END, line_and_column, read_bounded, yaml_loader

__all__ = ["MAX_BYTES", "MAX_DEPTH", "MAX_VALUES", "Pointer", "Source", "SourceEntry", "read"]

Pointer: TypeAlias = tuple[str | int, ...]

MAX_BYTES = 1_000_000
MAX_DEPTH = 64
MAX_VALUES = 20_000
"""Maximum number of values, aliases expanded; the largest known workflow has a tenth of it."""

_LOADER = yaml_loader()

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_SWITCHES = {"yes": "true", "on": "true", "no": "false", "off": "false"}
_OCTAL = re.compile(r"[-+]?0[0-7_]+|0o[0-7]+|[-+]?0b[01_]+")
_GROUPED = re.compile(r"[-+]?[0-9][0-9_]*_[0-9_]*(\.[0-9_]*)?")
_SEXAGESIMAL = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt \t].*)?")


@dataclass(frozen=True, slots=True)
class SourceEntry:
    """The place of one value in its file."""

    value: Place
    key: Place | None = None
    """The place of its key; None for a list item and the top."""
    raw: str = ""
    """A scalar as written in the file, quotes included; empty for maps and lists."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file's data and the place of each part."""

    path: Path
    data: Any = None
    """Maps, lists, text, numbers, booleans and None; None when the file could not be read."""
    entries: Mapping[Pointer, SourceEntry] = field(default_factory=dict[Pointer, SourceEntry])
    problems: tuple[Problem, ...] = ()
    files: tuple[Path, ...] = ()
    """Every file the data came from, this one first."""
    contents: Mapping[Path, bytes] = field(default_factory=dict[Path, bytes])
    """The bytes of these files, as they were read."""
    base: "Source | None" = None
    """What this one overlays."""
    unread: str = ""
    """Why the file could not be read; empty when it was."""

    def place(self, pointer: Pointer, *, of_key: bool = False) -> Place:
        """The place of the value at `pointer` (or of its key), or of the nearest existing part around it."""
        for end in range(len(pointer), -1, -1):
            entry = self.entries.get(pointer[:end])
            if entry:
                # an absent key is missed at the key of the map that should hold it
                absent = end < len(pointer) and isinstance(pointer[end], str)
                return entry.key if entry.key and (of_key or absent) else entry.value
        return Place(str(self.path), 1, 1)

    def raw(self, pointer: Pointer) -> str:
        """A scalar as written in the file; empty when there is none."""
        entry = self.entries.get(pointer)
        return entry.raw if entry else ""

    def within(self, pointer: Pointer, offset: int) -> Place:
        """The place of the character at `offset` of a text value, through quotes, escapes and folded lines."""
        start, raw, text = self.place(pointer), self.raw(pointer), self._text(pointer)
        position = _position(raw, text, offset)
        before = raw[:position]
        line, column = line_and_column(before, len(before))
        return Place(start.file, start.line + line - 1, column if line > 1 else start.column + position)

    def _text(self, pointer: Pointer) -> str:
        value = self.data
        for step in pointer:
            value = value[step]
        return str(value)


def _position(raw: str, text: str, offset: int) -> int:
    """The position in `raw` of the character at `offset` of `text`, by walking both side by side."""
    position = 0
    if raw[:1] in ("|", ">"):
        end = LINE_END.search(raw)
        position = end.end() if end else 0
    elif raw[:1] in ("'", '"') and text[:1] != raw[0]:
        position = 1
    elif raw[:1] in ("'", '"'):
        position = 2
    for character in text[:offset]:
        if character.isspace():
            position += 1
            continue
        found = raw.find(character, position)
        position = found + 1 if found >= 0 else position
    while position < len(raw) - 1 and raw[position].isspace():
        position += 1
    return position


def read(path: Path, *, plain_keys: frozenset[str] = frozenset()) -> Source:
    """Read a file. `plain_keys` are keys of the language itself that YAML 1.1 would read as something else."""
    name = str(path)
    try:
        content = read_bounded(path, MAX_BYTES)
    except OSError as error:
        if error.errno == errno.EFBIG:
            return Source(path, problems=(Problem("SG108", f"larger than {MAX_BYTES:,} bytes", Place(name, 1, 1)),))
        why = "file not found" if isinstance(error, FileNotFoundError) else error.strerror or str(error)
        hint = None
        if isinstance(error, IsADirectoryError):
            inside = path / "workflow.yaml"
            why, hint = "it is a folder", f"Name the file: {inside}" if inside.is_file() else "Name a workflow file"
        unread = f"cannot read {path}: {why}"
        return Source(path, problems=(Problem("SG101", unread, Place(name, 1, 1), hint=hint),), unread=unread)
    except ValueError as error:
        unread = f"cannot read {path!r}: {error}"
        return Source(path, problems=(Problem("SG101", unread),), unread=unread)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8-sig", "replace")
        where = Place(name, *line_and_column(before, len(before)))
        problem = Problem("SG109", f"byte 0x{content[error.start]:02x} is not UTF-8", where, hint="Save it as UTF-8")
        return Source(path, problems=(problem,))
    return replace(_Reader(path, text, plain_keys).run(), contents={path: content})


@dataclass(slots=True)
class _Open:
    """A map or list that is being read."""

    container: dict[str, Any] | list[Any]
    pointer: Pointer
    size_before: int
    anchor: str | None
    key: str | None = None
    key_place: Place | None = None
    keeps: bool = True
    """False while the value of a key that is not kept is read."""
    lines: dict[str, int] = field(default_factory=dict[str, int])


class _StopReadingError(Exception):
    """The file cannot be read beyond this point; the problem is reported."""


class _Reader:
    def __init__(self, path: Path, text: str, plain_keys: frozenset[str]) -> None:
        self._path, self._text, self._plain_keys = path, text, plain_keys
        self._name = str(path)
        self._entries: dict[Pointer, SourceEntry] = {}
        self._problems: list[Problem] = []
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._size = 0
        self._top: Any = None
        self._documents = 0
        self._starts = [0, *(end.end() for end in LINE_END.finditer(text))]

    def run(self) -> Source:
        try:
            for event in yaml.parse(self._text, Loader=_LOADER):
                self._handle(event)
        except yaml.MarkedYAMLError as error:
            self._syntax(error)
        except yaml.reader.ReaderError as error:
            self._unprintable(error)
        except _StopReadingError:
            pass
        else:
            if self._top is None and not self._problems:
                self._note("SG102", "the file is empty", Place(self._name, 1, 1))
            return self._source(self._top)
        return self._source(None)

    def _source(self, data: Any) -> Source:
        return Source(self._path, data, self._entries, tuple(self._problems), (self._path,))

    def _note(self, code: str, message: str, place: Place, hint: str | None = None) -> None:
        self._problems.append(Problem(code, message, place, hint=hint))

    def _stop(self, code: str, message: str, place: Place, hint: str | None = None) -> None:
        self._note(code, message, place, hint)
        raise _StopReadingError

    def _place(self, mark: Any) -> Place:
        return self._at(mark.index)

    def _at(self, offset: int) -> Place:
        # YAML ends lines at more characters than editors do
        line = bisect.bisect_right(self._starts, offset)
        return Place(self._name, line, offset - self._starts[line - 1] + 1)

    def _syntax(self, error: yaml.MarkedYAMLError) -> None:
        mark = error.problem_mark or error.context_mark
        what = " ".join(filter(None, (error.problem, error.context and f"({error.context})")))
        place = self._place(mark) if mark else Place(self._name, 1, 1)
        end = self._at(len(self._text.rstrip()))
        if place.line > end.line:
            # what is unclosed at the end of the file is reported where the text ends
            place = end
        first = self._starts[place.line - 1]
        tab = "\t" in self._text[first : first + place.column]
        self._note("SG102", what or "not valid YAML", place, "Indent with spaces, not with tabs" if tab else None)

    def _unprintable(self, error: yaml.reader.ReaderError) -> None:
        found = re.search(
            r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]", self._text
        )
        what = f"the character U+{ord(found[0]):04X} is not allowed in YAML" if found else str(error.reason)
        self._note("SG102", what, self._at(found.start() if found else 0), "Remove it, or escape it in quotes")

    def _handle(self, event: Any) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self._begin(event, {} if isinstance(event, yaml.MappingStartEvent) else [])
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            self._end()
        elif isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                self._stop(
                    "SG102", "a second YAML document; a workflow is a single document", self._place(event.start_mark)
                )

    def _wants_key(self) -> bool:
        return bool(self._open) and isinstance(self._open[-1].container, dict) and self._open[-1].key is None

    def _grow(self, by: int, place: Place) -> None:
        self._size += by
        if self._size > MAX_VALUES:
            self._stop("SG108", f"more than {MAX_VALUES:,} values, including those that aliases repeat", place)

    def _scalar(self, event: Any) -> None:
        place = self._place(event.start_mark)
        self._grow(1, place)
        self._untagged(event, place)
        plain = event.style in (None, "") and event.implicit[0]
        if self._wants_key():
            self._key(event.value, place, plain)
            return
        raw = self._text[event.start_mark.index : event.end_mark.index]
        value = self._plain(event.value, place) if plain else event.value
        self._remember(event.anchor, value, 1)
        self._put(value, place, raw)

    def _untagged(self, event: Any, place: Place) -> None:
        if event.tag not in (None, "!"):
            hint = "Remove the tag; values are text, numbers, booleans, lists and maps"
            self._note("SG103", f"YAML tag {event.tag} is not supported", place, hint)

    def _alias(self, event: Any) -> None:
        place = self._place(event.start_mark)
        if self._wants_key():
            self._stop("SG102", "an alias cannot be a key", place)
        if event.anchor not in self._anchors:
            inside = any(frame.anchor == event.anchor for frame in self._open)
            what = f"*{event.anchor} is inside the value it repeats" if inside else f"no anchor &{event.anchor} above"
            self._stop("SG102", what, place)
        value, size = self._anchors[event.anchor]
        self._grow(size, place)
        self._put(value, place, "")

    def _remember(self, anchor: str | None, value: Any, size: int) -> None:
        if anchor:
            self._anchors[anchor] = (value, size)

    def _begin(self, event: Any, container: dict[str, Any] | list[Any]) -> None:
        place = self._place(event.start_mark)
        if self._wants_key():
            self._stop("SG102", "a key must be text", place, "Quote text that contains braces or brackets")
        if len(self._open) >= MAX_DEPTH:
            self._stop("SG108", f"nested deeper than {MAX_DEPTH} levels", place)
        self._grow(1, place)
        self._untagged(event, place)
        pointer = self._put(container, place, "")
        self._open.append(_Open(container, pointer, self._size, event.anchor))

    def _end(self) -> None:
        frame = self._open.pop()
        self._remember(frame.anchor, frame.container, self._size - frame.size_before + 1)

    def _key(self, text: str, place: Place, plain: bool) -> None:
        frame = self._open[-1]
        frame.key, frame.key_place = text, place
        frame.keeps = False
        if plain and text == "<<":
            self._note("SG103", "YAML merge keys are not supported", place, "Write out the keys, or use extends")
        elif text in frame.lines:
            self._note(
                "SG104", f"duplicate key {text!r}, first on line {frame.lines[text]}", place, "Remove one of them"
            )
        else:
            frame.keeps = True
            frame.lines[text] = place.line
        if plain and text not in self._plain_keys:
            self._key_trap(text, place)

    def _key_trap(self, text: str, place: Place) -> None:
        reads = _SWITCHES.get(text.lower()) or ("null" if text in ("", "~") else None)
        if reads is None and text in _WORDS:
            reads = text.lower()
        if reads:
            self._note("SG103", f"the key {text} is read as {reads}", place, f'Write "{text}" in quotes')

    def _put(self, value: Any, place: Place, raw: str) -> Pointer:
        if not self._open:
            self._top = value
            self._entries[()] = SourceEntry(place, raw=raw)
            return ()
        frame = self._open[-1]
        if isinstance(frame.container, list):
            pointer = (*frame.pointer, len(frame.container))
            frame.container.append(value)
            self._entries.setdefault(pointer, SourceEntry(place, raw=raw))
            return pointer
        key = frame.key
        assert key is not None
        pointer = (*frame.pointer, key)
        if frame.keeps:
            frame.container[key] = value
            self._entries.setdefault(pointer, SourceEntry(place, frame.key_place, raw))
        frame.key = None
        return pointer

    def _plain(self, text: str, place: Place) -> Any:
        """The value of a plain scalar, by YAML 1.2's core schema; a problem where YAML 1.1 reads another."""
        if text in _WORDS:
            return _WORDS[text]
        trap = _trap(text)
        if trap:
            self._note("SG103", trap[0], place, trap[1])
            return text
        if _INTEGER.fullmatch(text):
            if len(text) > 400:
                self._note("SG107", "a number of more than 400 digits", place)
                return 0
            return int(text, 16 if text.startswith("0x") else 10)
        if _FLOAT.fullmatch(text):
            number = math.inf if "n" in text.lower() else float(text)
            if not math.isfinite(number):
                self._note("SG107", f"{text} is not a finite number", place)
                return 0.0
            return number
        return text


def _trap(text: str) -> tuple[str, str] | None:
    """The YAML trap of a plain scalar, and what to write instead."""
    quoted = f'"{text}"'
    if text.lower() in _SWITCHES:
        boolean = _SWITCHES[text.lower()]
        return (
            f"{text} is a boolean to some YAML parsers and text to others",
            f"Write {boolean}, or {quoted} for text",
        )
    if _OCTAL.fullmatch(text):
        return f"{text} is an octal number to some YAML parsers", f"Write a plain number, or {quoted} for text"
    if _SEXAGESIMAL.fullmatch(text):
        return f"{text} is a base-60 number to some YAML parsers", f"Write {quoted}"
    if _GROUPED.fullmatch(text):
        plain = text.replace("_", "")
        return f"{text} is a number to some YAML parsers and text to others", f"Write {plain}, or {quoted} for text"
    if _DATE.fullmatch(text):
        return f"{text} is a date to some YAML parsers and text to others", f"Write {quoted}"
    return None
