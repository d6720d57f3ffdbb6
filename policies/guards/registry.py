"""Every kind of guard: the built-in ones and those of installed packages.

A package adds one with an entry point in the group `sluicegate.guards` that gives a `GuardKind`.
"""

import functools
import importlib

from sluicegate.plugins import with_installed
from sluicegate.policies.guards.checking import GROUP, GuardKind

__all__ = ["guards"]

_BUILT_IN = {
    "pii": "pii.pii",
    "secrets": "detectors.secret",
    "injection": "injection.injection",
    "grounded": "detectors.grounded",
    "citations": "detectors.citations",
    "tone": "detectors.tone",
    "banned": "detectors.banned",
    "length": "detectors.length",
    "schema": "detectors.schema",
    "slm-review": "detectors.slm_review",
}
"""Names in the order they are shown, with the module of each."""


@functools.cache
def guards() -> dict[str, GuardKind]:
    """All kinds by name. Raises `ConfigError` SG116 when an installed package's guard cannot be used."""
    modules = [importlib.import_module(f"sluicegate.policies.guards.{module}") for module in _BUILT_IN.values()]
    built_in: list[GuardKind] = [module.KIND for module in modules]
    return with_installed(built_in, group=GROUP, of=GuardKind, code="SG116", what="guard")
