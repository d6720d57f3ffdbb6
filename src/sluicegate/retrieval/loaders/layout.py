"""The lines and tables of pages into Markdown: lines into paragraphs by the space between them, columns into tables."""

import re
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import pairwise, takewhile

from sluicegate.retrieval.loaders.grid import naming, tables, titles
from sluicegate.segmentation import UNSPACED

__all__ = ["Page", "PageLine", "PageTable", "markdown", "wrapped"]

_GAP = 1.3
"""More than this share of the usual distance between two lines begins a paragraph."""
_LARGE = 1.15
"""Of the usual size of letters: a paragraph that begins in larger ones is a heading."""
_SAME_PAGES, _ALIKE_PAGES = 2, 3
"""One of the two highest or lowest lines that so many pages share, and half of all, is a header or footer: the same
line, or one that differs by its numbers."""
_LEADER = re.compile(r"(?:(?:\.\s?){4,}|(?:…\s?){2,})\s*(\d{1,4})$")
_LEADERS = 3
_CONTENTS_FROM = 4
"""Pages: a list of prices is shorter."""
_BULLET = re.compile("(?:[•◦▪‣●–○■□∙➢✓➤►▶◆◇❖✔\uf0b7\uf0a7\uf0d8]|[\uf020-\uf0ff](?=\\s))\\s*")
"""Marks of lists; the last ones are those of Word's symbol fonts."""
_NUMBERING = re.compile(r"\(?(?:\d{1,3}|[a-z]|[ivx]{1,5})[.)]")
_SAME_EDGE = 3.0
"""Points between the edges of columns that are the same on two pages."""
_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_WITHOUT_SPACES = re.compile(f"[{UNSPACED}]")
_SUSPENDED = frozenset({"and", "or", "und", "oder", "bzw", "sowie", "en", "of", "och", "og", "eller"})
"""Words before which the hyphen of a word that is left out stays."""
_SHORT = 0.8
"""Of the width of the text: a line in bold letters that ends before is a heading, and not the first of a paragraph."""
_LONGEST_HEADING = 120
_ENDED = (".", "!", "?", ":", "。", "！", "？")


@dataclass(frozen=True, slots=True)
class PageLine:
    cells: tuple[str, ...]
    edges: tuple[tuple[float, float], ...]
    """Left and right of each cell."""
    bottom: float
    top: float
    size: float
    """Of its font, in points."""
    code: bool
    bold: bool = False

    @property
    def text(self) -> str:
        return " ".join(self.cells)

    @property
    def height(self) -> float:
        return self.top - self.bottom

    @property
    def bullet(self) -> str:
        """The mark of a list that it begins with, and the space behind it; empty without one."""
        if found := _BULLET.match(self.text):
            return found[0]
        mark, *said = self.cells
        # Word's mark of the second level is a letter, and that of a font without names any other sign
        sign = len(mark) == 1 and not mark.isalnum() and len(said) == 1 and any(map(str.isalpha, said[0]))
        return f"{mark} " if said and (mark == "o" or sign) else ""

    @property
    def marked(self) -> bool:
        """The mark of a list stands before it, apart from its text."""
        mark, *said = self.cells
        numbering = len(said) == 1 and _NUMBERING.fullmatch(mark)
        return bool(said) and (mark == self.bullet.strip() or bool(numbering))


@dataclass(slots=True)
class PageTable:
    """One whose cells have lines around them."""

    rows: list[list[str]]
    """One that is one cell from end to end has only that."""
    columns: tuple[float, ...]
    """Where each begins."""
    spanning: bool = False
    """Whether a cell of the first row of cells spans several columns."""

    @property
    def markdown(self) -> str:
        start = titles(self.rows)
        rows = self.rows[start:]
        made = tables(rows, naming(rows, spanning=self.spanning)) if rows else ()
        return "\n\n".join([*(row[0] for row in self.rows[:start]), *made])


Page = list[PageLine | PageTable]


