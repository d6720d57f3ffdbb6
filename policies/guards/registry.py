"""Every kind of guard: the built-in ones and those of installed packages.

A package adds one with an entry point in the group `sluicegate.guards` that gives a `GuardKind`.
"""

import functools
import importlib

from sluicegate.plugins import with_installed
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
    """All kinds by name. Raises `ConfigError` SG116 when an installed package's guard cannot be used."""
    modules = [importlib.import_module(f"sluicegate.policies.guards.{module}") for module in _BUILT_IN.values()]
    built_in: list[GuardKind] = [module.KIND for module in modules]
    return with_installed(built_in, group=GROUP, of=GuardKind, code="SG116", what="guard")
