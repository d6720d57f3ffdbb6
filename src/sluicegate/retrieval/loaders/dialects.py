"""Markdown as documentation sites write it, into CommonMark with tables.

What the extensions of a site mark is prose to a reader, and code or noise to a CommonMark parser: boxes and tabs whose
text is indented (Python-Markdown, MkDocs), `:::` containers (Docusaurus, VitePress, Pandoc), directives (MyST), alerts
(GitHub), definition lists, footnotes, ids of headings, shortcodes (Hugo), tags (Liquid), and HTML.
"""

import html
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from sluicegate.retrieval.loaders.markup import markdown, parsed
from sluicegate.segmentation import CODE_SPAN

__all__ = ["commonmark"]

_FENCE = re.compile(r"[ \t>]*(?:(?:[-*+]|\d+[.)])[ \t]+)?(`{3,}|~{3,})(.*)")
_BOX = re.compile(
    r'(?:(?:!!!|\?\?\?\+?)[ \t]+[\w-]+(?:[ \t]+[\w-]+)*|===[!+]?(?=[ \t]+"))(?:[ \t]+"(?P<title>.*)")?[ \t]*'
)
_KIND = re.compile(r"(?:\{[^{}]*\}|[\w-]+)?[ \t]*")
_DIRECTIVES = re.compile(
    r"\{(?:admonition|attention|caution|danger|deprecated|dropdown|error|hint|important|note|seealso|sidebar|tip|topic"
    r"|versionadded|versionchanged|warning)\}"
)
_ALERT = re.compile(r"([ \t]*(?:>[ \t]*)+)\[!\w+(?:[ \t][^\]]*)?\][+-]?[ \t]*(.*)")
_INSERTED = re.compile(
    r"\[!(?:code|div|include|notebook|video)\b[^\[\]]*(?:\[[^\[\]]*\]\([^()\[\]]*\)[ \t]*)?\]", re.IGNORECASE
)
"""Where DocFX inserts something."""
_SETTINGS = re.compile(r"(?:[\w-]+=(?:\"[^\"]*\"|[^\s\"]+)(?:\s+|$))+")
_PROGRAM = re.compile(r"import\s.*\sfrom\s+(['\"]).+\1;?|import\s+(['\"]).+\2;?|export\s+const\s.*;")
"""A line of MDX that is no text."""
_LONGEST_PROGRAM = 1_000
_UNREAD = frozenset("{[ie")
"""How what `_is_unread` finds begins."""
_CONTENTS = re.compile(r"\[\[?_?TOC_?\]?\]", re.IGNORECASE)
_TO_HEADING = re.compile(r"\s*(?:[-*+]|\d+[.)])[ \t]+\[.*\]\(#[^()]*\)\s*")
_CODE_TAG = re.compile(
    r"\{%-?\s*(?P<liquid>code\w*|highlight|prism)\b\s*(?P<one>[\w+#-]*).*%\}"
    r"|\{\{[<%]\s*(?P<hugo>code[\w-]*|highlight)\b\s*(?P<other>[\w+#-]+(?![\w+#=-]))?(?!.*/[>%]\}\}).*[>%]\}\}"
)
_LONGEST_TAG = 100
"""Lines."""
_MARKUP = re.compile(r"</?[a-z][\w.-]*[\s/>]", re.IGNORECASE)
_NOTE = re.compile(r"\[\^([^\]\s]+)\]:[ \t]*(.*)")
_REFERENCE = re.compile(r"\[\^([^\[\]\s]+)\]")
_DEFINITION = re.compile(r"[:~][ \t]+(\S.*)")
_NO_TERM = re.compile(r"[-*+>|#]|\d+[.)][ \t]")
_LONGEST_TERM = 100
_IDS = re.compile(r"\{:?[ \t]*[#.][^{}]*\}")
_ATTRIBUTES = re.compile(r"\{:[^{}]*\}")
_COMMENT = re.compile(r"<!--(?:(?!-->|<!--).)*-->|\{/\*(?:(?!\*/|\{/\*).)*\*/\}")
_TEMPLATE = re.compile(r"\{\{[<%](?:(?!\{\{).)*?[%>]\}\}|\{%(?:(?!\{%).)*?%\}")
_ARGUMENT = re.compile(r"\"([^\"]*)\"|'([^']*)'")
_ESCAPED = re.compile(r"\\([$%&'\"/:;,@=?^])")
"""What needs no escape: it means nothing in Markdown."""
_ENTITY = re.compile(r"&(?:#\d{1,7}|#x[0-9a-f]{1,6}|[a-z][a-z0-9]{1,30});", re.IGNORECASE)
_ELEMENT = re.compile(r"^ {0,3}<(table|ul|ol|dl|pre|script|style|svg|iframe|template)\b", re.IGNORECASE | re.MULTILINE)
"""One that Markdown has a form for, or that nobody reads."""
_TAGS = re.compile(r"^[ \t]*(?:</?[a-z][\w.-]*(?:\s[^<>]*)?/?>[ \t]*)+$", re.IGNORECASE | re.MULTILINE)


