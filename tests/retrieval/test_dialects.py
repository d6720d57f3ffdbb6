"""What the extensions of documentation sites mark is read as prose, and blocks of code stay as they are."""

import pytest

from sluicegate.retrieval.loaders.dialects import commonmark
from sluicegate.segmentation import quotable
from tests.support import ROOT

CODE = '```python\n:::not a box\n!!! note\n    x = "[^1]"\\\n{% raw %}\n\t<div>\n```'


def quotes(text: str) -> list[str]:
    return [segment.text for segment in quotable(commonmark(text))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            '!!! warning "Mind the gap"\n    Do not step out, unless\n    the light is green.\n\n    Wait.\nAfter it.',
            ["Do not step out, unless the light is green.", "Wait.", "After it."],
        ),
        ("??? note\n    Folded, and\n    wrapped.\n", ["Folded, and wrapped."]),
        ("!!! danger inline end\n\n    Text\n    wrapped.\n", ["Text wrapped."]),
        ("!!! tip\n    One\n    two.\n\n    !!! note\n        Three\n        four.\n", ["One two.", "Three four."]),
        ("- item\n\n    !!! note\n        In an item,\n        wrapped.\n", ["item", "In an item, wrapped."]),
        ("!!! this is no box, for nothing is in it.", ["!!! this is no box, for nothing is in it."]),
        (
            '=== "Linux"\n\n    ```sh\n    apt install x\n    ```\n\n=== "Mac"\n\n    Use\n    brew.\n',
            ["Linux:\n\n```sh\napt install x\n```", "Use brew."],
        ),
        (":::warning Title\nDo not, unless\nyou must.\n:::\nAfter.", ["Do not, unless you must.", "After."]),
        (":::tip[Title]\n\nText.\n\n:::\n", ["Text."]),
        ("::: {.callout-note}\nQuarto's.\n:::\n", ["Quarto's."]),
        (":::: {note} Outer\n:::{tip}\nInner.\n:::\n::::\n", ["Inner."]),
        ("```{note} Title\nA directive, which\ngoes on.\n```\nAfter.", ["A directive, which goes on.", "After."]),
        ("````{tip}\nBefore:\n```sh\nls\n```\n````\n", ["Before:\n```sh\nls\n```"]),
        ("> [!NOTE]\n> Users should\n> know.", ["Users should know."]),
        ("> [!warning]- Look out\n> Its text.", ["Its text."]),
        (
            "Term\n:   Definition one,\n    and on.\n:   Two.\n\nOther term\n\n: Its own.",
            ["Term: Definition one, and on.", "Term: Two.", "Other term: Its own."],
        ),
        ("It opens at 9.\n: odd", ["It opens at 9. : odd"]),
        (
            "A claim.[^1] Next `[^1]` [^2] one.[^big]\n\n[^1]: It is 5 p.m. at\nmost.\n[^big]: Long.\n\n    Longer.\n",
            ["A claim.", "Next `[^1]` [^2] one.", "It is 5 p.m. at most.", "Long.", "Longer."],
        ),
        ("## Heading {#anchor .cls}\n\nText {x} here.\n{: .lead }\n", ["Text {x} here."]),
        ("{{< note >}}\nHugo's `{{< x >}}`.\n{{< /note >}}", ["Hugo's `{{< x >}}`."]),
        ("{% raw %}Liquid's.{% endraw %} `{% raw %}`", ["Liquid's.", "`{% raw %}`"]),
        ('See {% channel "#ops" %} or [it]({{< ref "a.md" >}}).\n', ["See #ops or [it](a.md)."]),
        ("At \\$5 &ndash; \\*not\\* &lt;b&gt; `\\$x &amp;`.", ["At $5 – \\*not\\* &lt;b&gt; `\\$x &amp;`."]),
        (
            "<!-- option x -->\n\n:   <!-- default `true` --> This says whether\n    it is on. See `<!--`.\n",
            [": This says whether it is on. See `<!--`."],
        ),
        ("Run it:\n\n<script>\nvar x = 1\n\nlet y\n</script>\n\nDone.", ["Done."]),
        ("It shows views[^1] here.\n\n  [^1]:\n    That is a note.\n", ["It shows views here.", "That is a note."]),
        ("Log in &amp; out &amp;lt;", ["Log in & out &amp;lt;"]),
        ("One\\\ntwo.", ["One two."]),
        ("<Tabs>\n<TabItem value='a'>\n\nIn a tab.\n\n</TabItem>\n</Tabs>\n", ["In a tab."]),
        (
            "<table>\n<tr><th>Zone<th>Fee\n<tr><td>North<td>4\n\n<tr><td>South<td>5\n</table>\nAfter.",
            ["Zone: North; Fee: 4", "Zone: South; Fee: 5", "After."],
        ),
        ("<ul>\n<li>one <b>x</b>\n<li>two\n</ul>\n", ["one x", "two"]),
        ("Give `<ul>` here.\n\n<ul>\nno end", ["Give `<ul>` here.", "no end"]),
        # code between tags
        ("{% highlight ruby linenos %}\nputs 1\n\nputs 2\n{% endhighlight %}", ["```ruby\nputs 1\n\nputs 2\n```"]),
        ('{{< code-toggle file="a" >}}\na = 1\n```\n{{< /code-toggle >}}', ["````\na = 1\n```\n````"]),
        ("Give {% highlight %} here.\n\n{% highlight x %}\nno end", ["Give here.", "no end"]),
        # calls of templates, over several lines too
        ('{{ table({\n  rows: [ {text: "a"} ]\n}) }}\n\n{{ page.note }}\nIt is {{ price }} euros.',
         ["It is {{ price }} euros."]),
        ('{%- call card({\n  src: "x"\n}) %}\nEvery month we meet.\n{%- endcall %}', ["Every month we meet."]),
        ("{{ no end of it\nAnd text.", ["{{ no end of it And text."]),
        # DocFX
        ("[!INCLUDE [x](../x.md)]\nText [!INCLUDE[y](y.md)] here.", ["Text here."]),
        ('> [!div class="next"]\n> Next step.\n\n[!VIDEO https://x.org/v]', ["Next step."]),
        (':::image type="content" source="a.png" alt-text="A page.":::\n\n:::row:::\nText.\n:::row-end:::', ["Text."]),
        # MDX
        ("import Tabs from '@theme/Tabs';\nexport const a = 1;\n\nImport taxes from 'a' apply.",
         ["Import taxes from 'a' apply."]),
        ("Text{/* not read */}.\n\n<div className='grid'>\n  <a href='x'>\n\n      <p>Of a card.</p>\n  </a>\n</div>",
         ["Text.", "Of a card."]),
        # contents
        ("[[_TOC_]]\n\n* TOC\n{:toc}\n\n<!-- x -->\n- [A](#a)\n  - [B `x`](#b)\n<!-- -->\n\nSee:\n\n- [A](#a)\n- else",
         ["See:\n\n- [A](#a)\n- else"]),
        # a fence that is left open in a box
        ('=== "A"\n\n    ```sh\n    ls\n\n=== "B"\n\n    Text.\n', ["A:\n\n```sh\nls\n\n```", "Text."]),
        # a picture is no exclamation
        ("See it. ![A red cat](a.png) It is red.\n\n![Alone](b.png)", ["See it.", "It is red."]),
    ],
)  # fmt: skip
def test_what_sites_mark_is_prose(text: str, expected: list[str]) -> None:
    assert quotes(text) == expected


