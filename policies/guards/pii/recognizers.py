"""Personal data with a recognisable form: one recogniser per entity type, patterns with checksums and context.

Numbers with a checksum (cards, IBANs) must pass it. Numbers that could be anything (a local telephone number, a
postal code) count only beside a word that says what they are. Sources: ISO/IEC 7812 (card ranges, Luhn), ISO 13616
(IBAN), SSA (social security numbers never issued), ITU-T E.164 (at most 15 digits), BIP 173 and base58 (wallets).
"""

import re
from collections.abc import Callable, Iterator

from sluicegate.policies.guards.checking import Finding
from sluicegate.policies.guards.pii.network import TOP_LEVEL, ip_addresses, mac_addresses, urls
from sluicegate.policies.guards.pii.phones import phones
from sluicegate.policies.guards.pii.plain_forms import in_original, plain_forms

__all__ = ["IBAN_LENGTHS", "PATTERN_ENTITIES", "recognise"]

_Span = tuple[int, int]


def _spans(
    pattern: re.Pattern[str], text: str, accept: Callable[[re.Match[str]], bool] | None = None
) -> Iterator[_Span]:
    for found in pattern.finditer(text):
        if accept is None or accept(found):
            yield found.span("value") if "value" in pattern.groupindex else found.span()


# email ---------------------------------------------------------------------------------------------------------------

_LOCAL = r"\w.!#$%&'*+/=?^`{|}~-"
_EMAIL = re.compile(
    rf"(?<![\w.+-])[{_LOCAL}]{{1,64}}(?:@|\s?[\[({{]\s?at\s?[\])}}]\s?)"
    r"(?:(?:[^\W_](?:[\w-]{0,61}[^\W_])?(?:\.|\s?[\[({]\s?dot\s?[\])}]\s?)){1,8}"
    r"(?:xn--[A-Za-z0-9-]{2,59}|[A-Za-z]{2,24}|[^\W\d_A-Za-z]{2,24})|localhost)(?![A-Za-z0-9_-])",
    re.IGNORECASE,
)
_WESTERN = re.compile(r"[\u0021-\u024f\u0370-\u052f]+$")
"""The end of a word in letters that are written with blanks between words."""
_FILES = frozenset(
    re.findall(r"\w+", "png jpg jpeg gif svg webp ico css js ts json xml yaml yml html md txt pdf zip gz whl jar exe")
)
"""Ends of file names, which stand after an ``@`` for a size or a version."""


_SPELT_OUT = re.compile(
    r"(?i)(?<![\w.@-])[a-z0-9][\w+-]{1,40}(?:(?:\.| dot )[\w+-]{1,40}){0,3} at "
    r"(?:[a-z0-9][a-z0-9-]{1,40} dot ){1,4}[a-z]{2,12}(?![\w-])"
)
_TO_WRITE_TO = re.compile(
    r"(?i)(?:e-?mails?|mail(?:ed|s|box)?|write|written|contact|reach|address|adresse|schreib\w*|correo|escrib\w*|courriel"
    r"|[ée]cri\w+|indirizzo|scriv\w*|endere[çc]o|adres|sent|send|cc)\b[^\n]{0,40}$"
)


def _email(text: str) -> Iterator[_Span]:
    folded = text.casefold()
    if "@" not in text and not ("at" in folded and any(mark in folded for mark in ("dot", "[", "(", "{"))):
        return
    for found in _SPELT_OUT.finditer(text):
        # "look at this dot com boom": only beside a word for mail, and under a domain that there is
        if found[0].rpartition(" ")[2].casefold() in TOP_LEVEL and _TO_WRITE_TO.search(text[: found.start()][-60:]):
            yield found.span()
    for start, end in _spans(_EMAIL, text):
        local = re.split(r"@|\s?[\[({]", text[start:end], maxsplit=1)[0]
        # a language without blanks runs on into the address
        western = _WESTERN.search(local)
        if western and any(character.isalpha() for character in western[0]):
            start, local = start + western.start(), western[0]
        # quotes and brackets around an address are legal in it, but not meant
        meant = local.lstrip("'`*{|=/.!#&?~^")
        start, local = start + len(local) - len(meant), meant
        # an account of a service, a file's name, a place that is signed in to: nobody's address
        if (
            local in ("git", "hg", "svn")
            or text[start:end].rpartition(".")[2].casefold() in _FILES
            or re.match(r":[^\s/]*/\S", text[end:])
            or re.search(r"://[^\s/]*$", text[:start])
        ):
            continue
        yield start, end


