"""Mails as programs write them: in every encoding, also those that they name wrongly."""

from pathlib import Path

import pytest

from sluicegate.retrieval.loaders import load
from tests.support.documents import said, written

GUESSED = "not UTF-8: read as cp1252, by detection; save it as UTF-8 if characters are wrong"


@pytest.mark.parametrize(
    ("head", "body", "note"),
    [
        ("text/plain; charset=utf-8", "Die Rückgabe ist möglich.".encode(), ""),
        ("text/plain; charset=iso-8859-1", "Die Rückgabe ist möglich.".encode("latin-1"), ""),
        # named wrongly, by a name that nobody knows, or not at all
        ("text/plain; charset=us-ascii", "Die Rückgabe ist möglich.".encode(), ""),
        ("text/plain; charset=iso-8859-1", "Die Rückgabe ist möglich.".encode(), ""),
        ("text/plain; charset=utf-8", "Die Rückgabe ist möglich.".encode("latin-1"), GUESSED),
        ("text/plain; charset=x-unknown", "Die Rückgabe ist möglich.".encode("latin-1"), GUESSED),
        ("text/plain; charset=base64", "Die Rückgabe ist möglich.".encode(), ""),
        ("text/plain", "Die Rückgabe ist möglich.".encode("latin-1"), GUESSED),
        ("text/html", "<p>Die R&uuml;ckgabe ist möglich.</p>".encode(), ""),
    ],
)
def test_encodings_of_mails(tmp_path: Path, head: str, body: bytes, note: str) -> None:
    mail = f"Subject: Hi\nContent-Type: {head}\nContent-Transfer-Encoding: 8bit\n\n".encode() + body
    loaded = load(written(tmp_path, "a.eml", mail))
    assert (loaded.text, loaded.title) == ("Die Rückgabe ist möglich.", "Hi")
    assert loaded.notes == ((note,) if note else ())


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_mail_that_an_editor_has_saved_begins_with_a_mark(tmp_path: Path, encoding: str) -> None:
    loaded = load(written(tmp_path, "a.eml", "Subject: Hi\n\nDie Rückgabe ist möglich.".encode(encoding)))
    assert (loaded.text, loaded.title) == ("Die Rückgabe ist möglich.", "Hi")


def test_what_is_indented_in_a_quote_is_no_code(tmp_path: Path) -> None:
    body = "See below.\n\n>      Ask the front desk\n>      for a badge.\n> >     It is free.\n"
    mail = f"Subject: =?x-unknown?q?Hi?=\n\n{body}"
    loaded = load(written(tmp_path, "a.eml", mail))
    assert said(loaded) == [["See below.", "Ask the front desk for a badge.", "It is free."]]
