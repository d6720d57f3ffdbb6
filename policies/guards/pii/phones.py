"""Telephone numbers: candidates by their form, checked by `phonenumbers`, with the words around them.

A number with a country's code counts by itself; so does one in a form that only telephone numbers have, unless it is
one of a service that everybody may call. Any other run of digits counts beside a word for a telephone; where that word
is no more than "number", in whatever language, only if it is a valid number of a country that speaks it.
"""

import functools
import re
from collections.abc import Iterator
from typing import Any

__all__ = ["phones"]

_PHONE = re.compile(
    r"(?<![\w/+.#$€£-])(?:\+|00)?(?:\(\+?\d{1,5}\)|\d{1,5}|\d{6,14})(?:[ ./-]{0,2}\(?\d{1,5}\)?"
    r"|[ ./-]{1,2}\d{6,8}){0,6}"
    r"(?:\s?(?:x|ext\.?|extension|#)\s?\d{1,6})?(?![\w$€£%]|[.,/:-]\d)",
    re.IGNORECASE | re.ASCII,
)
_BEFORE = re.compile(
    r"(?i)(?:\b(?:phones?|tel|mob(?:ile)?|cell(?:phone)?|fax|desk"
    r"|call(?:ed|ing)?|dial(?:ed|ing)?|ring|text(?:ed)?|sms"
    r"|whatsapp|pager|hotline|helpline|landline|contact|reach(?:ed|able)?|answer(?:ing|s)?|messages? to"
    r"|message on|registered|voicemail|extension"
    r"|handy(?:nummer)?|anruf\w*|ruf(?:en|e|nummer)?|mobil\w*|appel\w*|joign\w*|portable|ll[aá]m\w*|m[oó]vil|celular\w*"
    r"|cellulare|chiam\w*|ligu?[ea]\w*|telem[oó]vel|bel(?:len)?|mobiel\w*|zadzwo\w*|dzwoń\w*|kom[oó]rk\w*|matkapuhelin"
    r"|puhelin\w*|ara(?:yın|yabilir\w*)|cep)"
    r"|t[eé]l[eéè][fp]h?[oó]n\w*|τηλ[έε]φων\w*|τηλ|κινητ\w*|телефон\w*|тел|моб\w*|звон\w*"
    r"|電話\w*|電话|电话|手机|手機|携帯|ケータイ"
    r"|전화|휴대폰|핸드폰|هاتف\w*|تلفون|جوال\w*|موبايل|טלפון|נייד|फ़ोन|फोन|मोबाइल|โทร\w*|telepon|hp|điện thoại)"
    r"(?<=\w)[^\n]{0,30}\n?\s*$"
)
_NUMBER = re.compile(
    r"(?i)(?:(?<!\w)(?P<de>nummer)|(?<!\w)(?P<en>number)|(?<!\w)(?P<fr>num[eé]ro)|(?<!\w)(?P<es>n[uú]mero)"
    r"|(?<!\w)(?P<ru>номер)|(?P<zh>号码)|(?P<ja>番号)|(?P<ar>رقم\w*)|(?<!\w)(?P<pl>numer)|(?<!\w)(?P<tr>numara\w*))"
    r"(?:\s?(?:is|ist|lautet|es|est|è|é|jest|to|هو|は|是))?\s?[:=：]?\s?$"
)
"""Words that say no more than "number"."""
_SPOKEN_IN = {
    "de": "DE AT CH NL SE NO DK BE", "en": "US GB IN AU IE ZA", "fr": "FR BE CH CA", "es": "ES MX AR CO CL BR PT",
    "ru": "RU UA KZ", "zh": "CN TW HK SG", "ja": "JP", "ar": "SA AE EG MA DZ IQ", "pl": "PL", "tr": "TR",
}  # fmt: skip
_AFTER = re.compile(
    r"(?i)^\s?[-–(,/\\]?\s?(?:office|fax|mobile|mob|cell|home|work|desk|direct|landline|phone|tel"
    r"|handy|mobil|portable|m[oó]vil|celular|cellulare|telem[oó]vel|mobiel|komórka|моб|携帯|手机)\b"
    r"|^,? (?:is|was) (?:my|our|his|her|their|the)\b[^.\n]{0,20}\b(?:number|phone|cell|mobile|line)\b"
)
_OTHER_NUMBER = re.compile(
    r"(?i)(?:\b(?:order|invoice|ticket|case|ref(?:erence)?|account|acct|tracking|serial|part|sku|isbn|model"
    r"|error|code|build|version|id|zip|postal|incident|inc|req|asset|room|page|port|usd|eur|amount|total"
    r"|card|cc|iban|ssn)"
    r"|\b\w*(?:bestell|rechnung|auftrag|kunden|vorgang|konto|artikel|serien|commande|facture|pedido|factura|fattura"
    r"|ordine|zam[oó]wieni|faktur|заказ|сч[её]т|договор|encomenda|bestelling)\w*|订单|订单号|注文|請求|الطلب)"
    r"(?:[ -]?(?:number|no\.?|num|id|nr\.?|nummer|#))?\s?[:#=]?\s?(?:is |ist |es |est |è )?$"
)
_STRONG = re.compile(
    r"\+\d{1,3}[ .-]?\(?\d.*|00[1-9]\d{0,2}[ .-]?\(?\d.*"
    r"|(?:1[ .-])?\(?[2-9]\d\d\)?[ .-]{0,2}[2-9]\d\d[ .-]\d{4}(?:\s?(?:x|ext\.?|extension|#)\s?\d{1,6})?"
    r"|\(\d{2,5}\)[ .-]?\d{3,4}[ .-]?\d{3,4}|0\d{1,4}(?:[ ./-]\d{2,4}){2,4}|0\d{2,4}[ /-]\d{5,8}",
    re.IGNORECASE | re.DOTALL,
)
_DATE_LIKE = re.compile(
    r"(?:19|20)\d\d[-./ ]\d{1,2}[-./ ]\d{1,2}|\d{1,2}[-./ ]\d{1,2}[-./ ](?:19|20)?\d\d|(?:19|20)\d\d[ -](?:19|20)\d\d"
)
_DECIMAL = re.compile(r"\d{1,3}(?:[.]\d{3})+|\d+\.\d+")


