"""Classifies names by the words around them: a person, a place or an organisation.

A small model recognises names better than their kinds: a foreign first name is taken for a town, a town in capitals
for a company. What comes before and after a name ("flew to", "Mrs.", "'s daughter") settles many of
these cases in any text, without a list of names. Each cue multiplies the odds of one kind; the factors are set by
hand, not fitted.
"""

import re
from collections.abc import Mapping

__all__ = ["KINDS", "NO_NAME", "block_lines", "recased", "weighed"]

KINDS = ("person", "place", "organization")

_SHOUTED = re.compile(r"\b[^\W\d_]{4,}\b")
_LINE_MARKS = re.compile(r"(?m)^[ \t]*[^\w\s\"'“‘(\[+-]{1,3}(?=\s|\w)")
_WORD = re.compile(r"\b[^\W\d_]{3,}\b")
_SMALL = frozenset(
    re.findall(
        r"\w+",
        "the and for with from have has had was were are you your they their that this what when where who how can"
        " could would will please not but all any one out our his her him she its into about than then there here been"
        " does did get let may need help tell know want",
    )
)


def recased(text: str) -> str:
    """The text as the model reads it best, of the same length: no marks of quotation before lines, words in capitals
    written like names, and a text without any capital written as if each word could be a name."""
    read = _LINE_MARKS.sub(lambda found: " " * len(found[0]), text)
    if not any(character.isupper() for character in read):
        return _WORD.sub(lambda found: found[0] if found[0] in _SMALL else _capitalised(found[0]), read)
    if any(character.islower() for character in read):
        return _SHOUTED.sub(lambda found: _capitalised(found[0]) if found[0].isupper() else found[0], read)
    return read


def _capitalised(word: str) -> str:
    # some letters change their number of characters with their case
    capitalised = word.capitalize()
    return capitalised if len(capitalised) == len(word) else word


_RELATIVES = (
    "kid|son|daughter|wife|husband|spouse|partner|friend|colleague|co-?worker|brother|sister|mother|father|mom|mum|dad"
    "|uncle|aunt|cousin|child|boss|manager|neighbou?r"
)
_ROLES = (
    "assistant|founder|ceo|producer|director|actor|actress|singer|novelist|author|composer|engineer|employee|tenant"
    "|witness|nurse|doctor|attorney|lawyer|guardian|beneficiary|patient|customer|user"
)
_GOING = (
    "fl(?:y|ew|own|ying|ies)|travel(?:led|ling|ed|s)?|mov(?:e|ed|ing)|went|going|goe?s?|dr[io]ve[ns]?|driving"
    "|arriv(?:e|ed|es|ing)|land(?:ed|ing)|born|grew up|grow up|liv(?:e|es|ed|ing)|based|located|raised"
    "|resid(?:e|es|ing)|stay(?:ed|ing)?|com(?:e|es|ing)|came|originally|back|return(?:ed|ing)?|trip|flight|train"
    "|ship(?:ped|ping)?"
)
_DOING = (
    "lives|lived|was born|grew up|died|married|called me|told|asked|replied|smiled|wrote|writes|sang|sings|began|spent"
    r"|is from|comes from|is (?:a|an|very|on leave|sick|away|pregnant|my|our|his|her|\d)|had|has given"
    "|will be (?:talking|speaking)|left|just|thinks|wants|needs|likes|joined|works?"
)
_OWNED = "account|birthday|phone|email|address|password|laptop|salary|novel|song|book"
_TALKING = r"(?:speak|speaking|talk|spoke|talked|written|wrote|reports?) (?:to|with)|follow up with"
_CALLED = r"name (?:is|was)|named|call(?:ed)? (?:me|him|her)|named (?:him|her|them)|i am|i'm|this is"

_Cue = tuple[str, float, re.Pattern[str]]


def _cues(*given: tuple[str, float, str], end: str = "") -> tuple[_Cue, ...]:
    return tuple((kind, odds, re.compile(f"(?i){pattern}{end}")) for kind, odds, pattern in given)


