"""Metrics of a guard on labelled rows: recall, precision, false positives and time.

Rows of a JSONL file (or `.gz`), by the keys they have: `text, attack` or `text, flagged` (a truth value: the guard
should fail), `text, safe` (the other way round), or `text, spans` for guards with findings. A row may also have the
context of the text: `question`, `sources`, `stage`.
"""

import asyncio
import inspect
import json
import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sluicegate.errors import ConfigError, Place, Problem
from sluicegate.files import MAX_ROWS_BYTES, json_lines, read_bounded, unpacked
from sluicegate.policies.guards.checking import Check, Finding, Stage, Subject, Verdict

__all__ = ["ENTITY_NAMES", "LabelledRow", "LabelledSpan", "load_rows", "measure"]

ENTITY_NAMES: dict[str, str] = {
    "EMAIL_ADDRESS": "email",
    "PHONE_NUMBER": "phone",
    "CREDIT_CARD": "credit-card",
    "IBAN_CODE": "iban",
    "US_SSN": "ssn",
    "US_DRIVER_LICENSE": "id-number",
    "US_PASSPORT": "id-number",
    "IP_ADDRESS": "ip-address",
    "MAC_ADDRESS": "mac-address",
    "URL": "url",
    "DOMAIN_NAME": "url",
    "DATE_TIME": "date-time",
    "AGE": "age",
    "ZIP_CODE": "zip-code",
    "STREET_ADDRESS": "street-address",
    "CRYPTO": "crypto-wallet",
    "PERSON": "person",
    "GPE": "place",
    "LOCATION": "place",
    "ORGANIZATION": "organization",
}
"""Presidio's names of entity types, and ours."""

FREE_TEXT = frozenset({"person", "place", "organization", "street-address"})
"""Types without a form that a pattern could match; they are reported, but not part of the structured figures."""

_INSIDE = {"zip-code": "street-address", "place": "street-address"}
"""A finding that lies in a longer labelled one of this type is right: a postal code is part of an address."""


@dataclass(frozen=True, slots=True)
class LabelledSpan:
    type: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class LabelledRow:
    subject: Subject
    positive: bool = False
    """The guard should fail on this text."""
    spans: tuple[LabelledSpan, ...] | None = None
    groups: tuple[str, str, str] = ("", "", "")
    """Its `source`, `kind` and `language`, where the row says them."""


def load_rows(file: Path, *, stage: Stage = "request") -> list[LabelledRow]:
    """The labelled rows of a file. Raises `ConfigError` SG101 (unreadable) or SG140, naming every bad row."""
    try:
        raw = read_bounded(file, MAX_ROWS_BYTES)
        text = (unpacked(raw, MAX_ROWS_BYTES) if file.suffix == ".gz" else raw).decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        raise ConfigError([Problem("SG101", f"cannot read {file}: {why}")]) from error
    rows: list[LabelledRow] = []
    problems: list[Problem] = []
    for number, line in json_lines(text):
        try:
            rows.append(_row(json.loads(line), stage))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            wanted = "a JSON object with `text` and one of `attack`, `flagged`, `safe`, `spans`"
            problems.append(Problem("SG140", f"not {wanted}", Place(str(file), number, 1)))
    if not rows and not problems:
        problems.append(Problem("SG140", f"{file} has no rows"))
    if problems:
        raise ConfigError(problems)
    return rows


def _row(given: dict[str, Any], stage: Stage) -> LabelledRow:
    text = given["text"]
    if not isinstance(text, str):
        raise TypeError("text")
    where: Any = given.get("stage", stage)
    sources = tuple(str(source) for source in given.get("sources", ()))
    subject = Subject(text, where, str(given.get("question", "")), sources, int(given.get("citations", 0)))
    if "spans" in given:
        spans = tuple(
            LabelledSpan(_name(span["type"]), int(span["start"]), int(span["end"])) for span in given["spans"]
        )
        return LabelledRow(subject, positive=bool(spans), spans=spans)
    source, kind, language = (str(given.get(key) or "") for key in ("source", "kind", "language"))
    flagged = not given["safe"] if "safe" in given else bool(given["attack"] if "attack" in given else given["flagged"])
    return LabelledRow(subject, positive=flagged, groups=(source, kind, language))


def _name(type_: str) -> str:
    return ENTITY_NAMES.get(type_, type_.lower().replace("_", "-"))


