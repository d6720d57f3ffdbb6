"""Personal data in the forms it comes in, and numbers that look like it: generated, each with its place in the text.

Every text is a value (of a kind, drawn at random, its checksum right) in a writing (blanks, dashes, digits and widths
of Unicode) in a sentence of some language. There are two lists of sentences: the recognisers were written with the rows
of the one in view; the other was written when they were done, and is only measured.
"""

import json
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import phonenumbers

from sluicegate.policies.guards.pii.recognizers import IBAN_LENGTHS

REGIONS = ("DE", "FR", "ES", "IT", "NL", "PL", "PT", "BE", "GB", "US", "BR", "IN", "CN", "JP", "SE", "CH", "RU", "TR")

_TEXTS: dict[str, Any] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
"""``sentences`` by kind, with the region of the value before a bar and ``{}`` for its place; ``look_alikes``, in which
``{n}`` is a number of n digits and ``{0}`` a part of a netmask."""


@dataclass(frozen=True)
class Row:
    text: str
    kind: str
    """Of the finding that is expected; empty for a look-alike."""
    start: int = 0
    end: int = 0


def rows(part: str, count: int = 2000, seed: int = 1) -> Iterator[Row]:
    """Rows of a part, ``in_view`` or ``apart``."""
    draw, texts = random.Random(seed), _TEXTS[part]
    for _ in range(count):
        kind = draw.choice([*_VALUES, "look-alike", "look-alike"])
        if kind == "look-alike":
            mask = str(draw.choice((0, 128, 192, 224, 240, 248, 252)))
            parts = re.split(r"\{(\d+)\}", draw.choice(texts["look_alikes"]))
            parts[1::2] = [_digits(draw, int(count)) if count != "0" else mask for count in parts[1::2]]
            yield Row("".join(parts), "")
            continue
        sentence: str = draw.choice(texts["sentences"][kind])
        region, sentence = (sentence[:2], sentence[3:]) if sentence[2:3] == "|" else ("", sentence)
        value = _VALUES[kind](draw, region)
        written = draw.choice(_WRITINGS)(value) if kind != "email" or draw.random() < 0.3 else value
        start = sentence.index("{}")
        label = "phone" if kind.startswith("phone") else kind
        yield Row(sentence.replace("{}", written), label, start, start + len(written))


def _digits(draw: random.Random, count: int) -> str:
    return draw.choice("123456789") + "".join(draw.choices("0123456789", k=count - 1))


def _phone(form: int) -> Callable[[random.Random, str], str]:
    def value(draw: random.Random, region: str) -> str:
        region = region or draw.choice(REGIONS)
        mobile = phonenumbers.PhoneNumberType.MOBILE
        example = phonenumbers.example_number_for_type(
            region, draw.choice([mobile, phonenumbers.PhoneNumberType.FIXED_LINE])
        )
        for _ in range(200):
            national = str(example.national_number)
            keep = draw.randint(2, 4)
            tried = phonenumbers.PhoneNumber(
                country_code=example.country_code,
                national_number=int(national[:keep] + "".join(draw.choices("0123456789", k=len(national) - keep))),
                italian_leading_zero=example.italian_leading_zero,
            )
            if phonenumbers.is_valid_number(tried):
                return phonenumbers.format_number(tried, form)
        return phonenumbers.format_number(example, form)

    return value


def _iban(draw: random.Random, _region: str) -> str:
    country, length = draw.choice(sorted(IBAN_LENGTHS.items()))
    account = _digits(draw, length - 4)
    check = 98 - int("".join(str(int(each, 36)) for each in account + country + "00")) % 97
    compact = f"{country}{check:02}{account}"
    return compact if draw.random() < 0.4 else " ".join(compact[at : at + 4] for at in range(0, length, 4))


def _card(draw: random.Random, _region: str) -> str:
    start, length = draw.choice(
        [("4", 16), ("52", 16), ("2221", 16), ("34", 15), ("6011", 16), ("3530", 16), ("62", 16)]
    )
    body = start + "".join(draw.choices("0123456789", k=length - len(start) - 1))
    doubled = [int(each) * (2 if at % 2 == 0 else 1) for at, each in enumerate(reversed(body))]
    number = body + str(-sum(each - 9 if each > 9 else each for each in doubled) % 10)
    groups = [number[at : at + 4] for at in range(0, 16, 4)]
    return draw.choice(["", " ", "-", "."] if length == 16 else [""]).join(groups)


def _email(draw: random.Random, _region: str) -> str:
    name = draw.choice(["ann.lee", "müller", "a.b+tag", "jose_ruiz", "k-99", "петров"])
    at, dot = draw.choice([("@", "."), ("@", "."), ("@", "."), ("[at]", "."), (" (at) ", " (dot) ")])
    return (
        name
        + at
        + draw.choice(["firma.de", "例え.jp", "mail.example.co.uk", "example.xn--p1ai", "почта.рф"]).replace(".", dot)
    )


def _ssn(draw: random.Random, _region: str) -> str:
    return f"{draw.randint(100, 665)}-{draw.randint(10, 99)}-{draw.randint(1000, 9999)}"


def _address(draw: random.Random, _region: str) -> str:
    return ".".join(str(draw.randint(11, 120)) for _ in range(4))


_VALUES: dict[str, Callable[[random.Random, str], str]] = {
    "phone-national": _phone(phonenumbers.PhoneNumberFormat.NATIONAL),
    "phone-international": _phone(phonenumbers.PhoneNumberFormat.INTERNATIONAL),
    "iban": _iban,
    "credit-card": _card,
    "email": _email,
    "ssn": _ssn,
    "ip-address": _address,
}


def _shifted(first: str) -> Callable[[str], str]:
    """Digits of another script, which has them from `first` on."""
    return lambda value: re.sub("[0-9]", lambda digit: chr(ord(first) + int(digit[0])), value)


_WRITINGS: tuple[Callable[[str], str], ...] = (
    str,
    str,
    lambda value: value.replace(" ", "\u00a0").replace("-", "\u2011"),
    lambda value: value.replace(" ", "\u2009").replace("-", "\u2013"),
    lambda value: value.replace(" ", "\u202f"),
    lambda value: "".join(chr(ord(each) + 0xFEE0) if "!" <= each <= "~" else each for each in value),
    lambda value: value[:3] + "\u200b" + value[3:],
    _shifted("\u0660"),
    _shifted("\u06f0"),
    _shifted("\u0966"),
)
