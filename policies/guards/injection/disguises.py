"""Readings of a text that an attacker may have disguised.

`readings` gives the text as it stands (folded: see `folding`) and every other way to read it that makes sense:
HTML entities, percent-encoding, base64, hexadecimal, rotated letters, reversed text, and `squeezed` for letters that
are spaced out, run together or written as digits. A squeezed reading has no spaces; letters and the digits that
stand for them are one class, so "1gn0r3", "i g n o r e" and "ignore" are equal.
"""

import base64
import binascii
import codecs
import html
import re
from dataclasses import dataclass
from urllib.parse import unquote

from sluicegate.policies.guards.detectors.folding import folded

__all__ = ["Reading", "readings", "squeeze"]

_MOST = 8
"""Maximum readings per text; deeper nesting is not decoded."""
_LONGEST = 20_000

_BASE64 = re.compile(r"(?<![\w+/=-])[A-Za-z0-9+/_-]{16,}={0,2}(?![\w+/=-])")
_HEX = re.compile(r"(?<![0-9A-Za-z])(?:(?:0x|\\x)?[0-9A-Fa-f]{2}[\s,:]?){12,}(?![0-9A-Za-z])")
_ENTITY = re.compile(r"&(?:#\d{1,7}|#x[0-9A-Fa-f]{1,6}|[a-zA-Z]{2,8});")
_PERCENT = re.compile(r"%[0-9A-Fa-f]{2}")
_ESCAPE = re.compile(r"\\u([0-9A-Fa-f]{4})|\\x([0-9A-Fa-f]{2})")
_WORD = re.compile(r"[a-z0-9@$!|]+")
_CODE = re.compile(r"[0-9a-f]{16,}|[^a-z]+")
"""A hash, a number or the rule of a table, which says nothing about how words are written."""
_AS_DIGITS = str.maketrans("oilestabgz!|$@", "01135748921154")
_COMMON_LISTED = """
    the a an and or of to in is it you that this for on with as are be your all from not my me any do have
    please can we will if by at le la les de des et vous que un une der die das und el los y
    """
_COMMON = frozenset(_COMMON_LISTED.split())


@dataclass(frozen=True, slots=True)
class Reading:
    text: str
    """Folded, lower case."""
    squeezed: bool = False
    hidden: bool = False
    """The text had to be decoded for this reading."""
    words: bool = True
    """Whether it has words to learn from: not where letters are spaced out, run together or written as codes."""


def squeeze(text: str) -> str:
    """Letters and digits only, each as the digit that is written for it: ``Ignore`` and ``1 g n 0 r 3`` are one."""
    return re.sub(r"[^a-z0-9]", "", text.lower().translate(_AS_DIGITS))


def readings(text: str) -> list[Reading]:
    """The ways to read a text, the plain one first; at most eight."""
    text = text[:_LONGEST]
    found: list[tuple[str, bool]] = [(text, False)]
    for at in range(_MOST):
        if at >= len(found) or len(found) >= _MOST:
            break
        known = {known for known, _ in found}
        found += [(decoded, True) for decoded in _decoded(found[at][0]) if decoded not in known]
    result: list[Reading] = []
    for raw, hidden in found[:_MOST]:
        plain = folded(raw)
        squeezed = _looks_squeezed(plain)
        coded = len(found) > 1 and sum(map(str.isalpha, plain)) < 0.5 * len(plain)
        result.append(Reading(plain, hidden=hidden, words=not (squeezed or coded)))
        if squeezed:
            result.append(Reading(squeeze(plain), squeezed=True, hidden=True, words=False))
    return result


def _decoded(text: str) -> list[str]:
    ways: list[str] = []
    if _ENTITY.search(text):
        ways.append(html.unescape(text))
    if len(_PERCENT.findall(text)) >= 2:
        ways.append(unquote(text))
    if _ESCAPE.search(text):
        ways.append(_ESCAPE.sub(lambda found: chr(int(found[1] or found[2], 16)), text))
    ways += [piece for token in _BASE64.findall(text) if (piece := _from_base64(token))]
    ways += [piece for token in _HEX.findall(text) if (piece := _from_hex(token))]
    if text.isascii() or _ENTITY.search(text) is None:
        ways += _turned(text)
    return ways


def _from_base64(token: str) -> str:
    plain = token.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return _readable(base64.b64decode(plain + "=" * (-len(plain) % 4)))
    except (ValueError, binascii.Error):
        return ""


def _from_hex(token: str) -> str:
    digits = re.sub(r"0x|\\x|[\s,:]", "", token)
    try:
        return _readable(bytes.fromhex(digits))
    except ValueError:
        return ""


def _readable(raw: bytes) -> str:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return ""
    # a checksum or a picture decodes to noise, a sentence to letters
    plain = sum(character.isalpha() or character.isspace() for character in text)
    return text if len(text) >= 8 and text.replace("\n", " ").isprintable() and plain >= 0.5 * len(text) else ""


def _turned(text: str) -> list[str]:
    """Rotated by thirteen and reversed, where the text itself hardly reads and they read no worse.

    Short orders have none of the commonest words, turned or not.
    """
    sense = _sense(text)
    if sense >= 0.15:
        return []
    turned = (codecs.encode(text, "rot13"), text[::-1])
    return [other for other in turned if _sense(other) >= sense]


def _sense(text: str) -> float:
    """Share of the words that are among the commonest ones."""
    words = re.findall(r"[^\W\d_]+", text.lower())
    return sum(word in _COMMON for word in words) / len(words) if words else 0.0


def _looks_squeezed(text: str) -> bool:
    words = _WORD.findall(text)
    words = [word for word in words if not _CODE.fullmatch(word)]
    letters = sum(map(len, words))
    if letters < 12:
        return False
    spaced = sum(len(word) == 1 for word in words)
    mixed = sum(any(map(str.isdigit, word)) for word in words)
    longest = max(map(len, words))
    return spaced > 0.4 * len(words) or mixed > 0.3 * len(words) or (longest >= 28 and longest > 0.4 * letters)
