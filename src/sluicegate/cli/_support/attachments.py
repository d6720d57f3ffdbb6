"""The option `--attach`: tables that go with a request."""

import errno
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from sluicegate.errors import RunError
from sluicegate.files import read_bounded

if TYPE_CHECKING:
    from sluicegate.state import Attachment

__all__ = ["Attach", "attachments_in", "files_in"]

Attach: TypeAlias = Annotated[
    list[Path] | None, typer.Option(metavar="FILE", help="A table as CSV that goes with the request (repeatable).")
]


def files_in(given: list[Path] | None) -> dict[str, str | bytes]:
    """The files, by their names. Raises `RunError` SG602 for one that is too large, SG638 for one that is no file."""
    from sluicegate.graphs.runtime.intake import MAX_BYTES

    found: dict[str, str | bytes] = {}
    for path in given or ():
        if path.name in found:
            raise RunError("SG638", f"two attachments are named {path.name}", hint="Rename one of them")
        try:
            found[path.name] = read_bounded(path, MAX_BYTES)
        except FileNotFoundError as error:
            raise RunError("SG638", f"no file {path}", hint="Give the path of a CSV file") from error
        except OSError as error:
            code = "SG602" if error.errno == errno.EFBIG else "SG638"
            raise RunError(code, f"cannot read {path}: {error.strerror}", hint="Give a CSV file") from error
    return found


def attachments_in(given: list[Path] | None) -> "list[Attachment]":
    """The tables of the files. Raises `RunError` SG602, SG638."""
    from sluicegate.graphs.runtime.intake import attached

    return attached(files_in(given))
