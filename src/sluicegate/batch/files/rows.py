"""A block's rows as requests: who asks what. What is wrong with one is its own failure, with a code."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from sluicegate.batch.files.arrow import parquet
from sluicegate.batch.files.folder import InputFile
from sluicegate.batch.files.plan import RowBlock, row_id
from sluicegate.batch.files.records import MAX_RECORD, Raw, TextFile, UnreadableRow, parsed
from sluicegate.errors import RunError
from sluicegate.graphs.runtime import intake
from sluicegate.state import Attachment, Principal

__all__ = ["BlockReader", "InputRow"]


@dataclass(frozen=True, slots=True)
class InputRow:
    """One row of the input."""

    number: int
    id: str
    text: str
    asker: Principal
    attachments: Sequence[Attachment] = ()
    code: str = ""
    """Why it is not a request; empty when it is one."""
    why: str = ""


class _Asker(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: str = ""
    roles: list[str] = []
    groups: list[str] = []
    clearance: intake.Clearance = "internal"


class BlockReader:
    """Reads blocks of the input, in flat memory; quickest in their order."""

    def __init__(self, asker: Principal, id_column: str) -> None:
        """`asker` is whoever a row does not name."""
        self._asker, self._id_column = asker, id_column
        self._texts: dict[str, TextFile] = {}
        self._columns: _ParquetRows | None = None

    def rows(self, block: RowBlock) -> list[InputRow]:
        if InputFile(block.file).kind == ".parquet":
            if self._columns is None or not self._columns.reaches(block):
                self._columns = _ParquetRows(block)
            raws, text = self._columns.rows(block), None
        else:
            text = self._texts.setdefault(block.file, TextFile(InputFile(block.file)))
            raws = text.rows(block.start, block.end)
        return [self._row(raw, text, number) for number, raw in enumerate(raws, start=block.first)]

    def _row(self, raw: Raw, file: TextFile | None, number: int) -> InputRow:
        if raw.content is None:
            what = f"the row has more than {MAX_RECORD:,} bytes"
            return InputRow(number, f"#{number}", "", self._asker, code="SG602", why=what)
        try:
            row = parsed(raw.content, cast("TextFile", file)) if isinstance(raw.content, bytes) else raw.content
        except UnreadableRow as error:
            return InputRow(number, f"#{number}", "", self._asker, code="SG706", why=str(error))
        name, asker = row_id(row, self._id_column, number), self._asker
        try:
            text, asker = _text(row), self._asker_of(row)
            intake.clean(text)
            return InputRow(number, name, text, asker, intake.attached(_attachments(row)))
        except UnreadableRow as error:
            return InputRow(number, name, "", asker, code="SG706", why=str(error))
        except RunError as error:
            return InputRow(number, name, "", asker, code=error.code, why=error.message)

    def _asker_of(self, row: Mapping[str, Any]) -> Principal:
        said: dict[str, Any] = dict(row.get("principal") or {})
        for column, key in (("requester", "id"), ("roles", "roles"), ("groups", "groups"), ("clearance", "clearance")):
            value = row.get(column)
            if value not in (None, "", []):
                said[key] = _names(value) if key in ("roles", "groups") else value
        said = {key: value for key, value in said.items() if value is not None}
        try:
            found = _Asker.model_validate(said).model_dump(exclude_unset=True)
        except ValidationError as error:
            first = error.errors()[0]
            raise UnreadableRow(f"requester: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
        return cast("Principal", {**self._asker, **found})


class _ParquetRows:
    """The rows of a row group, in order: a block after the last one goes on where that ended."""

    def __init__(self, block: RowBlock) -> None:
        self._of = block.file, block.group
        self._at = 0
        self._rows = self._read(block)

    def reaches(self, block: RowBlock) -> bool:
        return (block.file, block.group) == self._of and self._at <= block.start

    def rows(self, block: RowBlock) -> Iterator[Raw]:
        while self._at < block.end:
            row = next(self._rows)
            self._at += 1
            if self._at > block.start:
                yield Raw(self._at - 1, self._at, row)

    def _read(self, block: RowBlock) -> Iterator[Mapping[str, Any]]:
        with InputFile(block.file).open() as file:
            batches: Any = parquet().ParquetFile(file).iter_batches(row_groups=[block.group], batch_size=256)
            for batch in batches:
                yield from batch.to_pylist()


def _text(row: Mapping[str, Any]) -> str:
    value = row.get("text", row.get("input"))
    if not isinstance(value, str):
        raise UnreadableRow("it has no text in the column 'text'")
    return value


def _names(value: Any) -> Any:
    """Roles or groups; in CSV with semicolons or commas between them."""
    if not isinstance(value, str):
        return value
    return [name.strip() for name in value.replace(";", ",").split(",") if name.strip()]


def _attachments(row: Mapping[str, Any]) -> dict[str, str]:
    """Tables by their names: an object, or its JSON in a format that has none."""
    value: Any = row.get("attachments") or {}
    try:
        found: Any = json.loads(value) if isinstance(value, str) else value
    except ValueError as error:
        raise UnreadableRow(f"attachments: not JSON: {error}") from None
    if isinstance(found, list):  # a map of Parquet
        found = dict(cast("list[tuple[str, str]]", found))
    if not isinstance(found, dict) or not all(isinstance(one, str) for one in cast("dict[str, Any]", found).values()):
        raise UnreadableRow("attachments: not an object of names and texts")
    return cast("dict[str, str]", found)
