"""The days that a text states, in common formats, and relative to the day on which it came in.

A day without a year is the last such day or the next; so is a weekday. "03/05/2026" may be either day of the two.
"""

import re
from collections.abc import Iterator
from datetime import date, timedelta

from sluicegate.nodes.extraction.numbers import SPELT

__all__ = ["days_in"]

_MONTHS = (
    "january jan januar jänner janvier enero gennaio janeiro januari",
    "february feb februar février fevrier febrero febbraio fevereiro februari",
    "march mar märz maerz mars marzo março maart",
    "april apr avril abril aprile",
    "may mai mayo maggio maio mei",
    "june jun juni juin junio giugno junho",
    "july jul juli juillet julio luglio julho",
    "august aug août aout agosto augustus",
    "september sep sept septembre septiembre settembre setembro",
    "october oct oktober okt octobre octubre ottobre outubro",
    "november nov novembre noviembre novembro",
    "december dec dezember dez décembre decembre diciembre dicembre dezembro",
)
_WEEKDAYS = (
    "monday montag lundi lunes lunedì segunda-feira maandag",
    "tuesday dienstag mardi martes martedì terça-feira dinsdag",
    "wednesday mittwoch mercredi miércoles mercoledì quarta-feira woensdag",
    "thursday donnerstag jeudi jueves giovedì quinta-feira donderdag",
    "friday freitag vendredi viernes venerdì sexta-feira vrijdag",
    "saturday samstag sonnabend samedi sábado sabato zaterdag",
    "sunday sonntag dimanche domingo domenica zondag",
)
_RELATIVE = {
    -2: "the day before yesterday|vorgestern|avant-hier|anteayer",
    -1: "yesterday|gestern|hier|ayer|ieri|ontem|gisteren",
    0: "today|heute|aujourd['’]hui|hoy|oggi|hoje|vandaag|tonight|this morning|heute morgen",
    1: "tomorrow|morgen|demain|mañana|domani|amanhã",
    2: "the day after tomorrow|übermorgen|après-demain|pasado mañana|dopodomani|overmorgen",
}
_MONTH = {word: number for number, words in enumerate(_MONTHS, start=1) for word in words.split()}
_WEEKDAY = {word: number for number, words in enumerate(_WEEKDAYS) for word in words.split()}
_NAMES = "|".join(sorted(_MONTH, key=len, reverse=True))
_COUNT = rf"(?P<count>\d{{1,3}}|{'|'.join(sorted(SPELT, key=len, reverse=True))})"
_UNIT = r"(?P<unit>days?|weeks?|tage?n?|wochen?|jours?|semaines?|días?|semanas?)"

_ISO = re.compile(r"(?<!\d)(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?!\d)")
_NUMERIC = re.compile(r"(?<![\d./-])(\d{1,2})\s?[./-]\s?(\d{1,2})(?:\s?[./-]\s?(\d{4}|\d{2}))?(?!\d)")
_DAY_MONTH = re.compile(rf"(?<!\d)(\d{{1,2}})(?:st|nd|rd|th|er|º|\.)?\s*(?:of|de|di)?\s*({_NAMES})\b\.?,?\s*(\d{{4}})?")
_MONTH_DAY = re.compile(rf"\b({_NAMES})\b\.?\s+(\d{{1,2}})(?:st|nd|rd|th)?\b(?:,?\s+(\d{{4}}))?")
_CJK = re.compile(r"(?:(\d{4})\s?年\s?)?(\d{1,2})\s?月\s?(\d{1,2})\s?日")
_FROM_NOW = re.compile(rf"\b(?:in|en|dans|fra)\s+{_COUNT}\s+{_UNIT}\b")
_AGO = re.compile(rf"\b{_COUNT}\s+{_UNIT}\s+ago\b|\b(?:vor|il y a|hace)\s+{_COUNT.replace('count', 'count2')}\s+"
                  rf"{_UNIT.replace('unit', 'unit2')}\b")  # fmt: skip


def days_in(text: str, received: date) -> set[date]:
    """Every day that `text` may be read to state, for a text that came in on the day `received`."""
    lower = text.casefold()
    return set(_absolute(lower, received)) | set(_relative(lower, received))


def _absolute(text: str, received: date) -> Iterator[date]:
    for year, month, day in _ISO.findall(text):
        yield from _days(year, month, day, received)
    for first, second, year in _NUMERIC.findall(text):
        yield from _days(year, second, first, received)
        yield from _days(year, first, second, received)
    for day, month, year in _DAY_MONTH.findall(text):
        yield from _days(year, _MONTH[month], day, received)
    for month, day, year in _MONTH_DAY.findall(text):
        yield from _days(year, _MONTH[month], day, received)
    for year, month, day in _CJK.findall(text):
        yield from _days(year, month, day, received)


def _relative(text: str, received: date) -> Iterator[date]:
    for days, words in _RELATIVE.items():
        if re.search(rf"\b(?:{words})\b", text):
            yield received + timedelta(days)
    for word, weekday in _WEEKDAY.items():
        if re.search(rf"\b{word}\b", text):
            ahead = (weekday - received.weekday()) % 7
            yield from (received + timedelta(ahead or 7), received + timedelta(ahead - 7))
            if not ahead:
                yield received
    for match in _FROM_NOW.finditer(text):
        yield from _after(received, match["count"], match["unit"], 1)
    for match in _AGO.finditer(text):
        yield from _after(received, match["count"] or match["count2"], match["unit"] or match["unit2"], -1)


def _after(received: date, count: str, unit: str, sign: int) -> Iterator[date]:
    number = int(count) if count.isdigit() else SPELT[count]
    weeks = unit.startswith(("w", "sem"))
    try:
        yield received + timedelta(days=sign * number * (7 if weeks else 1))
    except OverflowError:
        return


def _days(year: str, month: str | int, day: str, received: date) -> Iterator[date]:
    if year:
        years = [int(year) + (2000 if len(year) == 2 else 0)]
    else:
        years = [received.year - 1, received.year, received.year + 1]
    found: list[date] = []
    for each in years:
        try:
            found.append(date(each, int(month), int(day)))
        except ValueError:
            continue
    if year:
        yield from found
        return
    past, ahead = [one for one in found if one <= received], [one for one in found if one >= received]
    yield from [*past[-1:], *ahead[:1]]
