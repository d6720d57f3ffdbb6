"""HTML into Markdown: headings, paragraphs, lists, tables, code; without scripts, navigation and hidden parts."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from sluicegate.retrieval.loaders.grid import naming, tables, titles

__all__ = ["content", "markdown", "parsed"]

_DROPPED = re.compile(
    "head|script|style|template|noscript|nav|svg|math|iframe|object|canvas|select|textarea|button|img|audio|video"
)
_BLOCKS = re.compile(
    "address|article|aside|blockquote|body|caption|center|dd|details|dialog|div|dt|fieldset|figcaption|figure|footer|form"
    r"|header|hgroup|hr|html|legend|li|main|p|section|summary|tbody|td|tfoot|th|thead|tr|\[document\]"
)


def parsed(text: str) -> Any:
    from bs4 import BeautifulSoup

    # html.parser leaves open what HTML lets end by itself: rows, cells, items, terms
    return BeautifulSoup(text, "lxml")


def content(page: Any) -> Any:
    """The element of a page that holds what it is about, where it says which: the others lead elsewhere."""
    tags = (each for each in page.descendants if each.name)
    found = [tag for tag in tags if tag.name == "main" or tag.attrs.get("role") == "main"]
    return found[0] if len(found) == 1 and found[0].get_text().strip() else page


def markdown(element: Any) -> str:
    """An element of a parsed page as Markdown."""
    return "\n\n".join(_blocks(element))


def _blocks(element: Any) -> list[str]:
    """Its blocks: text outside of any element, or in inline elements, is a paragraph too."""
    found: list[str] = []
    inline: list[str] = []

    def ended() -> None:
        for part in re.split(r"\n\s*\n", "".join(inline)):
            lines = (" ".join(line.split()) for line in part.split("\n"))
            if text := "\n".join(line for line in lines if line):
                found.append(text)
        inline.clear()

    def walk(node: Any) -> None:
        for child in node.children:
            name = child.name
            if name is None:
                # comments and declarations are strings of other kinds
                if type(child).__name__ in {"NavigableString", "CData"}:
                    inline.append(re.sub(r"\s+", " ", str(child)))
            elif _DROPPED.fullmatch(name) or _unread(child):
                continue
            elif name == "br":
                inline.append("\n")
            elif name == "input" and child.get("type") == "checkbox" and child.parent.name in {"p", "li", "td", "th"}:
                inline.append("☑ " if child.has_attr("checked") else "☐ ")
            elif (made := _made(child)) is not None:
                ended()
                found.extend(made)
            elif _BLOCKS.fullmatch(name):
                ended()
                walk(child)
                ended()
            else:
                walk(child)

    walk(element)
    ended()
    return found


def _made(element: Any) -> list[str] | None:
    """The blocks of an element that Markdown has a form for."""
    name = element.name
    if re.fullmatch(r"h[1-6]", name):
        text = " ".join(" ".join(_blocks(element)).split())
        return [f"{'#' * int(name[1])} {text}"] if text else []
    if name == "pre":
        code = element.get_text().strip("\n")
        fence = "````" if "```" in code else "```"
        return [f"{fence}\n{code}\n{fence}"] if code.strip() else []
    if name in {"ul", "ol"}:
        return [*_list(element, ordered=name == "ol")]
    if name == "dl":
        return [*_definitions(element)]
    if name == "table":
        return _table(element)
    return None


def _unread(element: Any) -> bool:
    """Whether it is hidden, navigation, the sign by which a heading is linked to, or the mark of a note, since a number
    in brackets would be read as a citation of ours."""
    said = element.attrs
    if said and ("hidden" in said or said.get("role") in {"navigation", "search"} or _invisible(element)):
        return True
    if element.name == "sup":
        links = any(child.name == "a" and _leads_within(child) for child in element.children)
        return links and bool(re.fullmatch(r"\W*\w{1,3}\W*", element.get_text()))
    return element.name == "a" and _leads_within(element) and not any(map(str.isalnum, element.get_text()))


def _leads_within(link: Any) -> bool:
    return str(link.attrs.get("href") or "").startswith("#")


def _invisible(element: Any) -> bool:
    style = re.sub(r"\s", "", str(element.get("style") or "")).casefold()
    return "display:none" in style or "visibility:hidden" in style


def _list(element: Any, *, ordered: bool) -> Iterator[str]:
    items: list[str] = []
    for child in element.children:
        blocks = _blocks(child) if child.name not in {None, "ul", "ol"} else (_made(child) or []) if child.name else []
        if not blocks:
            continue
        mark = f"{len(items) + 1}. " if ordered else "- "
        if child.name != "li" and items:
            mark, blocks = "", [items.pop(), *(_indented(block, "   ") for block in blocks)]
        text = "\n".join(blocks) if len(blocks) == 1 else _joined(blocks)
        items.append(mark + _indented(text, " " * len(mark)).lstrip() if mark else text)
    if items:
        yield "\n".join(items)


def _joined(blocks: Sequence[str]) -> str:
    """Blocks of one list item: a list inside it follows without an empty line."""
    text = blocks[0]
    for block in blocks[1:]:
        text += ("\n" if re.match(r"\s*(?:- |\d+\. )", block) else "\n\n") + block
    return text


def _indented(text: str, space: str) -> str:
    return "\n".join(space + line if line.strip() else "" for line in text.split("\n"))


def _definitions(element: Any) -> Iterator[str]:
    term, items = "", list[str]()
    for child in element.find_all(["dt", "dd"]):
        text = " ".join(" ".join(_blocks(child)).split())
        if child.name == "dt":
            term = f"{term}, {text}" if term else text
        elif text:
            items.append(f"- {term.rstrip(':')}: {text}" if term else f"- {text}")
            term = ""
    if items:
        yield "\n".join(items)


def _table(element: Any) -> list[str]:
    """A table of one column, one that holds another table, and one that says so is layout: its cells are blocks."""
    found = [row for row in element.find_all("tr") if row.find_parent("table") is element]
    rows, heads, spanning = _grid(found)
    captions = [block for caption in element.find_all("caption") for block in _blocks(caption)]
    layout = element.get("role") in {"presentation", "none"} or element.find("table")
    if layout or max((len(row) for row in rows), default=0) < 2:
        return [*captions, *(block for row in found for cell in _cells(row) for block in _blocks(cell))]
    start = titles(rows)
    captions += [row[0] for row in rows[:start]]
    rows, heads = rows[start:], heads[start:]
    top = next((n for n, (row, head) in enumerate(zip(rows, heads, strict=True)) if not head or len(row) < 2), 1)
    if not top and not element.find("th"):
        top = naming(rows, spanning=spanning[start])
    return [*captions, *tables(rows, top if top < len(rows) else 0)]


def _grid(found: Sequence[Any]) -> tuple[list[list[str]], list[bool], list[bool]]:
    """The rows' texts, a cell that spans several places in each of them, but one that is a whole row only once; which
    rows name columns, and in which a cell spans several. Without columns that are empty."""
    placed: dict[tuple[int, int], str] = {}
    spanning: list[bool] = []
    for y, row in enumerate(found):
        x = 0
        spanning.append(False)
        for cell in _cells(row):
            while (y, x) in placed:
                x += 1
            text = " ".join(" ".join(map(_unmarked, _blocks(cell))).split())
            across, down = _span(cell, "colspan"), min(_span(cell, "rowspan"), len(found) - y)
            placed |= {(y + dy, x + dx): text for dy in range(down) for dx in range(across)}
            spanning[y] |= across > 1
            x += across
    width = max((x + 1 for _, x in placed), default=0)
    rows = [[placed.get((y, x), "") for x in range(width)] for y in range(len(found))]
    whole = [len(cells := _cells(row)) == 1 and width > 1 and _span(cells[0], "colspan") >= width for row in found]
    heads = [row.find_parent("thead") is not None or _names_columns(_cells(row)) for row in found]
    filled = [x for x in range(width) if any(row[x] for row, one in zip(rows, whole, strict=True) if not one)]
    kept = [n for n, row in enumerate(rows) if any(row)]
    made = [rows[n][:1] if whole[n] else [rows[n][x] for x in filled] for n in kept]
    return made, [heads[n] for n in kept], [spanning[n] for n in kept]


def _names_columns(cells: Sequence[Any]) -> bool:
    """The corner above the names of the rows may be empty."""
    others = cells[1:] if len(cells) > 2 and not cells[0].get_text().strip() else cells
    return all(cell.name == "th" for cell in others)


def _unmarked(block: str) -> str:
    """A block as the words of a cell: a heading or code."""
    return re.sub(r"^#{1,6} |^`{3,}\n(?s:(.*))\n`{3,}$", lambda found: f"`{found[1]}`" if found[1] else "", block)


def _cells(row: Any) -> list[Any]:
    return row.find_all(["td", "th"], recursive=False)


def _span(cell: Any, name: str) -> int:
    value = str(cell.get(name) or "1").strip()
    return min(int(value), 100) if value.isdigit() and value != "0" else 1
