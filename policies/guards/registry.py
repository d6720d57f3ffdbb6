"""Every kind of guard: the built-in ones and those of installed packages.

A package adds one with an entry point in the group `sluicegate.guards` that gives a `GuardKind`, or a function without
arguments that returns one.
"""

import functools
import importlib
from importlib.metadata import entry_points
from typing import Any

from sluicegate.errors import PolicyError
from sluicegate.policies.guards.checking import GuardKind

__all__ = ["GROUP", "guards"]

GROUP = "sluicegate.guards"

_BUILT_IN = {
    "pii": "pii",
    "secrets": "secret",
    "injection": "injection",
    "grounded": "grounded",
    "citations": "citations",
    "tone": "tone",
    "banned": "banned",
    "length": "length",
    "schema": "schema",
    "slm-review": "slm_review",
}
"""Names in the order they are shown, with the module of each."""


@functools.cache
def guards() -> dict[str, GuardKind]:
    """All kinds by name. Raises `PolicyError` SG203 when an installed package's guard cannot be used."""
    found: dict[str, GuardKind] = {}
    for name, module in _BUILT_IN.items():
        kind: GuardKind = importlib.import_module(f"sluicegate.policies.guards.{module}").KIND
        found[name] = kind
    for point in entry_points(group=GROUP):
        try:
            loaded: Any = point.load()
            made = loaded if isinstance(loaded, GuardKind) else loaded()
        except Exception as error:
            raise PolicyError(
                "SG203", f"guard {point.name!r} of {point.value} cannot be loaded: {type(error).__name__}"
            ) from error
        if not isinstance(made, GuardKind) or made.name != point.name:
            raise PolicyError("SG203", f"{point.value} is not a guard named {point.name!r}")
        if made.name in found:
            raise PolicyError("SG203", f"{point.value} claims the name {made.name!r}, which is taken")
        found[made.name] = made
    return found
