"""Masks the content of traces, before the local store or any exporter gets it.

Secrets are always replaced. Personal data is replaced by patterns (so names and places stay: this is no anonymisation),
texts are cut at the payload limit, and in the mode `hashes` every payload becomes a keyed hash with its length. Hashes
are HMAC-SHA-256 with a key (`user_key`): short texts and user ids could be guessed from plain ones.
"""

import functools
import hmac
import re
from collections.abc import Callable, Mapping
from typing import Any, cast

from sluicegate.errors import ConfigError, Problem
from sluicegate.observe.tracing.describers import is_wordy
from sluicegate.observe.tracing.settings import TraceSettings
from sluicegate.observe.tracing.storing.user_key import user_key

__all__ = ["PAYLOADS", "PEOPLE", "SPOKEN", "Masking"]

PAYLOADS = frozenset(
    {
        "input",
        "output",
        "thinking",
        "query",
        "standalone",
        "asks",
        "reply",
        "question",
        "arguments",
        "arguments_shown",
        "result",
        "answer",
        "comment",
        "approval_reason",
    }
)
"""Attributes with texts of people or models; the mode `hashes` keeps none of them."""

SPOKEN = frozenset({"approval"})
"""Scores whose comment was written by a person."""

PEOPLE = frozenset({"decided_by", "principal"})
"""Attributes that name a person."""

_SECRETS: dict[str, str] = {
    "private-key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    "token": r"\b(?:sk|pk|rk)-[A-Za-z0-9_-]{16,}|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_[A-Za-z0-9_]{20,}"
    r"|\bglpat-[\w-]{16,}|\bxox[abeoprs]-[A-Za-z0-9-]{10,}|\bAKIA[0-9A-Z]{16}\b|\bAIza[\w-]{30,}|\bhf_[A-Za-z0-9]{20,}",
    "jwt": r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*",
    "credentials-in-url": r"(?<=://)[^\s/:@]{1,64}:[^\s/@]{1,128}(?=@)",
    "bearer": r"(?i:\bbearer\s+)[\w.~+/=-]{12,}",
    "password": r"(?i:\b(?:password|passwd|passphrase|pwd|api[_-]?key|secret|token)\b[\"']?\s*)"
    r"(?i:(?:\bis\b\s*[:=]?|[:=])\s*)"
    r"(?:\"[^\"\n]{4,}\"|'[^'\n]{4,}'|[^\s\"',;<]{4,})",
}
_PERSONAL: dict[str, str] = {
    "email": r"\b[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+\b",
    "iban": r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b",
    "card": r"(?<![\w.-])(?:\d[ -]?){12,18}\d(?![\w.-])",
    "phone": r"(?<![\w.:-])(?:\+|00)\d{1,3}[ ./-]?(?:\(?\d{1,5}\)?[ ./-]?){2,5}\d{2,4}(?![\w:-])",
    "ip": r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.])",
}
_SHORTEST = 6
"""No pattern matches less; most attribute values are ids shorter than this or numbers."""

_DIGITS = tuple("0123456789")
_SIGNS: dict[str, tuple[str, ...]] = {
    "private-key": ("-----begin",),
    "token": ("sk-", "pk-", "rk-", "gh", "glpat-", "xox", "akia", "aiza", "hf_"),
    "jwt": ("eyj",),
    "credentials-in-url": ("://",),
    "bearer": ("bearer",),
    "password": ("passw", "passphrase", "pwd", "key", "secret", "token"),
    "email": ("@",),
    "iban": _DIGITS,
    "card": _DIGITS,
    "phone": _DIGITS,
    "ip": _DIGITS,
}
"""What a match of each pattern contains, in small letters. Looking for these is far cheaper than trying all patterns at
each character, and few texts have any."""
_NAME = 64
"""Longest text that is remembered to need no masking: names of attributes, models and rules, titles."""
_NAMES = 4096


