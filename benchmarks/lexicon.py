"""Writes the lexicon of the guard `grounded`: number words, days, months, units and function words of its languages.

    make lexicon

Everything comes from kept resources: the rules of ICU for spelling numbers out and the calendars, units and currencies
of CLDR (Unicode-3.0), the stop words on which stopwords-iso and spaCy (both MIT) agree, and the Polish ordinals of
num2words, which ICU lacks. They are needed here only: the package carries what they say, in one compressed file.
Inflections that they leave out (the oblique case of Arabic and Hindi numbers, the endings of Polish ordinals) are
added by rule. PyICU is built against the system's ICU (`libicu-dev`); version 72 wrote the file.
"""

import gzip
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from sluicegate.policies.guards.grounding.lexicon import FILE, LANGUAGES, folded

UP_TO = 101
"""Numbers that are spelt out one by one; larger ones are put together of these."""
ROUND = (*range(200, 1000, 100), 1000, 10**6, 10**9)
ONE_WORD = {"de", "it", "nl"}
"""Write a number below a thousand as one word, so that each has to be listed."""
WITHOUT_SPACES = {"ja", "zh"}
"""Their numerals have values of their own in Unicode, and are put together by rule."""
ENDINGS: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "ar": (("ون", ("ين",)), ("ان", ("ين",)), ("ة", ("",))),
    "hi": (("ा", ("े",)), ("वां", ("वें", "वीं")), ("वाँ", ("वें", "वीं"))),
    "pl": (
        ("y", ("a", "e", "ego", "emu", "ym", "ej", "ą", "ych", "ymi")),
        ("i", ("ia", "ie", "iego", "iemu", "im", "iej", "ią", "ich", "imi")),
    ),
}
_SPACED = re.compile(r"[\s\d]")
UNITS = ("duration", "length", "mass", "digital", "volume", "temperature")
NO_UNITS = ("night", "century", "decade", "generic", "dot", "point", "pinch", "drop", "stone", "grain", "bit", "cup")
"""Words that are seldom units."""
NOUN_FIRST = {"ar", "es", "fr", "it", "pt"}
CURRENCIES = ("EUR", "USD", "GBP", "CHF", "JPY", "CNY", "PLN", "RUB", "TRY", "INR", "KRW")
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def main() -> None:
    lexicon = {language: _language(language) for language in LANGUAGES}
    text = json.dumps(lexicon, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    FILE.write_bytes(gzip.compress(text.encode(), mtime=0))
    for language, one in lexicon.items():
        print(language, {name: len(words) for name, words in one.items()})
    print(FILE.name, FILE.stat().st_size, "bytes")


def _language(language: str) -> dict[str, Any]:
    numbers = {} if language in WITHOUT_SPACES else _numbers(language)
    terms = _terms(language)
    return {"numbers": numbers, "terms": terms, "function_words": _function_words(language, numbers, terms)}


def _numbers(language: str) -> dict[str, float]:
    import icu

    spell = icu.RuleBasedNumberFormat(icu.URBNFRuleSetTag.SPELLOUT, icu.Locale(language))
    rules = [spell.getRuleSetName(index) for index in range(spell.getNumberOfRuleSetNames())]
    rules = [rule for rule in rules if "year" not in rule and "financial" not in rule]
    found: dict[str, float] = {}
    values = range(1, 1000) if language in ONE_WORD else range(1, UP_TO)
    for value in (*values, *(() if language in ONE_WORD else ROUND), *ROUND[-3:]):
        spelt = {spell.format(value, rule) for rule in rules}
        if language == "pl" and value < UP_TO:
            from num2words import num2words

            spelt.add(num2words(value, lang="pl", to="ordinal"))
        for form in spelt:
            for variant in _inflected(form, language):
                word = folded(variant)
                found.setdefault(word, value)
                if value in ROUND[-3:] or value == 100:
                    found.setdefault(word.split()[-1], value)  # "hundred" without its one
    for value in (100, *ROUND[:-3]):
        for rule in rules:
            # "ciento" before what follows, where a hundred alone is "cien"
            found.setdefault(folded(spell.format(value + 20, rule)).split()[0], value)
    return {form: value for form, value in found.items() if form and not any(map(str.isdigit, form))}


def _inflected(form: str, language: str) -> Iterator[str]:
    yield form
    for ending, others in ENDINGS.get(language, ()):
        if form.endswith(ending):
            yield from (form.removesuffix(ending) + other for other in others)


def _terms(language: str) -> dict[str, str]:
    """Names of days, months and units, each with the one it names."""
    from babel import Locale
    from babel.numbers import get_currency_name

    locale = Locale(language)
    found: dict[str, str] = {}

    def add(word: str, term: str, least: int = 4) -> None:
        # a short abbreviation is more often a word of its own: "sun", "mar", "do"
        if len(word) >= least or not word[:1].isascii():
            found.setdefault(word, term)

    for width in ("wide", "abbreviated"):
        for context in ("format", "stand-alone"):
            names = {WEEKDAYS[number]: name for number, name in locale.days[context][width].items()}
            names |= {f"month-{number}": name for number, name in locale.months[context][width].items()}
            for term, name in names.items():
                word = folded(name).rstrip(".")
                if len(word) > 1 and not word[0].isdigit() and word not in ("may", "mars", "march"):
                    add(word, term)
    for unit, patterns in locale._data["unit_patterns"].items():
        kind, _, name = unit.partition("-")
        if kind in UNITS and "-" not in name and name not in NO_UNITS:
            for width in ("long", "short"):
                for pattern in patterns.get(width, {}).values():
                    word = folded(pattern.replace("{0}", "")) if isinstance(pattern, str) else ""
                    if len(word.split()) == 1 and "/" not in word:
                        add(word.rstrip("."), name, least=3)
    for currency in CURRENCIES:
        for count in (1, 2, 5, 11, 0.5, 100):
            words = folded(get_currency_name(currency, count=count, locale=locale)).split()
            add(words[0 if language in NOUN_FIRST else -1], currency)
        if currency != "TRY":
            found.setdefault(currency.casefold(), currency)
    return found


def _function_words(language: str, numbers: dict[str, float], terms: dict[str, str]) -> list[str]:
    import importlib

    from stopwordsiso import stopwords

    listed = set(map(folded, stopwords(language)))
    if language != "ko":  # spaCy's list has hardly any
        module = importlib.import_module(f"spacy.lang.{language}.stop_words")
        listed &= set(map(folded, module.STOP_WORDS))
    taken = {part for form in (*numbers, *terms) for part in form.split()}
    return sorted({word for word in listed if not _SPACED.search(word)} - taken)


if __name__ == "__main__":
    main()