def _bodies(pages: Sequence[Page]) -> list[Page]:
    """The pages without running headers and footers, numbers of pages and contents: outer lines that half of the pages
    share, but for numbers, or that begin or end with the page's number."""
    outer = [_outer(page) for page in pages]
    exact = Counter(text for lines in outer for text in {line.text for line in lines})
    numbered = Counter(text for lines in outer for text in {_unnumbered(line) for line in lines})
    # from a page's place to its number
    steps = Counter(
        step
        for place, lines in enumerate(outer)
        for step in {n - place for line in _ends(lines) for n in _numbers(line)}
    )
    step, often = max(steps.items(), key=lambda pair: pair[1], default=(1, 0))
    counted = often >= _ALIKE_PAGES and 2 * often >= len(pages)

    def runs(line: PageLine, place: int) -> bool:
        same, alike = exact[line.text], numbered[_unnumbered(line)]
        if (same >= _SAME_PAGES and 2 * same >= len(pages)) or (alike >= _ALIKE_PAGES and 2 * alike >= len(pages)):
            return True
        if line not in _ends(outer[place]):
            return False
        return place + step in _numbers(line) if counted else bool(re.fullmatch(rf"\W*{place + 1}\W*", line.text))

    running = [{id(line) for line in lines if runs(line, place)} for place, lines in enumerate(outer)]
    bodies = [[part for part in page if id(part) not in left] for page, left in zip(pages, running, strict=True)]
    return [_without_contents(page) for page in bodies] if len(pages) >= _CONTENTS_FROM else bodies


def _ends(lines: Sequence[PageLine]) -> list[PageLine]:
    """The lowest and the highest of the outer lines."""
    return [lines[0], lines[-1]] if len(lines) > 1 else [*lines]


def _numbers(line: PageLine) -> set[int]:
    """With which a line begins and ends, apart from its words."""
    return {int(word) for word in (line.text.split()[0], line.text.split()[-1]) if re.fullmatch(r"\d{1,4}", word)}


def _without_contents(page: Page) -> Page:
    """A page without the lines of a table of contents, which have dots between a title and the number of its page."""
    found = [(at, _LEADER.search(part.text)) for at, part in enumerate(page) if isinstance(part, PageLine)]
    led, numbers = [at for at, one in found if one], [int(one[1]) for _, one in found if one]
    if len(led) < _LEADERS or numbers != sorted(numbers):
        return page
    first, last = led[0], led[-1]

    def entry(part: PageLine | PageTable) -> bool:
        return isinstance(part, PageLine) and bool(re.search(r"[.\s]\d{1,4}$", part.text))

    first -= first > 0 and entry(page[first - 1])
    return [part for at, part in enumerate(page) if at < first or at > last or not entry(part)]


def _outer(page: Page) -> list[PageLine]:
    """The two highest and the two lowest lines."""
    lines = sorted((line for line in page if isinstance(line, PageLine)), key=lambda line: line.bottom)
    return [*lines[:2], *lines[2:][-2:]]


def _unnumbered(line: PageLine) -> str:
    return re.sub(r"\d+", "#", line.text)


def markdown(pages: Sequence[Page]) -> str:
    """What is written on all of them, without running headers and footers."""
    pages = _bodies(pages)
    lines = [line for page in pages for line in page if isinstance(line, PageLine)]
    words = Counter(word.casefold() for line in lines for word in _WORD.findall(line.text))
    # what is in such letters from end to end is no code, and no heading
    coded = 2 * sum(line.code for line in lines) <= len(lines)
    if 2 * sum(line.bold for line in lines) > len(lines):
        pages = [[replace(part, bold=False) if isinstance(part, PageLine) else part for part in page] for page in pages]
    blocks: list[str | PageTable] = []
    for page in pages:
        made = [*_blocks(page, words, coded=coded)]
        if blocks and made and (both := _go_on(blocks[-1], made[0], words)):
            blocks[-1:], made = [both], made[1:]
        blocks += made
    return "\n\n".join(block if isinstance(block, str) else block.markdown for block in blocks)