# cards ---------------------------------------------------------------------------------------------------------------

_OTHER_NUMBER = re.compile(
    r"(?i)\b(?:case|ticket|order|invoice|ref(?:erence)?|part|serial|sku|item|model|ean|gtin|upc"
    r"|isbn|imei|bestell\w*|rechnung\w*|auftrag\w*|commande|pedido|заказ\w*|订单|注文\w*)\W{0,3}(?:no\W{0,2})?$"
)
_CARD = re.compile(r"(?<![\d.,-])(?:\d[ .-]?){11,18}\d(?![\d-]|[.,]\d)", re.ASCII)
_ISSUERS = re.compile(
    r"4\d{12}(?:\d{3}){0,2}|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}"
    r"|6(?:011|5\d\d|4[4-9]\d)\d{12}(?:\d{3})?|3(?:0[0-5]|09|[689]\d)\d{11}(?:\d{2,5})?|35\d{14}(?:\d{3})?"
    r"|(?:2131|1800)\d{11}|62\d{14,17}|(?:50|5[6-9]|6\d)\d{10,17}"
)


def _luhn(digits: str) -> bool:
    doubled = (int(digit) * (1 + at % 2) for at, digit in enumerate(reversed(digits)))
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def _is_card(found: re.Match[str]) -> bool:
    digits = re.sub(r"\D", "", found[0])
    groups = re.split(r"[ .-]", found[0])
    regular = len(groups) == 1 or all(3 <= len(group) <= 7 for group in groups)
    if "." in found[0]:
        regular = len(set(map(len, groups))) == 1
    if len(digits) not in (15, 16) and _OTHER_NUMBER.search(found.string[max(0, found.start() - 30) : found.start()]):
        return False
    return regular and bool(_ISSUERS.fullmatch(digits)) and len(set(digits)) > 1 and _luhn(digits)


def _card(text: str) -> Iterator[_Span]:
    return _spans(_CARD, text, _is_card)


# IBAN ----------------------------------------------------------------------------------------------------------------

_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}[ .-]?\d[ .-]?\d(?:[ .-]{0,2}[A-Za-z0-9]){11,30}")
"""In groups of any length: banks write their own numbers in groups of their own (`FR76 30006 00001 12345678901 89`)."""
_BANK_CODE = re.compile(r"[A-Za-z]{5,}")
"""Letters alone that are no bank's code, which has four: the next words of the sentence."""
IBAN_LENGTHS = {
    country: length
    for length, countries in {
        15: "NO", 16: "BE", 18: "AX DK FI FK FO GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU MN XK",
        21: "CH HR LI LV", 22: "BG BH CR DE GB GE GG IE IM JE ME RS VA", 23: "AE GI IL IQ OM SO TL",
        24: "AD CZ ES MD PK RO SA SE SK TN VG", 25: "AO CV GW LY MZ PT ST", 26: "DZ IR IS TR",
        27: "BI BL CF CG CM DJ FR GA GF GP GQ GR IT KM MC MF MG MQ MR NC PF PM RE SM TD TF WF YT",
        28: "AL AZ BF BJ BY CI CY DO GT HN HU LB MA ML NE NI PL SN SV TG", 29: "BR EG PS QA UA",
        30: "JO KW MU YE", 31: "MT SC", 32: "LC", 33: "RU",
    }.items()
    for country in countries.split()
}  # fmt: skip
"""The registry of SWIFT (October 2026), and the countries that use the format without being in it."""


