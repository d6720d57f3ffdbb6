"""Corrections become labelled rows, and a new artifact shows what it would change before it is deployed."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sluicegate.extras import fitting
from sluicegate.routing.data import Labelled, folded
from sluicegate.routing.intent.router import FittedRouter

__all__ = ["Corrections", "compare", "corrections_of", "unseen", "with_corrections", "would_change"]


@dataclass(frozen=True, slots=True)
class Corrections:
    """What people said the label should have been."""

    texts: list[str]
    labels: list[str]
    unusable: Counter[str]
    """Corrections that cannot be learned from, by reason."""

    def __len__(self) -> int:
        return len(self.texts)


def corrections_of(rows: Sequence[Mapping[str, Any]], *, labels: set[str]) -> Corrections:
    """Corrections from rows with `text` and `label`, oldest first; the latest word on a text counts.

    Left out, and counted: a text that was not kept, a label that is not one of `labels`.
    """
    latest: dict[str, tuple[str, str]] = {}
    unusable: Counter[str] = Counter()
    for row in rows:
        text, label = row.get("text"), str(row.get("label") or "").strip().strip('"')
        if not isinstance(text, str) or not text.strip():
            unusable["the request's text was not recorded"] += 1
        elif label not in labels:
            unusable[f"{label!r} is not a label of this router"] += 1
        else:
            latest[folded(text)] = (text, label)
    return Corrections([text for text, _ in latest.values()], [label for _, label in latest.values()], unusable)


def with_corrections(rows: Labelled, corrections: Corrections) -> Labelled:
    """Training rows with the corrections; where both have a text, the correction's label counts."""
    corrected = {folded(text) for text in corrections.texts}
    kept = [i for i, text in enumerate(rows.texts) if folded(text) not in corrected]
    texts = [rows.texts[i] for i in kept] + corrections.texts
    labels = [rows.labels[i] for i in kept] + corrections.labels
    return Labelled(texts, labels, {**rows.digests, "corrections": _digest(corrections)}, rows.repeated)


async def compare(old: FittedRouter, new: FittedRouter, rows: Labelled, *, shown: int = 20) -> dict[str, Any]:
    """What `new` would decide otherwise than `old` on labelled rows, and which of the two is right more often.

    The rows must be unseen by both, or the one that learned them looks better than it is. Needs at least one row.
    """
    changed: list[dict[str, Any]] = []
    counts: Counter[str] = Counter()
    for text, label in zip(rows.texts, rows.labels, strict=True):
        before, after = await old.classify(text), await new.classify(text)
        for name, found in (("old", before), ("new", after)):
            trusted = found.confidence >= found.threshold
            counts[f"{name}_right"] += found.label == label
            counts[f"{name}_accepted"] += trusted
            counts[f"{name}_accepted_right"] += trusted and found.label == label
        if before.label != after.label:
            counts["mended"] += after.label == label
            counts["broken"] += before.label == label
            changed.append({"text": text, "label": label, "before": before.label, "after": after.label})
    total = len(rows)

    def figures(name: str) -> dict[str, Any]:
        accepted = counts[f"{name}_accepted"]
        return {
            "accuracy": counts[f"{name}_right"] / total,
            "coverage": accepted / total,
            "accepted_accuracy": counts[f"{name}_accepted_right"] / accepted if accepted else None,
        }

    return {
        "rows": total,
        "old": figures("old"),
        "new": figures("new"),
        "changed": len(changed),
        "mended": counts["mended"],
        "broken": counts["broken"],
        "p_value": _sign_test(counts["mended"], counts["broken"]),
        "examples": changed[:shown],
    }


async def would_change(
    old: FittedRouter, new: FittedRouter, texts: Sequence[str], *, shown: int = 20
) -> dict[str, Any]:
    """Which requests `new` would give another label, or the same label but trust otherwise: another branch.

    For requests as they came, of which nobody knows the right label.
    """
    labels, trust = 0, 0
    examples: list[dict[str, Any]] = []
    for text in texts:
        before, after = await old.classify(text), await new.classify(text)
        trusted = [found.confidence >= found.threshold for found in (before, after)]
        if before.label == after.label and trusted[0] == trusted[1]:
            continue
        labels += before.label != after.label
        trust += trusted[0] != trusted[1]
        said = [
            f"{one.label}{'' if sure else ' (below threshold)'}"
            for one, sure in zip((before, after), trusted, strict=True)
        ]
        examples.append({"text": text, "before": said[0], "after": said[1]})
    return {"requests": len(texts), "other_label": labels, "other_trust": trust, "examples": examples[:shown]}


def unseen(rows: Labelled, corrections: Corrections) -> Labelled:
    """Rows that are no corrections: what a new router is measured on must not be what it learned."""
    learned = {folded(text) for text in corrections.texts}
    kept = [i for i, text in enumerate(rows.texts) if folded(text) not in learned]
    return Labelled([rows.texts[i] for i in kept], [rows.labels[i] for i in kept], rows.digests)


def _sign_test(mended: int, broken: int) -> float:
    """McNemar's exact test: could the changes be chance?"""
    stats = fitting("scipy.stats")
    return float(stats.binomtest(mended, mended + broken).pvalue) if mended + broken else 1.0


def _digest(corrections: Corrections) -> str:
    pairs = sorted(zip(corrections.texts, corrections.labels, strict=True))
    return hashlib.sha256(repr(pairs).encode("utf-8", "surrogatepass")).hexdigest()
