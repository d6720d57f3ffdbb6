"""What a request states and what it does not: forms of one value, in many languages, and nothing that is not there."""

import json
from datetime import date
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sluicegate.nodes.extraction.stated import REWORDED, RequestText, Rule, stated
from tests.support import ROOT

DAY = date(2026, 11, 27)
"""A Friday."""


def is_kept(text: str, value: Any, rule: Rule = "stated", schema: dict[str, Any] | None = None) -> bool:
    kept, dropped = stated({"v": value}, {"properties": {"v": schema or {}}}, RequestText(text, DAY), {"v": rule})
    assert bool(dropped) != ("v" in kept and kept["v"] == value)
    return "v" in kept


STATED: list[tuple[str, Any]] = [
    ("My plate is HH-AB 123.", "HH-AB 123"),
    ("my plate: hhab123", "HH-AB 123"),
    ("plate HH AB 123", "hh-ab 123"),
    ("Write to max@example.org, please", "max@example.org"),
    ("call +49 170 12 34 567", "+491701234567"),
    ("Jürgen Müller hier", "Jurgen Müller"),
    ("ｆｕｌｌ１２ width", "full12"),
    ("Es waren 1.000,50 Euro", 1000.5),
    ("it cost 1,000.50 dollars", 1000.5),
    ("it cost 1,000.50 dollars", "1000.50"),
    ("1 000 Euro", 1000),
    ("12.345 km", 12345),
    ("12.345 km", 12.345),
    ("3,5 %", 3.5),
    ("it is -5 degrees", -5),
    ("order two laptops", 2),
    ("Zwei Laptops bitte", 2),
    ("deux écrans", "2"),
    ("on 3 May 2026", "2026-05-03"),
    ("am 03.05.2026", "2026-05-03"),
    ("on 05/03/2026", "2026-05-03"),
    ("am 3. Mai", "2026-05-03"),
    ("le 3 mai 2026", "2026-05-03"),
    ("2026年5月3日", "2026-05-03"),
    ("on 3 May 2026", "3 May 2026"),
    ("am 3. Mai 2026", "3 May 2026"),
    ("tomorrow, please", "2026-11-28"),
    ("kommenden Montag", "2026-11-30"),
    ("in three days", "2026-11-30"),
    ("vor zwei Tagen", "2026-11-25"),
    ("May 3rd, 2026 at 2 pm", "2026-05-03T14:00:00"),
    ("am 3.5.2026 um 14:30 Uhr", "2026-05-03T14:30"),
    ("我要去东京出差", "东京"),
    ("서울에서 만나요", "서울"),
    ("ไปกรุงเทพพรุ่งนี้", "กรุงเทพ"),
    ("नमस्ते राम, दिल्ली", "दिल्ली"),
    ("مرحبا أحمد، رقم ١٢٣", "أحمد"),
    ("مرحبا أحمد، رقم ١٢٣", 123),
    ("мой номер А123ВС77", "А123ВС77"),
    ("anything", None),
    ("anything", ""),
]
UNSTATED: list[tuple[str, Any]] = [
    ("I want to report an accident", "HH-AB 123"),
    ("HH-AB 1234", "HH-AB 123"),
    ("1234", 123),
    ("rooms 1, 2", "12"),
    ("Maria Huber and Anna Schmidt", "Maria Schmidt"),
    ("abc", "ab"),
    ("1.000 Euro", 1),
    ("costs 15 Euro", 1500),
    ("I was there", "2026-05-03"),
    ("on 3 May 2026", "2026-05-04"),
    ("on 3 May 2026", "2025-05-03"),
    ("in three days", "2026-12-01"),
    ("on 3 May 2026 at 2 pm", "2026-05-03T15:00:00"),
    ("Ich war heute da", "2026-11-28"),
    ("nothing", True),
    ("nothing", False),
    ("hi", 0),
    ("hi", float("nan")),
    ("hi", 10**40),
    ("hi", "\ud800"),
]


@pytest.mark.parametrize(("text", "value"), STATED)
def test_it_stands_there_in_another_form(text: str, value: Any) -> None:
    assert is_kept(text, value)


@pytest.mark.parametrize(("text", "value"), UNSTATED)
def test_it_does_not_stand_there(text: str, value: Any) -> None:
    assert not is_kept(text, value)


@pytest.mark.parametrize(
    ("text", "title", "kept"),
    [
        ("Please let me read the folder Contracts.", "read access to the folder Contracts", True),
        ("The coffee machine app on my tablet crashes, no hurry.", "coffee machine app on tablet crashes", True),
        ("my laptop screen flickers", "Laptop screen flickering", True),
        ("Bitte Zugriff auf den Ordner Verträge", "Zugriff Ordner Verträge", True),
        ("My mail is down", "lamp in room 12 is broken", False),
        ("The lamp in room 12 is broken", "lamp in room 13 is broken", False),
        ("I need it", "it", True),
        ("I need it", "!!", False),
    ],
)
def test_a_text_in_other_words_is_of_the_requests_words(text: str, title: str, kept: bool) -> None:
    assert is_kept(text, title, "reworded") is kept