def _iban(text: str) -> Iterator[_Span]:
    at = 0
    while found := _IBAN.search(text, at):
        start, end = found.span()
        at = start + 1
        # the next word may look like one more group: take as much as the country's length says
        length = IBAN_LENGTHS.get(text[start : start + 2].upper())
        taken, stop = 0, start
        while length and stop < end and taken < length:
            taken += text[stop].isalnum()
            stop += 1
        compact = re.sub(r"[ .-]", "", text[start:stop]).upper()
        runs_on = stop < len(text) and text[stop].isascii() and text[stop].isalnum()
        labelled = runs_on and re.match(r"(?i)(?:bic|swift|konto|bank)\b", text[stop:])
        if (
            length == len(compact)
            and (not runs_on or labelled)
            and not any(_BANK_CODE.fullmatch(group) for group in re.split(r"[ .-]+", text[start:stop]))
            and int("".join(str(int(c, 36)) for c in compact[4:] + compact[:4])) % 97 == 1
        ):
            yield start, stop
            at = stop


# social security, driver's licences and other numbers that a word introduces ------------------------------------------

_SSN = re.compile(
    r"(?<![\w-])(?!000|666|9\d\d)\d{3}[- ]{1,2}(?!00)\d{2}[- ]{1,2}(?!0000)\d{4}(?![\w-])"
    r"|(?i:\b(?:ssn|social security)\b\D{0,30})(?P<value>(?!000|666|9\d\d)\d{3}(?!00)\d{2}(?!0000)\d{4})(?!\d)",
    re.ASCII,
)
_ID_NUMBER = re.compile(
    r"(?:(?i:\b(?:driv(?:er|ing)(?:'?s|’s)? ?licen[sc]e|passport|national id(?:entity)?|identity card"
    r"|id card|tax id|tin|nino|national insurance|medicare|health insurance|residence permit"
    r"|personalausweis(?:nummer|nr\.?)?|ausweis(?:nummer|nr\.?)|reisepass(?:nummer|nr\.?)?|führerschein(?:nummer)?"
    r"|steuer-?(?:id|nummer|identifikationsnummer|nr\.?)|sozialversicherungsnummer|versichertennummer"
    r"|carte d['’]identité|passeport|permis de conduire|sécurité sociale|numéro fiscal|pasaporte|codice fiscale"
    r"|carta d['’]identità|passaporto|patente|paspoort(?:nummer)?|identiteitskaart|burgerservicenummer"
    r"|rijksregisternummer|passaporte|contribuinte|pesel|dowód osobisty|dowodu|aadhaa?r|паспорт|инн|снилс)\b"
    r"|身份证|身分證|護照|护照|マイナンバー|個人番号|パスポート|주민등록|여권)"
    r"|\b(?:DNI|NIE|NIF|CIF|PAN|BSN|NIR|NINO|CPF|CNPJ|CURP|RFC|NIP|NHS|UTR|ITIN|EIN|SIN|TFN|CNI|AHV|AVS)\b)"
    r"(?i:(?:[ -]?(?:card|number|no\.?|num|id|code|nummer|nr\.?|num[eé]ro|n[uú]mero|号码?|號碼?|番号|番號|번호|#))*"
    r"(?:\s?(?:is|was|:|=|-|#|of|ist|lautet|es|est|é|è|jest|は|是|为))*\s{0,2})"
    r"(?P<value>(?=[A-Za-z0-9 -]*\d)[A-Z0-9](?:[A-Z0-9]|[ .-](?=[A-Z0-9]*\d)){4,17}[A-Z0-9])(?![A-Za-z0-9])"
)


def _ssn(text: str) -> Iterator[_Span]:
    for found in _SSN.finditer(text):
        if found["value"]:
            yield found.span("value")
        elif not _OTHER_NUMBER.search(text[max(0, found.start() - 30) : found.start()]):
            yield found.span()


def _id_number(text: str) -> Iterator[_Span]:
    return _spans(_ID_NUMBER, text)


# dates and times -----------------------------------------------------------------------------------------------------

