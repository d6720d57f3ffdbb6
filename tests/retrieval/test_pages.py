"""Lines of pages become paragraphs, headings and rows as a reader sees them, without what a page has around them."""

from dataclasses import replace
from pathlib import Path

import pytest

from sluicegate.retrieval.loaders import load
from sluicegate.retrieval.loaders.layout import Page, PageLine, markdown
from tests.support.documents import pdf, said, written


def page(*lines: str) -> Page:
    """Lines from top to bottom, some 500 points wide."""
    return [
        PageLine((line,), ((72.0, 72.0 + 6 * len(line)),), 700.0 - 14 * at, 712.0 - 14 * at, 12.0, code=False)
        for at, line in enumerate(lines)
    ]


def test_the_number_of_a_page_is_no_text_whatever_stands_beside_it() -> None:
    bodies = ["Keys are given back on day 5."], ["Gates are shut.", "Ask at 6."], ["So are doors."], ["Badges are not."]
    titles = "Keys", "Doors and keys", "Badges", "Gates"
    pages = [page(f"{at + 5} {title}", *body) for at, (title, body) in enumerate(zip(titles, bodies, strict=True))]
    assert markdown(pages).split("\n\n") == [" ".join(body) for body in bodies]
    alone = [page("Keys are given back", "after 2 days.", "- 1 -"), page("Badges are not.", "2")]
    assert markdown(alone).split("\n\n") == ["Keys are given back after 2 days.", "Badges are not."]
    figures = page("Badges", "12")
    assert markdown([figures]) == "Badges 12"


def test_contents_are_no_text() -> None:
    contents = page("Contents", "1 Keys 2", "1.1 Doors . . . . . . . . 2", "1.2 Gates ........ 3", "2 Badges ...... 4")
    prices = page("Tea ........ 3", "Coffee ........ 2", "Cake ........ 4")
    body = [page("Keys are given back."), page("Badges are not."), page("Nor are gates.")]
    assert markdown([contents, *body]).split("\n\n")[0] == "Contents"
    assert "........" not in markdown([contents, *body])
    assert "Coffee ........ 2" in markdown([prices, *body])
    assert "Gates ........ 3" in markdown([contents])


@pytest.mark.parametrize(
    ("first", "second", "text"),
    [
        ("Printed in Schwarz-", "Weiß only.", "Printed in Schwarz-Weiß only."),
        ("See rule 2023-", "0379 of it.", "See rule 2023-0379 of it."),
        ("Haupt-", "und Nebentür sind offen.", "Haupt- und Nebentür sind offen."),
        ("The well-", "known way.", "The wellknown way."),
        ("From 8 -", "or later.", "From 8 - or later."),
    ],
)
def test_a_hyphen_at_the_end_of_a_line(first: str, second: str, text: str) -> None:
    assert markdown([page(first, second)]) == text


def test_bold_lines_are_headings_and_bold_words_are_not(tmp_path: Path) -> None:
    lines = [
        (72, 720, -12, "1. Opening of the doors"), (72, 706, 12, "The doors are opened at eight in the morning of"),
        (72, 692, 12, "each day but Sunday, by whoever of the front"),
        (72, 678, 12, "desk is there first, and closed at six"),
        (72, 664, 12, "in the evening by the last."),
        (72, 636, -12, "Nobody may enter the server room without a"), (72, 622, 12, "badge, even in case of fire."),
        (72, 594, -12, "Call the front desk at once."), (72, 566, -12, "Badges"), (72, 552, 12, "Ask for one."),
    ]  # fmt: skip
    assert load(written(tmp_path, "a.pdf", pdf(*lines))).text.split("\n\n") == [
        "## 1. Opening of the doors",
        (
            "The doors are opened at eight in the morning of each day but Sunday, by whoever of the front desk is "
            "there first, and closed at six in the evening by the last."
        ),
        "Nobody may enter the server room without a badge, even in case of fire.",
        "Call the front desk at once.",
        "## Badges",
        "Ask for one.",
    ]


def test_a_cell_that_is_wrapped_belongs_to_its_row_without_rules(tmp_path: Path) -> None:
    rows = (("Kind", "What counts"), ("Shop", "Food, tools,"), ("", "books"), ("Fuel", "Every station"),
            ("Web", "Any,"), ("", "but no"), ("", "auctions"))  # fmt: skip
    cells = [
        (x, 700 - 14 * y, 12, text)
        for y, row in enumerate(rows)
        for x, text in zip((72, 200), row, strict=True)
        if text
    ]
    assert said(load(written(tmp_path, "a.pdf", pdf(*cells, (72, 580, 12, "Cash is never taken."))))) == [
        [
            "Kind: Shop; What counts: Food, tools, books",
            "Kind: Fuel; What counts: Every station",
            "Kind: Web; What counts: Any, but no auctions",
            "Cash is never taken.",
        ]
    ]


def test_marks_of_lists_in_the_fonts_of_office_programs() -> None:
    lines = page("You need:", "\uf0fc a badge", "➤ a key", "\uf076 a lamp")
    assert markdown([lines]).split("\n\n") == ["You need:", "- a badge", "- a key", "- a lamp"]
    edges = ((72.0, 76.0), (100.0, 160.0))
    signs = [
        PageLine(("¢", said), edges, 700.0 - 14 * at, 712.0 - 14 * at, 12.0, code=False)
        for at, said in enumerate(("a badge", "a key", "a lamp"))
    ]
    assert markdown([[*signs]]).split("\n\n") == ["- a badge", "- a key", "- a lamp"]


def test_what_is_printed_twice_at_one_place_is_read_once(tmp_path: Path) -> None:
    lines = [(72, 720, 12, "All of it is free."), (72, 720, 12, "All of it is free."), (72, 706, 12, "All of it.")]
    assert load(written(tmp_path, "a.pdf", pdf(*lines))).text == "All of it is free. All of it."


@pytest.mark.slow
def test_a_table_may_be_one_path_and_a_chart_is_none(tmp_path: Path) -> None:
    cells = [(76, 726, 10, "Zone"), (176, 726, 10, "Fee"), (76, 706, 10, "North"), (176, 706, 10, "4 euros")]
    path = (
        " ".join(f"{x} 700 m {x} 740 l" for x in (72, 172, 272))
        + " 72 700 m 272 700 l 72 720 m 272 720 l 72 740 m 272 740 l S"
    )
    # drawn in the middle of the page, and moved there by a matrix
    moved = f"q 1 0 0 1 0 -400 cm {path} Q"
    down = [(x, y - 400, size, text) for x, y, size, text in cells]
    for at, drawing in ((cells, path), (down, moved)):
        loaded = load(written(tmp_path, "a.pdf", pdf(*at, drawn=drawing)))
        assert said(loaded) == [["Zone: North; Fee: 4 euros"]]
    chart = " ".join(
        f"72 {300 + y / 50} m 400 {300 + y / 50} l {72 + y / 50} 300 m {72 + y / 50} 700 l S"
        for y in range(0, 9_999, 3)
    )
    loaded = load(written(tmp_path, "a.pdf", pdf("Of a chart these lines are.", drawn=chart)))
    assert loaded.text == "Of a chart these lines are."


def test_a_page_may_have_more_turned_lines_than_others() -> None:
    turned = [
        replace(line, size=0.0) for line in page("Mark one", "Mark two", "Mark three") if isinstance(line, PageLine)
    ]
    assert markdown([[*page("Read this."), *turned]]).startswith("Read this.")
