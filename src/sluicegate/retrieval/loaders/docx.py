"""Word files into Markdown, as they are read: without hidden words, deleted ones, contents and marks of footnotes."""

import io
import re
import zipfile
from pathlib import Path
from typing import Any, cast

from sluicegate.retrieval.loaders.equations import linear
from sluicegate.retrieval.loaders.fonts import FIXED_WIDTH
from sluicegate.retrieval.loaders.markup import markdown, parsed

__all__ = ["read"]

_UNPACKED = 400_000_000
"""Maximum unpacked size in bytes: more is a zip bomb."""

_OLDER = bytes.fromhex("d0cf11e0a1b11ae1")
"""How the files of Office before 2007 begin, and the encrypted ones of today."""

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_FIXED = re.compile(rf"{FIXED_WIDTH}|lucida sans typewriter", re.IGNORECASE)
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
    page = parsed(
        library.convert_to_html(
            seen, style_map=_STYLES, convert_image=_no_image, transform_document=_with_code_by_font
        ).value
    )
    for mark in page.select(_NOTE_MARKS):
        mark.decompose()
    return markdown(page)


def _without_hidden(archive: zipfile.ZipFile) -> io.BytesIO:
    """A copy whose parts have no words that Word hides (`w:vanish`), by themselves or by their style; equations are
    words, and a first letter that is set apart is one of its paragraph."""
    hidden = set[str]()
    if _STYLES_PART in archive.namelist():
        styles = _part(archive.read(_STYLES_PART)).iter(f"{_W}style")
        hidden = {style.get(f"{_W}styleId", "") for style in styles if _vanishes(style.find(f"{_W}rPr"))}
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as copy:
        for entry in archive.infolist():
            content = archive.read(entry)
            words = entry.filename.startswith("word/") and entry.filename.endswith(".xml")
            if words and (hidden or any(mark in content for mark in (b"vanish", b"oMath", b"dropCap"))):
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
    for equation in [*part.iter(f"{_M}oMath")]:
        _replaced(equation, linear(equation))
    for frame in [*part.iter(f"{_W}framePr")]:
        letter = frame.getparent().getparent()
        below = letter.getnext()
        if frame.get(f"{_W}dropCap", "none") == "none" or below is None or below.tag != f"{_W}p":
            continue
        first = next((n for n, child in enumerate(below) if child.tag != f"{_W}pPr"), len(below))
        below[first:first] = letter.findall(f"{_W}r")
        letter.getparent().remove(letter)
    return _xml().tostring(part, xml_declaration=True, encoding="UTF-8")


def _replaced(equation: Any, text: str) -> None:
    """Put a run of text where an equation is, or a paragraph of equations."""
    run = equation.makeelement(f"{_W}r")
    said = _xml().SubElement(run, f"{_W}t", {"{http://www.w3.org/XML/1998/namespace}space": "preserve"})
    said.text = text
    parent, following = equation.getparent(), equation.getnext()
    if following is not None and following.tag == equation.tag:
        said.text = f"{text} "
    if parent.tag == f"{_M}oMathPara":
        said.text = f" {text} "
        parent.addprevious(run)
        parent.remove(equation)
    else:
        parent.replace(equation, run)


def _with_code_by_font(document: Any) -> Any:
    """The document with its paragraphs in letters of one width as code, unless most are."""
    from mammoth import documents, transforms

    library: Any = documents
    change: Any = transforms
    every = change.get_descendants_of_type(document, library.Paragraph)
    coded = sum(_is_code(paragraph, change, library) for paragraph in every)
    if not coded or 2 * coded > len(every):
        return document

    def marked(paragraph: Any) -> Any:
        code = paragraph.numbering is None and _is_code(paragraph, change, library)
        return paragraph.copy(style_id="Code", style_name="Code") if code else paragraph

    return change.paragraph(marked)(document)


def _is_code(paragraph: Any, change: Any, library: Any) -> bool:
    runs = change.get_descendants_of_type(paragraph, library.Run)
    said = [
        run for run in runs if any(text.value.strip() for text in change.get_descendants_of_type(run, library.Text))
    ]
    return bool(said) and all(run.font and _FIXED.search(run.font) for run in said)


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
