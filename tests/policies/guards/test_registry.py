from collections.abc import Iterator
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from sluicegate import plugins
from sluicegate.errors import ConfigError
from sluicegate.policies.guards import registry
from sluicegate.policies.guards.checking import PASS, Check, GuardKind, Helpers, Subject, Verdict
from sluicegate.policies.guards.registry import guards
from sluicegate.policies.guards.settings import GuardSettings


def _make(settings: GuardSettings, helpers: Helpers) -> Check:
    del settings, helpers
    return lambda subject: PASS


POLITE = GuardKind("polite", "Says please.", frozenset({"output"}), GuardSettings, _make)
IMPOSTOR = GuardKind("pii", "Says so.", frozenset({"output"}), GuardSettings, _make)


@pytest.fixture
def points(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[EntryPoint]]:
    found: list[EntryPoint] = []
    listed: Any = lambda group: found  # noqa: E731
    monkeypatch.setattr(plugins, "entry_points", listed)
    guards.cache_clear()
    yield found
    monkeypatch.undo()
    guards.cache_clear()


def test_a_package_adds_a_guard(points: list[EntryPoint]) -> None:
    points.append(EntryPoint("polite", f"{__name__}:POLITE", registry.GROUP))
    assert guards()["polite"] is POLITE


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("polite", "no_such_package:kind", "'polite' cannot be loaded: ModuleNotFoundError: No module named"),
        ("other", f"{__name__}:POLITE", "'other' names itself 'polite'"),
        ("polite", "builtins:dict", "'polite' is a type, not a GuardKind"),
        ("pii", f"{__name__}:IMPOSTOR", "'pii' uses a name that is already taken"),
    ],
)
def test_a_package_that_is_wrong_is_named(points: list[EntryPoint], name: str, value: str, said: str) -> None:
    points.append(EntryPoint(name, value, registry.GROUP))
    with pytest.raises(ConfigError) as raised:
        guards()
    [problem] = raised.value.problems
    assert (problem.code, problem.hint) == ("SG116", "Update or remove the package that registers it")
    assert problem.message.startswith(f"the guard plug-in {said}")


@pytest.mark.parametrize("piece", ["1", "1 ", "\n1234", "12-", "a.b@c.", "key_", "http://", "'a", "Aa ", "+1(", "&#1;"])
@pytest.mark.timeout(100)
def test_no_pattern_takes_for_ever(piece: str) -> None:
    """With the cube of a text's length as its cost, a pattern would take hours here."""
    subject = Subject(piece * (6000 // len(piece)), "output")
    for name in ("pii", "secrets", "tone", "citations", "injection"):
        kind = guards()[name]
        assert isinstance(kind.make(kind.settings(), Helpers())(subject), Verdict)