def _go_on(above: str | PageTable, below: str | PageTable, words: Mapping[str, int]) -> str | PageTable | None:
    """The last block of a page with the first of the next, where they are one."""
    if isinstance(above, PageTable) and isinstance(below, PageTable):
        same = len(above.columns) == len(below.columns) and all(
            abs(x - y) < _SAME_EDGE for x, y in zip(above.columns, below.columns, strict=True)
        )
        again = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(above.rows, below.rows, strict=False)))
        return PageTable([*above.rows, *below.rows[again:]], above.columns, above.spanning) if same else None
    if isinstance(above, str) and isinstance(below, str) and not above.endswith((*_ENDED, "```")):
        return _joined(above, below, words) if below[:1].islower() else None
    return None


def _blocks(page: Page, words: Mapping[str, int], *, coded: bool) -> Iterator[str | PageTable]:
    lines = [line for line in page if isinstance(line, PageLine)]
    spaces = [above.bottom - below.bottom for above, below in pairwise(lines)]
    usual = statistics.median([space for space in spaces if space > 0] or [0.0])
    size = statistics.median([line.size for line in lines if line.size] or [1.0])
    run: list[PageLine] = []
    for part in page:
        if isinstance(part, PageLine):
            run.append(part)
            continue
        yield from _texts(run, words, usual, size, coded=coded)
        run = []
        yield part
    yield from _texts(run, words, usual, size, coded=coded)


def _texts(
    lines: Sequence[PageLine], words: Mapping[str, int], usual: float, size: float, *, coded: bool
) -> Iterator[str | PageTable]:
    prose: list[PageLine] = []
    at = 0
    while at < len(lines):
        code = [*takewhile(lambda line: coded and line.code, (lines[n] for n in range(at, len(lines))))]
        rows, count = ([], len(code)) if code else _rows(lines[n] for n in range(at, len(lines)))
        if not code and not rows:
            prose.append(lines[at])
            at += 1
            continue
        yield from _paragraphs(prose, words, usual, size)
        prose = []
        yield _fenced(code) if code else PageTable([list(row) for row in rows], ()).markdown
        at += count
    yield from _paragraphs(prose, words, usual, size)


def _paragraphs(lines: Sequence[PageLine], words: Mapping[str, int], usual: float, size: float) -> Iterator[str]:
    """Paragraphs, list items and headings, by the space above a line and the size and weight of its letters."""
    text, above, last = "", None, 0
    heads = False
    right = max((line.edges[-1][1] for line in lines), default=0.0)
    left = min((line.edges[0][0] for line in lines), default=0.0)
    for line in lines:
        number = _number(line.text)
        begins = number and (number == last + 1 or text.endswith(_ENDED))
        begins = begins or line.bullet or line.marked
        # a line in bold letters that is not full
        ends = above and heads and not line.bold and above.edges[-1][1] - left < _SHORT * (right - left)
        # the lines of a heading are as far apart as its letters are large
        room = usual * max(1.0, line.size / size)
        if above and (begins or ends or (_apart(above, line, room) and not _in_next_column(above, line, text))):
            yield _headed(text) if heads else text
            text = ""
        last = number if number and not text else last
        said = f"- {line.text[len(line.bullet) :]}" if line.bullet else line.text
        title = not text and line.size > _LARGE * size and not said.endswith(_ENDED)
        heads = line.bold and not line.bullet and (heads or not text)
        text = _joined(text, said, words) if text else f"## {said}" if title else said
        above = line
    if text:
        yield _headed(text) if heads else text


def _headed(text: str) -> str:
    """A paragraph in bold letters as a heading, if it is none already."""
    no_heading = text.startswith("#") or text.endswith(_ENDED) or len(text) > _LONGEST_HEADING
    return text if no_heading or not any(map(str.isalpha, text)) else f"## {text}"


def _number(line: str) -> int:
    """Of an item of a numbered list, also of one with letters; 0 for any other line."""
    found = re.match(r"(?:(\d{1,2})|([a-z]))[.)]\s", line)
    if not found:
        return 0
    return int(found[1]) if found[1] else ord(found[2]) - ord("a") + 1


