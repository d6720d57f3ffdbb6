"""Rows are quoted with the names of their columns, whatever the format and however many rows name them."""

from pathlib import Path

import pytest

from sluicegate.retrieval.loaders import load
from tests.support.documents import docx, pdf, said, written


def rows_of(*rows: str) -> str:
    """HTML of a table without `<th>`; a cell with `*n` before it spans n columns."""

    def cell(text: str) -> str:
        across, _, rest = text.partition("* ")
        return f"<td colspan={across}>{rest}</td>" if rest else f"<td>{text}</td>"

    return "<table>" + "".join(f"<tr>{''.join(map(cell, row.split('|')))}</tr>" for row in rows) + "</table>"


@pytest.mark.parametrize(
    ("rows", "quotes"),
    [
        # the corner above the names of the rows
        (("|Price|Weight", "Bread|4 euros|1 kg"), [": Bread; Price: 4 euros; Weight: 1 kg"]),
        # names with figures: one of several alike, above figures, years
        (("Item|Phase 1|Phase 2", "Desk|open|closed"), ["Item: Desk; Phase 1: open; Phase 2: closed"]),
        (("Zone|CO2 saved", "North|1,200"), ["Zone: North; CO2 saved: 1,200"]),
        (("Zone|2025|2026", "North|4|5"), ["Zone: North; 2025: 4; 2026: 5"]),
        # and what is none
        (("Room 5|Ann", "Room 6|Bob"), ["Room 5; Ann", "Room 6; Bob"]),
        (("Bread|4 euros", "Milk|free"), ["Bread; 4 euros", "Milk; free"]),
        (("2024|2025", "2026|2027"), ["2024; 2025", "2026; 2027"]),
        # a name over several columns, whose own names are below it
        (
            ("Zone|2* Fee", "Zone|Adults|Children", "North|4|2", "South|5|3"),
            ["Zone: North; Fee Adults: 4; Fee Children: 2", "Zone: South; Fee Adults: 5; Fee Children: 3"],
        ),
        (("Ann|2* yes", "Bob|no|yes", "Cid|yes|no"), ["Ann; yes; yes", "Bob; no; yes", "Cid; yes; no"]),
        # a title, and a heading inside of the table
        (
            ("2* Fees of 2026", "Zone|Fee", "2* Weekdays", "North|4", "2* Sundays", "North|5"),
            ["Fees of 2026", "Weekdays", "Zone: North; Fee: 4", "Sundays", "Zone: North; Fee: 5"],
        ),
        # columns that only keep others apart
        (("Zone||Fee", "North||4"), ["Zone: North; Fee: 4"]),
    ],
)
def test_the_names_of_columns(tmp_path: Path, rows: tuple[str, ...], quotes: list[str]) -> None:
    found = [quote for passage in said(load(written(tmp_path, "a.html", rows_of(*rows)))) for quote in passage]
    assert found == [quote.removeprefix(": ") for quote in quotes]


def test_cells_of_a_page_are_words(tmp_path: Path) -> None:
    page = (
        "<table><tr><td></td><th>Price</th><th>How</th></tr>"
        "<tr><td><h3>Bread</h3></td><td>4</td><td><pre>buy bread</pre></td></tr></table>"
        "<table role=presentation><tr><td><p>One thing.</p></td><td><p>Another.</p></td></tr></table>"
    )
    assert said(load(written(tmp_path, "a.html", page))) == [
        ["Bread; Price: 4; How: `buy bread`", "One thing.", "Another."]
    ]


@pytest.mark.slow
def test_a_word_table_has_its_corner_and_its_spans(tmp_path: Path) -> None:
    def cell(text: str, across: int = 1) -> str:
        return f'<w:tc><w:tcPr><w:gridSpan w:val="{across}"/></w:tcPr><w:p><w:r><w:t>{text}</w:t></w:r></w:p></w:tc>'

    table = "".join(
        f"<w:tr>{''.join(cells)}</w:tr>"
        for cells in (
            [cell(""), cell("Food"), cell("Calories")],
            [cell("For ducks", 3)],
            [cell("Leaves"), cell("Ash, elm"), cell("50")],
        )
    )
    assert said(load(written(tmp_path, "a.docx", docx(f"<w:tbl>{table}</w:tbl>")))) == [
        ["For ducks", "Leaves; Food: Ash, elm; Calories: 50"]
    ]


