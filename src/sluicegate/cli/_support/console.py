"""Output of all commands: one console, one JSON form, one way to show an error.

Results go to standard output, everything else (progress, warnings, errors) to standard error, so that `--json` can be
piped. What is printed may come from anywhere (a file, a requester, a model, a tool), so control characters, which a
terminal obeys, are shown and not sent.
"""

import functools
import json
import logging
import os
import re
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from rich.console import Console
    from rich.progress import Progress
    from rich.segment import Segment
    from rich.text import Text

    from sluicegate.errors import SluicegateError

__all__ = [
    "AsJson",
    "console",
    "counted",
    "emit",
    "fail",
    "notes",
    "progress",
    "show_warnings",
    "write",
]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
"""The type of every command's `--json` option."""


_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""What a terminal obeys or turns around, but for tabs and ends of lines; and halves of pairs, which it cannot take."""


def _visible(text: str) -> str:
    """The text with control characters written as JSON and Python write them, such as ``\\u001b``."""
    return _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _visible_text(text: "Text") -> "Text":
    """As `_visible`, with the styles that the characters had."""
    if not _CONTROL.search(text.plain):
        return text
    found = text.blank_copy(_visible(text.plain))
    for start, end, style in text.spans:
        found.stylize(style, *(len(_visible(text.plain[:at])) for at in (start, end)))
    return found


@functools.cache
def _shown() -> type["Console"]:
    from rich.console import Console
    from rich.segment import Segment
    from rich.text import Text

    class Shown(Console):
        """The one way to the terminal: every text of every renderable comes by here.

        What can be is made visible before it is measured, or a table would crop what grew afterwards.
        """

        def render_str(self, text: str, **options: Any) -> Text:
            return super().render_str(_visible(text), **options)

        def render(self, renderable: Any, options: Any = None) -> "Iterable[Segment]":
            shown = _visible_text(renderable) if isinstance(renderable, Text) else renderable
            for segment in super().render(shown, options):
                if segment.control or not _CONTROL.search(segment.text):
                    yield segment
                else:
                    yield Segment(_visible(segment.text), segment.style)

    return Shown


def console() -> "Console":
    """The console for results."""
    # a pipe gets whole lines: tables cut at 80 columns would lose what a script greps for
    return _shown()(highlight=False, width=None if sys.stdout.isatty() else int(os.environ.get("COLUMNS", "120")))


def notes() -> "Console":
    """The console for progress, warnings and errors."""
    return _shown()(stderr=True, highlight=False)


def emit(value: Any) -> None:
    """Print `value` as one JSON document."""
    write(json.dumps(value, ensure_ascii=False, indent=2, default=str) + "\n")


def write(text: str) -> None:
    """Print a document as it is, but for control characters."""
    sys.stdout.write(_visible(text))


def progress() -> "Progress":
    """A progress bar on standard error; silent when that is not a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    screen = notes()
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=screen,
        disable=not screen.is_terminal,
    )


@contextmanager
def counted(total: int | None) -> "Generator[Callable[[int, int, str], None]]":
    """A progress bar as a callback that takes done, total and a description."""
    with progress() as bar:
        line = bar.add_task("reading", total=total)
        yield lambda done, all_, what: bar.update(line, completed=done, total=all_, description=what)


class _Once(logging.Handler):
    """Shows each warning once."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._seen: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        subject = text.split(": ")[0]
        if subject not in self._seen:
            self._seen.add(subject)
            notes().print(f"note: {text}", style="dim", markup=False, soft_wrap=True)


def show_warnings() -> None:
    """Send the package's warnings to the terminal only: other libraries configure the root logger."""
    log = logging.getLogger("sluicegate")
    log.propagate = False
    log.handlers = [_Once()]


def fail(error: "SluicegateError", *, as_json: bool = False) -> int:
    """Print an error that a user can fix; returns the exit status."""
    from sluicegate.errors import ConfigError

    if as_json:
        said: dict[str, Any] = {"code": error.code, "message": error.message, "hint": error.hint}
        if isinstance(error, ConfigError):
            said["problems"] = [
                {"code": one.code, "message": one.message, "place": str(one.place or ""), "hint": one.hint}
                for one in error.problems
            ]
        emit({"error": said})
        return error.exit_status
    screen = notes()
    if isinstance(error, ConfigError):
        for problem in error.problems:
            screen.print(str(problem), style="red", markup=False, soft_wrap=True)
    else:
        screen.print(f"{error.code} {error.message}", style="red", markup=False, soft_wrap=True)
        if error.hint:
            screen.print(f"  {error.hint}", markup=False, soft_wrap=True)
    return error.exit_status