def _fenced(lines: Sequence[PageLine]) -> str:
    """Lines of code as a block, indented as they are on the page."""
    widths = [(line.edges[-1][1] - line.edges[0][0]) / len(line.text) for line in lines]
    letter, left = max(statistics.median(widths), 0.1), min(line.edges[0][0] for line in lines)
    said = (" " * round((line.edges[0][0] - left) / letter) + line.text for line in lines)
    return "\n".join(["```", *said, "```"])


def _apart(above: PageLine, line: PageLine, usual: float) -> bool:
    """Whether a line begins a paragraph, by the space above it or the size of its letters."""
    space = above.bottom - line.bottom
    return space > _GAP * usual or space < 0 or abs(line.size - above.size) > 0.1 * above.size


def _in_next_column(above: PageLine, line: PageLine, text: str) -> bool:
    """Whether a sentence goes on at the top of the next column."""
    higher = above.bottom < line.bottom and abs(line.size - above.size) <= 0.1 * above.size
    return higher and not text.endswith(_ENDED) and line.text[:1].islower()


def _rows(lines: Iterable[PageLine]) -> tuple[list[tuple[str, ...]], int]:
    """The cells of the lines at the start that form a table, and how many these lines are: two rows or more with the
    same columns, and room between these from top to bottom, which more than two lines of justified text do not have."""
    gaps: list[tuple[float, float]] | None = None
    found: list[tuple[str, ...]] = []
    last: PageLine | None = None
    count = 0
    for line in lines:
        if last and (columns := _continued(last, line)):
            row = [*found[-1]]
            for at, cell in zip(columns, line.cells, strict=True):
                row[at] = wrapped([row[at], cell])
            found[-1], last = tuple(row), replace(last, bottom=line.bottom)
            count += 1
            continue
        own = [(left[1], right[0]) for left, right in pairwise(line.edges)]
        gaps = [(max(a, c), min(b, d)) for (a, b), (c, d) in zip(gaps, own, strict=False)] if gaps else own
        same = not found or len(line.cells) == len(found[0])
        if line.marked or not gaps or not same or any(end - start < 1 for start, end in gaps):
            break
        found.append(line.cells)
        last = line
        count += 1
    words = all(" " not in cell for row in found for cell in row)
    return (found, count) if len(found) > 1 + words else ([], 0)


def wrapped(lines: Iterable[str]) -> str:
    """The lines of a cell as one."""
    return reduce(lambda text, line: _joined(text, line, Counter()) if text else line, lines, "")


def _continued(row: PageLine, line: PageLine) -> list[int]:
    """The columns whose cells go on in the line below a row: each of its cells begins where one of them does, but for
    the first."""
    if not 0 < row.bottom - line.bottom < _GAP * line.height or len(line.cells) >= len(row.cells):
        return []
    begins = {at: left for at, (left, _) in enumerate(row.edges) if at}
    columns = [next((at for at, x in begins.items() if abs(x - start) < _SAME_EDGE), 0) for start, _ in line.edges]
    return columns if all(columns) else []


def _joined(text: str, line: str, words: Mapping[str, int]) -> str:
    """Two lines of a paragraph as one; a word that was divided at the line's end is one word again, with its hyphen
    where the text has it so elsewhere."""
    divided = re.search(r"(\w+)-$", text)
    rest = re.match(r"\w+", line)
    if divided and rest and not (rest[0][0].islower() and divided[1].isalpha()):
        return text + line
    if not divided or not rest:
        # Chinese and Japanese have no spaces
        return f"{text}{'' if _WITHOUT_SPACES.match(text[-1:]) and _WITHOUT_SPACES.match(line) else ' '}{line}"
    one = f"{divided[1]}{rest[0]}".casefold()
    if rest[0] in _SUSPENDED and not words[one]:
        return f"{text} {line}"
    hyphened = words[f"{divided[1]}-{rest[0]}".casefold()] > words[one]
    return (text if hyphened else text[:-1]) + line
