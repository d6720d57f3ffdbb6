"""PyArrow, which is typed in part: its modules as they are used here. They are imported when they are first needed."""

import importlib
from typing import Any

__all__ = ["arrow", "file_systems", "parquet"]


def arrow() -> Any:
    return importlib.import_module("pyarrow")


def parquet() -> Any:
    return importlib.import_module("pyarrow.parquet")


def file_systems() -> Any:
    return importlib.import_module("pyarrow.fs")
