"""Node kinds as an installed package registers them, for the length of one test."""

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from importlib.metadata import EntryPoint
from typing import Any

import pytest
from pydantic import BaseModel

from sluicegate import plugins
from sluicegate.graphs.conditions import conditions
from sluicegate.graphs.conditions.fields import fields
from sluicegate.nodes.kind import Node, NodeKind
from sluicegate.nodes.registry import kinds

__all__ = ["kind", "plugged"]


class Nothing(BaseModel):
    """No settings."""


def kind(
    name: str, writes: Iterable[str], effects: Iterable[Any] = (), node: Node | None = None, **more: Any
) -> NodeKind:
    """A kind whose nodes do `node`."""

    def make(_name: str, _settings: Any) -> Node:
        assert node is not None, "only checked, never run"
        return node

    return NodeKind(name, f"The kind {name}.", Nothing, make, frozenset(writes), frozenset(effects), **more)


@contextmanager
def plugged(*registered: NodeKind) -> Generator[None]:
    """Register `registered`."""

    class Entry(EntryPoint):
        def load(self) -> Any:
            return next(each for each in registered if each.name == self.name)

    def listed(*, group: str) -> list[EntryPoint]:
        return [Entry(each.name, "plugged", group) for each in registered] if group == "sluicegate.nodes" else []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plugins, "entry_points", listed)
        try:
            _forget()
            yield
        finally:
            _forget()


def _forget() -> None:
    """What was derived from the kinds, too."""
    for derived in (kinds, fields, conditions._environment):
        derived.cache_clear()
