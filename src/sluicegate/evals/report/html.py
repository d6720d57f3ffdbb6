"""Self-contained HTML pages: no script, nothing loaded from outside, light and dark by the reader's theme."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Link", "document", "folded", "section", "table"]


@dataclass(frozen=True, slots=True)
class Link:
    """A cell that leads to another page."""

    text: str
    to: str


_STYLE = """
:root { color-scheme: light dark; --line: #8884; --good: #16803c; --bad: #c02626; }
@media (prefers-color-scheme: dark) { :root { --good: #4ade80; --bad: #f87171; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; } svg { max-width: 100%; height: auto; }
table { border-collapse: collapse; } th { text-align: left; } td { font-variant-numeric: tabular-nums; }
th, td { padding: .25rem 1rem .25rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
details { margin-top: .5rem; } summary { cursor: pointer; }
.good { color: var(--good); } .bad { color: var(--bad); } .faint { opacity: .7; } .wide { overflow-x: auto; }
"""


def document(title: str, parts: Sequence[str]) -> str:
    """A page; `parts` are HTML."""
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    body = "\n".join(part for part in parts if part)
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}<style>{_STYLE}</style></head>\n'
        f"<body><h1>{escape(title)}</h1>\n{body}</body></html>\n"
    )


def section(title: str, *parts: str) -> str:
    """A heading and what stands under it; empty when there is nothing."""
    return f"<h2>{escape(title)}</h2>\n" + "\n".join(parts) if any(parts) else ""


def folded(title: str, content: str) -> str:
    """What opens on a click; `content` is HTML."""
    return f"<details><summary>{escape(title)}</summary>{content}</details>"


def table(head: Sequence[str], rows: Sequence[Sequence[str | Link]]) -> str:
    """Links, and plain text in cells; a cell that begins with ``+`` or ``!`` and a space is good or bad."""
    if not rows:
        return ""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    lines = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{top}</tr>{lines}</table></div>'


def _cell(text: str | Link) -> str:
    if isinstance(text, Link):
        return f'<td><a href="{escape(text.to)}">{escape(text.text)}</a></td>'
    tone = {"+ ": ' class="good"', "! ": ' class="bad"'}.get(text[:2], "")
    return f"<td{tone}>{escape(text[2:] if tone else text)}</td>"
