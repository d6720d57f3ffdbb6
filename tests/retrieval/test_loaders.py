"""Every kind of file gives its text and its metadata; what is wrong with one is said."""

import io
import zipfile
from pathlib import Path

import pytest

from sluicegate.retrieval.chunking import cut
from sluicegate.retrieval.config import ChunkConfig, IndexConfig
from sluicegate.retrieval.loaders import load
from sluicegate.retrieval.metadata import document, parse, split_front_matter


def pdf(text: str) -> bytes:
    """The smallest PDF with one page of text."""
    stream = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 4 0 R /Resources <</Font <</F1 5 0 R>>>>>>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
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


def docx(*paragraphs: str) -> bytes:
    out = io.BytesIO()
    body = "".join(f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>" for text in paragraphs)
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(
            "word/document.xml",
            '<?xml version="1.0"?><w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main">'
            f"<w:body>{body}</w:body></w:document>",
        )
    return out.getvalue()


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_markdown_front_matter_is_not_text(tmp_path: Path) -> None:
    path = written(tmp_path, "a.md", "---\nid: vpn\nversion: 1.10\n---\n# VPN access ##\n\nCall us.\n")
    loaded = load(path)
    assert loaded.text == "# VPN access ##\n\nCall us.\n"
    assert loaded.title == "VPN access"
    assert loaded.raw == {"id": "vpn", "version": "1.10"}


def test_html_loses_markup_and_scripts_and_keeps_its_meta_tags(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "a.html",
        "<html><head><title>Guest wifi</title><meta name='viewport' content='x'><meta name='owner' content='net'>"
        "<meta name='sluicegate:readers' content='everyone, group:guests'></head>"
        "<body><script>steal()</script><!-- hidden --><h1>Wifi</h1><p>Ask the   desk.</p></body></html>",
    )
    loaded = load(path)
    assert loaded.text == "Guest wifi\nWifi\nAsk the desk."
    assert loaded.title == "Guest wifi"
    assert loaded.raw == {"owner": "net", "readers": "everyone, group:guests"}


def test_pdf_docx_csv_and_text(tmp_path: Path) -> None:
    assert load(written(tmp_path, "a.pdf", pdf("Toner is in room 12"))).text == "Toner is in room 12"
    assert load(written(tmp_path, "a.docx", docx("First line", "Second line"))).text.split() == [
        "First", "line", "Second", "line",
    ]  # fmt: skip
    assert load(written(tmp_path, "a.txt", "\ufeffplain\r\ntext\x00")).text == "plain\ntext"
    rows = load(written(tmp_path, "a.csv", "name,phone\nAnn,12\nBob,34\n"))
    assert [rows.text[start:end] for start, end in rows.sections] == ["name: Ann\nphone: 12", "name: Bob\nphone: 34"]
    assert [passage.text for passage in cut(rows, ChunkConfig())] == ["name: Ann\nphone: 12", "name: Bob\nphone: 34"]


def test_a_sidecar_wins(tmp_path: Path) -> None:
    path = written(tmp_path, "a.md", "---\nowner: old\ntitle: Kept\n---\ntext")
    sidecar = written(tmp_path, "a.md.meta.yaml", "owner: new\n")
    assert load(path, sidecar).raw == {"owner": "new", "title": "Kept"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.md", b"caf\xe9", "not UTF-8"),
        ("a.html", b"<p>caf\xe9</p>", "not UTF-8"),
        ("a.csv", b"a,b\ncaf\xe9,1\n", "not UTF-8"),
        ("a.md", "---\nid: x\n", "does not end"),
        ("a.md", "---\nid: [x\n---\ntext", "not valid YAML"),
        ("a.md", "---\n- x\n---\ntext", "'key: value'"),
        ("a.md", "---\napproved: false\napproved: true\n---\ntext", "has approved twice"),
        ("a.md", "---\nx: " + "y" * 70_000 + "\n---\ntext", "larger than"),
        ("a.md", "---\nx: " + "[" * 5_000 + "\n---\ntext", "YAML"),
        ("a.md", " \n", "contains no text"),
        ("a.pdf", b"not a pdf", ""),
        ("a.docx", b"not a zip", "zip"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, name: str, content: str | bytes, why: str) -> None:
    with pytest.raises(ValueError, match=r".+") as caught:
        load(written(tmp_path, name, content))
    assert why in str(caught.value)


@pytest.mark.slow
def test_a_docx_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.docx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("word/document.xml", "w") as entry:
        for _ in range(101):
            entry.write(bytes(4_000_000))
    assert path.stat().st_size < 1_000_000
    with pytest.raises(ValueError, match="unpacks to more"):
        load(path)


def test_front_matter_needs_the_first_line() -> None:
    assert split_front_matter("text\n---\nid: x\n---\n") == ("", "text\n---\nid: x\n---\n")
    assert split_front_matter("---\nid: x\n---\ntext\n---\nmore") == ("id: x\n", "text\n---\nmore")


def test_facts_and_defaults() -> None:
    config = IndexConfig(path=("k",), approved=True, readers=("everyone",), clearance="public")
    said = document(
        parse(
            "readers: [role:hr, group:hr, user:bob]\napproved: no\nvalid_until: 2026-12-31\ntags: a, b\n"
            "clearance: restricted"
        ),
        config,
        file="k/a.md",
        title="A",
        text_hash="0123456789abcdef",
    )
    assert (said.id, said.source, said.title, said.version) == ("k/a.md", "k/a.md", "A", "0123456789ab")
    assert said.readers == ("group:hr", "role:hr", "user:bob")
    assert (said.approved, said.valid_until, said.clearance, said.tags) == (False, 20261231, "restricted", ("a", "b"))
    silent = document(parse("owner: ~"), config, file="k/a.md", title="A", text_hash="0" * 64)
    assert (silent.approved, silent.readers, silent.clearance, silent.owner) == (True, ("everyone",), "public", "")
    closed = document({}, IndexConfig(path=("k",)), file="k/a.md", title="A", text_hash="0" * 64)
    assert (closed.approved, closed.readers) == (False, ())


@pytest.mark.parametrize(
    ("yaml", "why"),
    [
        ("valid_untill: 2026-01-01", "did you mean 'valid_until'"),
        ("reader: everyone", "did you mean 'readers'"),
        ("approved: perhaps", "approved"),
        ("clearance: secret", "clearance"),
        ("valid_until: soon", "valid_until"),
    ],
)
def test_a_misspelt_fact_is_an_error(yaml: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        document(parse(yaml), IndexConfig(path=("k",)), file="a", title="A", text_hash="0" * 64)


@pytest.mark.parametrize("markdown", [True, False])
@pytest.mark.parametrize("size", [100, 333])
def test_spans_point_at_the_passages(tmp_path: Path, size: int, *, markdown: bool) -> None:
    repeated = "Restart the router. Restart the router.\n\n## Again\n\n" * 20
    text = f"# Größe 🚀\n\n{repeated}" + "x" * 500 + "\n\nEnd of it, with spaces   \n\n" + "déjà vu " * 80
    loaded = load(written(tmp_path, "a.md" if markdown else "a.txt", text))
    passages = cut(loaded, ChunkConfig(size=size, overlap=40))
    assert len(passages) > 5
    reached = 0
    for passage in passages:
        assert loaded.text[passage.start : passage.end] == passage.text
        assert len(passage.text) <= size
        # nothing but white space is left out
        assert passage.start <= reached or not loaded.text[reached : passage.start].strip()
        reached = passage.end
    assert not loaded.text[reached:].strip()
    starts = [passage.start for passage in passages]
    assert starts == sorted(set(starts))
