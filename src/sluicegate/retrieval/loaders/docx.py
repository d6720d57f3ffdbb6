"""Word files into Markdown, as they are read: without hidden words, deleted ones, contents and marks of footnotes."""

import io
import zipfile
from pathlib import Path
from typing import Any, cast

from sluicegate.retrieval.loaders.markup import markdown, parsed

__all__ = ["read"]

_UNPACKED = 400_000_000
"""Maximum unpacked size in bytes: more is a zip bomb."""

_OLDER = bytes.fromhex("d0cf11e0a1b11ae1")
"""How the files of Office before 2007 begin, and the encrypted ones of today."""

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_STYLES_PART = "word/styles.xml"
_STYLES = """
p[style-name='Title'] => h1:fresh
p[style-name='Subtitle'] => h2:fresh
p[style-name^='toc '] => !
p[style-name^='table of '] => !
p[style-name^='Code'] => pre:separator('\\n')
p[style-name='Source Code'] => pre:separator('\\n')
p[style-name='HTML Preformatted'] => pre:separator('\\n')
p[style-name='Preformatted Text'] => pre:separator('\\n')
p[style-name='macro'] => pre:separator('\\n')
"""
_NOTE_MARKS = ", ".join(f"a[id^={kind}-ref], a[href^='#{kind}-ref']" for kind in ("footnote", "endnote"))
"""Links to notes and back: a number in brackets would be read as a citation of ours."""


def read(path: Path) -> str:
    """Its text as Markdown. Raises `ValueError` where it unpacks to too much, and what mammoth raises."""
    import mammoth

    library: Any = mammoth
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            older = file.read(len(_OLDER)) == _OLDER
        raise ValueError("is encrypted, or a .doc by another name" if older else "not a Word file that can be read")
    with zipfile.ZipFile(path) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > _UNPACKED:
            raise ValueError(f"unpacks to more than {_UNPACKED // 1_000_000} MB")
        seen = _without_hidden(archive)
    page = parsed(library.convert_to_html(seen, style_map=_STYLES, convert_image=_no_image).value)
    for mark in page.select(_NOTE_MARKS):
        mark.decompose()
    return markdown(page)


def _without_hidden(archive: zipfile.ZipFile) -> io.BytesIO:
    """A copy whose parts have no words that Word hides (`w:vanish`), by themselves or by their style."""
    hidden = set[str]()
    if _STYLES_PART in archive.namelist():
        styles = _part(archive.read(_STYLES_PART)).iter(f"{_W}style")
        hidden = {style.get(f"{_W}styleId", "") for style in styles if _vanishes(style.find(f"{_W}rPr"))}
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as copy:
        for entry in archive.infolist():
            content = archive.read(entry)
            words = entry.filename.startswith("word/") and entry.filename.endswith(".xml")
            if words and (hidden or b"vanish" in content):
                content = _seen(content, hidden)
            copy.writestr(entry.filename, content)
    made.seek(0)
    return made


def _seen(content: bytes, hidden: set[str]) -> bytes:
    part = _part(content)
    for parent in [*part.iter()]:
        whole = _style(parent.find(f"{_W}pPr"), "pStyle") in hidden
        for run in parent.findall(f"{_W}r"):
            own = run.find(f"{_W}rPr")
            if whole or _vanishes(own) or _style(own, "rStyle") in hidden:
                parent.remove(run)
    return _xml().tostring(part, xml_declaration=True, encoding="UTF-8")


def _part(content: bytes) -> Any:
    return _xml().fromstring(content, _xml().XMLParser(resolve_entities=False, no_network=True))


def _xml() -> Any:
    from lxml import etree  # type: ignore[attr-defined]  # it has no types

    return cast("Any", etree)


def _style(properties: Any, kind: str) -> str | None:
    found = properties.find(f"{_W}{kind}") if properties is not None else None
    return found.get(f"{_W}val") if found is not None else None


def _vanishes(properties: Any) -> bool:
    found = properties.find(f"{_W}vanish") if properties is not None else None
    return found is not None and found.get(f"{_W}val") not in {"0", "false", "off"}


def _no_image(image: Any) -> list[Any]:
    del image
    return []
