"""One segmentation for passages, quotes, guards and citations: blocks by a parser, sentences in any language."""

from pathlib import Path

import pytest

from sluicegate.segmentation import quotable, segments, sentences
from tests.support import ROOT


def quotes(text: str) -> list[str]:
    return [segment.text for segment in quotable(text)]


@pytest.mark.parametrize(
    "whole",
    [
        "The key must be given back within fourteen days, unless the head of the department has agreed in writing.",
        "Die Gäste zahlen 8,50 Euro, z. B. mit Karte, und das Pfand beträgt u. a. 2 Euro.",
        "M. Dupont rend la clé au bureau, p. ex. le lundi, et signe le registre avant de partir.",
        "La llave se devuelve en la oficina, p. ej. el lunes, y se firma el registro de salida.",
        "Ключ возвращают в офис, т. е. в комнату 12, и расписываются в журнале при выходе из здания.",
        "Klucz zwraca się w biurze, np. w poniedziałek, i podpisuje się rejestr przed wyjściem z budynku.",
    ],
)
@pytest.mark.parametrize("mark", ["", "> ", "  ", "- "])
def test_a_line_end_ends_no_sentence(whole: str, mark: str) -> None:
    words = whole.split(" ")
    for width in (1, 3, 7):
        lines = [" ".join(words[at : at + width]) for at in range(0, len(words), width)]
        # a line that begins with a number and a full stop would be a list
        wrapped = mark + f"\n{mark if mark == '> ' else '  '}".join(lines)
        assert sentences(wrapped) == [whole]
        (only,) = segments(wrapped)
        assert " ".join(wrapped[only.start : only.end].replace("\n> ", "\n").split()) == whole


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Is it on? Yes! See Fig. 3, e.g. at 9 a.m. on Jan. 5. Dr. Lee knows.", 4),
        ("Die Sitzung ist am 3. Mai. Vgl. S. 3, z.B. heute. Gem. § 5 Abs. 2 gilt das. Frau Dipl.-Ing. Weber kommt.", 4),
        ("パスワードを忘れた？ポータルを開きます。「確認。」と表示されます。", 3),
        ("这是对的。你好？是的！“好。”他说。", 4),
        ("هل هذا صحيح؟ نعم. شكرا.", 3),
        ("यह सही है। हाँ।", 2),
        ("读者可保留六本书。20欧元以上须刷卡。", 2),
        ("本は六冊までです。20ユーロを超える料金は窓口で。", 2),
        ("किताबें छह हैं। 20 रुपये लगते हैं।", 2),
        ("책은 여섯 권입니다. 20유로를 냅니다.", 2),
        ("Really? 20 euros! 3 days.", 3),
        ("Das gilt ab dem 3. 20 Plätze sind frei nach Abs. 3 der Ordnung.", 1),
        ("06:15 backup done. 06:45 disk full. 07:40 data back.", 3),
        ("See Sec. 3. and App. B. He agreed. J. R. Smith wrote it. We met Bob. That was all.", 4),
        ("One. [1] Two. [2, 3] [4] Three (5 [6] of them). Four [7]", 4),
    ],
)
def test_sentences_of_many_languages(text: str, parts: int) -> None:
    found = sentences(text)
    assert len(found) == parts, found
    assert "".join(found).replace(" ", "") == text.replace(" ", "")


def test_a_line_end_in_chinese_or_japanese_is_no_space() -> None:
    text = "返品は三十\n日以内に行って\nください。\n領収書が\n> 必要です。\n"
    assert sentences(text) == ["返品は三十日以内に行ってください。", "領収書が", "必要です。"]
    assert [text[one.start : one.end] for one in segments(text)][1] == "領収書が"
    assert sentences("보증금은 십\n유로입니다.") == ["보증금은 십 유로입니다."]


def test_what_is_bold_over_a_sentence_end_leaves_no_half_mark() -> None:
    assert sentences("**Not so. Never** do it. **All of it.**") == ["Not so.", "Never do it.", "**All of it.**"]