def commonmark(text: str) -> str:
    """The same words in CommonMark with tables; blocks of code stay as they are."""
    return _Lines(text.split("\n")).read()


@dataclass(slots=True)
class _Lines:
    lines: list[str]
    made: list[str] = field(default_factory=list[str])
    prose: list[str] = field(default_factory=list[str])
    """Lines since the last block of code, in which HTML is still to be read."""
    boxes: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    """Of each open box the least column of its text; of a directive its fence."""
    notes: set[str] = field(default_factory=set[str])
    """Names of footnotes."""
    fence: str = ""
    framed: int = 0
    """How many boxes are open around the fence."""
    tag: re.Pattern[str] | None = None
    """What ends the code that a tag has begun."""
    unclosed: set[str] = field(default_factory=set[str])
    """What would end code that a tag has begun, and is not there."""
    until: int = -1
    """The last line of a tag over several lines."""
    markup: bool = False
    """Whether an indented tag belongs to the HTML above it."""
    term: str = ""
    """Of the definition list that is being read."""

    def read(self) -> str:
        self._drop_contents()
        self.notes = {found[1] for line in self.lines if (found := _NOTE.match(line.lstrip()))}
        for number, line in enumerate(self.lines):
            self._line(number, line)
        self._end_prose()
        return "\n".join(self.made)

    def _line(self, number: int, line: str) -> None:
        column = _column(line)
        if number <= self.until or ((self.tag or "{" in line) and self._coded(number, line)):
            return
        if self.fence and line.strip() and self.framed and column < self.boxes[self.framed - 1][0]:
            # code does not go on beyond its box
            self.made.append(self.fence)
            self.fence = ""
        while not self.fence and line.strip() and self.boxes and column < self.boxes[-1][0]:
            self.boxes.pop()
            self._say("")
        if shift := sum(4 for least, _ in self.boxes if least):
            line = " " * max(0, column - shift) + line.lstrip()
        fence = _FENCE.fullmatch(line)
        closing = fence[1] if fence and not fence[2].strip() else ""
        if self.fence:
            self.made.append(line)
            if closing.startswith(self.fence):
                self.fence = ""
        elif closing and self.boxes and closing == self.boxes[-1][1]:
            self.boxes.pop()
            self._say("")
        elif fence and (kind := _DIRECTIVES.match(fence[2].strip())):
            self.boxes.append((0, fence[1]))
            self._lead(_space(line), fence[2].strip()[kind.end() :])
        elif fence:
            self._end_prose()
            self.fence, self.framed = fence[1], len(self.boxes)
            self.made.append(line)
        elif "{" in line and (until := self._end_of_tag(number, line.strip())) > 0:
            self.until = until
        else:
            self._prose(number, line, column)

    def _coded(self, number: int, line: str) -> bool:
        """Whether the line is code between two tags of a template language, or one of these."""
        if self.tag:
            ends = self.tag.fullmatch(line.strip())
            self.made.append(self.fence if ends else line)
            if ends:
                self.tag, self.fence = None, ""
            return True
        bare = line.strip() if "{" in line and not self.fence else ""
        if not bare.startswith("{") or not (begins := _CODE_TAG.fullmatch(bare)):
            return False
        liquid, hugo = begins["liquid"], begins["hugo"]
        ends = re.compile(rf"\{{%-?\s*end{liquid}\s*-?%\}}" if liquid else rf"\{{\{{[<%]\s*/\s*{hugo}\s*[>%]\}}\}}")
        below = range(number + 1, len(self.lines)) if ends.pattern not in self.unclosed else ()
        last = next((at for at in below if ends.fullmatch(self.lines[at].strip())), 0)
        if not last:
            self.unclosed.add(ends.pattern)
            return False
        self._end_prose()
        self.tag = ends
        self.fence = "````" if any("```" in self.lines[at] for at in range(number + 1, last)) else "```"
        self.made += ["", f"{self.fence}{begins['one'] or begins['other'] or ''}"]
        return True

    def _end_of_tag(self, number: int, bare: str) -> int:
        """Where a tag of a template language ends that begins the line and goes on below it; below zero without one."""
        closing = {"{{": "}}", "{%": "%}"}.get(bare[:2], "")
        if not closing or closing in bare:
            return -1
        below = range(number + 1, min(number + _LONGEST_TAG, len(self.lines)))
        return next((at for at in below if self.lines[at].rstrip().endswith(closing)), -1)

    def _drop_contents(self) -> None:
        """Leave out lists of nothing but links to headings."""
        start = 0
        for at in range(len(self.lines) + 1):
            if at < len(self.lines) and "](#" in self.lines[at] and _TO_HEADING.fullmatch(self.lines[at]):
                continue
            if at - start < 2:
                start = at + 1
                continue
            around = [*self.lines[max(0, start - 1) : start], *self.lines[at : at + 1]]
            alone = all(not line.strip() or line.startswith("<!--") for line in around)
            if alone:
                self.lines[start:at] = [""] * (at - start)
            start = at + 1

    def _prose(self, number: int, line: str, column: int) -> None:
        bare, space = line.strip(), _space(line)
        term, self.term = self.term, ""
        within = column - column % 4 + 4
        if (box := _BOX.fullmatch(bare)) and self._has_text_below(number, within):
            self.boxes.append((within, ""))
            self._lead(space, box["title"] or "")
        elif bare.startswith(":::"):
            title = bare.strip(": \t")
            title = title[kind.end() :] if (kind := _KIND.match(title)) else title
            title = "" if _SETTINGS.fullmatch(title) else title
            self._lead(space, title[1:-1] if title[:1] == "[" and title[-1:] == "]" else title)
        elif alert := _ALERT.fullmatch(line):
            self._say(f"{alert[1]}{_leading(alert[2])}", alert[1])
        elif note := _NOTE.fullmatch(bare):
            if self._has_text_below(number, within):
                self.boxes.append((within, ""))
            self._say("", space + self._inline(note[2]))
        elif (definition := _DEFINITION.fullmatch(bare)) and (term := term or self._term()):
            self.term = term
            self._say(f"{space}- {term}: {self._inline(definition[1])}")
        else:
            # further definitions may follow it
            self.term = term if column or not bare else ""
            if column < 4 and bare:
                self.markup = bare[0] == "<" and bool(_MARKUP.match(bare))
            if self.markup and column >= 4 and bare.startswith("<"):
                line = bare
            if bare.startswith("{:toc") and self.prose and len(self.prose[-1].split()) == 2:
                self.prose.pop()
            self._say("" if bare[:1] in _UNREAD and _is_unread(bare) else self._inline(line))

    def _say(self, *lines: str) -> None:
        for line in lines:
            if line.strip() or not self.prose or self.prose[-1].strip():
                self.prose.append(line)

    def _lead(self, space: str, title: str) -> None:
        self._say("", *([space + _leading(title), ""] if title.strip() else ()))

    def _has_text_below(self, number: int, column: int) -> bool:
        below = (self.lines[at] for at in range(number + 1, len(self.lines)))
        return _column(next((line for line in below if line.strip()), "")) >= column

    def _term(self) -> str:
        """Take the line above, where it can be the term of a definition."""
        at = len(self.prose) - 1
        if at > 0 and not self.prose[at].strip():
            at -= 1
        term = self.prose[at].strip() if at >= 0 else ""
        ends = not term or len(term) > _LONGEST_TERM or term[-1] in ".!?:;,"
        if ends or (at and self.prose[at - 1].strip()) or _NO_TERM.match(term):
            return ""
        del self.prose[at:]
        return term

    def _inline(self, line: str) -> str:
        """The line without what is no word of it, but for its code."""
        bare = line.strip()
        if bare.startswith("#") and bare.endswith("}") and _IDS.fullmatch(bare, bare.rfind("{")):
            line = line[: line.rfind("{")].rstrip()
        if self.notes and "[^" in line:
            line = _outside_code(line, lambda part: _REFERENCE.sub(self._unless_note, part))
        if "[!" in line:
            line = _outside_code(line, lambda part: _INSERTED.sub("", part))
        if "<!--" in line or "{/*" in line:
            line = _outside_code(line, lambda part: _COMMENT.sub("", part))
            line = line.rstrip() if bare.startswith("#") else line
        if "{" in line:
            if re.fullmatch(r"\{\{.*\}\}", bare):
                return ""
            alone = not _TEMPLATE.sub("", bare).strip()
            line = _outside_code(line, lambda part: _TEMPLATE.sub("" if alone else _argument, part))
        if "\\" in line or "&" in line:
            line = _outside_code(line, lambda part: _ENTITY.sub(_letter, _ESCAPED.sub(r"\1", part)))
        # a line end that is to be seen
        return f"{line[:-1]}  " if line.endswith("\\") and not line.endswith("\\\\") else line

    def _unless_note(self, found: re.Match[str]) -> str:
        return "" if found[1] in self.notes else found[0]

    def _end_prose(self) -> None:
        text = "\n".join(self.prose)
        if self.prose:
            self.made += (_without_html(text) if "<" in text else text).split("\n")
        self.prose.clear()