_BEFORE = _cues(
    ("person", 50, r"\b(?:mr|mrs|ms|miss|mx|dr|prof|professor|sir|lady|herr|frau|mme|mlle|señora?|judge)\b\.?\s"),
    ("person", 20, r"\b(?:names?|attn|contact|dear|hi|hello|hey|regards|sincerely|signed|cc)\s{0,3}[:,]?\s{0,6}"),
    ("person", 20, r"\b(?:first|last|maiden|full|middle|sur|nick)[ -]?name\b[^.!\n]{0,6}[?:]?\s{1,4}"),
    ("person", 20, rf"\b(?:{_CALLED}|{_TALKING})\s{{1,4}}"),
    ("person", 20, rf"\b(?:{_RELATIVES}|{_ROLES})s?:?\s"),
    ("person", 10, r"\b(?:by|starring|says|said|asked|told|tell|remind|ask|invite|add|love|with|thanks)\s{1,6}"),
    ("place", 20, r"\b(?:in|near|outside|around|across|throughout|via|towards?)\s(?:the\s)?"),
    ("place", 40, rf"\b(?:(?:{_GOING}) (?:here |back |home )?(?:in|at|to|from|near)|visit(?:ed|ing)?)\s"),
    ("place", 30, r"\b(?:city|town|village|municipality|university|capital|mayor|port|streets?) of\s"),
    ("place", 30, r"\b(?:home ?town|home city|city|town|country|state|region|district|province):?\s"),
    ("place", 20, r"(?:\b\d{1,5}[a-z]?,?\s|\d[^,:\n]{0,30},\s)"),
    end="$",
)
"""What a text before a name ends with."""
_AFTER = _cues(
    ("person", 20, rf"(?:'s|’s)\s(?:\w+\s)?(?:{_RELATIVES}|{_OWNED})\b"),
    ("person", 20, rf",? (?:{_DOING})\b"),
    ("person", 20, r": ?[\"“']|,? (?:can|could|would|will) (?:you|i)\b|, please\b"),
    ("place", 20, r" \d{1,5}\b"),
    ("place", 10, r",? (?:airport|city|street|county|province|district|beach|region|bridge|station)\b"),
    ("place", 10, r",? (?:was (?:super )?fun to visit|is a (?:city|town|country))\b"),
    ("organization", 20, r",? (?:inc|ltd|llc|gmbh|corp|website|office|shares|stock|employees)\b"),
)
_INITIAL = re.compile(r"[^\W\d_a-z][\w'’-]+ [^\W\d_a-z]\.? [^\W\d_a-z][\w'’-]+")
_COMPANY = re.compile(
    r"(?i)\b(?:inc|ltd|llc|gmbh|ag|corp(?:oration)?|company|co|group|university|college|school|bank|institute|council"
    r"|ministry|department|agency|club|hospital|foundation|society|association|partners|holdings?|systems|services"
    r"|solutions|orchestra|team|sons|plc|incorporated|limited|office|desk|support)\b\.?|&"
)
_FLOOR = 0.1
"""Minimum weight of every kind: the model is overconfident."""


def weighed(text: str, start: int, end: int, believed: Mapping[str, float]) -> dict[str, float]:
    """The weight of each kind for the name at this place, from the model's label and from the words around it."""
    weights = {kind: believed.get(kind, 0.0) + _FLOOR for kind in KINDS}
    before, after, name = text[max(0, start - 50) : start], text[end : end + 40], text[start:end]
    for kind, odds, cue in _BEFORE:
        if cue.search(before):
            weights[kind] *= odds
    for kind, odds, cue in _AFTER:
        if cue.match(after):
            weights[kind] *= odds
    if _INITIAL.fullmatch(name):
        weights["person"] *= 30
    if _COMPANY.search(name):
        weights["organization"] *= 50
    if any(character.isdigit() for character in name):
        weights["person"] *= 0.05
    return weights


NO_NAME = re.compile(
    r"(?i)\b(?:apt|suite|box|unit|po|fpo|apo|street|name|phone|address|email|date|where|when|(?:mon|tues|wednes|thurs"
    r"|fri|satur|sun)day|january|february|march|april|june|july|august|september|october|november|december)\b"
)
"""Words that are capitalised without being names."""

_UNIT = re.compile(r"(?i)[ \t]*(?:apt|apartment|suite|unit|flat|floor)\b.*\d[a-z]?[ \t]*")
_HOUSE = re.compile(r"(?i)[ \t]*(?:\d{1,5}[a-z]?,? .*[^\W\d_].*|[^\d\W].* \d{1,5}\.?)[ \t]*")
_TOWN = re.compile(r"[ \t]*(?P<place>[^\W\d_][^\d:@\n]{0,40}?),?[ \t]*(?P<code>\d{3,6}(?:[ -]\w{2,4})?)?[ \t]*")
_CODE = re.compile(r"[ \t]*(?:\d{3,6}(?:[ -]\w{2,4})?|[A-Z]\d[A-Z\d]? ?\d[A-Z]{2}|[A-Z]\d[A-Z] \d[A-Z]\d)[ \t]*")


def block_lines(text: str) -> list[tuple[int, int]]:
    """The lines of an address between its house and its postal code, which are places."""
    found: list[tuple[int, int]] = []
    waiting: list[tuple[int, int]] = []
    open_, start = False, 0
    for line in text.split("\n"):
        if line.strip():
            town = _TOWN.fullmatch(line)
            if _UNIT.fullmatch(line) or (_HOUSE.fullmatch(line) and not (open_ and town and town["code"])):
                open_, waiting = True, []
            elif open_ and town and len(waiting) < 3 and not NO_NAME.search(line):
                waiting.append((start + town.start("place"), start + town.end("place")))
                if town["code"]:
                    found += waiting
                    open_ = False
            elif open_ and waiting and _CODE.fullmatch(line):
                found += waiting
                open_ = False
            else:
                open_ = False
        start += len(line) + 1
    return found
