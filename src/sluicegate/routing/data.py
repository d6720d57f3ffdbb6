"""Labelled files: JSON Lines or CSV, optionally gzipped, checked row by row before anything is fitted.

Intent rows have ``text`` and ``label``; escalation rows have ``prompt``, ``weak_correct`` and ``strong_correct``; other
fields are ignored. Every bad row is reported with its line, at most `REPORTED` at once, and a file with one is refused.
"""

import csv
import hashlib
import io
import json
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sluicegate.errors import ConfigError, Place, Problem
from sluicegate.files import MAX_ROWS_BYTES, json_lines, read_bounded, unpacked

__all__ = [
    "Escalations",
    "Labelled",
    "folded",
    "joined",
    "joined_escalations",
    "read_escalations",
    "read_labelled",
    "read_rows",
]

REPORTED = 20
TRUE = frozenset({"true", "1", "1.0", "yes"})
FALSE = frozenset({"false", "0", "0.0", "no"})


@dataclass(frozen=True, slots=True)
class Labelled:
    """Texts with their labels; repeated rows are kept once."""

    texts: list[str]
    labels: list[str]
    digests: dict[str, str]
    """SHA-256 of each file the rows came from, by its name."""
    repeated: int = 0
    """Rows left out because the same text stood there already, with the same label."""

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True, slots=True)
class Escalations:
    """Prompts with whether the small (weak) and the large (strong) model answered them right."""

    prompts: list[str]
    weak: list[bool]
    strong: list[bool]
    digests: dict[str, str]

    def __len__(self) -> int:
        return len(self.prompts)


def folded(text: str) -> str:
    """The form under which two texts count as the same: case and white space do not tell them apart."""
    return " ".join(text.casefold().split())


def read_labelled(path: Path) -> Labelled:
    """Read ``text,label`` rows. Raises `ConfigError` SG101 (no such file), SG109, SG140 (bad rows, named by line).

    The same text under two labels is a bad row: nobody can say which of them is meant.
    """
    texts: list[str] = []
    labels: list[str] = []
    seen: dict[str, tuple[str, int]] = {}
    problems: list[Problem] = []
    repeated = 0
    digest, rows = _opened(path, ("text", "label"))
    for line, row in _sound(path, rows, problems):
        text, label = row.get("text"), row.get("label")
        if fault := _text_fault("text", text) or _text_fault("label", label):
            problems.append(_bad(path, line, fault))
            continue
        key = folded(str(text))
        label = str(label).strip()
        first = seen.get(key)
        if first is None:
            seen[key] = (label, line)
            texts.append(str(text))
            labels.append(label)
        elif first[0] == label:
            repeated += 1
        else:
            problems.append(
                _bad(
                    path,
                    line,
                    f"labelled {label!r} here, but the same text is labelled {first[0]!r} in line {first[1]}",
                )
            )
    _refuse(path, problems, found=len(texts))
    return Labelled(texts, labels, {path.name: digest}, repeated)


def joined(parts: Sequence[Labelled]) -> Labelled:
    """Several files as one. Raises `ConfigError` SG140 when they disagree on a text's label."""
    texts: list[str] = []
    labels: list[str] = []
    seen: dict[str, str] = {}
    digests: dict[str, str] = {}
    repeated = 0
    for part in parts:
        repeated += part.repeated
        digests.update(part.digests)
        for text, label in zip(part.texts, part.labels, strict=True):
            first = seen.setdefault(folded(text), label)
            if first != label:
                where = ", ".join(part.digests)
                message = f"{where}: {text[:60]!r} is labelled {label!r} here and {first!r} in an earlier file"
                raise ConfigError([Problem("SG140", message)])
            if len(seen) > len(texts):
                texts.append(text)
                labels.append(label)
            else:
                repeated += 1
    return Labelled(texts, labels, digests, repeated)


def read_escalations(path: Path) -> Escalations:
    """Read ``prompt,weak_correct,strong_correct`` rows. Raises as `read_labelled` does."""
    prompts: list[str] = []
    weak: list[bool] = []
    strong: list[bool] = []
    problems: list[Problem] = []
    digest, rows = _opened(path, ("prompt", "weak_correct", "strong_correct"))
    for line, row in _sound(path, rows, problems):
        marks = [_flag(row.get(field)) for field in ("weak_correct", "strong_correct")]
        fault = _text_fault("prompt", row.get("prompt"))
        if fault is None and None in marks:
            fault = "`weak_correct` and `strong_correct` must be true or false"
        if fault:
            problems.append(_bad(path, line, fault))
            continue
        prompts.append(str(row["prompt"]))
        weak.append(bool(marks[0]))
        strong.append(bool(marks[1]))
    _refuse(path, problems, found=len(prompts))
    return Escalations(prompts, weak, strong, {path.name: digest})


