"""The numbers that a text states, in digits of any common format and, up to twelve, in words."""

import re
from decimal import Decimal, InvalidOperation

__all__ = ["SPELT", "numbers_in"]

_WORDS = (
    "zero null zéro cero",
    "one ein eine einen einem einer eins un une uno una um uma een",
    "two zwei zwo deux dos due dois duas twee",
    "three drei trois tres tre três drie",
    "four vier quatre cuatro quattro quatro",
    "five fünf cinq cinco cinque vijf",
    "six sechs seis sei zes",
    "seven sieben sept siete sette sete zeven",
    "eight acht huit ocho otto oito",
    "nine neun neuf nueve nove negen",
    "ten zehn dix diez dieci dez tien",
    "eleven elf onze once undici",
    "twelve zwölf douze doce dodici doze twaalf dozen dutzend",
)
SPELT = {word: number for number, words in enumerate(_WORDS) for word in words.split()}
"""Numbers in English, German, French, Spanish, Italian, Portuguese and Dutch."""

_SEPARATORS = ".,'’ \u00a0\u202f"
_DIGITS = re.compile(rf"(?<![\d])[-−–]?\d+(?:[{_SEPARATORS}]\d+)*")
_THOUSANDS = re.compile(rf"(\d{{1,3}})([{_SEPARATORS}])(\d{{3}}(?:\2\d{{3}})*)(?:([.,])(\d+))?")
_WORD = re.compile(r"[^\W\d_]+")


def numbers_in(text: str) -> set[Decimal]:
    """Every number that `text` may be read to state: "1.000,50" and "1,000.50" are 1000.5, "two" is 2.

    A minus sign may be a hyphen, so a number after one is read both ways.
    """
    found = {Decimal(SPELT[word]) for word in map(str.casefold, _WORD.findall(text)) if word in SPELT}
    for match in _DIGITS.finditer(text):
        run = match[0].lstrip("-−–")
        read = _readings(run)
        found |= read
        if run != match[0]:
            found |= {-number for number in read}
    return found


def _readings(run: str) -> set[Decimal]:
    thousands = _THOUSANDS.fullmatch(run)
    if thousands and thousands[4] != thousands[2]:
        whole = thousands[1] + re.sub(r"\D", "", thousands[3])
        found = {_decimal(f"{whole}.{thousands[5] or 0}")}
        # 12.345 may be decimal too; 1.000 is a thousand
        if thousands[2] in ".," and not thousands[5] and len(thousands[3]) == 3 and thousands[3].strip("0"):
            found.add(_decimal(f"{thousands[1]}.{thousands[3]}"))
        return found
    if re.fullmatch(r"\d+[.,]\d+", run):
        return {_decimal(run.replace(",", "."))}
    # a list, a date, a version: its parts
    return {_decimal(part) for part in re.split(rf"[{_SEPARATORS}]", run)}


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:  # more digits than a decimal takes
        return Decimal("NaN")
