"""Imports large libraries without the parts that a run does not use.

Some libraries import at the top what few users call: a generated HTTP client, a sample data generator, an exporter.
`postponed` puts placeholders in the place of such modules while a library is imported. Calling a name of a placeholder
imports the real module and calls the real function.

`lazy_face` is for our own packages: a short list of public names, each of which loads its module when it is first used.
"""

import importlib
import sys
import types
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

__all__ = ["SCHEMA_FORMATS", "lazy_face", "postponed"]

SCHEMA_FORMATS = {"rfc3987_syntax": ["is_valid_syntax"], "rfc3986_validator": ["validate_rfc3986"]}
"""What jsonschema imports for the formats `iri` and `uri`, which nothing here checks, where guardrails-ai has brought
it: the first alone takes 1.4 s. For `postponed`, wherever jsonschema is imported."""


def lazy_face(package: str, names: Mapping[str, Sequence[str]]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` for `package`, which offers `names`: submodule -> what it has; ``""``: submodules."""
    homes = {name: module for module, each in names.items() for name in each}

    def get(name: str) -> Any:
        if name == "__version__":
            from importlib.metadata import version

            return version(package)
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if not homes[name]:
            return importlib.import_module(f"{package}.{name}")
        module = importlib.import_module(f"{package}.{homes[name]}")
        # a submodule is an attribute only once somebody has imported it
        return getattr(module, name) if hasattr(module, name) else importlib.import_module(f"{module.__name__}.{name}")

    return get, lambda: sorted({*vars(sys.modules[package]), *homes})


@contextmanager
def postponed(modules: Mapping[str, Sequence[str]]) -> Generator[None]:
    """Within the block, importing one of `modules` (name -> the callables that others import from it) is postponed.

    Modules that are already imported stay as they are; after the block, all can be imported as usual. Only for
    callables: a class that is subclassed, compared or used in `isinstance` where it is imported cannot be stood in for.
    """
    put = {name: _stand_in(name, callables) for name, callables in modules.items() if name not in sys.modules}
    sys.modules.update(put)
    try:
        yield
    finally:
        for name, stand_in in put.items():
            if sys.modules.get(name) is stand_in:
                del sys.modules[name]


def _stand_in(name: str, callables: Sequence[str]) -> types.ModuleType:
    module = types.ModuleType(name, "A placeholder for the module of this name until it is used.")
    for each in callables:
        setattr(module, each, _late(name, each))
    return module


def _late(module: str, name: str) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        return getattr(importlib.import_module(module), name)(*args, **kwargs)

    call.__name__ = call.__qualname__ = name
    return call