@pytest.mark.parametrize(
    ("text", "quotes"),
    [
        # names over two rows, and units
        (",Fee,,Seats\n,2025,2026,\nNorth,4,5,10\nSouth,5,6,20\n",
         ["North; Fee 2025: 4; Fee 2026: 5; Seats: 10", "South; Fee 2025: 5; Fee 2026: 6; Seats: 20"]),
        ("Zone,Height,Note\n,cm,\nNorth,40,x\nSouth,50,y\n",
         ["Zone: North; Height cm: 40; Note: x", "Zone: South; Height cm: 50; Note: y"]),
        ("Zone,Fee,Note\nNorth,,free\nSouth,5,y\n", ["Zone: North; Note: free", "Zone: South; Fee: 5; Note: y"]),
        # comments of tools
        ("# not yet checked\nid,name\n1,Ann\n# until here\n2,Bob\n",
         ["id: 1; name: Ann", "id: 2; name: Bob"]),
        ("Fees\nZone,Fee,Note\nNorth,4,x\nSouth,,\n", ["Fees", "Zone: North; Fee: 4; Note: x", "Zone: South"]),
        # a quote within quotes by a backslash; a line end of Unicode inside of a cell
        ('a,b\n1,"say \\"yes\\", twice"\n', ['a: 1; b: say "yes", twice']),
        ("a,b\n1,one\u2028two\n", ["a: 1; b: one two"]),
    ],
)  # fmt: skip
def test_csv_of_tools(tmp_path: Path, text: str, quotes: list[str]) -> None:
    loaded = load(written(tmp_path, "a.csv", text))
    assert [quote for passage in said(loaded) for quote in passage] == quotes


def test_a_ruled_table_of_a_pdf_has_its_title_its_spans_and_no_glued_words(tmp_path: Path) -> None:
    boxes = ((72, 700, 300, 20), (72, 660, 100, 40), (172, 680, 200, 20), (172, 660, 100, 20), (272, 660, 100, 20),
             (72, 620, 100, 40), (172, 620, 100, 40), (272, 620, 100, 40))  # fmt: skip
    grid = " ".join(f"{x} {y} {wide} {high} re S" for x, y, wide, high in boxes)
    cells = [
        (76, 706, 10, "Fees of the year"), (76, 676, 10, "Zone"), (176, 686, 10, "Fee"), (176, 666, 10, "Adults"),
        (276, 666, 10, "Children"),
        # written from column to column, two lines in each
        (76, 646, 10, "North"), (76, 630, 10, "East"), (176, 646, 10, "4"), (176, 630, 10, "5"),
        (276, 646, 10, "2"), (276, 630, 10, "3"),
    ]  # fmt: skip
    assert said(load(written(tmp_path, "a.pdf", pdf(*cells, drawn=grid)))) == [
        ["Fees of the year", "Zone: North East; Fee Adults: 4 5; Fee Children: 2 3"]
    ]


def test_a_box_around_the_text_of_a_pdf_is_no_table(tmp_path: Path) -> None:
    grid = "72 600 300 60 re S 372 600 40 60 re S 72 540 300 60 re S 372 540 40 60 re S"
    lines = [(76, 644, 12, "You need:"), (76, 630, 12, "\\225 a badge"), (76, 616, 12, "\\225 a key"),
             (76, 584, 12, "Both are given out at the gate.")]  # fmt: skip
    assert load(written(tmp_path, "a.pdf", pdf(*lines, drawn=grid))).text.split("\n\n") == [
        "You need:", "- a badge", "- a key", "Both are given out at the gate.",
    ]  # fmt: skip


def test_what_is_written_upwards_in_a_margin_is_no_part_of_the_lines_beside_it(tmp_path: Path) -> None:
    lines = [(72, 720, 12, "A device is given back"), (72, 706, 12, "within fourteen days.")]
    stamp = "BT /F1 20 Tf 0 1 -1 0 30 500 Tm (arXiv:2103.15348v2 of June) Tj ET"
    content = pdf(lines[0], (72, 706, 12, f") Tj ET {stamp} BT /F1 12 Tf 72 706 Td (within fourteen days."))
    assert load(written(tmp_path, "a.pdf", content)).text.split("\n\n") == [
        "A device is given back within fourteen days.", "arXiv:2103.15348v2 of June",
    ]  # fmt: skip


def test_of_a_page_that_says_what_it_is_about_only_that_is_read(tmp_path: Path) -> None:
    page = (
        "<a href=#main>Skip to the text</a><header>Our shop</header><div role=navigation>Home Shop</div>"
        "<main id=main><h1>Returns<a href=#returns>¶</a></h1><div role=search>Search</div>"
        "<p>Within 30 days<sup><a href=#note-1>[1]</a></sup>, as <a href=#law>the law</a> says.</p></main>"
        "<footer>Imprint</footer>"
    )
    loaded = load(written(tmp_path, "a.html", page))
    assert loaded.text == "# Returns\n\nWithin 30 days, as the law says."
    two = load(written(tmp_path, "a.html", "<p>Before.</p><main>One.</main><main>Two.</main>"))
    assert two.text == "Before.\n\nOne.\n\nTwo."
