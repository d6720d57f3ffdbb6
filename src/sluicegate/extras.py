"""Parts that a plain `pip install sluicegate` leaves out, and the one error that says how to get them.

An extra is named in `pyproject.toml`; what each brings and weighs is in the README.
"""

import importlib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any

from sluicegate.errors import ModelError, SluicegateError

__all__ = ["extra", "fitting"]


@contextmanager
def extra(name: str, purpose: str, failure: Callable[..., SluicegateError]) -> Generator[None]:
    """Imports inside the block belong to the extra `name`, which `purpose` needs.

    Where one is missing, raises `failure(message, hint=…)`: whoever catches errors by family still does.
    """
    try:
        yield
    except ImportError as error:
        package = (error.name or name).partition(".")[0]
        hint = f"Install it: pip install 'sluicegate[{name}]'"
        raise failure(f"{purpose} needs the package {package}", hint=hint) from error


def fitting(module: str) -> Any:
    """A module of scipy, scikit-learn or matplotlib, which are partly typed at best. Raises `ModelError` SG308."""
    with extra("fit", "this computation", partial(ModelError, "SG308")):
        return importlib.import_module(module)
