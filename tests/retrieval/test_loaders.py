"""Every kind of file gives its text and its metadata; what is wrong with one is said."""

import zipfile
from pathlib import Path

import pytest

from sluicegate.retrieval.chunking import cut
from sluicegate.retrieval.config import ChunkConfig, IndexConfig
from sluicegate.retrieval.loaders import load
from sluicegate.retrieval.loaders.front_matter import parse, split_front_matter
from sluicegate.retrieval.metadata import document
from sluicegate.segmentation import quotable
from tests.support.documents import docx, pdf, said, written


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
    assert loaded.text == "# Wifi\n\nAsk the desk."
    assert loaded.title == "Guest wifi"
    assert loaded.raw == {"viewport": "x", "owner": "net", "readers": "everyone, group:guests"}


@pytest.mark.slow
def test_pdf_docx_csv_and_text(tmp_path: Path) -> None:
    assert load(written(tmp_path, "a.pdf", pdf("Toner is in room 12"))).text == "Toner is in room 12"
    assert load(written(tmp_path, "a.docx", docx("First line", "Second line"))).text.split() == [
        "First", "line", "Second", "line",
    ]  # fmt: skip
    assert load(written(tmp_path, "a.txt", "\ufeffplain\r\ntext\x00")).text == "plain\ntext"
    rows = load(written(tmp_path, "a.csv", "name,phone\nAnn,12\nBob,34\n"))
    assert said(rows) == [["name: Ann; phone: 12"], ["name: Bob; phone: 34"]]