def test_what_a_workflow_declares() -> None:
    words: Rule = {"high": ["urgent", "can't work"], "true": ["yes"]}
    assert is_kept("It is URGENT", "high", words)
    assert is_kept("yes, do", True, words)
    assert not is_kept("It is late", "high", words)
    assert not is_kept("yes, do", False, words)
    assert is_kept("It is late", "high", "derived")
    # what follows from the schema alone
    assert is_kept("It is late", "normal", schema={"enum": ["low", "normal"], "default": "normal"})
    assert is_kept("It is late", "claim", schema={"const": "claim"})
    assert not is_kept("It is late", "low", schema={"enum": ["low", "normal"], "default": "normal"})


def test_of_a_list_what_is_stated_is_kept() -> None:
    item = {"type": "object", "properties": {"name": {}, "n": {}}, "required": ["name", "n"]}
    schema = {"properties": {"items": {"type": "array", "items": item}, "who": item}}
    fields = {"items": [{"name": "desk", "n": 2}, {"name": "chair", "n": 5}], "who": {"name": "desk", "n": 7}}
    kept, dropped = stated(fields, schema, RequestText("two of the desk", DAY), {})
    assert kept == {"items": [{"name": "desk", "n": 2}]}
    assert [*dropped] == ["items.1.name", "items.1.n", "who.n"]


LETTERS = st.text(st.characters(categories=["Ll", "Lu", "Lo", "Nd"]), min_size=1, max_size=12)


@pytest.mark.slow
@settings(max_examples=300)
@given(text=st.text(max_size=60), value=LETTERS)
def test_no_text_from_elsewhere_survives(text: str, value: str) -> None:
    """What is kept is, sign by sign, a part of the request, once case, accents and what lies between are gone; or it is
    a number or a day that the request states."""
    request = RequestText(text, DAY)
    if is_kept(text, value):
        joined = request._parts.joined
        inside = RequestText(value, DAY)._parts.joined in joined
        assert inside or request.numbers & RequestText(value, DAY).numbers or request.days


@pytest.mark.parametrize("word", ["ᾀ", "ᾳ", "straße", "ﬁnance", "İstanbul"])
def test_a_letter_that_is_two_in_capitals_is_itself(word: str) -> None:
    assert is_kept(f"see {word} there", word.upper())
    assert is_kept(f"see {word.upper()} there", word)


@pytest.mark.slow
@settings(max_examples=300)
@given(words=st.lists(LETTERS, min_size=1, max_size=8), data=st.data())
def test_any_run_of_words_survives_in_any_case_and_spacing(words: list[str], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(words) - 1))
    end = data.draw(st.integers(start + 1, len(words)))
    between = data.draw(st.sampled_from([" ", "-", "  ", "/"]))
    value = between.join(words[start:end])
    assume(value.casefold().upper().casefold() == value.casefold())
    assert is_kept(" ".join(words), value.upper())


@pytest.mark.slow
@settings(max_examples=200)
@given(number=st.integers(-(10**12), 10**12), other=st.integers(-(10**12), 10**12))
def test_a_number_survives_in_every_format_and_no_other_does(number: int, other: int) -> None:
    for form in (f"{number}", f"{number:,}", f"{number:,}".replace(",", "."), f"{number:,}".replace(",", " ")):
        text = f"It is {form} in all"
        assert is_kept(text, number)
        if abs(other) not in {abs(int(read)) for read in RequestText(text, DAY).numbers}:
            assert not is_kept(text, other)
    if other != number:
        assert not is_kept(f"It is {number} in all", other) or other == abs(number)


@pytest.mark.skipif(not (ROOT.parent / "shared/cases").is_dir(), reason="the cases are not beside the project")
def test_parts_of_requests_in_many_languages_survive_and_strangers_do_not() -> None:
    rows = [
        json.loads(line)
        for name in ("requests_by_language", "requests_short")
        for line in (ROOT.parent / f"shared/cases/{name}.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    texts = [row["text"] for row in rows]
    assert len(texts) > 20
    for text in texts:
        tokens = text.split()
        assert is_kept(text, " ".join(tokens[len(tokens) // 2 :]))
        assert not is_kept(text, "HH-AB 123")
        assert not is_kept(text, "HH-AB 123", "reworded")
    assert 0 < REWORDED <= 1