def _is_unread(line: str) -> bool:
    """Whether it is settings, where the contents are inserted, or a program."""
    program = line[:1] in "ie" and len(line) < _LONGEST_PROGRAM and _PROGRAM.fullmatch(line)
    return bool(program or _ATTRIBUTES.fullmatch(line) or _CONTENTS.fullmatch(line))


def _without_html(text: str) -> str:
    """Its elements that Markdown has a form for in that form, no scripts and styles, and no lines of tags alone."""
    made, at = "", 0
    unclosed: set[str] = set()
    for found in _ELEMENT.finditer(text):
        name = found[1].lower()
        if found.start() < at or name in unclosed:
            continue
        if closing := re.compile(rf"</{name}\s*>", re.IGNORECASE).search(text, found.end()):
            made += _TAGS.sub("", text[at : found.start()])
            made += f"\n{markdown(parsed(text[found.start() : closing.end()]))}\n"
            at = closing.end()
        else:
            unclosed.add(name)
    return made + _TAGS.sub("", text[at:])


def _argument(found: re.Match[str]) -> str:
    """What a tag within a sentence most likely stands for: its first argument in quotes."""
    said = _ARGUMENT.search(found[0])
    return (said[1] or said[2] or "") if said else ""


def _letter(found: re.Match[str]) -> str:
    letter = html.unescape(found[0])
    begins = letter == "&" and found.string[found.end() :][:1].strip()
    return found[0] if letter in "<>" or begins else letter


def _outside_code(line: str, changed: Callable[[str], str]) -> str:
    made, at = "", 0
    for span in CODE_SPAN.finditer(line):
        made += changed(line[at : span.start()]) + span[0]
        at = span.end()
    return made + changed(line[at:])


def _space(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _column(line: str) -> int:
    """Where its text begins."""
    return len(_space(line).expandtabs(4))


def _leading(title: str) -> str:
    """A title as the line that leads to its text."""
    said = title.strip()
    return said if not said or said[-1] in ".!?:" else f"{said}:"