_MONTHS = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
)
_DAYS = r"(?:mon|tues|wednes|thurs|fri|satur|sun)day"
_TIME = (
    r"(?:[01]?\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:[.,]\d{1,6})?)?(?:\s?[ap]\.?m\.?\b)?(?:\s?(?:z|utc|gmt"
    r"|[+-]\d\d:?\d\d)\b)?"
)
_DATE = re.compile(
    rf"(?i)(?<![\w./-])(?:(?:19|20)\d\d([-/.])(?:0?[1-9]|1[0-2])\1(?:0?[1-9]|[12]\d|3[01])"
    rf"|(?:0?[1-9]|[12]\d|3[01])([-/.])(?:0?[1-9]|[12]\d|3[01])\2(?:(?:1[89]|20)\d\d|\d\d)"
    rf"|(?:(?:{_DAYS}),?\s)?(?:the\s)?(?:0?[1-9]|[12]\d|3[01])(?:st|nd|rd"
    rf"|th)?[\s-](?:of\s)?{_MONTHS}\.?(?:,?[\s-](?:(?:1[89]|20)\d\d))?"
    rf"|(?:(?:{_DAYS}),?\s)?{_MONTHS}\.?\s(?:0?[1-9]|[12]\d|3[01])(?:st|nd|rd|th)?(?!\d)(?:,?\s(?:1[89]|20)\d\d)?"
    rf"|{_MONTHS},?\s(?:of\s)?(?:1[89]|20)\d\d)(?:[t\s,]{{1,2}}(?:at\s)?{_TIME})?(?![\w/-])"
    rf"|(?<![\w:.]){_TIME}(?![\w:])|\b{_DAYS}\b"
    r"|\b(?:in|since|during|of|from|until|till|by|before|after|year|around|between|early|late|mid|is an?"
    r"|was an?|the|summer|winter|spring|fall|autumn)[\s-]"
    r"(?P<year>(?:19|20)\d\d)\b(?![-/.:]\d|\s?(?:usd|eur|dollars|euros|people|users|items|mb|gb|kb|px|%))"
)


def _date_time(text: str) -> Iterator[_Span]:
    for found in _DATE.finditer(text):
        yield found.span("year") if found["year"] else found.span()


# postal codes, ages, wallets -----------------------------------------------------------------------------------------

_STATES = (
    "A[AEKLPRSZ]|C[AOT]|D[CE]|F[LM]|G[AU]|HI|I[ADLN]|K[SY]|LA|M[ADEHINOPST]|N[CDEHJMVY]|O[HKR]|P[ARW]|RI"
    "|S[CD]|T[NX]|UT|V[AIT]|W[AIVY]"
)
_ZIP = re.compile(
    r"(?i:\b(?:zip(?:[ -]?code)?|post(?:al)?[ -]?code|plz|postnummer|code postal|c\.?a\.?p\.?)\b\s?(?:is"
    r"|was|:|=|-|#)?\s{0,2})"
    r"(?P<named>\d{3,6}(?:[ -]\d{2,4})?\b|[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}\b|[A-Za-z]\d[A-Za-z][ -]?\d[A-Za-z]\d\b)"
    r"|(?<![\w-])(?P<canada>[ABCEGHJ-NPRSTVXY]\d[ABCEGHJ-NPRSTV-Z] \d[ABCEGHJ-NPRSTV-Z]\d)(?![\w-])"
    r"|(?<![\w-])(?P<britain>(?:[A-Z]{1,2}\d[A-Z\d]?|GIR) \d[ABD-HJLNP-UW-Z]{2})(?![\w-])"
    rf"|,?\s(?:{_STATES})\s{{1,2}}(?P<states>\d{{5}}(?:-\d{{4}})?)(?![\w-])"
    r"|\n[ \t]*(?P<line>\d{4,5}(?:-\d{4})?)[ \t]*(?=\n|$)"
    r"|\n[ \t]*[^\W\d_][^\n\d,]{1,30}\s[^\W\d_]{2,3}\s(?P<town>\d{4,5})(?=\s*(?:\n|$|[.,;]))"
    r"|\b(?:in|near|to|from|of)\s(?:[^\W\d_a-z][\w'’-]*\s){1,3}(?P<place>(?!(?:19|20)\d\d\b)\d{4,5}"
    r"|\d{3}\s\d{2})\b(?=\s?(?:[.,;!?)]|$|\n|[a-z]))"
)
_AGE = re.compile(
    r"(?i)(?<![\w.$€£-])(?:(?:aged?|age is|age of|ages?:|turn(?:s|ed|ing)?|i(?:'|’| a)m|(?<=when )(?:i|he"
    r"|she|they) w(?:as|ere))\s(?:of\s|about\s|around\s)?"
    r"(?P<after>1[01]\d|[1-9]\d?)(?=\s*(?:[.,;:!?)]|$|and\b))(?!\s?%)"
    r"|(?P<before>1[01]\d|[1-9]\d?)[\s-]?(?:(?:years?|yrs?|months?)[\s-](?:olds?|of age)|y/?o)\b)"
)
_WALLET = re.compile(
    r"(?<![\w])(?:(?P<base58>[13][1-9A-HJ-NP-Za-km-z]{25,34})|(?P<bech32>bc1[02-9ac-hj-np-z]{11,71}"
    r"|BC1[02-9AC-HJ-NP-Z]{11,71})|(?P<ether>0x[0-9A-Fa-f]{40}))(?!\w)"
)
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def _named_group(pattern: re.Pattern[str], text: str) -> Iterator[_Span]:
    for found in pattern.finditer(text):
        yield found.span(found.lastgroup or 0)