def test_a_row_is_quoted_with_its_columns_and_code_stays_whole() -> None:
    table = "| Zone | Fee |\n|---|---|\n| North | 4 euros \\| month |\n| | 7. Not 8. |"
    assert quotes(table) == ["Zone: North; Fee: 4 euros | month", "Fee: 7. Not 8."]
    for row in segments(table):
        assert table[slice(*row.header)] == "| Zone | Fee |\n|---|---|"
    code = "```sh\n# First. Then.\nstop\n\nstart\n```"
    assert sentences(f"# Restart\n\n{code}\n\nWait.") == ["Restart", code, "Wait."]


def test_what_leads_to_code_or_a_list_is_quoted_with_it() -> None:
    code, steps = "```sh\nstop\n```", "1. Stop it.\n   Wait.\n2. Start it:\n\n   ```sh\n   start\n   ```"
    assert quotes(f"One. Run this now.\n\n{code}\n\nWait.") == ["One.", f"Run this now.\n\n{code}", "Wait."]
    assert quotes(f"Do this:\n\n{steps}\n\nDone.") == [f"Do this:\n\n{steps}", "Done."]
    assert quotes("- a badge\n- a key. Or two.") == ["a badge", "a key.", "Or two."]
    # one that is too long to be quoted whole is quoted item by item, and what leads to it not at all
    long = "\n".join(f"- item {number} is a very good one" for number in range(100))
    assert quotes(f"All of these:\n\n{long}")[:2] == ["item 0 is a very good one", "item 1 is a very good one"]


def test_what_goes_on_around_a_list_is_no_quote_of_its_own() -> None:
    assert quotes("Before you ship,\n\n- ask\n- wait\n\nwith PII it counts. Next.\n\nnpm is a tool.") == [
        "Before you ship,\n\n- ask\n- wait", "Next.", "npm is a tool.",
    ]  # fmt: skip
    assert quotes("The line:\n\n```\na\n```\n\nmeans:\n\n- b\n- c\n\nThat is all.") == [
        "The line:\n\n```\na\n```", "b", "c", "That is all.",
    ]  # fmt: skip
    assert quotes("A rule that goes,\n\n# Next\n\n- one,\n- two.") == ["one,", "two."]


def test_no_sentence_ends_within_code() -> None:
    assert sentences("Begin it with `???` or `#!js /* a. B */`, as `it. Is` here. Then go.") == [
        "Begin it with `???` or `#!js /* a. B */`, as `it. Is` here.", "Then go.",
    ]  # fmt: skip


def test_a_number_belongs_to_what_it_numbers() -> None:
    assert sentences("#### 2. People review it. Then (a) they wait.") == ["2. People review it.", "Then (a) they wait."]
    assert sentences("**1. The team:** it meets.") == ["**1. The team:** it meets."]
    assert sentences("Use 1. or 2. as you like. It is 5. Then 6.") == [
        "Use 1. or 2. as you like.",
        "It is 5.",
        "Then 6.",
    ]


def test_pictures_comments_and_tags_are_no_sentences() -> None:
    badges = "[![build](https://x.example/b.svg)](https://x.example) ![logo](a.png)"
    assert sentences(f"{badges}\n\n<!-- a note. -->\n\n<p align='center'>\nPress <kbd>K</kbd>.\n</p>\n\n[1]") == [
        "Press K."
    ]


@pytest.mark.slow
def test_places_point_into_every_document_of_the_repository() -> None:
    pages: list[Path] = [*ROOT.glob("docs/*.md"), *ROOT.glob("configs/**/knowledge/*.md"), ROOT / "README.md"]
    for page in pages:
        text, reached = page.read_text("utf-8"), 0
        for segment in segments(text):
            assert reached <= segment.start < segment.end <= len(text), (page, segment)
            reached = segment.end
            if segment.kind == "sentence":
                words = "".join(text[segment.start : segment.end].replace("\n>", "").split())
                assert words == "".join(segment.text.split()) or "<" in words or "![" in words, (page, segment)
    assert len(pages) > 50
