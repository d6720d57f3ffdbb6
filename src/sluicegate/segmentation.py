"""Blocks and sentences of a text: the one segmentation that passages, quotes, guards and citations share.

Documents and drafts are Markdown (`retrieval.loaders` makes it of other formats), so a CommonMark parser finds the
blocks: a line end inside a paragraph is a space. Sentences are found in each block by sentencex; a place counts as the
end of one only when the rules of all languages in `_LANGUAGES` agree, since an abbreviation that is not known cuts a
sentence in half, and one too many only makes a quote longer.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

__all__ = ["CODE_SPAN", "UNSPACED", "Segment", "groups", "quotable", "segments", "sentences"]

_LANGUAGES = ("en", "de", "fr", "es", "pt", "pl", "cs", "sv", "hu", "ro", "tr", "el", "ru", "uk", "bg")
"""Those whose abbreviations are no words of another one of them. Italian, Dutch and Danish would join English
sentences that end in "it", "app" or "on"."""

_LONGEST_QUOTE = 1_500
"""Characters of a list or block of code that is quoted together with the sentence that leads to it."""

_MARKER = r"\[\d{1,3}(?:\s*[,;–-]\s*\d{1,3})*\]"
_MARKERS = re.compile(rf"(?:\s*{_MARKER}(?!\())+")
_TIME = re.compile(r"\d{1,2}:\d\d")
_ENDED = re.compile(r"(?:[。！？؟।۔]|[!?](?=\s)|[가-힣]\.(?=\s))(?=\s*\d)")
"""An end before a number that is no full stop of an ordinal or an abbreviation."""
_COMPOUND = re.compile(r"\w\.-\w+\.\s*$")
"""A compound of abbreviations, such as "Dipl.-Ing."."""
_LETTERED = re.compile(r"(?<!\w)[A-Z][a-z]{1,3}\.$")
_LETTER = re.compile(r"\s*\w\.(?!\w)")
"""A part that is named by a letter or a figure, after what it is, as in "App. B."."""
_COLON = (":", "：")
_LEADING = (*_COLON, ",", "，", "、")
"""Ends of a sentence that goes on in the list or table below it."""
_NUMBERING = re.compile(r"\s*[*_(\[]{0,3}(?:\d{1,3}(?:\.\d{1,3})*|[A-Za-z])[.)]\s*")
_CLOSING = "」』”’）)\"'"
_INLINE_TAG = re.compile(
    r"</?(?:a|abbr|acronym|b|bdi|bdo|big|cite|code|del|dfn|em|font|i|ins|kbd|mark|q|s|samp|small|span|strong|sub|sup|time|tt"
    r"|u|var|wbr)\b[^<>]*>",
    re.IGNORECASE,
)
_TAG = re.compile(
    r"<!--.*?-->|</?(?:br|center|details|div|h[1-6]|hr|img|p|picture|source|summary)\b[^<>]*>",
    re.IGNORECASE | re.DOTALL,
)
_JOINER = "\u2060"
UNSPACED = "\u3001-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef"
"""Letters of scripts without spaces between words, as ranges for a class of a pattern."""
_LINE_END = re.compile(f"(?<=[{UNSPACED}])\n(?=[{UNSPACED}])")
"""A line end in Chinese or Japanese, which have no spaces."""
CODE_SPAN = re.compile(r"(?<!`)`+[^`]+`+")
_IMAGE = re.compile(r"!\[[^\]]*\](?:\([^)]*\)|\[[^\]]*\])")
_EMPTY_LINK = re.compile(r"\[\s*\](?:\([^)]*\)|\[[^\]]*\])")


@dataclass(frozen=True, slots=True)
class Segment:
    """A sentence, a heading, a table row or a block of code."""

    start: int
    """Character offset in the text."""
    end: int
    text: str
    """As it is quoted: a sentence on one line, a row with its columns' names, code in its fence."""
    kind: Literal["sentence", "heading", "row", "code"]
    block: int
    """Number of its block: of a paragraph, a table, a block of code."""
    depth: int = 0
    """How many lists it is in."""
    header: tuple[int, int] = (0, 0)
    """Of a row: where the lines with its columns' names are."""


def sentences(text: str) -> list[str]:
    """The segments' texts, in order."""
    return [segment.text for segment in segments(text)]


