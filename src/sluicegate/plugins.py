"""Plug-ins: merges what installed packages register with the built-in node kinds, tools and guards."""

import sys
from collections.abc import Callable, Collection, Iterable
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, TypeVar

from sluicegate.errors import ConfigError, Problem

__all__ = ["packages", "with_installed"]

T = TypeVar("T")


def packages(group: str) -> dict[str, str]:
    """The package and version that each entry point of a group comes from, ``NAME VERSION``; loads none."""
    return {
        entry.name: f"{entry.dist.name} {entry.dist.version}" if entry.dist else "unknown"
        for entry in _registered(group, entry_points, _folders())
    }


@lru_cache(maxsize=16)
def _registered(
    group: str, listed: Callable[..., Iterable[EntryPoint]], _folders: tuple[tuple[str, int], ...]
) -> tuple[EntryPoint, ...]:
    """Read anew once one of the folders has changed: that opens a file of each installed package."""
    return tuple(listed(group=group))


def _folders() -> tuple[tuple[str, int], ...]:
    """Where packages are found, and when one was last added to it or taken away."""
    return tuple((folder, _changed(folder)) for folder in sys.path)


def _changed(folder: str) -> int:
    try:
        return Path(folder).stat().st_mtime_ns
    except OSError:
        return 0


def with_installed(
    built_in: Iterable[T], *, group: str, of: type[T], code: str, what: str, reserved: Collection[str] = ()
) -> dict[str, T]:
    """Everything by its `name`: the built-in ones, then those of the entry point `group`.

    Raises `ConfigError` with `code` when an installed plug-in cannot be loaded, is no `of`, has another name than its
    entry point (by which it is known before it is loaded), or one that is taken
    or `reserved`.
    """

    def broken(name: str, fault: str) -> ConfigError:
        hint = "Update or remove the package that registers it"
        return ConfigError([Problem(code, f"the {what} plug-in {name!r} {fault}", hint=hint)])

    known = {_name(one): one for one in built_in}
    for entry in entry_points(group=group):
        try:
            found: Any = entry.load()
        except Exception as error:
            raise broken(entry.name, f"cannot be loaded: {type(error).__name__}: {error}") from error
        if not isinstance(found, of):
            raise broken(entry.name, f"is a {found.__class__.__name__}, not a {of.__name__}")
        if _name(found) != entry.name:
            raise broken(entry.name, f"names itself {_name(found)!r}")
        if entry.name in known or entry.name in reserved:
            raise broken(entry.name, "uses a name that is already taken")
        known[entry.name] = found
    return known


def _name(one: Any) -> str:
    return one.name