def test_a_sidecar_wins(tmp_path: Path) -> None:
    path = written(tmp_path, "a.md", "---\nowner: old\ntitle: Kept\n---\ntext")
    sidecar = written(tmp_path, "a.md.meta.yaml", "owner: new\n")
    assert load(path, sidecar).raw == {"owner": "new", "title": "Kept"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.md", b"line\ncaf\xe9 \x81", "not UTF-8 (byte 0xe9 in line 2)"),
        ("a.txt", b"a\x00b\x00", "NUL bytes"),
        ("a.html", b"<meta charset=shift_jis><p>caf\x81</p>", "shift_jis"),
        ("a.csv", b"a,b\n", "no row below"),
        ("a.csv", b"", "contains no text"),
        ("a.csv", b'a,b\n"x,1\n', "not valid CSV"),
        ("a.eml", b"Content-Type: image/png\n\nx", "not an e-mail"),
        ("a.md", "+++\nid = x\n+++\ntext", "not valid TOML"),
        ("a.md", "---\nid: x\n", "does not end"),
        ("a.md", "---\nid: [x\n---\ntext", "not valid YAML"),
        ("a.md", "---\n- x\n---\ntext", "'key: value'"),
        ("a.md", "---\napproved: false\napproved: true\n---\ntext", "has approved twice"),
        ("a.md", "---\nx: " + "y" * 70_000 + "\n---\ntext", "larger than"),
        ("a.md", "---\nx: " + "[" * 5_000 + "\n---\ntext", "YAML"),
        ("a.md", " \n", "contains no text"),
        ("a.pdf", b"not a pdf", "not a PDF"),
        ("a.docx", b"not a zip", "not a Word file"),
        ("a.docx", bytes.fromhex("d0cf11e0a1b11ae1") + b"x" * 600, "is encrypted, or a .doc"),
        ("a.eml", "From: ann@example.org\n\nHi.".encode("utf-16-le"), "NUL bytes"),
        (
            "a.eml",
            b"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: image/png; name=a.png\n\nx\n--b--",
            "contains no text; its attachments are not read: a.png",
        ),
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
    assert split_front_matter("text\n---\nid: x\n---\n") == ({}, "text\n---\nid: x\n---\n")
    assert split_front_matter("---\nid: x\n---\ntext\n---\nmore") == ({"id": "x"}, "text\n---\nmore")


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
    text = f"# Größe 🚀\n\n{repeated}" + "x" * 9_000 + "\n\nEnd of it, with spaces   \n\n" + "déjà vu " * 8_000
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


def test_a_quote_is_whole_however_small_the_passages_are(tmp_path: Path) -> None:
    sentence = "It opens at 07:30 on working days, but\non Saturdays it stays closed unless the porter knows. "
    code = "```sh\n" + "run it. Then stop.\n" * 9 + "```"
    rows = "\n".join(f"| zone {number} | {number} euros. Or more |" for number in range(20))
    text = f"# Opening\n\n{sentence * 6}\n\n{code}\n\n| Zone | Fee |\n|---|---|\n{rows}\n"
    loaded = load(written(tmp_path, "a.md", text))
    whole = [one.text for one in quotable(text)]
    for size in (100, 150, 400):
        found = {quote for passage in said(loaded, size) for quote in passage}
        # a sentence and its code are quoted apart where both together are longer than a passage
        parts = {part for quote in whole for part in (quote, *quote.split("\n\n"))}
        assert found <= parts
        assert {f"Zone: zone {number}; Fee: {number} euros. Or more" for number in range(20)} <= found
        assert any(code in quote for quote in found)


def test_the_formats_of_offices_give_blocks(tmp_path: Path) -> None:
    page = """<html><body><nav>Home</nav><p>Press <b>Ctrl</b>+<kbd>K</kbd>,<br>then wait.</p><p hidden>No.</p>
    <table><tr><th rowspan=2>Zone</th><th colspan=2>Fee</th></tr><tr><th>month</th><th>year</th></tr>
    <tr><td>North</td><td>4 | 5</td><td>40</td></tr></table>
    <table><tr><td><p>Layout. One cell.</p></td></tr></table>
    <ol><li>Stop it.</li><li>Start it:<pre>a  b\nc</pre></li></ol>
    <dl><dt>Toner</dt><dd>Room 12.</dd></dl></body></html>"""
    assert said(load(written(tmp_path, "a.html", page))) == [
        [
            "Press Ctrl+K, then wait.",
            "Zone: North; Fee month: 4 | 5; Fee year: 40",
            "Layout.",
            "One cell.",
            "Stop it.",
            "Start it:\n\n   ```\n   a  b\n   c\n   ```",
            "Toner: Room 12.",
        ]
    ]
    # HTML lets rows, cells, items and terms end by themselves
    open_ended = """<title>Fees</title><dl><dt>Fee<dd>4 euros<dt>Zone<dd>North</dl><p>One<p>Two
    <table><tr><th>Zone<th>Fee<tr><td>North<td>4<tr><td>South<td>5</table><ul><li>a<li>b&shy;c</ul>"""
    assert said(load(written(tmp_path, "a.html", open_ended))) == [
        ["Fee: 4 euros", "Zone: North", "One", "Two", "Zone: North; Fee: 4", "Zone: South; Fee: 5", "a", "bc"]
    ]
    mail = b"Subject: Keys\nContent-Type: text/plain; charset=iso-8859-1\n\nThe keys are\nwith M\xfcller.\n"
    loaded = load(written(tmp_path, "a.eml", mail))
    assert (loaded.title, said(loaded)) == ("Keys", [["The keys are with Müller."]])
    mail = b"Subject: Re: Keys\n\nThey are here,\nas said.\n\n> Where are\n> the keys?\nSee above\n-- \nAnn\nDesk\n"
    assert said(load(written(tmp_path, "a.eml", mail))) == [
        ["They are here, as said.", "Where are the keys?", "See above", "Ann Desk"]
    ]


LEGACY = [
    ("koi8-r", "Ключ возвращают в офис, как всегда."),
    ("iso8859-5", "Ключ возвращают в офис, как всегда."),
    ("cp866", "Ключ возвращают в офис, как всегда."),
    ("cp1251", "Ключі повертають до офісу, як завжди, і їх рахують."),
    ("cp1250", "Zwrot jest możliwy w ciągu trzydziestu dni. Źródło, żółć, święto."),
    ("iso8859-2", "Vrácení je možné do třiceti dnů, jinak účtenka propadá."),
    ("cp1254", "İade otuz gün içinde mümkündür ve fiş gereklidir, çünkü kayıt tutulur."),
    ("cp1253", "Η επιστροφή είναι δυνατή εντός τριάντα ημερών."),
    ("cp1255", "החזרה אפשרית תוך שלושים יום ונדרשת קבלה."),
    ("cp1256", "الإرجاع ممكن خلال ثلاثين يوما والإيصال مطلوب."),
    ("cp932", "返品は三十日以内に行ってください。①領収書が必要です。"),
    ("euc_jp", "返品は三十日以内に行ってください。領収書が必要です。"),
    ("gb18030", "退货必须在三十天内进行。需要收据。"),
    ("big5", "退貨必須在三十天內進行。需要收據。"),
    ("cp949", "반품은 삼십일 이내에 가능합니다. 영수증이 필요합니다."),
    ("cp1252", "Rückgabe ist binnen dreißig Tagen möglich, gegen Gebühr."),
]


@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        ("a.txt", "Müller".encode("utf-16"), "Müller"),
        ("a.txt", b"The officer\x92s \x93summer\x94 hours", "The officer’s “summer” hours"),
        ("a.txt", "Ключ возвращают в офис, как всегда.".encode("cp1251"), "Ключ возвращают в офис, как всегда."),
        *(("a.txt", text.encode(encoding), text) for encoding, text in LEGACY),
        # a pound sign is no Polish letter, and a lone accent no Latvian one
        ("a.txt", b"The fee is \xa35 or \xa312.50, \xb1 1 %.", "The fee is £5 or £12.50, ± 1 %."),
        ("a.txt", b"A na\xefve caf\xe9 for the naive visitor.", "A naïve café for the naive visitor."),
        ("a.html", "<meta charset=shift_jis><p>鍵です①</p>".encode("cp932"), "鍵です①"),
        ("a.html", "<meta charset=iso-8859-1><p>Größe</p>".encode("latin-1"), "Größe"),
        ("a.html", "<meta charset=iso-8859-1><p>Größe</p>".encode(), "Größe"),
        # a name that nobody knows tells nothing
        ("a.html", "<meta charset=unicode><p>Größe</p>".encode(), "Größe"),
    ],
)  # fmt: skip
def test_encodings(tmp_path: Path, name: str, data: bytes, text: str) -> None:
    loaded = load(written(tmp_path, name, data))
    assert loaded.text == text
    guessed = name == "a.txt" and not data.startswith(b"\xff\xfe")
    assert bool(loaded.notes) == guessed


