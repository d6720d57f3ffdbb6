"""HTML into Markdown: headings, paragraphs, lists, tables, code; without scripts, navigation and hidden parts."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from sluicegate.retrieval.loaders.grid import headed, table

__all__ = ["markdown", "parsed"]

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
            elif _DROPPED.fullmatch(name) or child.has_attr("hidden") or _invisible(child):
                continue
            elif name == "br":
                inline.append("\n")
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
    """A table of one column, or one that holds another table, is layout: its cells are blocks."""
    found = [row for row in element.find_all("tr") if row.find_parent("table") is element]
    rows, heads = _grid(found)
    captions = [block for caption in element.find_all("caption") for block in _blocks(caption)]
    if element.find("table") or not rows or len(rows[0]) < 2:
        return [*captions, *(block for row in found for cell in _cells(row) for block in _blocks(cell))]
    top = next((n for n, head in enumerate(heads) if not head), 1)
    if not top and not element.find("th") and headed(rows):
        top = 1
    columns = [" ".join({text: None for text in column if text}) for column in zip(*rows[:top], strict=True)]
    return [*captions, table(columns or [""] * len(rows[0]), rows[top:])]


def _grid(found: Sequence[Any]) -> tuple[list[list[str]], list[bool]]:
    """The rows' texts, a cell that spans several places in each of them, and which rows name columns."""
    placed: dict[tuple[int, int], str] = {}
    for y, row in enumerate(found):
        x = 0
        for cell in _cells(row):
            while (y, x) in placed:
                x += 1
            text = " ".join(" ".join(_blocks(cell)).split())
            across, down = _span(cell, "colspan"), min(_span(cell, "rowspan"), len(found) - y)
            placed |= {(y + dy, x + dx): text for dy in range(down) for dx in range(across)}
            x += across
    width = max((x + 1 for _, x in placed), default=0)
    rows = [[placed.get((y, x), "") for x in range(width)] for y in range(len(found))]
    heads = [row.find_parent("thead") is not None or all(cell.name == "th" for cell in _cells(row)) for row in found]
    kept = [n for n, row in enumerate(rows) if any(row)]
    return [rows[n] for n in kept], [heads[n] for n in kept]


def _cells(row: Any) -> list[Any]:
    return row.find_all(["td", "th"], recursive=False)


def _span(cell: Any, name: str) -> int:
    value = str(cell.get(name) or "1").strip()
    return min(int(value), 100) if value.isdigit() and value != "0" else 1