def joined_escalations(parts: Sequence[Escalations]) -> Escalations:
    """Several files as one."""
    digests = {name: digest for part in parts for name, digest in part.digests.items()}
    return Escalations(
        [prompt for part in parts for prompt in part.prompts],
        [mark for part in parts for mark in part.weak],
        [mark for part in parts for mark in part.strong],
        digests,
    )


def read_rows(path: Path) -> list[dict[str, Any]]:
    """All rows of a file as they stand. Raises `ConfigError` SG101, SG109, SG140."""
    problems: list[Problem] = []
    _, rows = _opened(path)
    found = [row for _, row in _sound(path, rows, problems)]
    _refuse(path, problems, found=len(found))
    return found


def _opened(path: Path, fields: Sequence[str] = ()) -> tuple[str, Iterator[tuple[int, dict[str, Any] | str]]]:
    """SHA-256 of the file, and its rows: ``(line, row)``, or ``(line, fault)`` for one that cannot be read.

    A table whose header lacks one of `fields` has that one fault.
    """
    try:
        raw = read_bounded(path, MAX_ROWS_BYTES)
        content = unpacked(raw, MAX_ROWS_BYTES) if raw[:2] == b"\x1f\x8b" else raw
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError([Problem("SG101", f"cannot read {path}: {reason}")]) from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            [Problem("SG109", "not UTF-8", Place(str(path), line, 1), hint="Save the file as UTF-8")]
        ) from error
    digest, name = hashlib.sha256(raw).hexdigest(), path.name.removesuffix(".gz")
    if not name.endswith((".csv", ".tsv")):
        return digest, _json_rows(text)
    return digest, _csv_rows(text, fields)


def _json_rows(text: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    for number, line in json_lines(text):
        try:
            row: Any = json.loads(line, object_pairs_hook=_once)
        except RecursionError:
            yield number, "JSON nested too deeply"
            continue
        except ValueError as error:
            yield number, f"not JSON: {error}"
            continue
        yield number, row if isinstance(row, dict) else "not a JSON object"


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose fields each stand in it once: of two, nobody can say which is meant. Raises `ValueError`."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"the field `{_twice([name for name, _ in pairs])}` occurs twice")
    return found


def _twice(names: Sequence[str]) -> str:
    return next(name for name, count in Counter(names).items() if count > 1)


def _csv_rows(text: str, fields: Sequence[str]) -> Iterator[tuple[int, dict[str, Any] | str]]:
    first = text.split("\n", 1)[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter="\t" if "\t" in first else ",", strict=True)
    header: list[str] | None = None
    start = 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield start, f"not CSV: {error}"
            return
        line, start = start, reader.line_num + 1
        if header is None:
            header = [cell.strip() for cell in cells]
            if len(set(header)) < len(header):
                yield line, f"the header has `{_twice(header)}` twice"
                return
            if missing := [field for field in fields if field not in header]:
                yield line, f"the header has no `{missing[0]}`: it has {', '.join(f'`{name}`' for name in header[:8])}"
                return
        elif len(cells) == len(header):
            yield line, dict(zip(header, cells, strict=True))
        elif cells:
            yield line, f"{len(cells)} cells where the header has {len(header)}"


def _sound(
    path: Path, rows: Iterator[tuple[int, dict[str, Any] | str]], problems: list[Problem]
) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, row in rows:
        if isinstance(row, str):
            problems.append(_bad(path, line, row))
        else:
            yield line, row


def _refuse(path: Path, problems: list[Problem], *, found: int) -> None:
    if problems:
        more = len(problems) - REPORTED
        shown = problems[:REPORTED]
        if more > 0:
            shown.append(Problem("SG140", f"{path}: and {more} more bad rows"))
        raise ConfigError(shown)
    if not found:
        raise ConfigError([Problem("SG140", f"{path} has no rows")])


def _bad(path: Path, line: int, fault: str) -> Problem:
    return Problem("SG140", fault, Place(str(path), line, 1))


def _text_fault(field: str, value: Any) -> str | None:
    if value is None:
        return f"no `{field}`"
    if not isinstance(value, str):
        return f"`{field}` is not text"
    if not value.strip():
        return f"`{field}` is empty"
    try:
        value.encode()
    except UnicodeEncodeError as error:
        return f"`{field}` contains an unpaired surrogate (U+{ord(value[error.start]):04X})"
    return None


def _flag(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    word = str(value).strip().casefold()
    return True if word in TRUE else False if word in FALSE else None
