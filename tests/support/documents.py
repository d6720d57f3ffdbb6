"""The smallest files of each format, and what can be quoted of them."""

import io
import zipfile
from pathlib import Path

from sluicegate.retrieval.chunking import cut
from sluicegate.retrieval.config import ChunkConfig
from sluicegate.retrieval.loaders import Loaded
from sluicegate.segmentation import quotable

__all__ = ["docx", "pdf", "said", "written"]


def pdf(*lines: str | tuple[int, int, int, str], drawn: str = "") -> bytes:
    """The smallest PDF with one page of text: lines one below the other, or each with its place and size, below zero
    for bold letters."""
    placed = [(72, 720 - 14 * n, 12, line) if isinstance(line, str) else line for n, line in enumerate(lines)]
    stream = "\n".join(
        f"BT /F{1 if size > 0 else 2} {abs(size)} Tf {x} {y} Td ({text}) Tj ET" for x, y, size, text in placed
    ).encode()
    stream += f"\n{drawn}".encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        (
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 4 0 R "
            b"/Resources <</Font <</F1 5 0 R /F2 6 0 R>>>>>>"
        ),
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        *(
            b"<< /Type /Font /Subtype /Type1 /BaseFont /%s /Encoding /WinAnsiEncoding >>" % name
            for name in (b"Helvetica", b"Helvetica-Bold")
        ),
    ]
    out = io.BytesIO()
    out.write(b"%PDF-1.4\n")
    places = []
    for number, body in enumerate(objects, start=1):
        places.append(out.tell())
        out.write(b"%d 0 obj\n%s\nendobj\n" % (number, body))
    table = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    out.writelines(b"%010d 00000 n \n" % place for place in places)
    out.write(b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, table))
    return out.getvalue()


WORD = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
RELATIONSHIPS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def docx(*paragraphs: str, **parts: str) -> bytes:
    """A Word file of paragraphs, as texts or as XML, and of other parts by name."""
    out = io.BytesIO()
    body = "".join(p if p.startswith("<") else f"<w:p><w:r><w:t>{p}</w:t></w:r></w:p>" for p in paragraphs)
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(
            "word/document.xml", f'<?xml version="1.0"?><w:document {WORD}><w:body>{body}</w:body></w:document>'
        )
        related = "".join(
            f'<Relationship Id="{name}" Type="{RELATIONSHIPS}/{name}" Target="{name}.xml"/>' for name in parts
        )
        for name, content in parts.items():
            archive.writestr(f"word/{name}.xml", f'<?xml version="1.0"?><w:{name} {WORD}>{content}</w:{name}>')
        archive.writestr(
            "word/_rels/document.xml.rels",
            f'<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{related}</Relationships>',
        )
    return out.getvalue()


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def said(loaded: Loaded, size: int = 800) -> list[list[str]]:
    """What can be quoted of each passage."""
    return [[one.text for one in quotable(chunk.text)] for chunk in cut(loaded, ChunkConfig(size=size, overlap=0))]