@pytest.mark.parametrize(
    ("title", "kept"),
    [
        ("Microsoft Word - Leave of absence.docx", "Leave of absence"), ("leave_2026.pdf", "leave_2026"),
        ("Version 2.3", "Version 2.3"), ("Untitled", "About leave"), ("(anonymous)", "About leave"),
        ("PowerPoint Presentation", "About leave"), ("Microsoft Word - Dokument1", "About leave"), ("", "About leave"),
    ],
)  # fmt: skip
def test_a_title_that_a_program_gave_is_none(tmp_path: Path, title: str, kept: str) -> None:
    page = f"<title>{title}</title><h1>About leave</h1><p>Ask first.</p>"
    assert load(written(tmp_path, "a.html", page)).title == kept


def test_a_page_of_a_pdf_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    content = pdf("Toner is in room 12").replace(b"/Kids [3 0 R] /Count 1", b"/Kids [3 0 R 9 0 R] /Count 2")
    loaded = load(written(tmp_path, "a.pdf", content))
    assert (loaded.text, loaded.notes) == ("Toner is in room 12", ("pages that cannot be read are left out: 2",))


@pytest.mark.slow
def test_a_word_file_says_what_its_readers_see(tmp_path: Path) -> None:
    def paragraph(*runs: str, style: str = "") -> str:
        return f'<w:p><w:pPr><w:pStyle w:val="{style}"/></w:pPr>{"".join(runs)}</w:p>'

    def run(text: str, properties: str = "") -> str:
        return f'<w:r><w:rPr>{properties}</w:rPr><w:t xml:space="preserve">{text}</w:t></w:r>'

    names = {"Code": "Code", "TOC1": "toc 1", "Whisper": "Whisper", "Aside": "Aside"}
    hiding = {"Whisper", "Aside"}
    styles = "".join(
        f'<w:style w:styleId="{style}" w:type="{"character" if style == "Aside" else "paragraph"}">'
        f'<w:name w:val="{name}"/>{"<w:rPr><w:vanish/></w:rPr>" if style in hiding else ""}</w:style>'
        for style, name in names.items()
    )
    body = [
        paragraph(run("Loans ..... 3"), style="TOC1"),
        paragraph(
            run("A device is given back "),
            '<w:del w:id="1"><w:r><w:delText>within ten days</w:delText></w:r></w:del>',
            f'<w:ins w:id="2">{run("within fourteen days")}</w:ins>',
            run(" HIDDEN", "<w:vanish/>"),
            run(" HIDDEN", '<w:rStyle w:val="Aside"/>'),
            run(", unless agreed.", '<w:vanish w:val="0"/>'),
            '<w:r><w:footnoteReference w:id="2"/></w:r>',
        ),
        paragraph(run("HIDDEN"), style="Whisper"),
        paragraph(run("sudo reboot"), style="Code"),
        paragraph(run("uptime"), style="Code"),
    ]
    note = f'<w:footnote w:id="2">{paragraph(run("In writing."))}</w:footnote>'
    loaded = load(written(tmp_path, "a.docx", docx(*body, styles=styles, footnotes=note)))
    assert loaded.text.split("\n\n") == [
        "A device is given back within fourteen days, unless agreed.",
        "```\nsudo reboot\nuptime\n```",
        "1. In writing.",
    ]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("Name;Raum\nMüller, Anna;302\n", ["Name: Müller, Anna; Raum: 302"]),
        ("name\tphone\nAnn, Bob\t12\n", ["name: Ann, Bob; phone: 12"]),
        ("sep=|\na|b\n1|2,3;4\n", ["a: 1; b: 2,3;4"]),
        ('a,b\n"two\nlines, ""quoted""",x\n', ['a: two lines, "quoted"; b: x']),
        ("q,a,a\nWho?,me,you\n\n", ["q: Who?; a: me; a: you"]),
        ("a,b\n1\n1,2,3\n", ["a: 1", "a: 1; b: 2; 3"]),
        ("a,b\nOne. Two.,x|y\n", ["a: One. Two.; b: x|y"]),
        # a first row that is as the others names nothing, but for years
        ("North,4\nSouth,5.50\n", ["North; 4", "South; 5.50"]),
        ("1;2\n3;4\n", ["1; 2", "3; 4"]),
        ("Zone,2025,2026\nNorth,4,5\n", ["Zone: North; 2025: 4; 2026: 5"]),
        ("Zone,Fee\nNorth,4\nSouth,free\n", ["Zone: North; Fee: 4", "Zone: South; Fee: free"]),
    ],
)
def test_dialects_of_csv(tmp_path: Path, text: str, rows: list[str]) -> None:
    assert said(load(written(tmp_path, "a.csv", text))) == [[row] for row in rows]