def _zip_code(text: str) -> Iterator[_Span]:
    for found in _ZIP.finditer(text):
        # a number alone on its line is a postal code only below the lines of an address
        above = text[max(0, found.start() - 160) : found.start()].split("\n")[-4:]
        if found["line"] and not any(character.isdigit() for line in above for character in line):
            continue
        yield found.span(found.lastgroup or 0)


def _age(text: str) -> Iterator[_Span]:
    return _named_group(_AGE, text)


def _is_wallet(found: re.Match[str]) -> bool:
    if not found["base58"]:
        return True
    import hashlib

    number = 0
    for character in found["base58"]:
        number = number * 58 + _BASE58.index(character)
    try:
        raw = number.to_bytes(25, "big")
    except OverflowError:
        return False
    return hashlib.sha256(hashlib.sha256(raw[:-4]).digest()).digest()[:4] == raw[-4:]


def _crypto_wallet(text: str) -> Iterator[_Span]:
    return _spans(_WALLET, text, _is_wallet)


# streets -------------------------------------------------------------------------------------------------------------

_STREET_WORD = (
    r"street|st|avenue|ave|road|rd|boulevard|blvd|lane|ln|drive|dr|court|ct|square|sq|way|terrace|place"
    r"|pl|close|crescent|highway|hwy|parkway|pkwy|row|alley|circle|cir"
)
_STREET = re.compile(
    rf"(?<![\w.-])\d{{1,5}}[A-Za-z]?,?\s(?:(?:N|S|E|W|North|South|East"
    rf"|West)\.?\s)?(?:[A-Z][\w'’.-]*\s){{1,4}}(?i:{_STREET_WORD})\b\.?(?:,?\s(?i:apt|suite|unit|flat"
    rf"|#)\.?\s?\w{{1,5}})?"
    r"|\b\d{1,5},?\s(?:rue|avenue|boulevard|place|via|viale|piazza|calle|plaza|rua"
    r"|avenida)\s(?:d[aeiou]s?\s|de la\s|del\s|della\s)?(?:[A-Z][\w'’-]*\s?){1,4}"
    r"|\b[A-ZÄÖÜÅØÆ][\w-]*(?:stra(?:ß|ss)e|str\.|weg|gasse|platz|allee|straat|laan|gatan|vägen|veien|vej"
    r"|gade|tie|katu|utca)\s\d{1,4}\s?[a-zA-Z]?\b"
    r"|\b(?:rua|avenida|calle|via|ulica|ul\.|rue|piazza|viale)\s(?:[A-ZŁŚŻ][\w'’-]*\s){1,4}\d{1,5}\b"
    r"|\b(?i:p\.?\s?o\.?\s?box|post(?:box|fach))\s\d{1,6}\b"
    r"|\b(?:Unit|PSC)\s\d{1,5},?\sBox\s\d{1,5}\s+[DAF]PO\sA[AEP]\s\d{5}\b|\bUS(?:NS|NV|S"
    r"|CGC)\s\w+\s+FPO\sA[AEP]\s\d{5}\b"
    r"|\b(?i:apt|suite|apartment)\.?\s\d{1,5}\b"
)


