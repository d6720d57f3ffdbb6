"""Two parts of a sentence that change places: who does it and to whom, from where and to where.

A part may stand anywhere as long as it takes along what says which part it is: a preposition, a case, a particle.
Where that stays behind, or where nothing but the order says it, the sentence has been turned round.
"""

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass

import regex

from sluicegate.policies.guards.grounding.lexicon import WITHOUT_SPACES
from sluicegate.policies.guards.grounding.words import shared_start, stem

__all__ = ["Role", "in_their_forms", "related", "roles_exchanged", "roles_of", "swapped"]

_SWAPPED_AT_MOST = 6
"""Words of each of two parts that change places."""
_SHORTEST_CONTENT = 4
"""Letters from which a word that counts as a function word may be a part: "great" and "small" count as such in some
languages."""
_PARTICLES_FOLLOW = frozenset({"hi", "ja", "ko"})
"""Languages that say after a word which part it has."""
_VERB_LAST = frozenset({"hi", "ja", "ko", "tr"})
"""Languages in which nothing need stand between the two parts that an action has."""
_JOINING = {
    "ar": frozenset({"و", "أو"}), "de": frozenset({"und", "oder"}), "en": frozenset({"and", "or"}),
    "es": frozenset({"y", "e", "o"}), "fr": frozenset({"et", "ou"}), "hi": frozenset({"और", "या"}),
    "it": frozenset({"e", "o"}), "ja": frozenset({"と", "や"}), "nl": frozenset({"en", "of"}),
    "pl": frozenset({"i", "lub"}), "pt": frozenset({"e", "ou"}), "ru": frozenset({"и", "или"}),
    "tr": frozenset({"ve", "veya"}), "zh": frozenset({"和", "或"}),
}  # fmt: skip
"""What stands between parts that may change places."""


@dataclass(frozen=True, slots=True)
class Role:
    """A content word in its place, with what says which part it has in the sentence."""

    stem: str
    written: str
    before: tuple[str, ...]
    """The function words between it and the content word before it."""
    after: str
    """The function word that follows, in languages that write it there."""


def roles_of(words: Sequence[str], content: Container[str], language: str) -> tuple[Role, ...]:
    """The content words among the words of a sentence, with what says which part each has in it."""
    found: list[Role] = []
    before: list[str] = []
    follows = language in _PARTICLES_FOLLOW
    joining = _JOINING.get(language, frozenset())
    for at, word in enumerate(words):
        if word[0] != "#" and word not in content:
            before.append(word)
            continue
        after = words[at + 1] if follows and at + 1 < len(words) else ""
        if after in joining or after in content or after.startswith(("#", "@")):
            after = ""
        marks = () if follows else tuple(one for one in before if one not in joining)
        found.append(Role(stem(word, language), word, marks, after))
        before = []
    return tuple(found)


def swapped(
    ours: Sequence[str], theirs: Sequence[str], content: frozenset[str], language: str, *, compared: bool = False
) -> bool:
    """Whether one order is the other with two stretches exchanged around what stays. They are of content words, or of
    words as long: "great" and "small" count as function words in some languages. With `compared` more is said of the
    one as less was of the other, so that whatever has been exchanged is what is compared.
    """
    joining = _JOINING.get(language, frozenset())
    for start, first, middle, second in _exchanges(ours, theirs):
        head = theirs[start : start + first]
        between = theirs[start + first : start + first + middle]
        tail = theirs[start + first + middle : start + first + middle + second]
        said = [one for one in between if one in content]
        following = theirs[start + first + middle + second :]
        if not between:
            continue
        if compared:
            return True
        if not joining.isdisjoint(between) and said == [one for one in following if one in content][: len(said)]:
            continue  # "sales and finance", "the sales team and the finance team"
        if language in WITHOUT_SPACES:
            # a sign of a word is not one that may well come first
            if (content & {*head} and content & {*tail}) or all(
                regex.fullmatch(r"\p{Han}", one) for one in (*head, *tail)
            ):
                return True
        elif all(word in content or len(word) >= _SHORTEST_CONTENT for word in (*head, *tail)):
            # a part with a preposition may well come first
            return True
        elif first == second == 1 and between[0] == (following[0] if following else ""):
            return True  # two words before the same one: "the new printer", "the old printer"
    return False


def roles_exchanged(claim: Sequence[Role], best: Sequence[Role], language: str) -> bool:
    """Whether two parts have changed places and left behind what says which part each has, such as a preposition, a
    case or a particle. A part that takes it along has only been moved."""
    theirs = [one.stem for one in best]
    ours = in_their_forms([one.stem for one in claim], theirs)
    least = 0 if language in _VERB_LAST else 1
    for start, first, middle, second in _exchanges(ours, theirs):
        if middle < least:
            continue
        moved = ((start, start + second + middle, first), (start + first + middle, start, second))
        if all(_left_behind(best, old, claim, new, size) for old, new, size in moved):
            return True
    return False


def _left_behind(was: Sequence[Role], old: int, now: Sequence[Role], new: int, size: int) -> bool:
    """Whether a part has another mark than it had where it stood."""
    last, last_now = was[old + size - 1], now[new + size - 1]
    if (last.after, last.written) != (last_now.after, last_now.written):
        return True
    # that of "Mr Fox" stands before "Mr", which both places have
    while not was[old].before and not now[new].before and old and new and was[old - 1].stem == now[new - 1].stem:
        old, new = old - 1, new - 1
    return was[old].before != now[new].before


def _exchanges(ours: Sequence[str], theirs: Sequence[str]) -> Iterator[tuple[int, int, int, int]]:
    """How `theirs` becomes `ours` by two stretches that change places: where the first starts, its length, how much
    stays between them, and the length of the second."""
    if len(ours) != len(theirs) or list(ours) == list(theirs) or sorted(ours) != sorted(theirs):
        return
    start = next(at for at, (one, other) in enumerate(zip(ours, theirs, strict=True)) if one != other)
    end = len(ours) - next(
        at for at, (one, other) in enumerate(zip(reversed(ours), reversed(theirs), strict=True)) if one != other
    )
    now, was = list(ours[start:end]), list(theirs[start:end])
    for first in range(1, min(_SWAPPED_AT_MOST, len(was)) + 1):
        for second in range(1, min(_SWAPPED_AT_MOST, len(was) - first) + 1):
            head, tail, middle = was[:first], was[-second:], was[first : len(was) - second]
            if now == tail + middle + head:
                yield start, first, len(middle), second


def in_their_forms(ours: Sequence[str], theirs: Sequence[str]) -> list[str]:
    """Words with those of the other side that look like other inflections of them in their place."""
    return [word if word in theirs else next((one for one in theirs if related(word, one)), word) for word in ours]


def related(one: str, other: str) -> bool:
    """Whether two words look like inflections that the stemmer did not bring together."""
    if one[:4] != other[:4] or len(one) < 4:
        return False
    return max(len(one), len(other)) - shared_start(one, other) <= 3