def test_what_an_export_says_above_its_table_is_text(tmp_path: Path) -> None:
    loaded = load(
        written(tmp_path, "a.csv", "Fees of 2026,,\nValid until May.\n\nZone,Fee,Note\nNorth,4,x\nSouth,5,y\n")
    )
    assert [quote for passage in said(loaded) for quote in passage] == [
        "Fees of 2026", "Valid until May.", "Zone: North; Fee: 4; Note: x", "Zone: South; Fee: 5; Note: y",
    ]  # fmt: skip
    one_column = load(written(tmp_path, "a.csv", 'Zone\nNorth\n"South, far"\n'))
    assert said(one_column) == [["Zone: North"], ["Zone: South, far"]]


def test_a_csv_field_may_be_long(tmp_path: Path) -> None:
    loaded = load(written(tmp_path, "a.csv", "a,b\n1," + "word " * 40_000 + "\n"))
    assert loaded.text.count("word") == 40_000
    assert max(len(passage.text) for passage in cut(loaded, ChunkConfig())) <= 800


def test_a_pdf_gives_headings_paragraphs_lists_and_tables(tmp_path: Path) -> None:
    table = [(72 + 100 * x, 600 - 14 * y, 12, text) for y, row in enumerate(
        [("Device", "Deposit", "Days"), ("Camera", "50 euros", "14"), ("Laptop", "200 euros", "30")]
    ) for x, text in enumerate(row)]  # fmt: skip
    lines = [
        (72, 750, 18, "Loan of devices"), (72, 720, 12, "A device is given back within fourteen days, unless"),
        (72, 706, 12, "the head has agreed in wri-"), (72, 692, 12, "ting to a longer time. Damage"),
        (72, 678, 12, "costs."), (72, 650, 12, "\\225 First thing"), (72, 636, 12, "\\225 Second thing"), *table,
    ]  # fmt: skip
    assert said(load(written(tmp_path, "a.pdf", pdf(*lines)))) == [
        [
            "A device is given back within fourteen days, unless the head has agreed in writing to a longer time.",
            "Damage costs.",
            "First thing",
            "Second thing",
            "Device: Camera; Deposit: 50 euros; Days: 14",
            "Device: Laptop; Deposit: 200 euros; Days: 30",
        ]
    ]


@pytest.mark.slow
def test_a_pdf_that_a_browser_has_printed_is_read_as_its_page(tmp_path: Path) -> None:
    printed = Path(__file__).parent / "printed" / "handbook.pdf"
    loaded = load(printed)
    assert loaded.title == "Handbook"
    assert [quote for passage in said(loaded, 5_000) for quote in passage] == [
        (
            "Reimbursement of extraordinary accommodation expenditures requires authorisation by the responsible "
            "administrator before departure, unless the circumstances make communication impossible."
        ),
        "Official confirmations suffice.",
        "Hotels cost at most 120 euros per night",
        "Trains are always second class, except for journeys of more than four hours",
        (
            "City: Berlin; Limit per night: 120 euros; Remark: Only with a confirmation of the responsible "
            "administrator, in writing"
        ),
        "City: Elsewhere; Limit per night: Elsewhere; Remark: Ask first",
        "City: Paris; Limit per night: 160 euros; Remark: None",
        "City: Rome; Limit per night: 140 euros; Remark: None",
        "After the table the text goes on and ends here.",
        "A new sentence.",
        "First step of it",
        "Second step, which is long enough to be wrapped over the end of the line in this narrow page",
        "Third\n\n```\ndef restart(unit):\n    stop(unit)\n    return start(unit)\n```",
        # the font's own map lacks the first letter
        "金は三十日以内に行ってください。",
        "領収書が必要です。",
        "送料はお客様の負担です。",
        "ただし、不良品の場合は弊社が負担いたします。",
        # a letter beyond the first plane
        "Zone 𝐀 is free.",
    ]


