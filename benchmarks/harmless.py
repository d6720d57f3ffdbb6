"""Harmless e-mails and documents for the injection guard, which the given sets lack.

None is part of the repository. Where they come from:

- what people and newsletters wrote in the public corpus of SpamAssassin: `data/*-ham-*` of
  github.com/stdlib-js/datasets-spam-assassin at commit 1b84d49 (ODC PDDL 1.0 and CC0)
- the mail of one manager in the Enron corpus, which the Federal Energy Regulatory Commission published in 2003 without
  a licence: `testemails.csv` of
  github.com/chussboi96/Exploring-Enron-email-dataset-through-d3-visualizations at commit 0513872
- pages of a public authority's handbook: `pages/**/*.md` of github.com/18F/handbook at commit 1e49556 (CC0)
- tables, programs' errors and e-mails that the train part of BIPIA hides attacks in, without the attacks:
  `benchmark/{table,code,email}/train.jsonl` of github.com/microsoft/BIPIA at commit 1a2a91d (MIT)
- descriptions of the Python packages that `uv.lock` pins, read from where they are installed

What a row looks like and which rows are fitted on depends on its text alone.
"""

import csv
import hashlib
import json
from collections.abc import Iterable, Iterator
from email import message_from_bytes
from email.policy import default
from importlib.metadata import distributions
from pathlib import Path

from sluicegate.policies.guards.injection.fit import TrainingRow

__all__ = ["LONGEST", "contexts", "descriptions", "drawn", "handbook", "mails"]

MAILS = "ead14b77b96363c96d6410ee3c03d11e65bf6a7f90a4cb0e27d1fff15eb9f52a"
HANDBOOK = "7022813e4ba0ecf5b5a6563e9fb3866d5d68df0e9fe8d7dc1ca65d2dda5b1ae5"
CONTEXTS = "d984ab92e1b2128def0cb052ccadf1a00007a7c087ea2dd0dca0c47104f8419f"
"""SHA-256 over the files of e-mails, over those of the handbook, and over those of BIPIA, one after the other."""
HAM = ("easy-ham-1", "easy-ham-2", "hard-ham-1")
LONGEST = 4_000
PIECES, STEP = 6, 6_000
ABOUT_ATTACKS = ("guardrails", "llm", "sluice")
"""Beginnings of names of packages that are about prompts, whose descriptions quote some."""


def mails(folder: Path, *, apart: bool = False) -> list[TrainingRow]:
    """The bodies fitted on, or those kept `apart`, some with their heads in one of three forms.

    `folder` holds the file and, as `spam-assassin`, a checkout of the repository named above. Exits where they are not
    those that are meant.
    """
    file, checkout = folder / "testemails.csv", folder / "spam-assassin" / "data"
    letters = sorted(file for kind in HAM for file in checkout.glob(f"{kind}/*.txt"))
    digest = hashlib.sha256(file.read_bytes())
    for one in letters:
        digest.update(one.read_bytes())
    if digest.hexdigest() != MAILS:
        raise SystemExit(f"{folder} holds other e-mails than those of benchmarks/harmless.py: {digest.hexdigest()}")
    csv.field_size_limit(file.stat().st_size)
    with file.open(encoding="utf-8", errors="replace", newline="") as rows:
        enron = [row["message"].encode() for row in csv.DictReader(rows)]
    bodies = [one.read_bytes() for one in letters if (drawn(one.name) % 3 == 0) != apart]
    return [*_bodies("Enron", () if apart else enron), *_bodies("SpamAssassin", bodies)]


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
    match drawn(body) % 5:
        case 0:
            return f"Subject: {subject}\n\n{body}"
        case 1:
            return f"From: {sender}\nTo: {recipient}\nSubject: {subject}\nDate: {date}\n\n{body}"
        case 2:
            return f"SUBJECT: {subject}|EMAIL_FROM: {sender}|RECEIVED DATE: {date}|CONTENT: {body}"
        case _:
            return body


def handbook(folder: Path, *, apart: bool = False) -> list[TrainingRow]:
    """Pieces of half of the pages in `folder`'s `handbook`, a checkout: those fitted on, or those kept `apart`.

    Exits where they are not those that are meant.
    """
    pages = {page.name: page.read_bytes() for page in sorted((folder / "handbook").glob("pages/**/*.md"))}
    digest = hashlib.sha256(b"".join(pages.values())).hexdigest()
    if digest != HANDBOOK:
        raise SystemExit(f"{folder} holds another handbook than that of benchmarks/harmless.py: {digest}")
    return [
        TrainingRow(piece, attack=False, source="18F handbook", kind="document")
        for name, page in pages.items()
        if drawn(name) % 2 == apart
        for piece in _pieces(page.decode(errors="replace"))
    ]


def contexts(folder: Path) -> list[TrainingRow]:
    """What attacks are hidden in, from `folder`'s `bipia`, a checkout; of the tables, every third.

    Exits where they are not those that are meant.
    """
    files = [folder / "bipia" / "benchmark" / kind / "train.jsonl" for kind in ("table", "code", "email")]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    if digest != CONTEXTS:
        raise SystemExit(f"{folder} holds another BIPIA than that of benchmarks/harmless.py: {digest}")
    texts: dict[str, None] = {}
    for file in files:
        for line in file.read_text(encoding="utf-8").splitlines():
            context = json.loads(line)["context"]
            text = (context if isinstance(context, str) else "\n".join(context))[:LONGEST]
            if "table" not in file.parts or drawn(text) % 3 == 0:
                texts[text] = None
    return [TrainingRow(text, attack=False, source="microsoft/BIPIA", kind="document") for text in texts]


def descriptions(*, apart: bool) -> list[TrainingRow]:
    """Pieces of the descriptions of half of the installed packages: those fitted on, or those kept `apart`."""
    return [
        TrainingRow(piece, attack=False, source="package descriptions", kind="document")
        for name, text in sorted(_descriptions().items())
        if drawn(name) % 2 == apart
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
        piece = text[start : start + (500, 1_200, 3_000)[drawn(text[start : start + STEP]) % 3]]
        if len(piece) > 200:
            yield piece


def drawn(text: str) -> int:
    """A number that depends on the text alone."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:4])
