"""Files into Markdown, which the segmentation of passages, quotes and guards reads.

A plain text is kept as it is written, and of Markdown what is CommonMark; other formats are made of their headings,
paragraphs, lists and tables. Spans of passages are character offsets into it. Any fault of a file is a `ValueError`
with its reason, so that the other files are still ingested.
"""

import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sluicegate.retrieval.loaders import docx, mail, pdf
from sluicegate.retrieval.loaders.dialects import commonmark
from sluicegate.retrieval.loaders.encoding import clean, decoded, encoding_of
from sluicegate.retrieval.loaders.front_matter import html_metadata, parse, split_front_matter
from sluicegate.retrieval.loaders.grid import read_csv, table
from sluicegate.retrieval.loaders.markup import content, markdown, parsed

__all__ = ["SIDECAR", "SUFFIXES", "UNREAD", "Loaded", "NothingToRead", "load"]

SIDECAR = ".meta.yaml"
"""Suffix of a sidecar file with a document's metadata, which overrides the document's own."""


@dataclass(frozen=True, slots=True)
class Loaded:
    text: str
    title: str
    """From the document itself; empty when it has none."""
    raw: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Metadata as it was written."""
    records: bool = False
    """Each row of its table is a passage of its own, as in a CSV file."""
    notes: tuple[str, ...] = ()
    """What its reader should know, such as a guessed encoding."""


class NothingToRead(ValueError):  # noqa: N818 - nothing is wrong with the file
    """A file of text that is empty, or has nothing but metadata."""


def load(path: Path, sidecar: Path | None = None) -> Loaded:
    """Read one file. Raises `ValueError` for anything that is wrong with it, and `NothingToRead`."""
    try:
        with warnings.catch_warnings():
            # the sunset notice of langchain-community, bs4's remarks on what looks like a file's name
            warnings.simplefilter("ignore")
            loaded = _LOADERS[path.suffix.lower()](path)
        beside = parse(decoded(sidecar.read_bytes())) if sidecar else {}
    except MemoryError:
        raise
    except Exception as error:
        raise ValueError(_reason(error)) from error
    # where a word may be divided is not to be read or searched
    text = loaded.text.replace("\xad", "")
    if not text.strip():
        if path.suffix.lower() == ".pdf":
            raise ValueError("contains no text (a scan?)")
        raise ValueError("contains no text") if path.suffix.lower() == ".docx" else NothingToRead("contains no text")
    return replace(loaded, text=text, raw={**loaded.raw, **beside})


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def _read(path: Path, *, markup: bool = False) -> tuple[str, tuple[str, ...]]:
    from langchain_community.document_loaders.parsers.txt import TextParser
    from langchain_core.documents.base import Blob

    data = path.read_bytes()
    name, note = encoding_of(data, markup=markup)
    [document] = TextParser().parse(Blob.from_data(data, encoding=name))
    return clean(document.page_content), (note,) if note else ()


def _text(path: Path) -> Loaded:
    text, notes = _read(path)
    raw, body = split_front_matter(text)
    # an indented line is no block of code here
    return Loaded(re.sub(r"(?m)^[ \t]+", "", body), "", raw, notes=notes)


def _markdown(path: Path) -> Loaded:
    text, notes = _read(path)
    raw, body = split_front_matter(text)
    body = commonmark(body)
    return Loaded(body, _heading(body), raw, notes=notes)


def _heading(text: str) -> str:
    heading = re.search(r"^#{1,6}\s+(.+?)\s*#*$", text, re.MULTILINE)
    return heading[1] if heading else ""


_BY_PROGRAMS = re.compile(
    r"\(?(?:anonymous|document|dokument|no title|presentation|title|unknown|unnamed|unspecified|untitled"
    r"|(?:powerpoint|untitled) (?:document|presentation|spreadsheet))\)?[ _-]?\d*",
    re.IGNORECASE,
)
"""Titles that nobody wrote."""
_PROGRAM = re.compile(r"microsoft (?:excel|powerpoint|word) - ", re.IGNORECASE)
_ENDING = re.compile(r"\.(?:docx?|dvi|html?|indd|md|od[pst]|pdf|pptx?|qxd|rtf|tex|txt|xlsx?)$", re.IGNORECASE)


def _title(written: str) -> str:
    """A title without the name of a program and the ending of a file; empty for one that a program gave."""
    title = _ENDING.sub("", _PROGRAM.sub("", " ".join(written.split()), count=1))
    return "" if _BY_PROGRAMS.fullmatch(title) else title


def _html(path: Path) -> Loaded:
    text, notes = _read(path, markup=True)
    soup = parsed(text)
    body = markdown(content(soup))
    title = _title(soup.title.get_text() if soup.title else "") or _heading(body)
    return Loaded(body, title, html_metadata(soup), notes=notes)


def _pdf(path: Path) -> Loaded:
    text, title, notes = pdf.read(path)
    return Loaded(text, _title(title) or _heading(text), notes=notes)


def _docx(path: Path) -> Loaded:
    text = docx.read(path)
    return Loaded(text, _heading(text))


def _csv(path: Path) -> Loaded:
    text, notes = _read(path)
    above, columns, rows = read_csv(text)
    return Loaded("\n\n".join([*above, table(columns, rows)]), "", records=True, notes=notes)


def _mail(path: Path) -> Loaded:
    text, title, notes = mail.read(path)
    return Loaded(text, title, notes=notes)


_LOADERS: dict[str, Callable[[Path], Loaded]] = {
    ".md": _markdown,
    ".markdown": _markdown,
    ".html": _html,
    ".htm": _html,
    ".pdf": _pdf,
    ".docx": _docx,
    ".csv": _csv,
    ".tsv": _csv,
    ".eml": _mail,
    ".txt": _text,
    ".text": _text,
}
SUFFIXES = frozenset(_LOADERS)
"""Suffixes of readable files."""

UNREAD: Mapping[str, str] = {
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "CSV, one file for each sheet"),
    **dict.fromkeys((".pptx", ".ppt", ".odp", ".key", ".epub", ".pages"), "PDF"),
    **dict.fromkeys((".doc", ".odt", ".rtf"), "DOCX"),
    **dict.fromkeys((".msg", ".mbox"), "EML"),
    **dict.fromkeys((".rst", ".adoc", ".org", ".tex", ".mdx"), "Markdown or HTML"),
}
"""Suffixes of documents that are not read, with the format to save them in."""