def phones(text: str) -> Iterator[tuple[int, int]]:
    for found in _PHONE.finditer(text):
        number, (start, end) = found[0], found.span()
        main = re.split(r"(?i)\s?(?:x|ext)", number)[0]
        digits = sum(character.isdigit() for character in main)
        if not 7 <= digits <= 15 or _DATE_LIKE.fullmatch(main) or _DECIMAL.fullmatch(main):
            continue
        before, after = text[max(0, start - 60) : start], text[end : end + 40]
        if (
            _BEFORE.search(before)
            or _AFTER.search(after)
            or (not _OTHER_NUMBER.search(before) and (_is_strong(number) or _is_of_the_language(main, before)))
        ):
            yield start, end


def _is_strong(number: str) -> bool:
    return bool(_STRONG.fullmatch(number)) and not _is_service(number)


def _is_of_the_language(number: str, before: str) -> bool:
    word = _NUMBER.search(before)
    if not word:
        return False
    library = _library()
    regions = _SPOKEN_IN[str(word.lastgroup)].split()
    return any(library.is_valid_number(parsed) for region in regions if (parsed := _parsed(number, region)))


def _is_service(number: str) -> bool:
    """Whether it is a number of a service in a country where numbers are written this way: nobody's own."""
    if number.startswith(("+", "00")):
        return False
    library = _library()
    kinds: Any = library.PhoneNumberType
    services = {kinds.TOLL_FREE, kinds.PREMIUM_RATE, kinds.SHARED_COST, kinds.UAN, kinds.VOICEMAIL}
    regions = ("GB", "DE", "FR", "US") if number.startswith("0") else ("US",)
    return any(library.number_type(parsed) in services for region in regions if (parsed := _parsed(number, region)))


def _parsed(number: str, region: str) -> Any:
    library = _library()
    try:
        return library.parse(number, region)
    except library.NumberParseException:
        return None


@functools.cache
def _library() -> Any:
    import phonenumbers

    return phonenumbers
