"""A text with disguises folded: look-alikes, accents, full-width forms and invisible characters removed.

`fold` keeps the original offsets, so that findings in the folded text can be located.
"""

import functools
import unicodedata

__all__ = ["fold", "folded"]

# letters of other scripts that read as Latin ones: a selection of Unicode's confusables.txt (UTS 39), in lower case
_PAIRS = (
    "аa вb еe зz іi јj кk ӏl мm нh оo рp сc тt уy хx ѕs ԁd ԛq ԝw һh ѵv ғf ь b",  # Cyrillic
    "αa βb γy εe ζz ηn ιi κk μm νv οo ρp τt υu χx ωw ϲc ϳj",  # Greek
    "օo սu ոn հh ց g յj զq",  # Armenian
    "ɑa ɡg ɩi ɪi ʏy ʀr ʙb ɢg ʜh ʟl ɴn øo łl đd ħh ıi ƒf ɛe ʋu ᴀa ᴄc ᴅd ᴇe ᴊj ᴋk ᴍm ᴏo ᴘp ᴛt ᴜu ᴠv ᴡw ᴢz",  # Latin
)
_LOOK_ALIKES = {pair[0]: pair[-1] for line in _PAIRS for pair in line.split() if len(pair) == 2}


_BLANK_LETTERS = "\u115f\u1160\u3164"
"""Hangul fillers: letters by their category, but nothing to see."""


@functools.lru_cache(maxsize=4096)
def _fold_one(character: str) -> str:
    if "\U000e0020" <= character <= "\U000e007e":
        # tag characters are an invisible alphabet
        return chr(ord(character) - 0xE0000).lower()
    if unicodedata.category(character) in ("Cf", "Mn", "Me") or character in _BLANK_LETTERS:
        return ""
    flat = unicodedata.normalize("NFKD", character)
    flat = "".join(part for part in flat if not unicodedata.combining(part)).casefold()
    return "".join(_LOOK_ALIKES.get(part, part) for part in flat)


def fold(text: str) -> tuple[str, list[int]]:
    """The folded text, and for each of its characters the offset in `text` it comes from."""
    if text.isascii():
        return text.lower(), list(range(len(text)))
    parts: list[str] = []
    origin: list[int] = []
    for offset, character in enumerate(text):
        flat = _fold_one(character)
        parts.append(flat)
        origin += [offset] * len(flat)
    return "".join(parts), origin


def folded(text: str) -> str:
    """Only the folded text."""
    return text.lower() if text.isascii() else "".join(map(_fold_one, text))
