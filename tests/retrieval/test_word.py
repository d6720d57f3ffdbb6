"""What Word writes in forms of its own is read as its words: equations, boxes that are ticked, code, first letters."""

from pathlib import Path

import pytest

from sluicegate.retrieval.loaders import load
from tests.support.documents import docx, said, written

MATH = 'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"'
FORMS = 'xmlns:w14="http://schemas.microsoft.com/office/word/2010/wordml"'


def m(kind: str, *inside: str) -> str:
    return f"<m:{kind}>{''.join(inside)}</m:{kind}>"


def r(text: str) -> str:
    return m("r", m("t", text))


def paragraph(*inside: str, font: str = "", frame: str = "") -> str:
    fonts = f'<w:rPr><w:rFonts w:ascii="{font}"/></w:rPr>' if font else ""
    runs = (
        one if one.startswith("<") else f'<w:r>{fonts}<w:t xml:space="preserve">{one}</w:t></w:r>' for one in inside
    )
    return f"<w:p>{f'<w:pPr>{frame}</w:pPr>' if frame else ''}{''.join(runs)}</w:p>"


@pytest.mark.parametrize(
    ("equation", "text"),
    [
        (m("sSup", m("e", r("r")), m("sup", r("2"))), "r^2"),
        (m("sSub", m("e", r("a")), m("sub", r("n+1"))), "a_(n+1)"),
        (m("f", m("num", r("a+b")), m("den", r("2"))), "(a+b)/2"),
        (m("rad", m("deg"), m("e", r("b-c"))), "√(b-c)"),
        (m("d", m("e", r("x")), m("e", r("y"))), "(x|y)"),
        (m("d", m("dPr", '<m:begChr m:val="["/><m:endChr m:val=""/>'), m("e", r("x"))), "[x"),
        (m("nary", m("naryPr", '<m:chr m:val="∑"/>'), m("sub", r("n=1")), m("sup", r("∞")), m("e", r("n"))),
         "∑_(n=1)^∞ n"),
        (m("func", m("fName", r("log")), m("e", r("xy"))), "log(xy)"),
        (m("m", m("mr", m("e", r("1")), m("e", r("0"))), m("mr", m("e", r("0")), m("e", r("1")))), "1, 0; 0, 1"),
    ],
)  # fmt: skip
def test_an_equation_is_part_of_its_sentence(tmp_path: Path, equation: str, text: str) -> None:
    inline = f"<m:oMath {MATH}>{equation}</m:oMath>"
    loaded = load(written(tmp_path, "a.docx", docx(paragraph("It is ", inline, " at most."))))
    assert loaded.text == f"It is {text} at most."
    alone = load(
        written(tmp_path, "a.docx", docx("So:", paragraph(f"<m:oMathPara {MATH}>{inline}{inline}</m:oMathPara>")))
    )
    assert alone.text.split() == f"So: {text} {text}".split()


def test_a_box_is_ticked_or_not(tmp_path: Path) -> None:
    def box(ticked: int) -> str:
        return (
            f'<w:sdt><w:sdtPr><w14:checkbox {FORMS}><w14:checked w14:val="{ticked}"/></w14:checkbox></w:sdtPr>'
            "<w:sdtContent><w:r><w:t>x</w:t></w:r></w:sdtContent></w:sdt>"
        )

    loaded = load(written(tmp_path, "a.docx", docx(paragraph(box(1), "Tea"), paragraph(box(0), "Milk"))))
    assert said(loaded) == [["☑ Tea", "☐ Milk"]]
    box_of = "<input type=checkbox"
    page = f"<ul><li>{box_of} checked disabled> Tea<li>{box_of} disabled> Milk</ul>{box_of}>"
    assert said(load(written(tmp_path, "a.html", page))) == [["☑ Tea", "☐ Milk"]]


def test_paragraphs_in_letters_of_one_width_are_code(tmp_path: Path) -> None:
    code = [paragraph(line, font="Courier New") for line in ("def restart(unit):", "    stop(unit)")]
    loaded = load(written(tmp_path, "a.docx", docx("Do it so:", *code, "Then wait.", paragraph("Or ", "ask."))))
    assert said(loaded) == [["Do it so:\n\n```\ndef restart(unit):\n    stop(unit)\n```", "Then wait.", "Or ask."]]
    memo = load(written(tmp_path, "a.docx", docx(*(paragraph(line, font="Courier New") for line in ("One.", "Two.")))))
    assert said(memo) == [["One.", "Two."]]


def test_a_first_letter_that_is_set_apart_belongs_to_its_word(tmp_path: Path) -> None:
    large = paragraph("K", frame='<w:framePr w:dropCap="drop" w:lines="3"/>')
    aside = paragraph("Note", frame='<w:framePr w:w="200"/>')
    loaded = load(written(tmp_path, "a.docx", docx(large, "eys are given back.", aside, "Badges are not.")))
    assert loaded.text.split("\n\n") == ["Keys are given back.", "Note", "Badges are not."]
