"""Interchangeable words and words without content in English questions, as used by `paraphrase`.

Each list holds only what does not change the meaning of nearly any question. A word that is in no list is compared as
it is, so a question in another language is compared word by word.
"""

import re

__all__ = ["LEADS", "NUMBERS", "PHRASES", "SAME", "SELF", "SILENT", "TAILS"]

LEADS = re.compile(
    r"^(?:(?:hi|hello|hey|dear|good (?:morning|afternoon|evening)|greetings)(?: (?:there|all|team|everyone))?[,.! ]+"
    r"|please,? |just wondering,? |(?:i was |i am )?wondering (?:if |whether )?|quick question[:,]? "
    r"|(?:can|could|would|will) (?:you|someone|somebody|anyone) (?:please )?(?:tell|explain to) (?:me|us)"
    r"(?: if| whether)? "
    r"|(?:do you|does anyone|does anybody) know(?: if| whether)? "
    r"|tell me(?: if| whether)? |i (?:would like|want|need) to know(?: if| whether)? )+"
)
"""Greetings and requests for an answer, before the question itself."""

TAILS = re.compile(r"[,.!? ]+(?:please|thanks|thank you|thx|cheers|many thanks|how do i do that|how does that work)$")
"""The same, after it."""

PHRASES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(rf"\b(?:{pattern})\b"), put)
    for pattern, put in (
        (r"(?:log|sign)[ -]?(?:in|on)(?:to)?", "login"),
        (r"(?:log|sign)[ -]?(?:out|off)", "logout"),
        (r"sign[ -]?up", "register"),
        (r"set(?:ting)?[ -]?up|set", "setup"),
        (r"out[ -]of[ -]office", "outofoffice"),
        (r"wi[ -]?fi|wireless network|wlan", "wifi"),
        (r"e[ -]?mails?", "mail"),
        (r"get rid of", "delete"),
        (r"money back", "refund"),
        (r"in charge of", "responsible for"),
        (r"(?:notebook|laptop) computer", "laptop"),
        (r"(?:mobile|cell) ?phone|smart ?phone", "mobile"),
        (r"(?:is|are|was|does|do|did) not work(?:ing)?|stopped working|not working", "is broken"),
        (r"(?:has|have) been", "is"),
        (r"am i allowed to|are we allowed to|is it (?:possible|allowed|ok|okay) (?:for me )?to", "can i"),
        (r"what time", "when"),
        (r"how come", "why"),
        (r"whom", "who"),
        (r"what is the number of", "how many"),
        (r"what is the meaning of (.+)", r"what does \1 mean"),
        (r"what is the (?:best |right |correct )?way to", "how to"),
        (r"what (?:do|should|must|can) i (?:(?:have|need) to )?do to", "how to"),
        (r"(?:have|has) (?:got )?to", "must"),
    )
)
"""Phrases that stand for others, on lower-case text without contractions; tried in this order."""

SAME: dict[str, str] = {
    "color": "colour", "coloured": "colour", "license": "licence", "center": "centre", "favorite": "favourite",
    "organization": "organisation", "canceled": "cancelled", "authorize": "authorise", "purchase": "buy",
    "remove": "delete", "modify": "change", "vacation": "holiday", "reservation": "booking", "obtain": "get",
    "repair": "fix", "begin": "start", "finish": "end", "photo": "picture", "pwd": "password", "passwd": "password",
    "pc": "computer", "info": "information", "forgotten": "forgot", "fee": "cost", "price": "cost", "which": "what",
    "program": "programme", "gray": "grey", "catalog": "catalogue", "€": "euro", "$": "dollar", "£": "pound",
    "%": "percent", "hrs": "hour", "hr": "hour", "mins": "minute", "min": "minute",
}  # fmt: skip
"""One word for another."""

_COUNTED = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip
_TENS = ("thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
NUMBERS: dict[str, str] = {
    **{word: str(number) for number, word in enumerate(_COUNTED)},
    **{word: str(10 * number) for number, word in enumerate(_TENS, start=3)},
}
"""Numbers in words."""

SELF = frozenset({"i", "my", "we", "our"})
"""Who asks; a question that names nobody is theirs too. Not "me" and "us": to call me is not to call."""

SILENT = frozenset((
    "a", "an", "the", "do", "does", "is", "are", "am", "be", "being", "have", "has", "of", "at", "that", "there", "it",
    "its", "to", "can", "could", "may", "might", "would", "will", "shall", "please",
))  # fmt: skip
"""Words without content of their own; what they say of time and of duty is examined separately."""