class Masking:
    """Applies one workflow's settings. Raises `ConfigError` SG107 for a pattern that is not a regular expression."""

    def __init__(self, settings: TraceSettings | None = None, *, key: bytes | None = None) -> None:
        self.settings = settings or TraceSettings()
        self._given_key = key
        kinds = dict(_SECRETS)
        if self.settings.payloads != "full":
            kinds |= {kind: _PERSONAL[kind] for kind in self.settings.pii}
        self._extra = {f"x{index}": name for index, name in enumerate(self.settings.patterns)}
        self._names = {kind.replace("-", "_"): kind for kind in kinds} | self._extra
        self._parts = {kind: f"(?P<{kind.replace('-', '_')}>{pattern})" for kind, pattern in kinds.items()}
        self._parts |= {
            group: _checked(group, name, self.settings.patterns[name]) for group, name in self._extra.items()
        }
        self._search = functools.lru_cache(maxsize=256)(self._compiled)
        self._compiled(*self._parts)
        self._clean: set[str] = set()

    @functools.cached_property
    def _key(self) -> bytes:
        return self._given_key or user_key()

    def user(self, id: str) -> str:
        """A user's name in traces: the same person always gets the same name."""
        if not id or self.settings.users == "plain":
            return id
        return "user-" + hmac.new(self._key, f"user\0{id}".encode(), "sha256").hexdigest()[:16]

    def text(self, text: str) -> str:
        """A text without its secrets and personal data, and not longer than the limit."""
        if text in self._clean:
            return text
        if not text.isascii():
            # lone surrogates, which damaged input may hold, fit neither SQLite nor protobuf
            text = text.encode(errors="replace").decode()
        limit = self.settings.payload_limit
        if len(text) > limit:
            # the cut comes first, a little wide, so that a huge text costs no more than a long one
            kept = self._masked(text[: limit + 400])[:limit]
            return f"{kept}… [cut: {len(text)} characters]"
        masked = self._masked(text) if len(text) >= _SHORTEST else text
        if masked == text and len(text) <= _NAME:
            if len(self._clean) >= _NAMES:
                self._clean.clear()
            self._clean.add(text)
        return masked

    def attributes(self, attributes: Mapping[str, Any]) -> dict[str, Any]:
        """An observation's attributes, masked."""
        hashed = self.settings.payloads == "hashes"
        masked: dict[str, Any] = {}
        for key, value in attributes.items():
            if key in PEOPLE:
                masked[key] = self.user(str(value))
            elif hashed and key == "values":
                masked[key] = {n: self._hash(v) if is_wordy(n) else self.value(v) for n, v in value.items()}
            else:
                masked[key] = self._hash(value) if hashed and key in PAYLOADS else self.value(value)
        return masked

    def value(self, value: Any) -> Any:
        """JSON data, masked; numbers and booleans are kept."""
        if isinstance(value, str):
            return self.text(value)
        if value is None or isinstance(value, int | float):
            return value
        if isinstance(value, Mapping):
            found = cast("Mapping[Any, Any]", value)
            return {self.text(str(key)): self.value(item) for key, item in found.items()}
        if isinstance(value, list | tuple):
            return [self.value(item) for item in cast("list[Any]", value)]
        return value

    def payload(self, text: str) -> str:
        """A single text of a person or a model: a request, an answer, a comment."""
        return self._hash(text) if self.settings.payloads == "hashes" and text else self.text(text)

    def _masked(self, text: str) -> str:
        kinds = list(self._parts)
        if text.isascii():
            small = text.lower()
            kinds = [kind for kind in kinds if kind not in _SIGNS or any(sign in small for sign in _SIGNS[kind])]
        return self._search(*kinds).sub(self._replace, text) if kinds else text

    def _compiled(self, *kinds: str) -> re.Pattern[str]:
        return re.compile("|".join(self._parts[kind] for kind in kinds))

    def _hash(self, value: Any) -> str:
        text = value if isinstance(value, str) else repr(value)
        digest = hmac.new(self._key, text.encode(errors="replace"), "sha256").hexdigest()[:32]
        return f"hmac:{digest} ({len(text)} characters)"

    def _replace(self, match: re.Match[str]) -> str:
        kind = match.lastgroup or ""
        check = _CHECKS.get(kind)
        return match.group() if check and not check(match.group()) else f"<{self._names[kind]}>"


def _checked(group: str, name: str, pattern: str) -> str:
    """A pattern of the settings as a named group."""
    place = f"tracing.patterns.{name}"
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ConfigError([Problem("SG107", f"{place} is not a regular expression: {error}")]) from error
    if groups:
        raise ConfigError([Problem("SG107", f"{place} has a capturing group", hint="Write (?:…) instead of (…)")])
    return f"(?P<{group}>{pattern})"


def _is_card(digits: str) -> bool:
    """Luhn's check (ISO/IEC 7812-1, annex B), which one in ten random numbers passes."""
    numbers = [int(sign) for sign in reversed(digits) if sign.isdigit()]
    doubled = (sum(divmod(2 * number, 10)) if index % 2 else number for index, number in enumerate(numbers))
    return sum(doubled) % 10 == 0


def _is_password(said: str) -> bool:
    """Not of "a password is needed": after a bare "is" a word in small letters is a sentence that goes on."""
    return not _SENTENCE.search(said)


_SENTENCE = re.compile(r"(?i:\bis)\s+[a-z]+(?:['’-][a-z]+)*[.!?)]*$")
_CHECKS: dict[str, Callable[[str], bool]] = {"card": _is_card, "password": _is_password}