def test_code_and_plain_markdown_stay_as_they_are() -> None:
    for text in (
        CODE,
        f"~~~\n{CODE}\n~~~",
        "a\n\n- b\n\n\tc\n",
        "no end:\n```\n:::\n{% x %}",
        "# A #\n\n1. b\n   ```\n\t:::\n   ```",
    ):
        assert commonmark(text) == text
    inside = commonmark("!!! note\n    Look:\n\n" + "\n".join(f"    {line}" for line in CODE.split("\n")))
    assert CODE.replace("\t", "    ") in inside.replace("\t", "    ")


@pytest.mark.slow
def test_every_document_of_the_repository_is_read_the_same() -> None:
    pages = [*ROOT.glob("docs/*.md"), *ROOT.glob("configs/**/knowledge/*.md")]
    assert len(pages) > 50
    for page in pages:
        text = page.read_text("utf-8")
        assert quotes(text) == [segment.text for segment in quotable(text)], page


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "`",
        "`a ",
        "{% ",
        "{{< ",
        "<table>\n",
        "<a ",
        "<a>\n",
        "!!! note\n    x\n",
        ":",
        "T\n: d\n\n",
        "[^1]",
        "```\n",
        "<",
        ">",
        "{/*",
        "[!include ",
        "{% highlight x %}\n",
        "{{\n",
        "- [a](#a)\n",
        "](#",
    ],
)
def test_a_long_line_of_anything_is_read_in_time(text: str) -> None:
    # what takes the square of the length would not end
    assert isinstance(commonmark(f"[^1]: x\n{text * 50_000}"), str)
    assert isinstance(commonmark(f":::image {'a=' * 50_000}{text * 9}\nimport {text * 50_000} from 'a"), str)
    assert isinstance(commonmark(":::" + " " * 50_000 + f"{text}# {' ' * 50_000}{{!!! {'a ' * 50_000}!"), str)