def measure(check: Check, rows: Iterable[LabelledRow]) -> dict[str, Any]:
    """Run a guard over every row; see `sluicegate guard eval` for the keys of the result."""
    return asyncio.run(_measure(check, list(rows)))


async def _measure(check: Check, rows: list[LabelledRow]) -> dict[str, Any]:
    verdicts: list[Verdict] = []
    times: list[float] = []
    for row in rows:
        start = time.perf_counter()
        verdict = check(row.subject)
        if inspect.isawaitable(verdict):
            verdict = await verdict
        times.append((time.perf_counter() - start) * 1000)
        verdicts.append(verdict)
    characters = sum(len(row.subject.text) for row in rows)
    figures = _by_span(rows, verdicts) if any(row.spans is not None for row in rows) else _by_row(rows, verdicts)
    return {
        "rows": len(rows),
        **figures,
        "latency_ms_p50": round(statistics.median(times), 4),
        "latency_ms_per_1000_characters": round(1000 * sum(times) / max(characters, 1), 4),
    }


def _by_row(rows: list[LabelledRow], verdicts: list[Verdict]) -> dict[str, Any]:
    pairs = [(row.positive, not verdict.passed) for row, verdict in zip(rows, verdicts, strict=True)]
    hit, missed = pairs.count((True, True)), pairs.count((True, False))
    false, right = pairs.count((False, True)), pairs.count((False, False))
    return {
        "positives": hit + missed,
        "negatives": false + right,
        "recall": _ratio(hit, hit + missed),
        "precision": _ratio(hit, hit + false),
        "false_positive_rate": _ratio(false, false + right),
    }


def _by_span(rows: list[LabelledRow], verdicts: list[Verdict]) -> dict[str, Any]:
    counts: dict[str, dict[Literal["labelled", "found", "matched", "right", "covered"], float]] = {}
    clean = wrong_on_clean = 0
    for row, verdict in zip(rows, verdicts, strict=True):
        spans, findings = row.spans or (), verdict.findings
        structured = [found for found in findings if found.label not in FREE_TEXT]
        if not any(span.type not in FREE_TEXT for span in spans):
            clean += 1
            wrong_on_clean += any(not _is_right(found, spans) for found in structured)
        for span in spans:
            count = counts.setdefault(span.type, dict.fromkeys(("labelled", "found", "matched", "right", "covered"), 0))
            held = _covered(span, findings)
            count["labelled"] += 1
            count["matched"] += held > 0
            count["covered"] += held
        for found in findings:
            count = counts.setdefault(
                found.label, dict.fromkeys(("labelled", "found", "matched", "right", "covered"), 0)
            )
            count["found"] += 1
            count["right"] += _is_right(found, spans)
    entities = {
        name: {
            "labelled": int(count["labelled"]),
            "recall": _ratio(count["matched"], count["labelled"]),
            "precision": _ratio(count["right"], count["found"]),
            "overlap": _ratio(count["covered"], count["labelled"]),
        }
        for name, count in sorted(counts.items())
    }
    found_types = {name for name, count in counts.items() if count["found"]}
    chosen = [count for name, count in counts.items() if name in found_types and name not in FREE_TEXT]
    every = list(counts.values())
    return {
        "recall": _ratio(sum(c["matched"] for c in chosen), sum(c["labelled"] for c in chosen)),
        "precision": _ratio(sum(c["right"] for c in chosen), sum(c["found"] for c in chosen)),
        "false_positive_rate": _ratio(wrong_on_clean, clean),
        "recall_over_all_types": _ratio(sum(c["matched"] for c in every), sum(c["labelled"] for c in every)),
        "structured": sorted(found_types - FREE_TEXT),
        "entities": entities,
    }


def _covered(span: LabelledSpan, findings: tuple[Finding, ...]) -> float:
    """Share of a labelled span that findings of its type hold."""
    held = sum(
        max(0, min(found.end, span.end) - max(found.start, span.start))
        for found in findings
        if found.label == span.type
    )
    return held / (span.end - span.start) if span.end > span.start else 0.0


def _is_right(found: Finding, spans: tuple[LabelledSpan, ...]) -> bool:
    return any(
        found.start < span.end and span.start < found.end and span.type in (found.label, _INSIDE.get(found.label))
        for span in spans
    )


def _ratio(part: float, whole: float) -> float | None:
    return round(part / whole, 4) if whole else None