def _street_address(text: str) -> Iterator[_Span]:
    for start, end in _spans(_STREET, text):
        yield start, start + len(text[start:end].rstrip())


_RECOGNISERS: dict[str, Callable[[str], Iterator[_Span]]] = {
    "email": _email,
    "iban": _iban,
    "credit-card": _card,
    "crypto-wallet": _crypto_wallet,
    "ssn": _ssn,
    "id-number": _id_number,
    "ip-address": ip_addresses,
    "mac-address": mac_addresses,
    "url": urls,
    "date-time": _date_time,
    "phone": phones,
    "age": _age,
    "street-address": _street_address,
    "zip-code": _zip_code,
}
"""In order of precedence: where two overlap, the earlier one names the finding."""

PATTERN_ENTITIES = tuple(_RECOGNISERS)

_CHECKED = ("iban", "credit-card")
_BROKEN = re.compile(r"\d[ -]?\r?\n ?[0-9A-Z]|[A-Z][ -]?\r?\n ?\d")
_LINE_END = re.compile(r" ?\r?\n ?")
_MOST_LINE_ENDS = 1
"""In one number: a column of groups is a table."""

_NO_DIGITS_NEEDED = frozenset({"email", "url", "date-time"})


def recognise(
    text: str, entities: tuple[str, ...], also: Callable[[str], Iterator[tuple[str, _Span]]] | None = None
) -> list[Finding]:
    """Disjoint findings of the given entity types, in order of precedence; `also` finds more, which come first.

    Names and places are not found here.
    """
    plain, origin = plain_forms(text)
    taken = [Finding(*span, entity) for entity, span in also(plain)] if also else []
    taken = [found for at, found in enumerate(taken) if all(_apart(found, other) for other in taken[:at])]
    own = {found.label for found in taken}
    has_digits = any(character.isdigit() for character in plain)
    for entity, recogniser in _RECOGNISERS.items():
        if entity not in entities and not (entity in _DECIDING and _DECIDING[entity] & set(entities)):
            continue
        if not has_digits and entity not in _NO_DIGITS_NEEDED:
            continue
        for start, end in recogniser(plain):
            found = Finding(start, end, entity)
            if all(_apart(found, other) for other in taken):
                taken.append(found)
    taken += _over_line_ends(plain, also, taken)
    return in_original([found for found in taken if found.label in entities or found.label in own], origin)


def _over_line_ends(
    plain: str, also: Callable[[str], Iterator[tuple[str, _Span]]] | None, taken: list[Finding]
) -> list[Finding]:
    """Numbers that a line end breaks. Only those that a checksum tells from numbers below each other."""
    if not _BROKEN.search(plain):
        return []
    joined = _LINE_END.sub(lambda found: " " * len(found[0]), plain)
    spans = [(entity, span) for entity in _CHECKED for span in _RECOGNISERS[entity](joined)]
    spans += also(joined) if also else ()
    found: list[Finding] = []
    for entity, (start, end) in spans:
        one = Finding(start, end, entity)
        broken = "\n" in plain[start:end] and plain.count("\n", start, end) <= _MOST_LINE_ENDS
        if broken and all(_apart(one, other) for other in (*taken, *found)):
            found.append(one)
    return found


def _apart(one: Finding, other: Finding) -> bool:
    return one.end <= other.start or one.start >= other.end


_DECIDING = {
    entity: frozenset({"phone"}) for entity in ("credit-card", "iban", "ssn", "ip-address", "date-time", "id-number")
}
"""Types that are detected even when not wanted, so that a date or a card is not taken for a telephone number."""
