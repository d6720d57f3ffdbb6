"""Harmless e-mails and documents for the injection guard, which the given sets lack.

None is part of the repository. Where they come from:

- what people and newsletters wrote in the public corpus of SpamAssassin, to measure on: `data/*-ham-*` of
  github.com/stdlib-js/datasets-spam-assassin at commit 1b84d49 (ODC PDDL 1.0 and CC0)
- to fit on, the mail of one manager in the Enron corpus, which the Federal Energy Regulatory Commission published in
  2003 without a licence: `testemails.csv` of
  github.com/chussboi96/Exploring-Enron-email-dataset-through-d3-visualizations at commit 0513872
- to fit on, descriptions of half of the Python packages that `uv.lock` pins, read from where they are installed

What a row looks like depends on its text alone. The shipped model was fitted on an earlier draw of the last two, whose
hashes are in its card.
"""

import csv
import hashlib
from collections.abc import Iterable, Iterator
from email import message_from_bytes
from email.policy import default
from importlib.metadata import distributions
from pathlib import Path

from sluicegate.policies.guards.injection.fit import TrainingRow

__all__ = ["fitted", "unseen"]

ENRON = "b9162b16c05ce64b6feea297a376cdbc262e9696263c1367a1b9dc6461dc0ece"
SPAM_ASSASSIN = "801e5e343716533022426334abc76225cbcff624bb6917729315e39f41a56417"
"""SHA-256 of the files, one after the other."""
HAM = ("easy-ham-1", "easy-ham-2", "hard-ham-1")
LONGEST = 4_000
PIECES, STEP = 6, 6_000
ABOUT_ATTACKS = ("guardrails", "llm", "sluice")
"""Beginnings of names of packages that are about prompts, whose descriptions quote some."""


def fitted(folder: Path) -> list[TrainingRow]:
    """The e-mails of the Enron corpus in `folder`, and the documents. Exits where the file is not the one meant."""
    file = folder / "testemails.csv"
    _check(ENRON, [file])
    csv.field_size_limit(file.stat().st_size)
    with file.open(encoding="utf-8", errors="replace", newline="") as rows:
        messages = [row["message"].encode() for row in csv.DictReader(rows)]
    return [*_bodies("Enron", messages), *_documents()]


def unseen(folder: Path) -> list[TrainingRow]:
    """A third of the e-mails in `folder`'s `spam-assassin`, a checkout. Exits where they are not those meant."""
    files = sorted(file for kind in HAM for file in (folder / "spam-assassin" / "data").glob(f"{kind}/*.txt"))
    _check(SPAM_ASSASSIN, files)
    return _bodies("SpamAssassin", [file.read_bytes() for file in files if _drawn(file.name) % 3 == 0])


def _check(expected: str, files: list[Path]) -> None:
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    if digest.hexdigest() != expected:
        raise SystemExit(f"these are not the e-mails that benchmarks/harmless.py means: {digest.hexdigest()}")


def _bodies(corpus: str, messages: Iterable[bytes]) -> list[TrainingRow]:
    bodies: dict[str, str] = {}
    for message in (message_from_bytes(one, policy=default) for one in messages):
        try:
            part = message.get_body(("plain", "html"))
            body = str(part.get_content()).strip()[:LONGEST] if part else ""
            heads = [str(message[key]) for key in ("Subject", "From", "To", "Date")]
        except (LookupError, ValueError, AttributeError, TypeError):
            continue  # the head or charset of old mail may be broken
        if len(body) >= 40:
            bodies.setdefault(body[:120], _mail(body, *heads))
    return [TrainingRow(text, attack=False, source=f"{corpus} e-mails", kind="document") for text in bodies.values()]


def _mail(body: str, subject: str, sender: str, recipient: str, date: str) -> str:
    match _drawn(body) % 5:
        case 0:
            return f"Subject: {subject}\n\n{body}"
        case 1:
            return f"From: {sender}\nTo: {recipient}\nSubject: {subject}\nDate: {date}\n\n{body}"
        case 2:
            return f"SUBJECT: {subject}|EMAIL_FROM: {sender}|RECEIVED DATE: {date}|CONTENT: {body}"
        case _:
            return body


def _documents() -> list[TrainingRow]:
    return [
        TrainingRow(piece, attack=False, source="package descriptions", kind="document")
        for name, text in sorted(_descriptions().items())
        if _drawn(name) % 2 == 0
        for piece in _pieces(text)
    ]


def _descriptions() -> dict[str, str]:
    return {
        name: str(one.metadata.json.get("description", ""))
        for one in distributions()
        if not (name := one.metadata["Name"].lower()).startswith(ABOUT_ATTACKS)
    }


def _pieces(text: str) -> Iterator[str]:
    for start in range(0, min(len(text), PIECES * STEP), STEP):
        piece = text[start : start + (500, 1_200, 3_000)[_drawn(text[start : start + STEP]) % 3]]
        if len(piece) > 200:
            yield piece


def _drawn(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:4])