def test_a_pdf_of_a_word_processor_has_its_lists_and_its_long_headings() -> None:
    loaded = load(Path(__file__).parent / "printed" / "leave.pdf")
    assert loaded.title == "Leave"
    assert loaded.text.split("\n\n") == [
        "## Leave, absence and how both of them are asked for in each of our houses",
        "Leave is asked for two weeks before its first day. Ask for it in the portal.",
        "You need:",
        (
            "- the days, and how many of them you have left, which the portal shows on its first page, next to your "
            "name and the name of your team"
        ),
        "- a colleague who stands in",
        "- for more than a week, in writing",
        "- else by word",
        "- nothing more",
        "Then:",
        "1. Fill in the form",
        (
            "2. Send it to your lead, who answers within three working days, or has somebody else answer it in their "
            "place"
        ),
        "3. Wait for the answer",
        "There are three kinds:",
        "a. paid leave",
        "b. unpaid leave",
        "c. special leave",
        "Special leave is for weddings, births and deaths.",
    ]


def test_in_a_pdf_a_mark_with_a_text_after_a_wide_space_is_an_item_and_no_row_of_a_table(tmp_path: Path) -> None:
    lines = [
        (x, 720 - 14 * at, 12, text)
        for at, mark in enumerate((r"\225", "(i)", "2.", "b.", "o"))
        for x, text in ((72, mark), (110, f"Thing {at} of the list"))
    ]
    towns = ("1.", "Berlin", "120"), ("2.", "Paris", "160"), ("3.", "Rome", "140")
    table = [
        (x, 620 - 14 * at, 12, text)
        for at, row in enumerate(towns)
        for x, text in zip((72, 120, 220), row, strict=True)
    ]
    blocks = load(written(tmp_path, "a.pdf", pdf(*lines, *table))).text.split("\n\n")
    marks = ("-", "(i)", "2.", "b.", "-")
    assert blocks[:5] == [f"{mark} Thing {at} of the list" for at, mark in enumerate(marks)]
    assert "| 2. | Paris | 160 |" in blocks[5]


@pytest.mark.slow
def test_a_pdf_may_have_boxes_marks_and_wide_spaces_that_are_no_tables(tmp_path: Path) -> None:
    frame, empty = "50 50 500 740 re S", "72 300 100 20 re S 172 300 100 20 re S"
    mark = "70 654 4 4 re f 70 640 4 4 re f"
    justified = [(72, 720, 12, "Trains are always"), (72, 706, 12, "second"), (160, 706, 12, "class,"),
                 (72, 692, 12, "except"), (160, 692, 12, "for"), (72, 678, 12, "long journeys.")]  # fmt: skip
    lines = [*justified, (84, 650, 12, "One thing"), (84, 636, 12, "Another"), (72, 600, 12, "See the well-known"),
             (72, 586, 12, "rule, and no well-"), (72, 572, 12, "known exception.")]  # fmt: skip
    loaded = load(written(tmp_path, "a.pdf", pdf(*lines, drawn=f"{frame} {empty} {mark}")))
    assert said(loaded) == [
        ["Trains are always second class, except for long journeys.", "One thing", "Another",
         "See the well-known rule, and no well-known exception."]
    ]  # fmt: skip
    # a table whose cells are wrapped, in the order in which its cells are written
    grid = "72 700 100 40 re S 172 700 150 40 re S 72 660 100 40 re S 172 660 150 40 re S"
    cells = [(76, 725, 12, "Zone"), (176, 725, 12, "Who may enter"), (76, 685, 12, "Server"), (76, 671, 12, "room"),
             (176, 685, 12, "Only with a badge,"), (176, 671, 12, "unless it burns")]  # fmt: skip
    assert said(load(written(tmp_path, "b.pdf", pdf(*cells, drawn=grid)))) == [
        ["Zone: Server room; Who may enter: Only with a badge, unless it burns"]
    ]