def segments(text: str) -> list[Segment]:
    """Every sentence, heading, table row and block of code, in order."""
    return [*_read(text)]


def groups(text: str) -> Iterator[list[Segment]]:
    """The segments, those in one group that need each other: code and the sentence before it, and a list or table and
    the sentence that leads to it by a colon, unless both are too long to be quoted together."""
    rest = segments(text)
    at = 0
    while at < len(rest):
        led = _led(rest, at)
        if rest[at + led].end - rest[at].start > _LONGEST_QUOTE:
            led = 0
        yield rest[at : at + led + 1]
        at += led + 1


@lru_cache(maxsize=512)
def quotable(text: str) -> tuple[Segment, ...]:
    """What makes sense when it is quoted alone: a group as one segment; no heading, and nothing that only leads to what
    it cannot be quoted with."""
    found: list[Segment] = []
    before: Segment | None = None
    for first, *led in groups(text):
        if first.kind == "heading" or (first.kind == "sentence" and _is_part(first, before, led=bool(led))):
            found += led
        elif led:
            end = led[-1].end
            found.append(replace(first, end=end, text=first.text + text[first.end : end]))
        else:
            found.append(first)
        before = [first, *led][-1]
    return tuple(found)


def _is_part(sentence: Segment, before: Segment | None, *, led: bool) -> bool:
    """Whether it goes on from a list, a table or code above it, or leads to what it cannot be quoted with."""
    if sentence.depth:
        return not led and sentence.text.endswith(_COLON)
    below = before is not None and (before.depth > 0 or before.kind in {"row", "code"})
    return (below and sentence.text[:1].islower()) or (not led and sentence.text.endswith(_LEADING))


def _led(every: Sequence[Segment], at: int) -> int:
    """How many of the segments that follow belong to the one there."""
    first = every[at]
    following = every[at + 1] if at + 1 < len(every) else first
    if first.kind != "sentence" or following.block == first.block:
        return 0
    if following.kind == "code":
        return 1
    if not first.text.endswith(_LEADING):
        return 0
    last = at + 1
    while last < len(every) and (
        every[last].block == following.block if following.kind == "row" else every[last].depth > first.depth
    ):
        last += 1
    return last - at - 1


def _read(text: str) -> Iterator[Segment]:
    # the parser would turn a lone carriage return into a line of its own, and knows no typographic bullets
    source = re.sub(r"(?m)^([ \t]*)[•◦▪‣●](?=\s)", r"\1-", text.replace("\r", " "))
    lines = source.split("\n")
    starts = [0, *accumulate(len(line) + 1 for line in lines)]
    tokens = _parser().parse(source)
    depth = block = 0
    columns: list[str] = []
    cells: list[str] = []
    header = row = (0, 0)
    for number, token in enumerate(tokens):
        first, last = token.map or (0, 0)
        start, end = _stripped(source, starts[first], starts[last])
        match token.type:
            case "bullet_list_open" | "ordered_list_open":
                depth += 1
            case "bullet_list_close" | "ordered_list_close":
                depth -= 1
            case "fence" | "code_block":
                block += 1
                yield Segment(start, end, _fenced(token), "code", block, depth)
            case "html_block":
                block += 1
                yield from _prose(source[start:end], range(start, end), block, depth)
            case "table_open":
                block += 1
                columns = []
            case "tr_open":
                cells, row = [], (start, end)
            case "th_open" | "td_open":
                cells.append(_plain(tokens[number + 1].content))
            case "tr_close" if not columns:
                # the line below has the dashes
                columns, header = cells, (row[0], source.find("\n", row[1] + 1) % (len(source) + 1))
            case "tr_close":
                if said := _row(columns, cells):
                    yield Segment(*row, said, "row", block, depth, header)
            case "paragraph_open" | "heading_open":
                block += 1
                content = tokens[number + 1].content
                places = _places(content, lines, starts, first)
                content = _LINE_END.sub(_JOINER, content).replace("\n", " ")
                if token.type == "paragraph_open" or content.endswith((".", "!", "?", ":")):
                    yield from _prose(content, places, block, depth)
                elif content:
                    yield Segment(places[0], places[-1] + 1, _plain(content), "heading", block, depth)
            case _:
                pass


