import time
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from sluicegate.errors import PolicyError
from sluicegate.policies.guards import registry
from sluicegate.policies.guards.checking import PASS, Check, GuardKind, Helpers, Subject
from sluicegate.policies.guards.config import GuardSettings
from sluicegate.policies.guards.registry import guards


def _make(settings: GuardSettings, helpers: Helpers) -> Check:
    del settings, helpers
    return lambda subject: PASS


POLITE = GuardKind("polite", "Says please.", frozenset({"output"}), GuardSettings, _make)


def polite() -> GuardKind:
    return POLITE


@pytest.fixture
def points(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[EntryPoint]]:
    found: list[EntryPoint] = []
    listed: Any = lambda group: found  # noqa: E731
    monkeypatch.setattr(registry, "entry_points", listed)
    guards.cache_clear()
    yield found
    monkeypatch.undo()
    guards.cache_clear()


@pytest.mark.parametrize("value", ["POLITE", "polite"])
def test_a_package_adds_a_guard(points: list[EntryPoint], value: str) -> None:
    points.append(EntryPoint("polite", f"{__name__}:{value}", registry.GROUP))
    assert guards()["polite"] is POLITE


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("polite", "no_such_package:kind", "cannot be loaded: ModuleNotFoundError"),
        ("other", f"{__name__}:POLITE", "is not a guard named 'other'"),
        ("polite", "builtins:dict", "is not a guard named 'polite'"),
    ],
)
def test_a_package_that_is_wrong_is_named(points: list[EntryPoint], name: str, value: str, said: str) -> None:
    points.append(EntryPoint(name, value, registry.GROUP))
    with pytest.raises(PolicyError, match=said):
        guards()


@pytest.mark.parametrize("piece", ["1", "1 ", "\n1234", "12-", "a.b@c.", "key_", "http://", "'a", "Aa ", "+1(", "&#1;"])
def test_no_pattern_takes_for_ever(piece: str) -> None:
    text = piece * (6000 // len(piece))
    for name in ("pii", "secrets", "tone", "citations", "injection"):
        kind = guards()[name]
        start = time.perf_counter()
        kind.make(kind.settings(), Helpers())(Subject(text, "output"))
        assert time.perf_counter() - start < 4
