"""A folder on a disk or in object storage, through `pyarrow.fs`: read by ranges, written by whole files, atomically."""

import os
import uuid
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sluicegate.batch.files.arrow import file_systems
from sluicegate.errors import RunError, UnwritableError

__all__ = ["Folder", "InputFile", "input_files"]

SUFFIXES = (".jsonl", ".ndjson", ".csv", ".parquet")
"""Of the files that a batch reads."""


class InputFile:
    """A file of rows, at a path or a URI such as ``s3://bucket/rows.jsonl``."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._system, self._path = _system(uri)

    @property
    def kind(self) -> str:
        """How its name ends."""
        return next((suffix for suffix in SUFFIXES if self._path.lower().endswith(suffix)), "")

    def open(self) -> Any:
        """A `pyarrow.NativeFile` that can be read at any place. Raises `RunError` SG607."""
        with _explained(self.uri):
            return self._system.open_input_file(self._path)


class Folder:
    """Where a batch writes. Raises `RunError` SG607 when it cannot be read or written."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._system, self._root = _system(uri)
        self._local = _is_local(self._system)

    def path(self, name: str) -> Path | None:
        """Of a file of it, where it is on a disk."""
        return Path(self._root) / name if self._local else None

    def read(self, name: str) -> bytes | None:
        """The content of a file; None where there is none."""
        with _explained(f"{self.uri}/{name}"):
            try:
                with self._system.open_input_file(f"{self._root}/{name}") as file:
                    return file.read()
            except FileNotFoundError:
                return None

    def open(self, name: str) -> Any:
        """As `InputFile.open`."""
        with _explained(f"{self.uri}/{name}"):
            return self._system.open_input_file(f"{self._root}/{name}")

    def write(self, name: str, content: bytes) -> None:
        """Write a file whole, or not at all: whoever reads sees the old content or the new."""
        with _explained(f"{self.uri}/{name}"):
            target = f"{self._root}/{name}"
            if not self._local:
                # an upload is seen when it is complete
                with self._system.open_output_stream(target) as file:
                    file.write(content)
                return
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            beside = Path(f"{target}.{uuid.uuid4().hex[:8]}.part")
            try:
                with beside.open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                beside.replace(target)
            except BaseException:
                beside.unlink(missing_ok=True)
                raise

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with _explained(f"{self.uri}/{name}"), suppress(FileNotFoundError):
            self._system.delete_file(f"{self._root}/{name}")

    def names(self, within: str) -> list[str]:
        """The names of the Parquet files of a folder in it, sorted."""
        with _explained(f"{self.uri}/{within}"):
            found = self._system.get_file_info(
                file_systems().FileSelector(f"{self._root}/{within}", allow_not_found=True)
            )
        return sorted(one.base_name for one in found if one.base_name.endswith(".parquet"))


def input_files(uri: str) -> list[InputFile]:
    """The file, or the files of a folder in the order of their names. Raises `RunError` SG601 when there are none."""
    kinds = file_systems().FileType
    system, path = _system(uri)
    with _explained(uri):
        about = system.get_file_info(path)
        if about.type == kinds.File:
            found = [uri]
        elif about.type == kinds.Directory:
            inside = system.get_file_info(file_systems().FileSelector(path))
            names = (one.base_name for one in inside if one.type == kinds.File)
            found = [f"{uri.rstrip('/')}/{name}" for name in sorted(names) if name.lower().endswith(SUFFIXES)]
        else:
            found = []
    files = [InputFile(one) for one in found]
    if not files or not all(one.kind for one in files):
        raise RunError(
            "SG601", f"no rows at {uri}", hint=f"Name a file, or a folder of files, of {', '.join(SUFFIXES)}"
        )
    return files


def _system(uri: str) -> tuple[Any, str]:
    """The file system of a URI or a path, and the path in it. Raises `RunError` SG601."""
    if "://" not in uri:
        return file_systems().LocalFileSystem(), str(Path(uri).absolute())
    try:
        system, path = file_systems().FileSystem.from_uri(uri)
    except (ValueError, OSError) as error:
        hint = "Give a path, or a URI such as s3://bucket/folder"
        raise RunError("SG601", f"cannot use {uri}: {error}", hint=hint) from error
    return system, path.rstrip("/")


def _is_local(system: Any) -> bool:
    return isinstance(system, file_systems().LocalFileSystem)


@contextmanager
def _explained(what: str) -> Generator[None]:
    try:
        yield
    except OSError as error:
        hint = "Check that it exists, that its permissions allow it, and that there is space"
        raise UnwritableError(f"cannot read or write {what}: {error}", hint=hint) from error