def _prose(content: str, places: Sequence[int], block: int, depth: int) -> Iterator[Segment]:
    """The sentences of a block; `places` has the offset of each of its characters."""
    for start, end in _spans(content):
        said = _plain(content[start:end])
        if any(letter.isalnum() for letter in _MARKERS.sub("", _EMPTY_LINK.sub("", said))):
            yield Segment(places[start], places[end - 1] + 1, said, "sentence", block, depth)


def _places(content: str, lines: Sequence[str], starts: Sequence[int], first: int) -> list[int]:
    """The offset in the text of each character of a block's content, which has lost quote marks and indentation."""
    places: list[int] = []
    for number, line in enumerate(content.split("\n"), start=first):
        bare = line.lstrip()
        start = starts[number] + max(0, lines[number].rfind(bare.rstrip()))
        places += [start] * (len(line) - len(bare)) + [*range(start, start + len(bare)), start + len(bare)]
    return places[:-1]


def _spans(content: str) -> list[tuple[int, int]]:
    """Where its sentences are."""
    blank = _MARKERS.sub(lambda found: " " * len(found[0]), content)
    blank = _IMAGE.sub(lambda found: " " * len(found[0]), blank) if "![" in blank else blank
    # no sentence ends within code
    blank = CODE_SPAN.sub(lambda found: "`" * len(found[0]), blank)
    ends = _ends(_LANGUAGES[0], blank).intersection(*(_ends(language, blank) for language in _LANGUAGES[1:]))
    # German and Czech read every end before a digit as an ordinal's or an abbreviation's; a time follows neither
    ends |= {end for end in _ends(_LANGUAGES[0], blank) if _TIME.match(content, end)}
    ends |= {found.end() for found in _ENDED.finditer(blank)}
    spans: list[tuple[int, int]] = []
    start = 0
    for end in sorted(ends):
        # a marker that follows the full stop belongs to the sentence before it
        after = _MARKERS.match(content, end)
        end = after.end() if after else end
        numbering = _NUMBERING.fullmatch(content, start, end)
        if end <= start or (end < len(content) and (numbering or _goes_on(content, end))):
            continue
        trimmed = _stripped(content, start, end)
        if trimmed[0] < trimmed[1]:
            spans.append(trimmed)
        start = end
    last = _stripped(content, start, len(content))
    return [*spans, last] if last[0] < last[1] else spans


def _ends(language: str, content: str) -> set[int]:
    import sentencex

    library: Any = sentencex
    return {*accumulate(len(part) for part in library.segment(language, content))}


def _goes_on(content: str, end: int) -> bool:
    """Whether a sentence goes on where the rules of abbreviations would let it end."""
    if _LETTER.match(content, end) and _LETTERED.search(content[max(0, end - 8) : end].rstrip()):
        return True
    before, after = content[:end].rstrip()[-1:], content[end:].lstrip()[:1]
    spaced = content[end - 1 : end + 1].strip() != content[end - 1 : end + 1]
    if before == ".":
        return after.islower() or not spaced or bool(_COMPOUND.search(content, 0, end))
    # direct speech inside a sentence, where no space follows
    return before in _CLOSING and not spaced and after.isalnum()


def _row(columns: Sequence[str], cells: Sequence[str]) -> str:
    named = zip([*columns, *[""] * len(cells)], cells, strict=False)
    return "; ".join(f"{column}: {cell}" if column else cell for column, cell in named if cell)


def _fenced(token: "Token") -> str:
    fence = token.markup if token.type == "fence" else "```"
    return f"{fence}{token.info.strip()}\n{token.content.rstrip()}\n{fence}"


def _plain(content: str) -> str:
    content = content.replace(_JOINER, "")
    said = " ".join(_IMAGE.sub("", _TAG.sub(" ", _INLINE_TAG.sub("", content))).split())
    # of bold words whose other end is in another sentence
    return said.replace("**", "") if said.count("**") % 2 else said


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    part = text[start:end].replace(_JOINER, " ")
    return start + len(part) - len(part.lstrip()), start + len(part.rstrip())


@lru_cache(maxsize=1)
def _parser() -> "MarkdownIt":
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark").enable("table")
    # blocks are enough: inline markup is quoted as it is written
    parser.core.ruler.disable(["inline", "text_join"])
    return parser
