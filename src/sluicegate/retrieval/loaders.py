"""Files into text: Markdown, HTML, PDF, DOCX, CSV and plain text, through langchain-community's loaders.

A loaded document is its text with metadata and markup taken out; spans of passages are character offsets into it.
Any fault of a file is a `ValueError` with its reason, so that the other files are still ingested.
"""

import re
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sluicegate.retrieval.metadata import parse, split_front_matter

__all__ = ["SIDECAR", "SUFFIXES", "Loaded", "load"]

SIDECAR = ".meta.yaml"
"""Suffix of a sidecar file with a document's metadata, which overrides the document's own."""

_UNPACKED = 400_000_000
"""Maximum unpacked size of a DOCX in bytes: more is a zip bomb."""


@dataclass(frozen=True, slots=True)
class Loaded:
    text: str
    title: str
    """From the document itself; empty when it has none."""
    raw: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Metadata as it was written."""
    sections: tuple[tuple[int, int], ...] = ()
    """Spans that passages must not cross, such as a CSV's rows; empty: one section."""
    markdown: bool = False


def load(path: Path, sidecar: Path | None = None) -> Loaded:
    """Read one file. Raises `ValueError` for anything that is wrong with it."""
    try:
        with warnings.catch_warnings():
            # the sunset notice of langchain-community, pypdf's remarks on sloppy files
            warnings.simplefilter("ignore")
            loaded = _LOADERS[path.suffix.lower()](path)
        beside = parse(sidecar.read_text("utf-8-sig")) if sidecar else {}
    except MemoryError:
        raise
    except Exception as error:
        raise ValueError(_reason(error)) from error
    if not loaded.text.strip():
        raise ValueError("contains no text" + (" (a scan?)" if path.suffix.lower() == ".pdf" else ""))
    return Loaded(loaded.text, loaded.title, {**loaded.raw, **beside}, loaded.sections, loaded.markdown)


def _reason(error: Exception) -> str:
    if isinstance(error.__cause__, UnicodeDecodeError) or isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    return " ".join(str(error).split())[:300] or type(error).__name__


def _clean(text: str) -> str:
    """The text without NULs, lone surrogates and foreign line ends, which SQLite or Arrow would reject."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "")
    return text.encode("utf-8", "replace").decode("utf-8")


def _plain(path: Path) -> str:
    from langchain_community.document_loaders.text import TextLoader

    return _clean(TextLoader(path, encoding="utf-8-sig").load()[0].page_content)


def _text(path: Path) -> Loaded:
    front, body = split_front_matter(_plain(path))
    return Loaded(body, "", parse(front))


def _markdown(path: Path) -> Loaded:
    front, body = split_front_matter(_plain(path))
    heading = re.search(r"^#{1,6}\s+(.+?)\s*#*$", body, re.MULTILINE)
    return Loaded(body, heading[1] if heading else "", parse(front), markdown=True)


def _html(path: Path) -> Loaded:
    from bs4 import BeautifulSoup
    from langchain_community.document_loaders.html_bs import BSHTMLLoader

    loader = BSHTMLLoader(
        path, open_encoding="utf-8-sig", bs_kwargs={"features": "html.parser"}, get_text_separator="\n"
    )
    loaded = loader.load()[0]
    soup: Any = BeautifulSoup(path.read_text("utf-8-sig"), "html.parser")
    said = {
        str(tag["name"]).lower().removeprefix("sluicegate:"): str(tag["content"]).strip()
        for tag in soup.find_all("meta", attrs={"name": True, "content": True})
    }
    raw = {name: content for name, content in said.items() if name in _HTML_NAMES and content}
    lines = (" ".join(line.split()) for line in _clean(loaded.page_content).splitlines())
    title = " ".join(str(loaded.metadata.get("title") or "").split())
    return Loaded("\n".join(line for line in lines if line), title, raw)


_HTML_NAMES = frozenset(
    {"id", "title", "source", "version", "owner", "approved", "readers", "clearance", "valid_until", "tags"}
)
"""Other meta tags, such as `viewport`, are not about the document."""


def _pdf(path: Path) -> Loaded:
    from langchain_community.document_loaders.pdf import PyPDFLoader

    pages = PyPDFLoader(path).load()
    title = str(pages[0].metadata.get("title") or "") if pages else ""
    return Loaded("\n\n".join(_clean(page.page_content) for page in pages), title)


def _docx(path: Path) -> Loaded:
    from langchain_community.document_loaders.word_document import Docx2txtLoader

    with zipfile.ZipFile(path) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > _UNPACKED:
            raise ValueError(f"unpacks to more than {_UNPACKED // 1_000_000} MB")
    return Loaded(_clean(Docx2txtLoader(path).load()[0].page_content), "")


def _csv(path: Path) -> Loaded:
    from langchain_community.document_loaders.csv_loader import CSVLoader

    rows = [_clean(row.page_content) for row in CSVLoader(path, encoding="utf-8-sig").load()]
    sections: list[tuple[int, int]] = []
    start = 0
    for row in rows:
        sections.append((start, start + len(row)))
        start += len(row) + 2
    return Loaded("\n\n".join(rows), "", sections=tuple(sections))


_LOADERS: dict[str, Callable[[Path], Loaded]] = {
    ".md": _markdown,
    ".markdown": _markdown,
    ".html": _html,
    ".htm": _html,
    ".pdf": _pdf,
    ".docx": _docx,
    ".csv": _csv,
    ".txt": _text,
    ".text": _text,
}
SUFFIXES = frozenset(_LOADERS)
"""Suffixes of readable files."""
